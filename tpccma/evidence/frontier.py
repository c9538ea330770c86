"""Methods side by side, from the results alone: intervals over seeds, paired differences, and the curve of the dial.

The rules were fixed before any result of the sweep existed [ours]:

- **curve**: of each seed, a task's score over the raw gap, straight between neighbouring points of TPC-CMA; alpha 0 is
  continued CLIP. A method stands **above** it if the 95 % interval over seeds of its score minus the
  curve's at the same gap lies wholly above 0, **below** it if wholly below 0, else it is **not told apart**. It is
  **outside** the curve's range if in some seed the curve does not cover its gap.
- **front**: a setting is on the Pareto front of a task if no other has both a raw gap that is not larger and a score
  that is not lower, one of them strictly better.
- **collapse** is found at an alpha if the 95 % interval of the relative change of the effective rank, paired by seed
  and against continued CLIP, lies wholly below -10 % in either modality.
- **accuracy cost** is found if the interval of the change of zero-shot accuracy, paired likewise, lies wholly below 0.

Legend: `runs` is what `compared_runs` returns. A tidy table has a row a model and measure, with its `Estimate`: model,
measure, ours, low, high, n. A column that was not recorded is left out everywhere.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from tpccma.evidence.claims import BASE, CONTINUED, READINGS, pick, pick_references
from tpccma.evidence.verdicts import MIN_SEEDS, Estimate, difference, gain, judge, seed_interval
from tpccma.methods import ABLATIONS, METHODS
from tpccma.profiles import load_profile
from tpccma.runs.jobs import SEEDS, planned_jobs
from tpccma.runs.records import best_rates

PROFILES = ("demo", "fashion")
GAP = "raw_gap"
TASKS = ("zeroshot_top1", "recall_at_1", "clustering_ari", "cider")
MEASURES = (GAP, *TASKS)
FEEDS = {"cider": "raw-fed", "cider_centred": "centred", "cider_memory": "memory"}
BOUND = "cider_text"
RANKS = {"effective_rank_image": "image rank, %", "effective_rank_text": "text rank, %"}
ACCURACY = {"zeroshot_top1": "zero-shot, points"}
RATE_COLUMNS = ["profile", "method", "learning_rate", "zeroshot_top1", "recall_at_1", "clustering_ari", "score"]
PER_CLASS = "zeroshot_top1_"
COLLAPSE = -10.0  # per cent of the effective rank
PAPER_GAIN = next(reading.paper for reading in READINGS if reading.claim == "C5")  # per cent of CIDEr
DIAL, CONTINUED_MODEL = "tpc-cma", "alpha 0"
LEFT_OUT = (*ABLATIONS, "i0t-post")  # the latter is mean-centering under another name
ORDER = [name for name in ("base", *METHODS) if name not in LEFT_OUT]


def compared_runs(results: pd.DataFrame, profile: str) -> pd.DataFrame:
    """Pick a profile's runs of the methods that are compared: all but ablations and i0t-post, which is mean-centering.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        profile: as in the results.

    Returns:
        Base, TPC-CMA by alpha, then the others; with ``recall_at_1``, the mean of both directions [ours].
    """
    runs = results[(results.profile == profile) & results.method.isin(ORDER)]
    recalls = runs.reindex(columns=["i2t_recall_at_1", "t2i_recall_at_1"]).mean(axis=1, skipna=False)
    runs = runs.assign(recall_at_1=recalls, rank=runs.method.map(ORDER.index))
    return runs.sort_values(["rank", "alpha", "seed"]).drop(columns="rank").reset_index(drop=True)


def runs_by_profile(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Pick the `compared_runs` of each of `PROFILES` that has any."""
    return {name: runs for name in PROFILES if len(runs := compared_runs(results, name))}


def missing_seeds(results: pd.DataFrame, profile: str) -> str:
    """Say in a sentence which settings of `tpccma.runs.jobs.planned_jobs` lack seeds in the results."""
    runs = compared_runs(results, profile)
    settings = {(job.method, job.alpha): 0 for job in planned_jobs(profile) if job.method not in LEFT_OUT}
    counts = {setting: len(pick(runs, *setting)) for setting in settings}
    lacking = [
        f"{f'alpha {alpha:g}' if method == DIAL else method} ({count} of {len(SEEDS)})"
        for (method, alpha), count in counts.items()
        if count < len(SEEDS)
    ]
    if not lacking:
        return f"{profile}: {len(settings)} settings, every seed recorded."
    return f"{profile}: of {len(settings)} settings, {len(lacking)} lack seeds: {', '.join(lacking)}."


def intervals(runs: pd.DataFrame, measures: Iterable[str]) -> pd.DataFrame:
    """Average measures over the seeds of each model, with Student's 95 % interval; tidy."""
    measures = [name for name in measures if name in runs]
    groups = runs.groupby("model", sort=False)
    return _tidy((model, name, seed_interval(part[name])) for model, part in groups for name in measures)


def changes(runs: pd.DataFrame, measures: Iterable[str], against: str, effect: Callable = difference) -> pd.DataFrame:
    """Take effects seed by seed against a reference, and average them.

    Args:
        runs: of all models, references among them.
        measures: columns.
        against: "base" or "continued CLIP", see `tpccma.evidence.claims.pick_references`.
        effect: from runs and their references, such as `tpccma.evidence.verdicts.gain` for per cent.

    Returns:
        A tidy table of every model but the reference itself.
    """
    measures, rows = [name for name in measures if name in runs], []
    reference = "base" if against == BASE else CONTINUED_MODEL
    for model, part in runs[runs.model != reference].groupby("model", sort=False):
        own = part.set_index("seed")
        others = pick_references(runs, against, own.index)
        rows += [(model, name, seed_interval(effect(own[name], others[name]))) for name in measures]
    return _tidy(rows)


def _tidy(rows: Iterable[tuple[str, str, Estimate]]) -> pd.DataFrame:
    columns = ["model", "measure", *Estimate._fields]
    return pd.DataFrame([(model, measure, *found) for model, measure, found in rows], columns=columns)


def point_change(run: pd.Series, reference: pd.Series) -> pd.Series:
    """Return by how many percentage points shares lie above their references."""
    return 100 * difference(run, reference)


def write_interval(found: Estimate, digits: int = 2, sign: bool = False) -> str:
    """Write an estimate such as "0.52 ± 0.02", half its interval; without where there is none, a dash for no run."""
    if np.isnan(found.ours):
        return "–"
    half = "" if np.isnan(found.high) else f" ± {found.high - found.ours:.{digits}f}"
    return f"{found.ours:{'+' if sign else ''}.{digits}f}{half}"


def spread(table: pd.DataFrame, digits: int = 2, sign: bool = False) -> pd.DataFrame:
    """Lay a tidy table out for a reader: a row a model, a column a measure, cells as `write_interval` writes them."""
    cells = table.assign(cell=[write_interval(row, digits, sign) for row in table.itertuples()])
    return _pivot(cells, "cell")


def _pivot(table: pd.DataFrame, values: str) -> pd.DataFrame:
    wide = table.pivot(index="model", columns="measure", values=values).fillna("–")
    return wide.reindex(index=table.model.unique(), columns=table.measure.unique()).rename_axis(columns=None)


def against_curve(runs: pd.DataFrame, tasks: Iterable[str] = TASKS) -> pd.DataFrame:
    """Set every model that is no point of the dial against the dial's curve at its own raw gap.

    Returns:
        A tidy table of scores minus the curve's, n the seeds compared, and a column ``standing`` by the rule at the top
        of this module.
    """
    curves = dict(list(runs[runs.method == DIAL].groupby("seed")))
    others = runs[(runs.method != DIAL) & runs.seed.isin(curves)]
    rows = []
    for model, part in others.groupby("model", sort=False):
        for task in (name for name in tasks if name in runs):
            placed = [_place(run, curves[run.seed], task) for run in part.itertuples()]
            rows.append((model, task, *_stand(pd.DataFrame(placed, columns=["above", "side"]).dropna(subset="side"))))
    return _tidy(row[:3] for row in rows).assign(standing=[row[3] for row in rows])


def _place(run: tuple, curve: pd.DataFrame, task: str) -> tuple[float, str | None]:
    """Return a run's score minus the curve's, and the side of the run's gap: wider or narrower than all, or covered."""
    known = curve[[GAP, task]].dropna().sort_values(GAP)
    gap, score = getattr(run, GAP), getattr(run, task)
    if len(known) < 2 or np.isnan(score):
        return np.nan, None
    side = "wider" if gap > known[GAP].max() else "narrower" if gap < known[GAP].min() else "covered"
    return (score - np.interp(gap, known[GAP], known[task]) if side == "covered" else np.nan), side


def _stand(placed: pd.DataFrame) -> tuple[Estimate, str]:
    counts = placed.side.value_counts()
    outside = [f"{side} {counts[side]}/{len(placed)}" for side in ("wider", "narrower") if side in counts]
    if outside:
        return Estimate(n=len(placed)), f"outside: {', '.join(outside)}"
    found = seed_interval(placed.above.astype(float))
    if found.n < MIN_SEEDS:
        return found, f"{found.n} of {MIN_SEEDS} seeds"
    return found, "above" if found.low > 0 else "below" if found.high < 0 else "not told apart"


def standing_table(runs: pd.DataFrame, tasks: Iterable[str] = TASKS, digits: int = 3) -> pd.DataFrame:
    """Lay `against_curve` out: a row a model with its raw gap, a column a task, ▲ for above and ▼ for below."""
    table = against_curve(runs, tasks)
    written = [write_interval(row, digits, sign=True) for row in table.itertuples()]
    signs = table.standing.map({"above": "▲ ", "below": "▼ "}).fillna("")
    table["cell"] = table.standing.where(table.low.isna(), signs + pd.Series(written, dtype=str))
    shown = _pivot(table, "cell")
    gaps = spread(intervals(runs, [GAP]), digits)[GAP]
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


def feed_changes(runs: pd.DataFrame) -> pd.DataFrame:
    """Take the change of CIDEr in per cent by feed, see `FEEDS`: tidy, with a column ``against``, both references."""
    parts = [changes(runs, FEEDS, against, gain).assign(against=against) for against in (BASE, CONTINUED)]
    return pd.concat(parts).replace({"measure": FEEDS}).reset_index(drop=True)


def feed_verdicts(table: pd.DataFrame, model: str = "alpha 0.5") -> pd.DataFrame:
    """Judge C5 by `judge`, from `feed_changes`: a row a feed, with effect and verdict by reference."""
    shown = pd.DataFrame(index=pd.Index(FEEDS.values(), name="feed"))
    for against in (BASE, CONTINUED):
        own = table[(table.model == model) & (table.against == against)].set_index("measure")
        found = {feed: Estimate(*row) for feed, *row in own[list(Estimate._fields)].itertuples()}
        shown[f"against {against}, %"] = pd.Series({name: write_interval(own, 1, True) for name, own in found.items()})
        shown[f"verdict, {against}"] = pd.Series({name: judge("gain", own, PAPER_GAIN) for name, own in found.items()})
    return shown.fillna("–")


def bound_shares(runs: pd.DataFrame) -> pd.DataFrame:
    """Return by feed what share of the same run's text-fed CIDEr each model reaches, in per cent; tidy."""
    shares = {feed: 100 * runs[feed] / runs[BOUND] for feed in FEEDS if {feed, BOUND} <= set(runs)}
    return intervals(runs.assign(**shares), shares).replace({"measure": FEEDS})


def price_of_alignment(runs: pd.DataFrame) -> pd.DataFrame:
    """Apply the rules for collapse and accuracy cost, see the top of this module.

    Returns:
        A row an alpha: changes of both effective ranks in per cent and of zero-shot accuracy in points, against
        continued CLIP, and both verdicts: found, not found, not run.
    """
    ranks = changes(runs[runs.method == DIAL], RANKS, CONTINUED, gain).replace({"measure": RANKS})
    accuracy = changes(runs[runs.method == DIAL], ACCURACY, CONTINUED, point_change).replace({"measure": ACCURACY})
    shown = spread(pd.concat([ranks, accuracy]), 1, sign=True)
    shown["collapse"] = [_find(ranks[ranks.model == model], COLLAPSE) for model in shown.index]
    shown["accuracy cost"] = [_find(accuracy[accuracy.model == model], 0) for model in shown.index]
    return shown


def _find(table: pd.DataFrame, bound: float) -> str:
    if (table.high < bound).any():
        return "found"
    return "not run" if table.high.isna().any() or table.empty else "not found"


def class_changes(runs: pd.DataFrame) -> pd.DataFrame:
    """Take each class's change of zero-shot accuracy in points by alpha, against continued CLIP; tidy, losers first."""
    names = [name for name in runs if name.startswith(PER_CLASS) and runs[name].notna().any()]
    table = changes(runs[runs.method == DIAL], names, CONTINUED, point_change)
    order = table.groupby("measure").ours.mean().sort_values().index
    table = table.sort_values("measure", key=lambda names: names.map(order.get_loc), kind="stable")
    return table.assign(measure=table.measure.str.removeprefix(PER_CLASS)).reset_index(drop=True)


def list_verdicts(verdicts: pd.Series) -> str:
    """Write verdicts by model as "found: alpha 0.5, 1; not found: alpha 0.05"; what follows a colon is left out."""
    verdicts = verdicts.astype(str).str.split(":").str[0]
    text = "; ".join(f"{said}: {', '.join(part.index)}" for said, part in verdicts.groupby(verdicts))
    return re.sub(r"(?<=\d), alpha ", ", ", text) or "no runs"


def rate_grid(path: str | Path, profile: str) -> pd.DataFrame:
    """Read a profile's grid of learning rates.

    Args:
        path: of the table that `tpccma.runs.rates.search_rates` writes; may be missing.
        profile: its name.

    Returns:
        The rows recorded, by method, with columns that say whether a rate is chosen, whether it is in use in the
        profile, and whether it is the smallest or largest that was tried of its method.
    """
    table = pd.read_csv(path) if Path(path).is_file() else pd.DataFrame(columns=RATE_COLUMNS)
    table = table[table.profile == profile].drop(columns="profile").reset_index(drop=True)
    settings, rates = load_profile(profile), table.learning_rate.astype(float)
    used = table.method.map(lambda name: settings.training_of(name).learning_rate).astype(float)
    tried = rates.groupby(table.method)
    table["chosen"] = np.isclose(rates, table.method.map(best_rates(table)).astype(float))
    table["in use"] = np.isclose(rates, used)
    table["end of the grid"] = (rates == tried.transform("min")) | (rates == tried.transform("max"))
    return table.set_index("method")
