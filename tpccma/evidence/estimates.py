"""What differs between two settings, seed by seed: a method against another, one base or data set against another.

Effects are differences in the measure's own unit, paired by seed and averaged with Student's 95 % interval. They come
as tidy tables, one row an effect: row (whose), profile, column (of the results), then the fields of
`tpccma.evidence.verdicts.Estimate`.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np
import pandas as pd

from tpccma.evidence.claims import pick
from tpccma.evidence.verdicts import Estimate, difference, seed_interval, write
from tpccma.runs.jobs import planned_jobs

OUTCOMES = {
    "raw_gap": "raw gap",
    "centroid_gap": "centroid gap",
    "distribution_gap": "distribution gap",
    "zeroshot_top1": "zero-shot accuracy",
    "i2t_recall_at_1": "image-to-text recall@1",
    "t2i_recall_at_1": "text-to-image recall@1",
    "clustering_ari": "joint clustering ARI",
    "cider": "CIDEr raw-fed",
    "cider_memory": "CIDEr memory",
}


class Setting(NamedTuple):
    """What is run with several seeds: `profile`, `method` as in `tpccma.methods` or "base", and `alpha`."""

    profile: str
    method: str
    alpha: float = 0.0


def continued_clip(profile: str) -> Setting:
    """Return what keeps the gain of further training apart: alpha 0, plain CLIP at TPC-CMA's learning rate."""
    return Setting(profile, "tpc-cma", 0.0)


def runs_of(results: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    """Return a setting's runs, indexed by seed."""
    return pick(results[results.profile == setting.profile], setting.method, setting.alpha)


def level(results: pd.DataFrame, setting: Setting, column: str) -> Estimate:
    """Average a measure over the seeds of a setting; an `Estimate` of nothing where it was not run."""
    runs = runs_of(results, setting)
    return seed_interval(runs[column]) if column in runs and len(runs) else Estimate()


def change(results: pd.DataFrame, setting: Setting, reference: Setting, column: str) -> Estimate:
    """Average over seeds by how much a setting's measure exceeds that of its reference.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        setting: whose runs.
        reference: against what; a base that is the only one stands for every seed.
        column: the measure.

    Returns:
        The `Estimate`, n the seeds that both have.
    """
    own, other = runs_of(results, setting), runs_of(results, reference)
    if column not in results or own.empty or other.empty:
        return Estimate()
    if reference.method == "base" and len(other) == 1:
        other = other.iloc[[0] * len(own)].set_axis(own.index)
    return seed_interval(difference(own[column], other[column].reindex(own.index)))


def levels(results: pd.DataFrame, settings: dict[str, Setting], columns: dict[str, str] = OUTCOMES) -> pd.DataFrame:
    """Average measures over the seeds of settings.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        settings: name of the row to setting.
        columns: measures, to their labels.

    Returns:
        A tidy table.
    """
    return _tidy(
        (row, setting.profile, column, level(results, setting, column))
        for row, setting in settings.items()
        for column in columns
    )


def changes(
    results: pd.DataFrame, pairs: dict[str, tuple[Setting, Setting]], columns: dict[str, str] = OUTCOMES
) -> pd.DataFrame:
    """Take the changes of settings against their references.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        pairs: name of the row to setting and reference.
        columns: measures, to their labels.

    Returns:
        A tidy table; profile is the setting's.
    """
    return _tidy(
        (row, setting.profile, column, change(results, setting, reference, column))
        for row, (setting, reference) in pairs.items()
        for column in columns
    )


def _tidy(rows) -> pd.DataFrame:
    names = ["row", "profile", "column", *Estimate._fields]
    return pd.DataFrame([(*keys, *found) for *keys, found in rows], columns=names)


def write_change(found: Estimate) -> str:
    """Write an estimate of a change, such as ``+0.014 [-0.002, +0.030]``."""
    return write(found, sign=True)


def mark(found: Estimate, digits: int = 3) -> str:
    """Write an estimate of a change in short, such as ``+0.014*``; the star says that its interval excludes 0.

    A change that would round to 0 is written with its first digit, such as ``-0.0002*``.
    """
    if np.isnan(found.ours):
        return "–"
    star = "*" * excludes_zero(found)
    if star and round(found.ours, digits) == 0:
        return np.format_float_positional(found.ours, precision=1, fractional=False, sign=True, trim="-") + star
    return f"{found.ours:+.{digits}f}{star}"


def excludes_zero(found: Estimate) -> bool:
    """Say whether an estimate has an interval that lies wholly above or below 0."""
    return bool(found.low > 0 or found.high < 0)


def spread(table: pd.DataFrame, writer=write, columns: dict[str, str] = OUTCOMES) -> pd.DataFrame:
    """Lay a tidy table of one profile out for a reader.

    Args:
        table: the tidy table.
        writer: from a row of it to text: `tpccma.evidence.verdicts.write`, `write_change` or `mark`.
        columns: measures, to their labels.

    Returns:
        Strings; a row a row, a column a measure.
    """
    cells = table.assign(cell=[writer(found) for found in table.itertuples()])
    cells = cells.pivot(index="row", columns="column", values="cell")
    order = [column for column in columns if column in cells]
    return (
        cells.reindex(index=table.row.unique(), columns=order)
        .rename(columns=columns)
        .rename_axis(index=None, columns=None)
    )


def compare_profiles(
    results: pd.DataFrame, profiles: dict[str, str], models: dict[str, tuple[str, float]], columns: dict[str, str]
) -> pd.DataFrame:
    """Set the same models on two profiles side by side, such as titles as they are and titles masked.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        profiles: two names for a reader, to profiles.
        models: name to method and alpha.
        columns: measures, to their labels.

    Returns:
        Strings; a row a model and measure; columns with the means on both and with the second less the first, paired
        by seed.
    """
    parts = {}
    for model, setting in models.items():
        (first, one), (second, two) = ((name, Setting(profile, *setting)) for name, profile in profiles.items())
        parts[model] = pd.concat(
            [
                spread(levels(results, {first: one, second: two}, columns), columns=columns),
                spread(changes(results, {"difference": (two, one)}, columns), write_change, columns),
            ]
        ).T
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
        f"{profile} {method} {alpha:g} ({counts[profile, method, alpha]} of {planned[profile, method, alpha]})"
        for profile, method, alpha in settings
        if counts[profile, method, alpha] < planned[profile, method, alpha]
    ]
    if not lacking:
        return f"{len(counts)} settings, {sum(counts.values())} runs: every seed is there."
    return f"Of {len(counts)} settings, {len(lacking)} lack seeds: {', '.join(lacking)}."
