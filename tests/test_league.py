"""The league of measures and what is said of it, on results made by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from tests.results_by_hand import models, three_methods
from tpccma.evidence.league import describe_ranking, league_table, show_ceilings, show_gaps, show_league
from tpccma.runs.jobs import DIAL


def league() -> pd.DataFrame:
    """Twelve settings of five methods whose ARI is the distribution gap; the raw gap alternates."""
    table = models(12).assign(method=np.repeat(["base", "clip", "fahim", "modgap", DIAL], [4, 4, 4, 4, 8]))
    return league_table(table, "ari", {"raw_gap": "raw gap", "distribution_gap": "paired", "rmg": "not recorded"})


def test_league_ranks_by_r_squared():
    table = league()
    assert table.label.tolist() == ["paired", "raw gap"]  # rmg is in no record
    first = table.loc["distribution_gap"]
    assert (first.r_squared, first.ahead, first.spearman) == pytest.approx((1, 1, -1))
    assert (first.lowest, first.highest, first.within, first.others) == pytest.approx((1, 1, 1, 1))
    assert first.settings == 12


def test_league_names_the_method_without_which_it_falls():
    table = three_methods()
    extra = [table.assign(alpha=table.alpha + shift) for shift in (0, 10)]  # 14 settings
    row = league_table(pd.concat(extra), "ari", {"gap": "gap"}).loc["gap"]
    assert (row.without_highest, row.highest) == ("c", pytest.approx(1))
    assert (row.without_lowest, row.lowest) == ("b", pytest.approx(16 / (50 * 2.75)))
    assert math.isnan(row.within)  # no dial


def test_league_for_readers():
    shown = show_league(league())
    assert shown.loc["paired", "R²"] == "1.00 [1.00, 1.00]"
    assert shown.loc["paired", "minus the raw gap's"] == "+1.00 [+1.00, +1.00]"
    assert shown.loc["raw gap", "minus the raw gap's"] == "–"  # itself


@pytest.fixture
def gaps_league() -> pd.DataFrame:
    table = models(12).assign(centroid_gap=np.tile([0.2, 0.1], 12))
    return league_table(table, "ari", {name: name for name in ("raw_gap", "centroid_gap", "distribution_gap")})


def test_gaps_side_by_side(gaps_league: pd.DataFrame):
    shown = show_gaps({("demo", "cider"): gaps_league, ("fashion", "cider"): gaps_league.iloc[:0]})
    assert shown.loc[("demo", "CIDEr raw-fed"), "distribution gap, paired"] == "1.00 [1.00, 1.00]"
    assert shown.loc[("demo", "CIDEr raw-fed"), "leader of all measures"] == "distribution_gap"
    assert shown.loc[("fashion", "CIDEr raw-fed")].tolist() == ["–"] * 6


@pytest.mark.parametrize(
    ("low", "high", "order"), [(0.1, 0.3, "holds"), (-0.3, -0.1, "is reversed"), (-0.1, 0.1, "is not settled")]
)
def test_ranking_is_said_by_the_rule(gaps_league: pd.DataFrame, low: float, high: float, order: str):
    gaps_league.loc["distribution_gap", ["ahead_low", "ahead_high"]] = low, high
    said = describe_ranking(gaps_league)
    assert said.startswith("distribution_gap leads 3 measures with an R² of 1.00; the paired distribution gap ranks 1")
    assert f"distribution before raw, {order}: a difference of +1.00 [{low:+.2f}, {high:+.2f}]" in said


def test_ranking_waits_for_ten_settings():
    few = league_table(models(9), "ari", {"raw_gap": "raw gap", "distribution_gap": "paired"})
    assert describe_ranking(few) == "too few settings for an R²: 9 of 10"
    assert describe_ranking(few.iloc[:0]) == "too few settings for an R²: 0 of 10"


def test_ceilings_stand_beside_both_levels():
    table = models(12)
    shown = show_ceilings({"demo": table, "fashion": table.head(4)}, {"ARI": "ari"})
    assert shown.loc[("demo", "ARI", "settings")].tolist() == [
        "1.000",  # seeds of a setting do not differ in quality
        "1.00 [1.00, 1.00]",
        "0.00 [0.00, 0.00]",
        "+1.00 [+1.00, +1.00]",
    ]
    assert shown.loc[("demo", "ARI", "runs"), "ceiling"] == "1.000"
    assert shown.loc[("fashion", "ARI", "runs")].tolist() == ["1.000", "–", "–", "–"]
