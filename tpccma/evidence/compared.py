"""Methods side by side: which runs are compared, their averages over seeds, and effects paired by seed.

Legend: ``runs`` is what `compared_runs` returns. Tables are tidy, see `tpccma.evidence.writing`, of one profile; a
column that was not recorded is left out everywhere.
"""

from collections.abc import Callable, Iterable

import pandas as pd

from tpccma.evidence.intervals import estimate_effect
from tpccma.evidence.table import BASE, named, pick, pick_references
from tpccma.evidence.verdicts import Estimate, difference, points_gained, seed_interval
from tpccma.evidence.writing import tidy
from tpccma.methods import FULL, PAIRED
from tpccma.runs.jobs import OTHERS, SEEDS, WORLDS, planned_jobs

CONTINUED_MODEL = "alpha 0"
GAP = "raw_gap"
TASKS = ("zeroshot_top1", "recall_at_1", "clustering_ari", "cider")
MEASURES = (GAP, *TASKS)
ORDER = [BASE, FULL, PAIRED, *OTHERS]


def compared_runs(results: pd.DataFrame, profile: str) -> pd.DataFrame:
    """Pick a profile's runs of the methods that are compared: all but ablations, and continued CLIP a second time.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        profile: as in the results.

    Returns:
        Base, both readings of the method by alpha, then the others; with ``recall_at_1``, the mean of both directions
        [ours].
    """
    runs = results[(results.profile == profile) & results.method.isin(ORDER)]
    runs = runs[(runs.method != PAIRED) | (runs.alpha > 0)]
    recalls = runs.reindex(columns=["i2t_recall_at_1", "t2i_recall_at_1"]).mean(axis=1, skipna=False)
    runs = runs.assign(recall_at_1=recalls, rank=runs.method.map(ORDER.index))
    return runs.sort_values(["rank", "alpha", "seed"]).drop(columns="rank").reset_index(drop=True)


def runs_by_world(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Pick the `compared_runs` of each of ``tpccma.runs.jobs.WORLDS`` that has any, by the name that readers know."""
    return {world: runs for name, world in WORLDS.items() if len(runs := compared_runs(results, name))}


def missing_seeds(results: pd.DataFrame, profile: str) -> str:
    """Say in a sentence which settings that `tpccma.runs.jobs.planned_jobs` lists and this compares lack seeds."""
    runs = compared_runs(results, profile)
    planned = [(job.method, job.alpha) for job in planned_jobs(profile) if job.method in ORDER]
    counts = {each: len(pick(runs, *each)) for each in dict.fromkeys(planned) if each != (PAIRED, 0)}
    lacking = [f"{named(*each)} ({count} of {len(SEEDS)})" for each, count in counts.items() if count < len(SEEDS)]
    world = WORLDS.get(profile, profile).capitalize()
    if not lacking:
        return f"{world}: {len(counts)} settings, every seed recorded."
    return f"{world}: of {len(counts)} settings, {len(lacking)} lack seeds: {', '.join(lacking)}."


def averages(runs: pd.DataFrame, measures: Iterable[str]) -> pd.DataFrame:
    """Average measures over the seeds of each model, with Student's 95 % interval; tidy."""
    measures = [name for name in measures if name in runs]
    groups = runs.groupby("model", sort=False)
    return tidy((model, name, seed_interval(part[name])) for model, part in groups for name in measures)


def effects(runs: pd.DataFrame, measures: Iterable[str], against: str, effect: Callable = difference) -> pd.DataFrame:
    """Take effects seed by seed against a reference, and average them.

    Test pictures count in the interval of a difference, where the records hold them, see `tpccma.evidence.intervals`.

    Args:
        runs: of all models, references among them.
        measures: columns.
        against: "base" or "continued CLIP", see `tpccma.evidence.table.pick_references`.
        effect: from runs and their references, such as `tpccma.evidence.verdicts.gain` for per cent.

    Returns:
        A tidy table of every model but the reference itself.
    """
    measures, rows = [name for name in measures if name in runs], []
    reference = "base" if against == BASE else CONTINUED_MODEL
    for model, part in runs[runs.model != reference].groupby("model", sort=False):
        own = part.set_index("seed")
        rows += [(model, name, _effect(effect, own, pick_references(runs, against, own), name)) for name in measures]
    return tidy(rows)


def _effect(effect: Callable, own: pd.DataFrame, others: pd.DataFrame, name: str) -> Estimate:
    if effect in (difference, points_gained):  # whose mean over seeds is the effect of the means
        return estimate_effect(effect, [own, others], (name,)).estimate
    return seed_interval(effect(own[name], others[name]))


def list_models(models: Iterable[str]) -> str:
    """Write names of models, alphas of one dial together and last: "base, tpc-cma-paired at alpha 0.05, 0.5"."""
    alphas: dict[str, list[str]] = {}
    for model in models:
        dial, found, alpha = model.rpartition("alpha ")
        alphas.setdefault(dial.replace(", ", " at ") + found or model, []).append(alpha if found else "")
    ordered = sorted(alphas.items(), key=lambda item: any(item[1]))
    return ", ".join(name + ", ".join(own) for name, own in ordered)
