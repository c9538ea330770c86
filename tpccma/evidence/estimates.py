"""What differs between two settings, seed by seed: a method against another, one base or data set against another.

Effects are differences in the measure's own unit, paired by seed, with the intervals of `tpccma.evidence.intervals`:
over seeds, and over test pictures where the records hold them. They come as tidy tables, see `tpccma.evidence.writing`.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np
import pandas as pd

from tpccma.evidence.intervals import estimate_effect
from tpccma.evidence.table import SCALE_FREE, bases_of, pick
from tpccma.evidence.verdicts import Estimate, difference, seed_interval
from tpccma.evidence.writing import spread, tidy
from tpccma.runs.jobs import DIAL, WORLDS, planned_jobs

KEYS = ("model", "profile", "measure")
OUTCOMES = {
    "raw_gap": "raw gap",
    "centroid_gap": "centroid gap",
    "distribution_gap": "distribution gap",
    SCALE_FREE: "distribution gap, scale-free",
    "zeroshot_top1": "zero-shot accuracy",
    "i2t_recall_at_1": "image-to-text recall@1",
    "t2i_recall_at_1": "text-to-image recall@1",
    "clustering_ari": "joint clustering ARI",
    "cider": "CIDEr raw-fed",
    "cider_memory": "CIDEr memory",
}

WORDS = {
    **OUTCOMES,
    "recall_at_1": "recall@1, both directions",
    "linear_separability": "linear separability",
    "modality_mixing": "modality mixing",
    "rmg": "relative modality gap",
    "cone_image": "cone of the images",
    "cone_text": "cone of the texts",
    "effective_rank_image": "effective rank, images",
    "effective_rank_text": "effective rank, texts",
    "mmd_centred": "MMD",
    "sliced_wasserstein_centred": "sliced Wasserstein distance",
    "frechet_covariance": "Fréchet distance, covariance part",
    "cka_distance": "CKA distance",
    "clustering_text_only_ari": "clustering ARI, texts alone",
    "cider_text": "CIDEr text-fed",
    "cider_centred": "CIDEr centred",
    "learning_rate": "learning rate",
}


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """Name rows and columns as a reader does, and write yes or no for what is true or false.

    Args:
        table: with names of measures, as of results.csv, in its index or columns; others stay.

    Returns:
        A new table.
    """
    flags = table.select_dtypes(bool).columns
    said = table.assign(**{name: table[name].map({True: "yes", False: "no"}) for name in flags})
    return said.rename(index=WORDS, columns=WORDS)


class Setting(NamedTuple):
    """What is run with several seeds: ``profile``, ``method`` as in `tpccma.methods` or "base", and ``alpha``."""

    profile: str
    method: str
    alpha: float = 0.0


def continued_clip(profile: str, method: str = DIAL) -> Setting:
    """Return what keeps the gain of further training apart: alpha 0, plain CLIP at the dial's learning rate."""
    return Setting(profile, method, 0.0)


def runs_of(results: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    """Return a setting's runs, indexed by seed."""
    return pick(results[results.profile == setting.profile], setting.method, setting.alpha)


def level(results: pd.DataFrame, setting: Setting, measure: str) -> Estimate:
    """Average a measure over a setting's seeds; an `~tpccma.evidence.verdicts.Estimate` of nothing if none was run.

    Where all have the same value, as of a base that they share, there is no interval.
    """
    runs = runs_of(results, setting)
    if measure not in runs or runs.empty:
        return Estimate()
    found = seed_interval(runs[measure])
    return Estimate(found.ours, n=found.n) if np.isclose(found.low, found.high, rtol=0) else found


def change(results: pd.DataFrame, setting: Setting, reference: Setting, measure: str) -> Estimate:
    """Average over seeds by how much a setting's measure exceeds that of its reference.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        setting: whose runs.
        reference: against what; a base that is the only one stands for every seed.
        measure: a column of the results.

    Returns:
        The `~tpccma.evidence.verdicts.Estimate`, n the seeds that both have.
    """
    own, other = runs_of(results, setting), runs_of(results, reference)
    if measure not in results or own.empty or other.empty:
        return Estimate()
    other = bases_of(other, own) if reference.method == "base" else other.reindex(own.index)
    return estimate_effect(difference, [own, other], (measure,)).estimate


def levels(results: pd.DataFrame, settings: dict[str, Setting], measures: dict[str, str] = OUTCOMES) -> pd.DataFrame:
    """Average measures over the seeds of settings.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        settings: name of the model to setting.
        measures: columns of the results, to their labels.

    Returns:
        A tidy table.
    """
    return tidy(
        (
            (model, setting.profile, measure, level(results, setting, measure))
            for model, setting in settings.items()
            for measure in measures
        ),
        KEYS,
    )


def changes(
    results: pd.DataFrame, pairs: dict[str, tuple[Setting, Setting]], measures: dict[str, str] = OUTCOMES
) -> pd.DataFrame:
    """Take the changes of settings against their references.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        pairs: name of the model to setting and reference.
        measures: columns of the results, to their labels.

    Returns:
        A tidy table; profile is the setting's.
    """
    return tidy(
        (
            (model, setting.profile, measure, change(results, setting, reference, measure))
            for model, (setting, reference) in pairs.items()
            for measure in measures
        ),
        KEYS,
    )


def compare_profiles(
    results: pd.DataFrame, profiles: dict[str, str], models: dict[str, tuple[str, float]], measures: dict[str, str]
) -> pd.DataFrame:
    """Set the same models on two profiles side by side, such as titles as they are and titles masked.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        profiles: two names for a reader, to profiles.
        models: name to method and alpha.
        measures: columns of the results, to their labels.

    Returns:
        Strings; a row a model and measure; columns with the means on both and with the second less the first, paired
        by seed.
    """
    parts = {}
    for model, setting in models.items():
        (first, one), (second, two) = ((name, Setting(profile, *setting)) for name, profile in profiles.items())
        both = spread(levels(results, {first: one, second: two}, measures), labels=measures)
        less = spread(changes(results, {"difference": (two, one)}, measures), labels=measures, sign=True)
        parts[model] = pd.concat([both, less]).T
    return pd.concat(parts)


def missing_runs(results: pd.DataFrame, settings: list[Setting]) -> str:
    """Say in a sentence which settings lack seeds that `tpccma.runs.jobs.planned_jobs` lists.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        settings: wanted.
    """
    planned = Counter(
        Setting(profile, job.method, job.alpha)
        for profile in {each.profile for each in settings}
        for job in planned_jobs(profile)
    )
    counts = {setting: len(runs_of(results, setting)) for setting in settings}
    lacking = [
        f"{WORLDS.get(each.profile, each.profile)} {each.method} {each.alpha:g} ({count} of {planned[each]})"
        for each, count in counts.items()
        if count < planned[each]
    ]
    if not lacking:
        return f"{len(counts)} settings, {sum(counts.values())} runs: every seed is there."
    return f"Of {len(counts)} settings, {len(lacking)} lack seeds: {', '.join(lacking)}."
