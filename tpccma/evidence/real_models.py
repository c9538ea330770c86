"""What records of real models say, as tables for a reader, see `tpccma.runs.real_records`.

A tidy table has a row a model, state and measure: ``model`` and ``trained``; ``label``, both in words; ``state``, one
of raw, centred, change; ``measure``; and the fields of `tpccma.evidence.verdicts.Estimate`.
"""

from collections.abc import Iterable

import pandas as pd

from tpccma.evidence.verdicts import Estimate
from tpccma.evidence.writing import lay_out, write
from tpccma.runs.real_records import GAPS, RECALLS, SEPARABILITY, SHAPE, STATES, RealRecord

MODELS = {  # name: what it is called, what its first modality is, its texts
    "clip": ("CLIP", "photographs of COCO", "one caption of each"),
    "convirt": ("ConVIRT", "chest X-rays", "radiologists' reports"),
    "videoclip": ("VideoCLIP", "videos of MSR-VTT", "all captions of each in one text"),
    "clasp": ("CLASP", "protein sequences", "their descriptions"),
}
COLUMNS = {
    **dict(zip(GAPS, ("raw gap", "centroid gap", "distribution gap", "scale-free"), strict=True)),
    **dict(zip(SHAPE, ("cone, first", "cone, texts", "rank, first", "rank, texts"), strict=True)),
    SEPARABILITY: "told apart",
}
RECALL_NAMES = dict(zip(RECALLS, ("to text, @1", "to text, @5", "from text, @1", "from text, @5"), strict=True))


def name_of(record: RealRecord) -> str:
    """Name a model for a reader, such as "CLIP" and "CLIP, untrained"."""
    called = MODELS[record.model][0] if record.model in MODELS else record.model
    return called if record.trained else f"{called}, untrained"


def estimates(records: Iterable[RealRecord]) -> pd.DataFrame:
    """Lay records out as a tidy table, models in the order of ``MODELS``, each trained first."""
    order = [*MODELS]
    ranked = sorted(records, key=lambda r: (order.index(r.model) if r.model in order else len(order), not r.trained))
    rows = [
        (record.model, record.trained, name_of(record), state, measure, *Estimate(*found, record.pairs))
        for record in ranked
        for state in STATES
        for measure, found in getattr(record, state).items()
    ]
    return pd.DataFrame(rows, columns=["model", "trained", "label", "state", "measure", *Estimate._fields])


def written(table: pd.DataFrame, measures: Iterable[str], state: str = "raw") -> pd.DataFrame:
    """Write some measures of one state: a row a model, a column a measure, ``0.85 [0.84, 0.86]``; changes in points.

    Raises:
        ValueError: naming measures that the state does not have.
    """
    measures = list(measures)
    part = table[(table.state == state) & table.measure.isin(measures)]
    if missing := sorted(set(measures) - set(part.measure)):
        raise ValueError(f"the state {state!r} has no {', '.join(missing)}: see tpccma.runs.real_records.STATES")
    cells = [_write(row, state, row.measure) for row in part.itertuples()]
    wide = lay_out(part.assign(cell=cells, model=part.label))
    return wide[measures].rename(columns=COLUMNS | RECALL_NAMES).rename_axis("model")


def _write(row: tuple, state: str, measure: str) -> str:
    if state == "change":
        return write(Estimate(100 * row.ours, 100 * row.low, 100 * row.high), 1, sign=True)
    return write(row, 0 if measure.startswith("effective_rank") else 2)


def gap_splits(table: pd.DataFrame) -> pd.DataFrame:
    """Lay the gaps of the rows as they are out for `tpccma.figures.clouds.plot_gap_split`: a row a model."""
    part = table[(table.state == "raw") & table.measure.isin(GAPS)]
    wide = part.pivot(index="label", columns="measure", values="ours").reindex(table.label.unique())
    bounds = part[part.measure == "raw_gap"].set_index("label")[["low", "high"]]
    return wide.join(bounds.add_prefix("raw_gap_"))


def sources(records: Iterable[RealRecord]) -> pd.DataFrame:
    """List the files that the records were made from: pairs, width, and the checksum that a copy must have."""
    rows = [(record.source.file.split("/")[-1], record.pairs, record.width, record.source.sha256) for record in records]
    return pd.DataFrame(rows, columns=["file", "pairs", "width", "SHA-256"]).set_index("file")


def value(table: pd.DataFrame, label: str, measure: str, state: str = "raw") -> Estimate:
    """Look one estimate up.

    Raises:
        ValueError: if there is none.
    """
    found = table[(table.label == label) & (table.measure == measure) & (table.state == state)]
    if len(found) != 1:
        raise ValueError(
            f"there is no {state} {measure} of {label!r}: its labels are {', '.join(table.label.unique())}"
        )
    return Estimate(*found[list(Estimate._fields)].iloc[0].tolist())


def differences(old: Iterable[RealRecord], new: Iterable[RealRecord]) -> pd.DataFrame:
    """Set records made anew against those that were recorded: the largest difference of any number of a model.

    Args:
        old: the recorded ones.
        new: of the same models.

    Returns:
        A row a model.
    """
    keys = ["label", "state", "measure"]
    one, other = (estimates(records).set_index(keys)[["ours", "low", "high"]] for records in (old, new))
    largest = (one - other).abs().max(axis=1).groupby("label", sort=False).max()
    return largest.rename("largest difference").rename_axis("model").to_frame()
