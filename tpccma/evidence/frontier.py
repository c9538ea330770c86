"""Methods against the dial: the curve of score over raw gap, the Pareto front, and the learning rates they were given.

The rules were fixed before any result of the sweep existed [ours]:

- **curve**: of each seed, a task's score over the raw gap, straight between neighbouring points of the dial; alpha 0 is
  continued CLIP. A method stands **above** it if the 95 % interval over seeds of its score minus the
  curve's at the same gap lies wholly above 0, **below** it if wholly below 0, else it is **not told apart**. It is
  **outside** the curve's range if in some seed the curve does not cover its gap.
- **front**: a setting is on the Pareto front of a task if no other has both a raw gap that is not larger and a score
  that is not lower, one of them strictly better.

Legend as in `tpccma.evidence.compared`.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from tpccma.evidence.compared import DIAL, GAP, TASKS, averages
from tpccma.evidence.verdicts import MIN_SEEDS, NONE, Estimate, seed_interval
from tpccma.evidence.writing import lay_out, spread, write_half
from tpccma.profiles import load_profile
from tpccma.runs.records import best_rates
from tpccma.runs.tables import RATE, read_table

SIGNS = {"above": "▲ ", "below": "▼ "}
RATE_COLUMNS = ["profile", "method", "learning_rate", "zeroshot_top1", "recall_at_1", "clustering_ari", "score"]


def against_curve(runs: pd.DataFrame, tasks: Iterable[str] = TASKS, dial: str = DIAL) -> pd.DataFrame:
    """Set every model that is no point of a dial against the dial's curve at its own raw gap.

    Returns:
        A tidy table of scores minus the curve's, n the seeds compared, and a column ``standing`` by the rule at the top
        of this module.
    """
    curves = dict(list(runs[runs.method == dial].groupby("seed")))
    others = runs[(runs.method != dial) & runs.seed.isin(curves)]
    rows = [
        {"model": model, "measure": task, **_stand(_place_runs(part, curves, task))}
        for model, part in others.groupby("model", sort=False)
        for task in tasks
        if task in runs
    ]
    return pd.DataFrame(rows, columns=["model", "measure", *Estimate._fields, "standing"])


def _place_runs(runs: pd.DataFrame, curves: dict[int, pd.DataFrame], task: str) -> pd.DataFrame:
    """Place runs on the curve of their seed: a row each, see `_place`; none where the score or the curve is unknown."""
    placed = []
    for run in runs.dropna(subset=task).to_dict("records"):
        curve = curves[run["seed"]][[GAP, task]].dropna().sort_values(GAP)
        if len(curve) > 1:
            placed.append(_place(run[GAP], run[task], *curve.to_numpy().T))
    return pd.DataFrame(placed, columns=["side", "above"])


def _place(gap: float, score: float, gaps: np.ndarray, scores: np.ndarray) -> dict:
    """Say on which side of the curve's gaps a gap lies; where they cover it, by how much the score exceeds theirs."""
    if gap > gaps[-1]:
        return {"side": "wider", "above": NONE}
    if gap < gaps[0]:
        return {"side": "narrower", "above": NONE}
    return {"side": "covered", "above": score - np.interp(gap, gaps, scores)}


def _stand(placed: pd.DataFrame) -> dict:
    """Average over seeds how far a method is above the curve, and say where it stands."""
    counts = placed.side.value_counts()
    outside = [f"{side} {counts[side]}/{len(placed)}" for side in ("wider", "narrower") if side in counts]
    found = Estimate(n=len(placed)) if outside else seed_interval(placed.above.astype(float))
    if outside:
        standing = f"outside: {', '.join(outside)}"
    elif found.n < MIN_SEEDS:
        standing = f"{found.n} of {MIN_SEEDS} seeds"
    else:
        standing = "above" if found.low > 0 else "below" if found.high < 0 else "not told apart"
    return {**found._asdict(), "standing": standing}


def standing_table(runs: pd.DataFrame, tasks: Iterable[str] = TASKS, digits: int = 3, dial: str = DIAL) -> pd.DataFrame:
    """Lay `against_curve` out: a row a model with its raw gap, a column a task, ▲ for above and ▼ for below."""
    table = against_curve(runs, tasks, dial)
    written = pd.Series([write_half(found, digits, sign=True) for found in table.itertuples()], dtype=str)
    signs = table.standing.map(SIGNS).fillna("")
    shown = lay_out(table.assign(cell=table.standing.where(table.low.isna(), signs + written)))
    gaps = spread(averages(runs, [GAP]), write_half, digits=digits)[GAP]
    return shown.assign(**{GAP: gaps})[[GAP, *shown]]


def pareto_front(gaps: pd.Series, scores: pd.Series) -> pd.Series:
    """Say of each setting whether it is on the Pareto front, see the top of this module; never where a score lacks."""
    gap, score = gaps.to_numpy(), scores.to_numpy()
    no_worse = (gap <= gap[:, None]) & (score >= score[:, None])
    better = (gap < gap[:, None]) | (score > score[:, None])
    return pd.Series(~(no_worse & better).any(1), gaps.index) & scores.notna()


def front_table(runs: pd.DataFrame, tasks: Iterable[str] = TASKS) -> pd.DataFrame:
    """List the settings on a Pareto front of the means over seeds, with the seeds whose own front holds them.

    Returns:
        A row a setting that is on some front, a column a task: "4 of 5 seeds", or empty where it is not on the front.
    """
    tasks = [name for name in tasks if name in runs]
    means = runs.groupby("model", sort=False)[[GAP, *tasks]].mean()
    cells = pd.DataFrame("", means.index, tasks)
    for task in tasks:
        own = pd.concat([pareto_front(part[GAP], part[task]) for _, part in runs.groupby("seed")])
        counts = own.groupby(runs.model).agg(["sum", "size"])
        for model in means.index[pareto_front(means[GAP], means[task])]:
            cells.loc[model, task] = "{} of {} seeds".format(*counts.loc[model])
    return cells[(cells != "").any(axis=1)]


def rate_grid(path: str | Path, profile: str) -> pd.DataFrame:
    """Read a profile's grid of learning rates.

    Args:
        path: of the table that `tpccma.runs.rates.search_rates` writes; may be missing.
        profile: its name.

    Returns:
        The rows recorded, by method, with columns that say whether a rate is chosen, whether it is in use in the
        profile, and whether it is the smallest or largest that was tried of its method.
    """
    table = read_table(path, RATE) if Path(path).is_file() else pd.DataFrame(columns=RATE_COLUMNS)
    table = table[table.profile == profile].drop(columns="profile").reset_index(drop=True)
    settings, rates = load_profile(profile), table.learning_rate.astype(float)
    used = table.method.map(lambda name: settings.training_of(name).learning_rate).astype(float)
    tried = rates.groupby(table.method)
    table["chosen"] = np.isclose(rates, table.method.map(best_rates(table)).astype(float))
    table["in use"] = np.isclose(rates, used)
    table["end of the grid"] = (rates == tried.transform("min")) | (rates == tried.transform("max"))
    return table.set_index("method")
