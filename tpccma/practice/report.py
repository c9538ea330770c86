"""A finished run on one page: how it was made, how it went, what was measured, beside its base."""

import io
import json
from html import escape
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt

from tpccma.evidence.estimates import OUTCOMES, WORDS
from tpccma.figures.style import use_style
from tpccma.files import file_in, write_whole
from tpccma.models.weight_files import read_note
from tpccma.runs.jobs import BASE
from tpccma.runs.records import record_path
from tpccma.training.checkpoint import LOG

CURVES = {"loss": "loss", "alpha": "alpha", "learning_rate": "learning rate"}
STYLE = (
    "body{font-family:sans-serif;max-width:60em;margin:2em auto;padding:0 1em}td,th{padding:.2em .8em;text-align:left}"
    "svg{max-width:100%;height:auto}table{display:block;overflow-x:auto}"
)
LOSS = (
    " The loss is a sum in which alpha moves weight from one part to others: it may rise with alpha, which is no fault."
)
VIEW = '<meta name="viewport" content="width=device-width, initial-scale=1">'
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
    title = escape(f"{record['profile']}: {record['method']}, alpha {record['alpha']}, seed {record['seed']}")
    parts = [f"<h1>{title}</h1>", f"<p>{escape(_made(record, Path(run)))}</p>", _curves(Path(run) / LOG)]
    parts += ["<h2>Measures</h2>", _measures(record["metrics"], reference), "<h2>Settings</h2>"]
    parts += [_table(("setting", "value"), [(name.replace("_", " "), str(value)) for name, value in settings.items()])]
    head = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{VIEW}<title>{title}</title><style>{STYLE}</style>'
    )
    write_whole(out, "\n".join([head + "</head><body>", *parts, "</body></html>\n"]))
    return Path(out)


def _made(record: dict, run: Path) -> str:
    """Say in a few sentences what the page is about."""
    weights = file_in(run)
    model = read_note(weights, "architecture") if weights.is_file() else {}
    named = f"{model.get('name') or 'A model'}, from {model['pretrained']}" if model.get("pretrained") else "The model"
    if record["method"] == BASE:
        how = f"not trained, measured on the test data of profile {record['profile']}."
    else:
        how = f"{'fine-tuned' if record.get('training') else 'changed'} by the training data of profile "
        how += f"{record['profile']}, measured on its test data beside the base that it started from."
    said = (
        f"{named}, {how} A gap is a distance between images and texts on the unit sphere: the smaller, the closer they "
        "are. Of all other measures in the first table more is better."
    )
    return said + LOSS * (run / LOG).is_file()


def _measures(found: dict[str, float], reference: dict[str, float]) -> str:
    """Lay out what is compared throughout, and fold the rest."""
    rows = {
        name: (WORDS.get(name, name.replace("_", " ")), _shown(found[name]), _shown(reference.get(name)))
        for name in sorted(found)
    }
    head, first = ("measure", "this run", "its base"), [rows.pop(name) for name in OUTCOMES if name in rows]
    rest = f"<details><summary>{len(rows)} more</summary>{_table(head, list(rows.values()))}</details>"
    return _table(head, first) + rest * bool(rows)


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
