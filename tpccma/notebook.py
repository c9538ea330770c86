"""What the notebooks need around the library: a check of parameters, a comparison with the recorded runs."""

import ast
import os
from pathlib import Path

import pandas as pd
from IPython import get_ipython
from matplotlib_inline.config import InlineBackend

from tpccma.curriculum import check_alpha
from tpccma.evidence.estimates import in_words
from tpccma.figures.style import use_style
from tpccma.profiles import load_profile
from tpccma.runs.records import load_records


def _check_seed(seed: int) -> int:
    """See `tpccma.training.run.check_seed`, which comes with torch: chapters that only read results start without."""
    from tpccma.training.run import check_seed

    return check_seed(seed)


PACKED = {
    "bbox_inches": "tight",
    "pil_kwargs": {"optimize": True},
}  # the first is Jupyter's own, the second saves bytes
CHECKS = {"alpha": check_alpha, "seed": _check_seed, "profile": load_profile}


def start_chapter(**parameters) -> None:
    """Check a notebook's parameters before any work, go to the project's root and set style and packing of figures.

    The first cell after the one tagged ``parameters`` calls it with every parameter of that cell, by name. So
    papermill, which runs in the root, and Jupyter, which runs in notebooks/, find the same files.

    Args:
        **parameters: name and value of every parameter the notebook has; alpha, seed and profile are checked for their
            range.

    Raises:
        ValueError: naming the parameter, its value and what is possible; also for a parameter that papermill was given
            but the notebook does not have.
    """
    for name in _injected():
        if name not in parameters:
            raise ValueError(f"unknown parameter {name!r}: this notebook has {', '.join(parameters)}")
    for name, value in parameters.items():
        if name in CHECKS:
            CHECKS[name](value)
    root = next((folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "_toc.yml").is_file()), Path.cwd())
    os.chdir(root.parent if root.name == "book" else root)
    use_style()
    if shell := get_ipython():
        InlineBackend.instance(parent=shell).print_figure_kwargs = dict(PACKED)


def _injected() -> list[str]:
    """List the names that papermill's cell of injected parameters assigns."""
    shell = get_ipython()
    cells = [cell for cell in (shell.user_ns["In"] if shell else []) if cell.startswith("# Parameters\n")]
    return [
        target.id
        for cell in cells
        for node in ast.parse(cell).body
        if isinstance(node, ast.Assign)
        for target in node.targets
    ]


def compare_with_recorded(
    record: dict, tolerances: dict[str, float], results_dir: str | Path = "results"
) -> pd.DataFrame:
    """Set a run's figures against the recorded runs of the same profile, method and alpha.

    Args:
        record: of the run, from `tpccma.runs.record.record_run`. Where it is itself what is recorded, it is not
            compared with itself.
        tolerances: measure to how far it may lie outside the range of the recorded seeds. Training repeats exactly on
            one kind of processor and drifts by rounding on another.
        results_dir: where the recorded runs lie.

    Returns:
        One row a measure, in words: the range of the recorded seeds, and the verdict "as recorded", "differs: <value>"
        or "not recorded".
    """
    recorded = [
        other["metrics"]
        for other in load_records(results_dir)
        if all(other[key] == record[key] for key in ("profile", "method", "alpha")) and other != record
    ]
    rows = [
        (name, *_judge(record["metrics"][name], [other[name] for other in recorded], tolerance))
        for name, tolerance in tolerances.items()
    ]
    columns = ["measure", f"recorded seeds: {len(recorded)}", "this run"]
    return in_words(pd.DataFrame(rows, columns=columns).set_index("measure"))


def _judge(value: float, recorded: list[float], tolerance: float) -> tuple[str, str]:
    if not recorded:
        return "", "not recorded"
    low, high = min(recorded), max(recorded)
    verdict = "as recorded" if low - tolerance <= value <= high + tolerance else f"differs: {value:.3f}"
    return f"{low:.3f} to {high:.3f}", verdict
