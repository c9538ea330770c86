"""Embeddings of models that nobody here made."""

from pathlib import Path
from typing import Annotated

import typer

from tpccma.cli.options import ResultsDir

Arrays = Annotated[
    Path, typer.Option(callback=Path.expanduser, help="of the arrays of Mind the Gap's Figure 1, such as ~/figure1")
]


def real(data_dir: Arrays, results_dir: ResultsDir = Path("results")) -> None:
    """Measure the published embeddings of real models, and write a record each to RESULTS_DIR/real."""
    from tpccma.runs.real_models import measure_real
    from tpccma.runs.real_records import save_real

    for record in measure_real(data_dir):
        print(save_real(record, results_dir))
