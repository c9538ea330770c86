"""How well a measure of the gap predicts a task over many models (C6, C7).

R² is the squared Pearson correlation over runs. Seeds of one setting (profile, method and alpha) are no independent
models, so the bootstrap resamples settings, each with all its seeds. Which models count was fixed before any result
existed [ours]: see `main_models`. The rule that turns R² into a verdict is in `tpccma.evidence.verdicts`.

Legend: M runs, S settings, R resamples. A `measure` and a `quality`, which is the score of a task, are columns of the
results.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from tpccma.evidence.table import SCALE_FREE
from tpccma.evidence.verdicts import MIN_SETTINGS, NONE, Estimate
from tpccma.methods import ABLATIONS
from tpccma.runs.jobs import DIAL, OTHERS

SETTING = ["profile", "method", "alpha"]
RAW = "raw_gap"
MIN_LINE = 3  # settings for an R² without an interval
QUALITIES = {
    "clustering_ari": "joint clustering ARI",
    "cider": "CIDEr raw-fed",
    "cider_memory": "CIDEr memory",
    "zeroshot_top1": "zero-shot accuracy",
}
# Readings of the distribution gap [ours]: the paired one, and others once the centroids are aligned.
DISTRIBUTION = {
    "distribution_gap": "paired",
    "mmd_centred": "MMD",
    "sliced_wasserstein_centred": "sliced Wasserstein",
    "frechet_covariance": "Fréchet",
    "cka_distance": "CKA",
    "cauchy_schwarz_centred": "Cauchy-Schwarz",
}
# The same with rows scaled back to length 1 after centring; CKA and Cauchy-Schwarz are recorded without it only.
RENORMALISED = {
    "distribution_gap_renormalised": "distribution gap, renormalised",
    "mmd_renormalised": "MMD, renormalised",
    "sliced_wasserstein_renormalised": "sliced Wasserstein, renormalised",
    "frechet_covariance_renormalised": "Fréchet, renormalised",
}
MEASURES = {
    "raw_gap": "raw gap",
    "centroid_gap": "centroid gap",
    "distribution_gap": "distribution gap, paired",
    SCALE_FREE: "distribution gap, scale-free",
    **{column: name for column, name in (DISTRIBUTION | RENORMALISED).items() if column != "distribution_gap"},
    "alignment": "raw gap, squared",
    "pair_cosine": "cosine of pairs",
    "rmg": "relative modality gap",
    "linear_separability": "linear separability",
    "modality_mixing": "modality mixing",
    "trace_ratio": "ratio of variances",
    "effective_rank_image": "effective rank, images",
    "effective_rank_text": "effective rank, texts",
    "effective_rank_joint": "effective rank, both",
    "uniformity_image": "uniformity, images",
    "uniformity_text": "uniformity, texts",
    "cone_image": "cone, images",
    "cone_text": "cone, texts",
}


class Prediction(NamedTuple):
    """How well a measure and the raw gap predict a task: R² of the `measure`, of the `raw` gap, their `difference`."""

    measure: Estimate
    raw: Estimate
    difference: Estimate


def main_models(runs: pd.DataFrame, ablations: bool = False) -> pd.DataFrame:
    """Keep the models that count for C6 and C7.

    The base and every method that is swept, but not the dial at alpha 0 where the profile has "clip": both are
    continued plain CLIP, which is to count once.

    Args:
        runs: rows of the results.
        ablations: keep the ablations as well, a further reading.

    Returns:
        Those rows.
    """
    counted = {"base", DIAL, *OTHERS, *(ABLATIONS if ablations else ())}
    with_clip = runs.profile.isin(runs.profile[runs.method == "clip"])
    twice = (runs.method == DIAL) & (runs.alpha == 0) & with_clip
    return runs[runs.method.isin(counted) & ~twice]


def predict(runs: pd.DataFrame, measure: str, quality: str, resamples: int = 1000, seed: int = 0) -> Prediction:
    """Measure how well a measure and the raw gap predict a task over many models.

    Args:
        runs: M rows of the results; those that lack a column are left out.
        measure: of the gap.
        quality: score of the task.
        resamples: R.
        seed: of the bootstrap.

    Returns:
        The `Prediction`, n the number of settings; NaN with fewer than ten of them. The three intervals come from the
        same resamples.
    """
    runs = _complete(runs, measure, quality)
    settings = runs.groupby(SETTING)
    count = settings.ngroups
    if count < MIN_SETTINGS:
        return Prediction(*[Estimate(n=count)] * 3)
    draws = np.random.default_rng(seed).integers(count, size=(resamples, count))
    times = np.stack([np.bincount(draw, minlength=count) for draw in draws])  # (R, S): how often each setting is drawn
    weights = np.vstack([np.ones(len(runs)), times[:, settings.ngroup()]])  # the runs themselves, then the resamples
    own, raw = (r_squared(runs[column], runs[quality], weights) for column in (measure, RAW))
    return Prediction(*(_interval(values, count) for values in (own, raw, own - raw)))


def _complete(runs: pd.DataFrame, measure: str, quality: str) -> pd.DataFrame:
    columns = list(dict.fromkeys([measure, RAW, quality]))
    return runs.reindex(columns=list(dict.fromkeys([*runs, *columns]))).dropna(subset=columns)


def _interval(values: np.ndarray, count: int) -> Estimate:
    """Take the first value as it is, and the 95 % interval from the others."""
    return Estimate(float(values[0]), *(float(bound) for bound in np.quantile(values[1:], (0.025, 0.975))), count)


def r_squared(first: pd.Series, second: pd.Series, weights: np.ndarray | None = None) -> np.ndarray:
    """Square Pearson's correlation of runs that count more than once, or not at all.

    Args:
        first: (M,) numbers.
        second: (M,) numbers.
        weights: (..., M) how often each run counts; None: once.

    Returns:
        (...) R², 0 where one of the two does not vary.
    """
    weights = np.ones(len(first)) if weights is None else weights
    shares = weights / weights.sum(-1, keepdims=True)
    x, y = (standardise(values) for values in (first, second))
    x, y = (values - (shares @ values)[..., None] for values in (x, y))
    variances = (shares * x**2).sum(-1) * (shares * y**2).sum(-1)
    return (shares * x * y).sum(-1) ** 2 / np.where(variances > 1e-12, variances, np.inf)


def standardise(values: pd.Series) -> np.ndarray:
    """Bring numbers to mean 0 and spread 1; to 0 if they do not vary."""
    values = np.asarray(values, dtype=float)
    varies = len(values) and values.std() > 1e-9 * np.abs(values).max()
    return (values - values.mean()) / values.std() if varies else np.zeros_like(values)


def spearman(runs: pd.DataFrame, measure: str, quality: str) -> float:
    """Return Spearman's rank correlation over runs, 0 for a measure that does not vary. Args as in `predict`."""
    runs = _complete(runs, measure, quality)
    first, second = (standardise(runs[column].rank()) for column in (measure, quality))
    return float((first * second).mean()) if len(runs) else NONE


def leave_one_out(runs: pd.DataFrame, measure: str, quality: str) -> pd.Series:
    """Compute R² anew with each method left out, with all its alphas and seeds.

    Args:
        runs: M rows of the results.
        measure: of the gap.
        quality: score of the task.

    Returns:
        R², indexed by the method that was left out, ascending; NaN where fewer than three settings stay.
    """
    runs = _complete(runs, measure, quality)
    left_out = {name: _line(runs[runs.method != name], measure, quality) for name in sorted(set(runs.method))}
    return pd.Series(left_out, dtype=float).sort_values()


def within(runs: pd.DataFrame, measure: str, quality: str, method: str = DIAL) -> float:
    """Return R² over the alphas and seeds of one method; NaN with fewer than three alphas. Args as in `predict`."""
    return _line(_complete(runs[runs.method == method], measure, quality), measure, quality)


def _line(runs: pd.DataFrame, measure: str, quality: str) -> float:
    settings = runs.groupby(SETTING).ngroups
    return float(r_squared(runs[measure], runs[quality])) if settings >= MIN_LINE else NONE
