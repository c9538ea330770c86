"""What each part of the method does: runs without it at alpha 0.5, against the whole and against continued CLIP.

The method is the one whose dial was swept, ``tpccma.runs.jobs.DIAL``.
"""

from collections.abc import Callable

import pandas as pd

from tpccma.evidence.estimates import OUTCOMES, Setting, changes, continued_clip
from tpccma.evidence.writing import excludes_zero, mark, spread
from tpccma.methods import ABLATION_ALPHA
from tpccma.runs.jobs import DIAL

WHOLE = f"all of {DIAL}"
# Method to what was taken away or changed; see `tpccma.methods`.
PARTS = {
    f"{DIAL}-no-reweighted": "no re-weighted contrast",
    f"{DIAL}-no-geometry": "no geometry term",
    f"{DIAL}-no-centroid": "no centroid term",
    f"{DIAL}-no-paired": "no paired term",
    f"{DIAL}-fixed-alpha": "alpha fixed, no curriculum",
    f"{DIAL}-linear-ramp": "linear ramp only",
    f"{DIAL}-not-gradient-aware": "not gradient-aware",
    f"{DIAL}-anchor-0": "anchor 0",
    f"{DIAL}-anchor-0.3": "anchor 0.3",
}


def whole(profile: str) -> Setting:
    """Return the whole method at the ablations' alpha."""
    return Setting(profile, DIAL, ABLATION_ALPHA)


def parts(profile: str) -> dict[str, Setting]:
    """Return every ablation by its label."""
    return {label: Setting(profile, method, ABLATION_ALPHA) for method, label in PARTS.items()}


def against_whole(results: pd.DataFrame, profiles: list[str]) -> pd.DataFrame:
    """Set every ablation against the whole method.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        profiles: which profiles.

    Returns:
        A tidy table, see `tpccma.evidence.writing`.
    """
    return _against(results, profiles, parts, whole)


def against_clip(results: pd.DataFrame, profiles: list[str]) -> pd.DataFrame:
    """Set the whole method and every ablation against continued CLIP, which keeps the gain of further training apart.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        profiles: which profiles.

    Returns:
        A tidy table, see `tpccma.evidence.writing`.
    """
    return _against(results, profiles, all_settings, continued_clip)


def _against(results: pd.DataFrame, profiles: list[str], settings: Callable, reference: Callable) -> pd.DataFrame:
    """Set the settings of each profile, by label, against that profile's reference."""
    return pd.concat(
        [
            changes(results, {label: (part, reference(name)) for label, part in settings(name).items()})
            for name in profiles
        ],
        ignore_index=True,
    )


def all_settings(profile: str) -> dict[str, Setting]:
    """Return the whole method and every ablation by label."""
    return {WHOLE: whole(profile), **parts(profile)}


def anchors(profile: str) -> dict[str, Setting]:
    """Return the runs that differ in the share of the anchor phase alone."""
    named = parts(profile)
    return {
        "anchor 0": named["anchor 0"],
        f"anchor 0.15 ({WHOLE})": whole(profile),
        "anchor 0.3": named["anchor 0.3"],
    }


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
