"""What each part of the method does: runs without it at alpha 0.5, against the whole and against continued CLIP.

There are two methods, the two readings of the paper's; ``method`` names one of ``DIALS``, and where
it is left out the one whose dial the chapters show, ``tpccma.runs.jobs.DIAL``.
"""

from collections.abc import Callable
from functools import partial

import pandas as pd

from tpccma.evidence.estimates import OUTCOMES, Setting, changes, continued_clip
from tpccma.evidence.writing import excludes_zero, mark, spread
from tpccma.methods import ABLATION_ALPHA, FULL, PAIRED
from tpccma.runs.jobs import DIAL

# Reading to method to what was taken away or changed; see `tpccma.methods`.
PARTS = {
    PAIRED: {
        f"{PAIRED}-no-reweighted": "no re-weighted contrast",
        f"{PAIRED}-no-geometry": "no geometry term",
        f"{PAIRED}-no-centroid": "no centroid term",
        f"{PAIRED}-no-paired": "no paired term",
        f"{PAIRED}-fixed-alpha": "alpha fixed, no curriculum",
        f"{PAIRED}-linear-ramp": "linear ramp only",
        f"{PAIRED}-not-gradient-aware": "not gradient-aware",
        f"{PAIRED}-anchor-0": "anchor 0",
        f"{PAIRED}-anchor-0.3": "anchor 0.3",
    },
    FULL: {
        f"{FULL}-no-reweighted": "no re-weighted contrast",
        f"{FULL}-beta-0": "beta 0, negatives alike",
        f"{FULL}-no-geometry": "no geometry term",
        f"{FULL}-no-centroid": "no centroid term",
        f"{FULL}-with-paired": "paired term added",
        f"{FULL}-only-paired": "paired term alone",
        f"{FULL}-fixed-alpha": "alpha fixed, equal dose",
        f"{FULL}-linear-ramp": "linear ramp, equal dose",
        f"{FULL}-yoked": "another seed's alpha",
        f"{FULL}-rate-3": "rate x 3",
        f"{FULL}-rate-10": "rate x 10",
        f"{FULL}-fixed-alpha-rate-3": "alpha fixed, rate x 3",
        f"{FULL}-fixed-alpha-rate-10": "alpha fixed, rate x 10",
    },
}
# By how many times the learning rate is raised, to the curriculum's runs and those of a fixed alpha at the same dose.
CURRICULUM = {
    "rate as chosen": (FULL, f"{FULL}-fixed-alpha"),
    "rate x 3": (f"{FULL}-rate-3", f"{FULL}-fixed-alpha-rate-3"),
    "rate x 10": (f"{FULL}-rate-10", f"{FULL}-fixed-alpha-rate-10"),
}
STABILITY = {
    "dose": "dose of alpha",
    "loss_spike": "largest loss spike",
    "worst_val_zeroshot": "worst validation accuracy",
    "zeroshot_top1": "zero-shot accuracy at the end",
    "raw_gap": "raw gap at the end",
}


def label_of(method: str) -> str:
    """Name the whole of a reading as the tables do."""
    return f"all of {method}"


def whole(profile: str, method: str = DIAL) -> Setting:
    """Return the whole method at the ablations' alpha."""
    return Setting(profile, method, ABLATION_ALPHA)


def parts(profile: str, method: str = DIAL) -> dict[str, Setting]:
    """Return every ablation by its label."""
    return {label: Setting(profile, name, ABLATION_ALPHA) for name, label in PARTS[method].items()}


def against_whole(results: pd.DataFrame, profiles: list[str], method: str = DIAL) -> pd.DataFrame:
    """Set every ablation against the whole method.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        profiles: which profiles.
        method: which reading.

    Returns:
        A tidy table, see `tpccma.evidence.writing`.
    """
    return _against(results, profiles, partial(parts, method=method), partial(whole, method=method))


def against_clip(results: pd.DataFrame, profiles: list[str], method: str = DIAL) -> pd.DataFrame:
    """Set the whole method and every ablation against continued CLIP, which keeps the gain of further training apart.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        profiles: which profiles.
        method: which reading; continued CLIP is its alpha 0.

    Returns:
        A tidy table, see `tpccma.evidence.writing`.
    """
    return _against(results, profiles, partial(all_settings, method=method), partial(continued_clip, method=method))


def _against(results: pd.DataFrame, profiles: list[str], settings: Callable, reference: Callable) -> pd.DataFrame:
    """Set the settings of each profile, by label, against that profile's reference."""
    return pd.concat(
        [
            changes(results, {label: (part, reference(name)) for label, part in settings(name).items()})
            for name in profiles
        ],
        ignore_index=True,
    )


def all_settings(profile: str, method: str = DIAL) -> dict[str, Setting]:
    """Return the whole method and every ablation by label."""
    return {label_of(method): whole(profile, method), **parts(profile, method)}


def curriculum_changes(results: pd.DataFrame, profile: str) -> pd.DataFrame:
    """Set the curriculum against an alpha that is fixed at the same dose, at the chosen learning rate and above it.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        profile: which profile.

    Returns:
        A tidy table of the curriculum's runs less those of the fixed alpha, a model a rate of ``CURRICULUM``, over the
        measures of ``STABILITY``; a run that diverged has only what its log tells.
    """
    pairs = {
        rate: tuple(Setting(profile, method, ABLATION_ALPHA) for method in methods)
        for rate, methods in CURRICULUM.items()
    }
    return changes(results, pairs, STABILITY)


def count_diverged(results: pd.DataFrame, profile: str) -> pd.DataFrame:
    """Count runs that diverged, and all: a row a rate of ``CURRICULUM``, with the curriculum or alpha fixed."""
    runs = results[(results.profile == profile) & (results.alpha == ABLATION_ALPHA)]
    lost = runs.reindex(columns=["method", "diverged"]).fillna({"diverged": 0})
    counts = lost.groupby("method").diverged.agg(diverged="sum", runs="size")
    methods = [method for pair in CURRICULUM.values() for method in pair]
    rows = pd.MultiIndex.from_product([CURRICULUM, ["curriculum", "alpha fixed"]])
    return counts.reindex(methods, fill_value=0).astype(int).set_axis(rows)


def starred(table: pd.DataFrame) -> pd.DataFrame:
    """Lay changes out for a reader, a star where the interval excludes 0.

    Args:
        table: from `against_whole` or `against_clip`.

    Returns:
        Strings; a row an ablation on a profile, a column a measure.
    """
    return pd.concat({name: spread(part, mark, OUTCOMES) for name, part in table.groupby("profile", sort=False)})


def count_changes(table: pd.DataFrame) -> str:
    """Count the changes whose interval excludes 0, against what chance alone would give.

    Args:
        table: from `against_whole` or `against_clip`, of one profile.

    Returns:
        Text such as "12 of 81 differences have an interval that excludes 0, where chance alone would give about 4".
    """
    judged = table[table.low.notna()]
    if judged.empty:
        return "no differences with an interval yet"
    found = sum(excludes_zero(row) for row in judged.itertuples())
    chance = f"where chance alone would give about {0.05 * len(judged):.0f}"
    return f"{found} of {len(judged)} differences have an interval that excludes 0, {chance}"


def without_effect(table: pd.DataFrame) -> str:
    """Name the ablations that leave every measure as it was, to the last digit; "none" if there are none.

    Args:
        table: from `against_whole`, of one profile.
    """
    judged = table[table.ours.notna()]
    return ", ".join(model for model, part in judged.groupby("model", sort=False) if (part.ours == 0).all()) or "none"
