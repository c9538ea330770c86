"""A finished run on one page: how it was made, how it went, what was measured, beside its base."""

import io
import json
from html import escape
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt

from tpccma.figures.style import use_style
from tpccma.files import write_whole
from tpccma.runs.jobs import BASE
from tpccma.runs.records import record_path
from tpccma.training.checkpoint import LOG

CURVES = {"loss": "loss", "alpha": "alpha", "learning_rate": "learning rate"}
STYLE = "body{font-family:sans-serif;max-width:60em;margin:2em auto}td,th{padding:.2em .8em;text-align:left}"
MADE = ("profile", "method", "alpha", "seed", "git_revision", "hardware", "wall_seconds", "samples_per_second")


def write_report(run: str | Path, out: str | Path, results_dir: str | Path = "results") -> Path:
    """Write a page of a run, in one file that asks for no other.

    Args:
        run: the folder of a finished and measured run.
        out: the file to write.
        results_dir: where the record of its base is looked for, the reference of what was measured.

    Returns:
        The file.

    Raises:
        FileNotFoundError: if the run has no record.
        ValueError: if a file of it is damaged.
    """
    record = _read(Path(run) / "record.json")
    base = record_path(record["profile"], BASE, 0.0, record["seed"], results_dir)
    reference = _read(base)["metrics"] if base.is_file() else {}
    settings = {name: record.get(name) for name in MADE} | (record.get("training") or {})
    settings |= {"hardware": ", ".join(f"{name} {value}" for name, value in (record.get("hardware") or {}).items())}
    rows = [(name, f"{value:.4f}", _shown(reference.get(name))) for name, value in sorted(record["metrics"].items())]
    title = escape(f"{record['profile']}: {record['method']}, alpha {record['alpha']}, seed {record['seed']}")
    parts = [f"<h1>{title}</h1>", _curves(Path(run) / LOG), "<h2>Measures</h2>"]
    parts += [_table(("measure", "this run", "its base"), rows), "<h2>Settings</h2>"]
    parts += [_table(("setting", "value"), [(name, str(value)) for name, value in settings.items()])]
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    write_whole(out, "\n".join([head + "</head><body>", *parts, "</body></html>\n"]))
    return Path(out)


def _read(path: Path) -> dict:
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; name the folder of a run that `tpccma train` has finished")
    try:
        record = dict(json.loads(path.read_text()))
    except (TypeError, ValueError, RecursionError):
        record = {}
    if not {"profile", "method", "alpha", "seed", "metrics"} <= record.keys():
        raise ValueError(f"{path} is damaged; remove it and run `tpccma train` again")
    return record


def _shown(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"


def _table(names: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    def line(cells: tuple[str, ...], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return "\n".join(["<table>", line(names, "th"), *(line(row, "td") for row in rows), "</table>"])


def _curves(log: Path) -> str:
    """Draw what the log of steps has of `CURVES`; nothing of a run that was not trained."""
    if not log.is_file():
        return "<p>Not trained.</p>"
    steps, text = pd.read_csv(log), io.StringIO()
    shown = [name for name in CURVES if name in steps]
    use_style()
    figure, panels = plt.subplots(1, len(shown), figsize=(3.6 * len(shown), 2.6), squeeze=False, layout="constrained")
    for ax, name in zip(panels[0], shown, strict=True):
        ax.plot(steps.step, steps[name])
        ax.set(title=CURVES[name], xlabel="step")
    figure.savefig(text, format="svg", metadata={"Date": None})
    plt.close(figure)
    return text.getvalue()[text.getvalue().index("<svg") :]
