"""The league of measures: which of them predicts a task best over many models, and where the gaps of the paper stand.

R², its interval and which models count: `tpccma.evidence.prediction`.
"""

import numpy as np
import pandas as pd

from tpccma.evidence.prediction import (
    MEASURES,
    PREDICTED,
    QUALITIES,
    RAW,
    ceilings,
    leave_one_out,
    predict,
    spearman,
    within,
)
from tpccma.evidence.table import SCALE_FREE
from tpccma.evidence.verdicts import MIN_SETTINGS, NONE, Estimate
from tpccma.evidence.writing import NOTHING, write
from tpccma.runs.jobs import DIAL

LEAGUE = ("r_squared", "low", "high", "ahead", "ahead_low", "ahead_high", "spearman", "lowest", "without_lowest")
LEAGUE += ("highest", "without_highest", "within", "others", "settings")


def league_table(runs: pd.DataFrame, quality: str, measures: dict[str, str] = MEASURES) -> pd.DataFrame:
    """Rank measures by how well they predict a task.

    Args:
        runs: M rows of the results, such as `~tpccma.evidence.prediction.main_models` keeps.
        quality: column of the task's score.
        measures: column to label; those that the results lack are left out.

    Returns:
        One row a measure, indexed by column, by R² from large to small: its label; r_squared, with low and high; ahead,
        by which that exceeds the raw gap's, with ahead_low and ahead_high; spearman; the lowest and the highest R² with
        one method left out, and without_lowest and without_highest, which method; R² within the dial's own alphas, and
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
    lowest, highest = ((known.index[end], known.iloc[end]) if len(known) else ("", NONE) for end in (0, -1))
    return {
        "r_squared": found.measure.ours,
        "low": found.measure.low,
        "high": found.measure.high,
        "ahead": found.difference.ours,
        "ahead_low": found.difference.low,
        "ahead_high": found.difference.high,
        "spearman": spearman(runs, measure, quality),
        "lowest": lowest[1],
        "without_lowest": lowest[0],
        "highest": highest[1],
        "without_highest": highest[0],
        "within": within(runs, measure, quality),
        "others": left_out.get(DIAL, NONE),
        "settings": found.measure.n,
    }


def show_league(league: pd.DataFrame) -> pd.DataFrame:
    """Lay a league table out for a reader, in strings.

    Args:
        league: from `league_table`.
    """
    shown = {
        "R²": [write(Estimate(*row), 2) for _, *row in league[["r_squared", "low", "high"]].itertuples()],
        "minus the raw gap's": [
            NOTHING if row.Index == RAW else write(ahead_of_raw(row), 2, sign=True) for row in league.itertuples()
        ],
        "Spearman": league.spearman.map("{:+.2f}".format),
        "one method left out": [
            f"{row.lowest:.2f} ({row.without_lowest}) to {row.highest:.2f} ({row.without_highest})"
            for row in league.itertuples()
        ],
        f"within {DIAL}": league.within.map("{:.2f}".format),
        "all others": league.others.map("{:.2f}".format),
    }
    return pd.DataFrame(shown, index=league.index).set_axis(list(league.label)).replace("nan", NOTHING)


def ahead_of_raw(row: pd.Series) -> Estimate:
    """Return by how much the R² in a row of the league exceeds that of the raw gap."""
    return Estimate(row.ahead, row.ahead_low, row.ahead_high, row.settings)


def show_gaps(leagues: dict[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """Set raw, centroid, paired and scale-free distribution gap side by side, a row a profile and task, in strings.

    Args:
        leagues: (profile, quality column) to its `league_table`.
    """
    gaps = {column: MEASURES[column] for column in (RAW, "centroid_gap", "distribution_gap", SCALE_FREE)}
    rows = {}
    for (profile, quality), league in leagues.items():
        shown = show_league(league.reindex(gaps).assign(label=list(gaps.values())))
        rows[profile, QUALITIES[quality]] = shown["R²"].to_dict() | {
            "distribution minus raw": shown["minus the raw gap's"][gaps["distribution_gap"]],
            "leader of all measures": league.label.iloc[0] if league.r_squared.notna().any() else NOTHING,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["data", "task"])


def show_ceilings(runs: dict[str, pd.DataFrame], qualities: dict[str, str] = PREDICTED) -> pd.DataFrame:
    """Set R² over settings and over runs beside its ceiling, and the paired gap's less the raw gap's, in strings.

    Args:
        runs: profile to the rows that count, see `tpccma.evidence.prediction.main_models`.
        qualities: names of tasks to their columns.

    Returns:
        A row a profile, task and level, "settings" or "runs".
    """
    rows = {
        (profile, task, level): _ceiling_row(own, quality, level)
        for profile, own in runs.items()
        for task, quality in qualities.items()
        for level in ("settings", "runs")
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["data", "task", "over"])


def _ceiling_row(runs: pd.DataFrame, quality: str, level: str) -> dict[str, str]:
    found = predict(runs, "distribution_gap", quality, means=level == "settings")
    ceiling = dict(zip(("settings", "runs"), ceilings(runs, quality), strict=True))[level]
    return {
        "ceiling": NOTHING if np.isnan(ceiling) else f"{ceiling:.3f}",
        "paired distribution gap": write(found.measure, 2),
        "raw gap": write(found.raw, 2),
        "paired minus raw": write(found.difference, 2, sign=True),
    }


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
    ahead = write(ahead_of_raw(paired), 2, sign=True)
    first = f"{league.label.iloc[0]} leads {len(league)} measures with an R² of {league.r_squared.iloc[0]:.2f}"
    return f"{first}; {', '.join(stand)}. The paper's order, distribution before raw, {order}: a difference of {ahead}"
