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

from tpccma.evidence.compared import GAP, TASKS, averages, list_models
from tpccma.evidence.verdicts import MIN_SEEDS, NONE, Estimate, seed_interval
from tpccma.evidence.writing import lay_out, spread, write_half
from tpccma.profiles import load_profile
from tpccma.runs.choices import chosen_rates
from tpccma.runs.jobs import DIAL, ONE_BASE, SCENES
from tpccma.runs.tables import TRIAL, read_table

SIGNS = {"above": "▲ ", "below": "▼ "}
TRIED_ON = {SCENES: ONE_BASE}


def against_curve(runs: pd.DataFrame, tasks: Iterable[str] = TASKS, dial: str = DIAL) -> pd.DataFrame:
    """Set every model that is no point of a dial against the dial's curve at its own raw gap.

    Returns:
        A tidy table of scores minus the curve's, n the seeds compared, and a column ``standing`` by the rule at the top
        of this module.
    """
    points = runs[runs.method == dial]
    others = runs[(runs.method != dial) & runs.seed.isin(points.seed)]
    curves = {task: _curves(points, task) for task in tasks if task in runs}
    rows = [
        {"model": model, "measure": task, **_stand(_place_runs(part, own, task))}
        for model, part in others.groupby("model", sort=False)
        for task, own in curves.items()
    ]
    return pd.DataFrame(rows, columns=["model", "measure", *Estimate._fields, "standing"])


def _curves(points: pd.DataFrame, task: str) -> dict[int, np.ndarray]:
    """Lay out each seed's curve: gaps, ascending, and scores; none for a seed of fewer than two points."""
    known = points[["seed", GAP, task]].dropna().sort_values(GAP)
    curves = {seed: part[[GAP, task]].to_numpy().T for seed, part in known.groupby("seed")}
    return {seed: curve for seed, curve in curves.items() if curve.shape[1] > 1}


def _place_runs(runs: pd.DataFrame, curves: dict[int, np.ndarray], task: str) -> pd.DataFrame:
    """Place runs on the curve of their seed: a row each, see `_place`; none where the score or the curve is unknown."""
    known = runs[["seed", GAP, task]].dropna(subset=task)
    placed = [_place(gap, score, *curves[seed]) for seed, gap, score in known.itertuples(index=False) if seed in curves]
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


def part_outside(shown: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Part what is outside the curve's range at every task from a `standing_table`.

    Returns:
        The other rows; and in words which models are outside, such as "wider in 5 of 5 seeds: base, clip-refine;
        narrower in 5 of 5 seeds: tpc-cma-paired at alpha 0.5", or "none".
    """
    tasks = shown.drop(columns=GAP)
    side = tasks.iloc[:, 0]
    outside = side.str.startswith("outside") & tasks.eq(side, axis=0).all(axis=1)
    sides = side[outside].str.removeprefix("outside: ").str.replace(r"(\d+)/(\d+)", r"in \1 of \2 seeds", regex=True)
    said = [f"{name}: {list_models(own.index)}" for name, own in sides.groupby(sides, sort=False)]
    return shown[~outside], "; ".join(said) or "none"


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


def rate_choices(path: str | Path, profile: str) -> pd.DataFrame:
    """Read which learning rate was chosen of every trained method, by the protocol of `tpccma.runs.choices`.

    Args:
        path: of the table that `tpccma.runs.rates.search_rates` writes.
        profile: its name; the scenes' rates were tried on "demo", whose base is that of seed 0.

    Returns:
        The rows of `tpccma.runs.choices.chosen_rates`, and ``in use``, whether the profile has the rate.

    Raises:
        ValueError: see `tpccma.runs.tables.read_table`.
    """
    trials = read_table(path, TRIAL)
    chosen = chosen_rates(trials[trials.profile == TRIED_ON.get(profile, profile)])
    settings = load_profile(profile)
    used = [settings.training_of(name).learning_rate for name in chosen.index]
    return chosen.assign(**{"in use": np.isclose(used, chosen.learning_rate.astype(float))})
