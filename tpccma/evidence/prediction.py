"""How well a measure of the gap predicts a task over many models (C6, C7).

R² is the squared Pearson correlation over runs. Seeds of one setting (profile, method and alpha) are no independent
models, so the bootstrap resamples settings, each with all its seeds. Which models count was fixed before any result
existed [ours]: see `main_models`. The rule that turns R² into a verdict is in `tpccma.evidence.verdicts`.

Legend: M runs, S settings, R resamples.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from tpccma.evidence.verdicts import MIN_SETTINGS, NONE, Estimate, write
from tpccma.methods import ABLATIONS, METHODS

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
LEAGUE = ("r_squared", "low", "high", "ahead", "ahead_low", "ahead_high", "spearman", "lowest", "without_lowest")
LEAGUE += ("highest", "without_highest", "within", "others", "settings")


class Prediction(NamedTuple):
    """How well a measure and the raw gap predict a task: R² of the `measure`, of the `raw` gap, their `difference`."""

    measure: Estimate
    raw: Estimate
    difference: Estimate


def main_models(runs: pd.DataFrame, ablations: bool = False) -> pd.DataFrame:
    """Keep the models that count for C6 and C7.

    The base and every method of `tpccma.methods`, but not "i0t-post", whose formula is mean-centring's, and not
    "tpc-cma" at alpha 0 where the profile has "clip": both are continued plain CLIP, which is to count once.

    Args:
        runs: rows of the results.
        ablations: keep the ablations of TPC-CMA as well, a further reading.

    Returns:
        Those rows.
    """
    left_out = {"i0t-post", *(() if ablations else ABLATIONS)}
    with_clip = runs.profile.isin(runs.profile[runs.method == "clip"])
    twice = (runs.method == "tpc-cma") & (runs.alpha == 0) & with_clip
    return runs[runs.method.isin({"base", *METHODS} - left_out) & ~twice]


def predict(runs: pd.DataFrame, measure: str, quality: str, resamples: int = 1000, seed: int = 0) -> Prediction:
    """Measure how well a measure and the raw gap predict a task over many models.

    Args:
        runs: M rows of the results.
        measure: column of the measure.
        quality: column of the task's score.
        resamples: R.
        seed: of the bootstrap.

    Returns:
        The `Prediction`, n the number of settings; NaN with fewer than ten of them. The three intervals come from the
        same resamples.
    """
    moments, _ = _setting_moments(runs, measure, quality)
    count = len(moments)
    if count < MIN_SETTINGS:
        return Prediction(*[Estimate(n=count)] * 3)
    draws = np.random.default_rng(seed).integers(count, size=(resamples, count))
    times = np.stack([np.bincount(draw, minlength=count) for draw in draws])
    bounds = np.quantile(_r_squared(np.tensordot(times, moments, axes=1)), (0.025, 0.975), axis=0)
    return Prediction(
        *(
            Estimate(float(value), float(low), float(high), count)
            for value, low, high in zip(_r_squared(moments.sum(0)), *bounds, strict=True)
        )
    )


def _setting_moments(runs: pd.DataFrame, measure: str, quality: str) -> tuple[np.ndarray, np.ndarray]:
    """Sum over each setting's runs the products of (1, measure, raw gap, quality), which is enough for any R².

    Returns:
        (S, 4, 4) sums, of standardised columns, and (S,) methods. Runs that lack a column are left out.
    """
    runs = _complete(runs, measure, quality)
    values = _standardise(runs[[measure, RAW, quality]].to_numpy(dtype=float))
    values = np.column_stack([np.ones(len(values)), values])
    settings = runs.groupby(SETTING)
    moments = np.zeros((settings.ngroups, 4, 4))
    np.add.at(moments, settings.ngroup().to_numpy(), values[:, :, None] * values[:, None, :])
    return moments, np.array([method for _, method, _ in settings.groups], dtype=object)


def _complete(runs: pd.DataFrame, measure: str, quality: str) -> pd.DataFrame:
    columns = list(dict.fromkeys([measure, RAW, quality]))
    runs = runs.reindex(columns=list(dict.fromkeys([*runs, *columns])))
    return runs.dropna(subset=columns)


def _standardise(values: np.ndarray) -> np.ndarray:
    """Bring columns to mean 0 and spread 1; a column that does not vary becomes 0."""
    if not len(values):
        return values
    mean, spread = values.mean(0), values.std(0)
    varies = spread > 1e-9 * np.abs(values).max(0)
    return np.where(varies, (values - mean) / np.where(varies, spread, 1), 0)


def _r_squared(moments: np.ndarray) -> np.ndarray:
    """Turn moments (..., 4, 4) into R² of measure and of raw gap with quality, and their difference: (..., 3)."""
    moments = moments / moments[..., :1, :1]
    means = moments[..., 0, 1:]
    covariance = moments[..., 1:, 1:] - means[..., :, None] * means[..., None, :]
    variance = np.einsum("...ii->...i", covariance)
    product = variance[..., :2] * variance[..., 2:]
    squares = covariance[..., :2, 2] ** 2 / np.where(product > 1e-12, product, np.inf)
    return np.concatenate([squares, squares[..., :1] - squares[..., 1:]], axis=-1)


def spearman(runs: pd.DataFrame, measure: str, quality: str) -> float:
    """Return Spearman's rank correlation over runs, 0 for a measure that does not vary. Args as in `predict`."""
    runs = _complete(runs, measure, quality)
    first, second = (_standardise(stats.rankdata(runs[column])) for column in (measure, quality))
    return float((first * second).mean()) if len(runs) else NONE


def leave_one_out(runs: pd.DataFrame, measure: str, quality: str) -> pd.Series:
    """Compute R² anew with each method left out, with all its alphas and seeds.

    Args:
        runs: M rows of the results.
        measure: column of the measure.
        quality: column of the task's score.

    Returns:
        R², indexed by the method that was left out, ascending; NaN where fewer than three settings stay.
    """
    moments, methods = _setting_moments(runs, measure, quality)
    left_out = {method: _r_squared_of(moments[methods != method]) for method in sorted(set(methods))}
    return pd.Series(left_out, dtype=float).sort_values()


def within(runs: pd.DataFrame, measure: str, quality: str, method: str = "tpc-cma") -> float:
    """Return R² over the alphas and seeds of one method; NaN with fewer than three alphas. Args as in `predict`."""
    return _r_squared_of(_setting_moments(runs[runs.method == method], measure, quality)[0])


def _r_squared_of(moments: np.ndarray) -> float:
    return float(_r_squared(moments.sum(0))[0]) if len(moments) >= MIN_LINE else NONE


def league_table(runs: pd.DataFrame, quality: str, measures: dict[str, str] = MEASURES) -> pd.DataFrame:
    """Rank measures by how well they predict a task.

    Args:
        runs: M rows of the results, such as `main_models` keeps.
        quality: column of the task's score.
        measures: column to label; those that the results lack are left out.

    Returns:
        One row a measure, indexed by column, by R² from large to small: its label; r_squared, with low and high; ahead,
        by which that exceeds the raw gap's, with ahead_low and ahead_high; spearman; the lowest and the highest R² with
        one method left out, and without_lowest and without_highest, which method; R² within tpc-cma's own alphas, and
        over the others only; how many settings it rests on.
    """
    rows = {
        column: {"label": label, **_league_row(runs, column, quality)}
        for column, label in measures.items()
        if column in runs and runs[column].notna().any()
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["label", *LEAGUE])
    return table.sort_values("r_squared", ascending=False, kind="stable")


def _league_row(runs: pd.DataFrame, measure: str, quality: str) -> dict:
    found, left_out = predict(runs, measure, quality), leave_one_out(runs, measure, quality)
    known = left_out.dropna()
    ends = [known.iloc[0], known.index[0], known.iloc[-1], known.index[-1]] if len(known) else [NONE, "", NONE, ""]
    numbers = [*found.measure[:3], *found.difference[:3], spearman(runs, measure, quality), *ends]
    numbers += [within(runs, measure, quality), left_out.get("tpc-cma", NONE), found.measure.n]
    return dict(zip(LEAGUE, numbers, strict=True))


def show_league(league: pd.DataFrame) -> pd.DataFrame:
    """Lay a league table out for a reader, in strings.

    Args:
        league: from `league_table`.
    """
    shown = {
        "R²": [write(Estimate(*row), 2) for row in zip(league.r_squared, league.low, league.high, strict=True)],
        "minus the raw gap's": [
            write(Estimate(*row), 2, sign=True)
            for row in zip(league.ahead, league.ahead_low, league.ahead_high, strict=True)
        ],
        "Spearman": league.spearman.map("{:+.2f}".format),
        "one method left out": [
            f"{row.lowest:.2f} ({row.without_lowest}) to {row.highest:.2f} ({row.without_highest})"
            for row in league.itertuples()
        ],
        "within TPC-CMA": league.within.map("{:.2f}".format),
        "all others": league.others.map("{:.2f}".format),
    }
    return pd.DataFrame(shown, index=league.index).set_axis(list(league.label)).replace("nan", "–")


def show_gaps(leagues: dict[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """Set raw, centroid and paired distribution gap side by side, a row a profile and task, in strings.

    Args:
        leagues: (profile, quality column) to its `league_table`.
    """
    gaps = {column: MEASURES[column] for column in (RAW, "centroid_gap", "distribution_gap")}
    rows = {}
    for (profile, quality), league in leagues.items():
        shown = show_league(league.reindex(gaps).assign(label=list(gaps.values())))
        rows[profile, QUALITIES[quality]] = shown["R²"].to_dict() | {
            "distribution minus raw": shown["minus the raw gap's"].iloc[-1],
            "leader of all measures": league.label.iloc[0] if league.r_squared.notna().any() else "–",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["profile", "task"])


def describe_ranking(league: pd.DataFrame) -> str:
    """Say which measure leads, where the three gaps of the paper stand, and whether the paper's order holds.

    Args:
        league: from `league_table`.

    Returns:
        A sentence or two. The order holds, or is reversed, where the interval of the difference of the two R² lies
        above 0, or below.
    """
    if "distribution_gap" not in league.index or np.isnan(league.r_squared.max()):
        return f"too few settings for an R²: {league.settings.max() if len(league) else 0} of {MIN_SETTINGS}"
    places = {column: league.index.get_loc(column) + 1 for column in ("distribution_gap", "centroid_gap", RAW)}
    stand = [
        f"the {name} gap ranks {places[column]} (R² {league.r_squared[column]:.2f})"
        for column, name in zip(places, ("paired distribution", "centroid", "raw"), strict=True)
    ]
    paired = league.loc["distribution_gap"]
    order = "holds" if paired.ahead_low > 0 else "is reversed" if paired.ahead_high < 0 else "is not settled"
    ahead = f"{paired.ahead:+.2f} [{paired.ahead_low:+.2f}, {paired.ahead_high:+.2f}]"
    first = f"{league.label.iloc[0]} leads {len(league)} measures with an R² of {league.r_squared.iloc[0]:.2f}"
    return f"{first}; {', '.join(stand)}. The paper's order, distribution before raw, {order}: a difference of {ahead}"
