"""Tasks at the same fall of the raw gap: what alignment bought and cost where the gap has shrunk as in the paper.

Nominal alpha does not compare between readings, data sets or papers; the fall of the gap does. Fixed before the second
round [ours]: each seed has a curve over its alphas, straight between neighbours, of the fall of the raw gap against its
base and of a task's score. The score is read off where the fall first reaches the wanted one. A seed whose curve never
does has **not reached** it, and is left out.

Legend: A alphas of one seed, ascending.
"""

import numpy as np
import pandas as pd

from tpccma.evidence.intervals import estimate_effect
from tpccma.evidence.paper import GAP_REDUCTION
from tpccma.evidence.table import BASE, DIALS, pick_references
from tpccma.evidence.verdicts import NONE, difference, gain, points_gained, reduction
from tpccma.evidence.writing import NOTHING, write
from tpccma.runs.jobs import DIAL, WORLDS

GAP = "raw_gap"
# Column of the results: its label, the effect against the base, and that one's unit.
TASKS = {
    "zeroshot_top1": ("zero-shot accuracy", points_gained, "points"),
    "clustering_ari": ("joint clustering ARI", difference, ""),
    "cider": ("CIDEr raw-fed", gain, "%"),
    "cider_memory": ("CIDEr memory", gain, "%"),
}
FALLS = tuple(GAP_REDUCTION.values())  # per cent


def first_crossing(falls: np.ndarray, scores: np.ndarray, wanted: float) -> float:
    """Read a score off where a curve first reaches a fall of the gap.

    Args:
        falls: (A,) of the gap.
        scores: (A,) of a task.
        wanted: fall.

    Returns:
        The score, on the straight line between the alpha that reaches the fall and the one before it; that of the first
        alpha if it has reached it; NaN if none has.
    """
    reached = np.flatnonzero(falls >= wanted)
    if not len(reached):
        return NONE
    after = int(reached[0])
    if after == 0:
        return float(scores[0])
    along = (wanted - falls[after - 1]) / (falls[after] - falls[after - 1])
    return float(scores[after - 1] + along * (scores[after] - scores[after - 1]))


def matched_runs(runs: pd.DataFrame, wanted: float, method: str = DIAL) -> pd.DataFrame:
    """Read every seed's scores off where its raw gap has first fallen far enough.

    Args:
        runs: rows of the results, of one profile.
        wanted: fall of the raw gap against the seed's base, in per cent.
        method: the dial.

    Returns:
        A row a seed, indexed by it: alpha, where the fall is reached, and the tasks' scores; NaN where it is not.
    """
    own = runs[runs.method == method].dropna(subset=[GAP]).sort_values("alpha")
    columns = ["alpha", *(column for column in TASKS if column in runs)]
    rows = {seed: _read_off(curve.set_index("seed"), runs, columns, wanted) for seed, curve in own.groupby("seed")}
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("seed")


def _read_off(curve: pd.DataFrame, runs: pd.DataFrame, columns: list[str], wanted: float) -> list[float]:
    falls = reduction(curve[GAP], pick_references(runs, BASE, curve)[GAP].to_numpy()).to_numpy()
    return [first_crossing(falls, curve[column].to_numpy(), wanted) for column in columns]


def matched_table(runs: pd.DataFrame, method: str = DIAL, falls: tuple[float, ...] = FALLS) -> pd.DataFrame:
    """Lay out what was bought and lost at the paper's falls of the gap, against the base.

    Args:
        runs: rows of the results, of one profile.
        method: the dial.
        falls: of the raw gap, in per cent.

    Returns:
        Strings: a row a fall with the seeds that reach it, the mean alpha at which they do, and the change of each
        task, with intervals over seeds.
    """
    return pd.DataFrame.from_dict({f"{fall:g} %": _matched_row(runs, method, fall) for fall in falls}, orient="index")


def match_worlds(results: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Lay `matched_table` of every world and dial out on its side.

    Returns:
        A column each, where a seed gets there; and in words for which dials and falls none does, or "none".
    """
    tables = {
        (world, method): matched_table(runs, method)
        for profile, world in WORLDS.items()
        for method in DIALS
        if len(runs := results[results.profile == profile]) and (runs.method == method).any()
    }
    told = pd.concat(tables, names=["data", "method", "gap falls by"]).reset_index()
    there = told.alpha != NOTHING
    missed = told[~there].groupby(["method", "data"])["gap falls by"]
    said = [f"{method} on the {world} ({' and '.join(falls)})" for (method, world), falls in missed]
    return told[there].set_index("data").T.rename_axis(columns=None), "; ".join(said) or "none"


def _matched_row(runs: pd.DataFrame, method: str, fall: float) -> dict[str, str]:
    found = matched_runs(runs, fall, method)
    reached = found[found.alpha.notna()]
    said = f"by {len(reached)} of {len(found)} seeds" if len(reached) else f"not reached ({len(found)} seeds)"
    row = {"reached": said, "alpha": f"{reached.alpha.mean():.3f}" if len(reached) else NOTHING}
    parts = [reached, pick_references(runs, BASE, _own_base(runs, method, reached))]
    for column, (label, effect, unit) in TASKS.items():
        change = estimate_effect(effect, parts, (column,)).estimate
        row[label] = write(change, 1 if unit else 3, sign=True, unit=unit)
    return row


def _own_base(runs: pd.DataFrame, method: str, seeds: pd.DataFrame) -> pd.DataFrame:
    """Return a run of each seed, which names its base."""
    own = runs[runs.method == method].drop_duplicates("seed").set_index("seed")
    return own.reindex(seeds.index)
