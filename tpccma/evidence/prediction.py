"""How well a measure of the gap predicts a task over many models (C6, C7).

R² is the squared Pearson correlation over settings (profile, method and alpha), each the mean over its seeds, as the
paper presumably has one run a model; over single runs it is a further reading. Neither seeds of a setting nor alphas of
a method are independent models, so the bootstrap resamples methods, each with all its alphas and seeds. Which models
count was fixed before any result existed [ours]: see `main_models`. No R² can be higher than noise lets it be: see
`ceilings`. The rules that turn R² into a verdict are in `tpccma.evidence.verdicts`: C6 and C7 by size, each on its own.

Legend: M runs, S settings, K methods, R resamples. A ``measure`` and a ``quality``, which is the score of a task, are
columns of the results.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from tpccma.evidence.intervals import Tested
from tpccma.evidence.paper import R_SQUARED
from tpccma.evidence.table import BASE, DIALS, SCALE_FREE
from tpccma.evidence.verdicts import MIN_METHODS, MIN_SETTINGS, NONE, Estimate, judge
from tpccma.methods import ABLATIONS, FLOOR, SECOND_ABLATIONS, SECOND_CURRICULUM
from tpccma.runs.jobs import DIAL, OTHERS

SETTING = ["profile", "method", "alpha"]
METHOD = SETTING[:2]
OVER = "methods"  # what the intervals rest on
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


PREDICTED = {"ARI": "clustering_ari", "CIDEr raw-fed": "cider"}
READINGS = DISTRIBUTION | {SCALE_FREE: "scale-free"} | RENORMALISED  # of the distribution gap, for C6

VARIED = {*ABLATIONS, *SECOND_ABLATIONS, SECOND_CURRICULUM, FLOOR}  # either reading with something changed


class Prediction(NamedTuple):
    """How well a measure and the raw gap predict a task: R² as ``measure`` and ``raw``, and their ``difference``.

    ``p`` and ``raw_p`` are two-sided, of the correlation being none: twice the share of resamples in which it has the
    other sign.
    """

    measure: Estimate
    raw: Estimate
    difference: Estimate
    p: float = NONE
    raw_p: float = NONE
    difference_p: float = NONE


def main_models(runs: pd.DataFrame, ablations: bool = False) -> pd.DataFrame:
    """Keep the models that count for C6 and C7.

    The base, either reading of the dial and every other method, but not a dial at alpha 0 where the profile has "clip":
    they are continued plain CLIP, which is to count once.

    Args:
        runs: rows of the results.
        ablations: keep the ablations as well, a further reading.

    Returns:
        Those rows.
    """
    counted = {BASE, *DIALS, *OTHERS} | (VARIED if ablations else set())
    with_clip = runs.profile.isin(runs.profile[runs.method == "clip"])
    twice = runs.method.isin(DIALS) & (runs.alpha == 0) & with_clip
    return runs[runs.method.isin(counted) & ~twice]


def prediction_readings(runs: pd.DataFrame) -> list[tuple]:
    """Judge every reading of C6 and C7.

    Args:
        runs: rows of the results, of one profile.

    Returns:
        For each its claim, name, reference (none), the paper's figure, what was found, unit, verdict and note.
    """
    models, rows = main_models(runs), []
    own, raw = R_SQUARED["distribution_gap"], R_SQUARED["raw_gap"]
    for task, quality in PREDICTED.items():
        found = {column: predict(models, column, quality) for column in READINGS}
        rows += [("C6", f"{task} by {READINGS[column]}", own, each.measure, each.p) for column, each in found.items()]
        paired, on_runs = found["distribution_gap"], predict(models, "distribution_gap", quality, means=False)
        rows.append(("C6", f"{task} by paired, on runs", own, on_runs.measure, on_runs.p))
        rows.append(("C6", f"{task}, paired minus raw", own - raw, paired.difference, paired.difference_p))
        rows.append(("C7", task, raw, paired.raw, paired.raw_p))
        rows.append(("C7", f"{task}, on runs", raw, on_runs.raw, on_runs.raw_p))
    return [_judged(*row) for row in rows]


def _judged(claim: str, name: str, paper: float, found: Estimate, p: float) -> tuple:
    verdict = judge("size", found, paper)
    needs = f"needs the full sweep: {found.n} of {MIN_SETTINGS} settings so far" if found.n else "no runs"
    unit = "ΔR²" if "minus" in name else "R²"
    return claim, name, "", paper, Tested(found, p, OVER), unit, verdict, needs if verdict == "not run" else ""


def predict(
    runs: pd.DataFrame, measure: str, quality: str, means: bool = True, resamples: int = 1000, seed: int = 0
) -> Prediction:
    """Measure how well a measure and the raw gap predict a task over many models.

    Args:
        runs: M rows of the results; those that lack a column are left out.
        measure: of the gap.
        quality: score of the task.
        means: over settings, each the mean over its seeds; else over single runs.
        resamples: how many, R.
        seed: of the bootstrap.

    Returns:
        The `Prediction`, n the number of settings; NaN with fewer than ten of them, or than five methods. All intervals
        and p values come from the same resamples.
    """
    runs = _complete(runs, measure, quality)
    count, methods = runs.groupby(SETTING).ngroups, runs.groupby(METHOD).ngroups
    if count < MIN_SETTINGS or methods < MIN_METHODS:
        return Prediction(*[Estimate(n=count)] * 3)
    points = setting_means(runs) if means else runs
    draws = np.random.default_rng(seed).integers(methods, size=(resamples, methods))
    times = np.stack([np.bincount(draw, minlength=methods) for draw in draws])  # (R, K): how often each is drawn
    weights = np.vstack([np.ones(len(points)), times[:, points.groupby(METHOD).ngroup()]])  # all, then the resamples
    own, raw = (correlation(points[column], points[quality], weights) for column in (measure, RAW))
    squares = own**2, raw**2, own**2 - raw**2
    return Prediction(*(_interval(each, count) for each in squares), *(_p(each) for each in (own, raw, squares[2])))


def _complete(runs: pd.DataFrame, measure: str, quality: str) -> pd.DataFrame:
    columns = list(dict.fromkeys([measure, RAW, quality]))
    return runs.reindex(columns=[*SETTING, *columns]).dropna(subset=columns)


def setting_means(runs: pd.DataFrame) -> pd.DataFrame:
    """Average runs over the seeds of each setting: (S,) rows."""
    return runs.groupby(SETTING).mean(numeric_only=True).reset_index()


def _interval(values: np.ndarray, count: int) -> Estimate:
    """Take the first value as it is, and the 95 % interval from the others."""
    return Estimate(float(values[0]), *(float(bound) for bound in np.quantile(values[1:], (0.025, 0.975))), count)


def _p(values: np.ndarray) -> float:
    """Double the share of resamples, those after the first value, on the rarer side of 0; 0 itself is on both."""
    resamples = values[1:]
    rarer = min((resamples >= 0).sum(), (resamples <= 0).sum())
    return min(1.0, 2 * float(rarer + 1) / (len(resamples) + 1))


def correlation(first: pd.Series, second: pd.Series, weights: np.ndarray | None = None) -> np.ndarray:
    """Compute Pearson's correlation of points that count more than once, or not at all.

    Args:
        first: (M,) numbers.
        second: (M,) numbers.
        weights: (..., M) how often each point counts; None: once.

    Returns:
        (...) correlations, 0 where one of the two does not vary.
    """
    weights = np.ones(len(first)) if weights is None else weights
    shares = weights / weights.sum(-1, keepdims=True)
    x, y = (standardise(values) for values in (first, second))
    x, y = (values - (shares @ values)[..., None] for values in (x, y))
    variances = (shares * x**2).sum(-1) * (shares * y**2).sum(-1)
    return (shares * x * y).sum(-1) / np.sqrt(np.where(variances > 1e-12, variances, np.inf))


def ceilings(runs: pd.DataFrame, quality: str) -> tuple[float, float]:
    """Say how high the R² of a measure that is the same for all seeds of a setting can be, given the seeds' noise.

    Args:
        runs: M rows of the results.
        quality: score of the task.

    Returns:
        Over setting means: one less the share of their variance that the noise of a mean makes. Over runs: the share of
        all variance that lies between settings. NaN where no setting has two seeds. Source: [ours].
    """
    runs = runs.dropna(subset=[quality])
    groups = runs.groupby(SETTING)[quality]
    spare = len(runs) - groups.ngroups
    if groups.ngroups < 2 or not spare:
        return NONE, NONE
    inside = float(((runs[quality] - groups.transform("mean")) ** 2).sum())
    noise = inside / spare * float((1 / groups.size()).mean())
    total = float(((runs[quality] - runs[quality].mean()) ** 2).sum())
    return 1 - noise / float(groups.mean().var()), 1 - inside / total


def standardise(values: pd.Series) -> np.ndarray:
    """Bring numbers to mean 0 and spread 1; to 0 if they do not vary."""
    values = np.asarray(values, dtype=float)
    varies = len(values) and values.std() > 1e-9 * np.abs(values).max()
    return (values - values.mean()) / values.std() if varies else np.zeros_like(values)


def spearman(runs: pd.DataFrame, measure: str, quality: str) -> float:
    """Return Spearman's rank correlation over settings, 0 for a measure that does not vary. Args as in `predict`."""
    runs = setting_means(_complete(runs, measure, quality))
    first, second = (standardise(runs[column].rank()) for column in (measure, quality))
    return float((first * second).mean()) if len(runs) else NONE


def leave_one_out(runs: pd.DataFrame, measure: str, quality: str) -> pd.Series:
    """Compute R² over settings anew with each method left out, with all its alphas and seeds.

    Args:
        runs: M rows of the results.
        measure: of the gap.
        quality: score of the task.

    Returns:
        R², indexed by the method that was left out, ascending; NaN where fewer than three settings stay.
    """
    points = setting_means(_complete(runs, measure, quality))
    methods, own = np.unique(points.method.to_numpy(str), return_inverse=True)
    weights = (own != np.arange(len(methods))[:, None]).astype(float)  # a row a method: all points but its own
    enough, found = weights.sum(1) >= MIN_LINE, np.full(len(methods), NONE)
    found[enough] = correlation(points[measure], points[quality], weights[enough]) ** 2
    return pd.Series(found, methods).sort_values()


def within(runs: pd.DataFrame, measure: str, quality: str, method: str = DIAL) -> float:
    """Return R² over the alphas of one method; NaN with fewer than three of them. Args as in `predict`."""
    return _line(setting_means(_complete(runs[runs.method == method], measure, quality)), measure, quality)


def _line(runs: pd.DataFrame, measure: str, quality: str) -> float:
    return float(correlation(runs[measure], runs[quality]) ** 2) if len(runs) >= MIN_LINE else NONE
