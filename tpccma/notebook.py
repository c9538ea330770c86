"""What the notebooks need around the library: a check of parameters, a comparison with the recorded runs."""

import ast
import os
import re
from html import escape
from io import BytesIO
from pathlib import Path

import pandas as pd
from IPython import InteractiveShell, get_ipython
from matplotlib.figure import Figure
from PIL import Image

from tpccma.curriculum import check_alpha
from tpccma.evidence.estimates import in_words
from tpccma.evidence.writing import NOTHING
from tpccma.figures.style import use_style
from tpccma.profiles import load_profile
from tpccma.runs.records import load_records


def _check_seed(seed: int) -> int:
    """See `tpccma.training.run.check_seed`, which comes with torch: chapters that only read results start without."""
    from tpccma.training.run import check_seed

    return check_seed(seed)


COLOURS = 256  # of a figure in a notebook, which takes a third of the bytes so
CHECKS = {"alpha": check_alpha, "seed": _check_seed, "profile": load_profile}


def start_chapter(**parameters) -> None:
    """Check a notebook's parameters before any work, go to the project's root, set how figures and tables are shown.

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
        shell.display_formatter.formatters["text/html"].for_type(pd.DataFrame, head_in_one_line)
        shell.events.register("pre_run_cell", lambda _: _pack_figures(shell))


def _pack_figures(shell: InteractiveShell) -> None:
    """Have figures drawn in few colours; before a cell, since Jupyter sets its own drawing up after the first one."""
    shell.display_formatter.formatters["image/png"].for_type(Figure, draw_in_few_colours)


def draw_in_few_colours(figure: Figure) -> bytes:
    """Draw a figure as Jupyter does, as a PNG of ``COLOURS`` colours."""
    drawn, packed = BytesIO(), BytesIO()
    figure.savefig(drawn, bbox_inches="tight", facecolor="white")
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(packed, "png", optimize=True)
    return packed.getvalue()


def head_in_one_line(table: pd.DataFrame) -> str:
    """Write a table in HTML as Jupyter does, the names of its rows in the last line of its head.

    Pandas would give them a line of their own; where the columns have a name, which stands there, they keep it.
    """
    if any(name is not None for name in table.columns.names):
        return table._repr_html_()
    names = iter([escape(str("" if name is None else name)) for name in table.index.names])
    shown = table.rename_axis([None] * table.index.nlevels)._repr_html_()
    place = shown.rindex("<tr", 0, shown.index("</thead>"))
    named = re.sub("<th></th>", lambda _: f"<th>{next(names)}</th>", shown[place:], count=table.index.nlevels)
    return shown[:place] + named


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
    """Set a run's figures against those of the recorded run of the same fingerprint: settings, base and seed.

    Args:
        record: of the run, from `tpccma.runs.record.record_run`. Where it is itself what is recorded, it is not
            compared with itself.
        tolerances: measure to how far it may lie from what is recorded. Training repeats exactly on one kind of
            processor and drifts by rounding on another.
        results_dir: where the recorded runs lie.

    Returns:
        One row a measure, in words: what is recorded, and the verdict "as recorded" with the tolerance, "differs:
        <value>" or "not recorded".
    """
    same = (r for r in load_records(results_dir) if r["fingerprint"] == record["fingerprint"] and r != record)
    recorded = next(same, {"metrics": {}})["metrics"]
    rows = [
        (name, *_judge(record["metrics"][name], recorded.get(name), tolerance))
        for name, tolerance in tolerances.items()
    ]
    return in_words(pd.DataFrame(rows, columns=["measure", "recorded", "this run"]).set_index("measure"))


def _judge(value: float, recorded: float | None, tolerance: float) -> tuple[str, str]:
    if recorded is None:
        return NOTHING, "not recorded"
    verdict = f"as recorded, ± {tolerance:g}" if abs(value - recorded) <= tolerance else f"differs: {value:.3f}"
    return f"{recorded:.3f}", verdict
