"""R² over models, its bootstrap and the league table, on numbers small enough to work out by hand."""

import math
import time

import numpy as np
import pandas as pd
import pytest
import torch

from tpccma.evidence.prediction import (
    DISTRIBUTION,
    MEASURES,
    QUALITIES,
    RENORMALISED,
    describe_ranking,
    league_table,
    leave_one_out,
    main_models,
    predict,
    show_gaps,
    show_league,
    spearman,
    within,
)
from tpccma.methods import ABLATIONS, METHODS
from tpccma.metrics import measure_all


def models(settings: int) -> pd.DataFrame:
    """Two seeds a setting; quality falls exactly with the distribution gap, and not at all with the raw gap."""
    alpha = np.repeat(np.arange(settings) / settings, 2)
    raw = np.tile([0.5, 0.7], settings)  # the two seeds of a setting differ in the raw gap alone
    keys = {"profile": "demo", "method": "tpc-cma", "alpha": alpha}
    return pd.DataFrame(keys | {"raw_gap": raw, "distribution_gap": 1 - alpha, "ari": 0.2 + 0.5 * alpha})


def three_methods() -> pd.DataFrame:
    """Methods a and b lie on the line ari = gap, at 0, 1, 2 and 3, 4, 5; method c far off it."""
    method = ["a"] * 3 + ["b"] * 3 + ["c"]
    keys = {"profile": "demo", "method": method, "alpha": [0, 1, 2, 0, 1, 2, 0]}
    return pd.DataFrame(keys | {"raw_gap": 1.0, "gap": [0, 1, 2, 3, 4, 5, 9], "ari": [0, 1, 2, 3, 4, 5, 0]})


def test_measures_are_all_of_a_record():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.nn.functional.normalize(torch.randn(40, 8, generator=generator), dim=1) for _ in "xy")
    assert set(MEASURES) == set(measure_all(x, y))
    assert {*DISTRIBUTION, *RENORMALISED} < set(MEASURES)


def test_prediction_tells_the_gap_that_quality_follows_from_the_one_it_does_not():
    found = predict(models(12), "distribution_gap", "ari", resamples=50)
    assert found.measure == pytest.approx((1, 1, 1, 12))
    assert found.raw == pytest.approx((0, 0, 0, 12), abs=1e-9)  # each setting holds both values of the raw gap
    assert found.difference == pytest.approx((1, 1, 1, 12))


def test_raw_gap_is_not_ahead_of_itself():
    found = predict(models(12).assign(ari=np.arange(24)), "raw_gap", "ari", resamples=50)
    assert found.measure == found.raw
    assert found.difference[:3] == (0, 0, 0)


def test_r_squared_of_a_hand_made_line():
    # gap 0..9, quality the same with 4 and 5 swapped; both are ranks, so Spearman's r = 1 - 6 * 2 / (10 * 99)
    table = models(20).iloc[::2].head(10).assign(distribution_gap=range(10), ari=[0, 1, 2, 3, 5, 4, 6, 7, 8, 9])
    assert predict(table, "distribution_gap", "ari", resamples=10).measure.ours == pytest.approx((1 - 12 / 990) ** 2)
    assert spearman(table, "distribution_gap", "ari") == pytest.approx(1 - 12 / 990)
    bent = table.assign(ari=-np.exp(table.ari))  # order is all that Spearman sees
    assert spearman(bent, "distribution_gap", "ari") == pytest.approx(-(1 - 12 / 990))


def test_a_measure_that_does_not_vary_predicts_nothing():
    table = models(12).assign(distribution_gap=0.3)
    assert predict(table, "distribution_gap", "ari", resamples=20).measure == (0, 0, 0, 12)
    assert spearman(table, "distribution_gap", "ari") == 0


def test_prediction_resamples_settings_with_their_seeds_and_repeats_exactly():
    noisy = models(12).assign(ari=np.sin(np.arange(24)))
    first, second = (predict(noisy, "distribution_gap", "ari", resamples=50) for _ in range(2))
    assert first == second
    assert 0 <= first.measure.low < first.measure.high <= 1


def test_bootstrap_is_that_of_settings_drawn_one_by_one():
    noisy = models(12).assign(ari=np.sin(np.arange(24)))
    draws = np.random.default_rng(3).integers(12, size=(40, 12))
    squares = []
    for draw in draws:
        drawn = pd.concat([noisy.iloc[2 * i : 2 * i + 2] for i in draw])
        squares.append(np.corrcoef(drawn.distribution_gap, drawn.ari)[0, 1] ** 2)
    # settings are numbered by alpha, in the order of the rows
    found = predict(noisy, "distribution_gap", "ari", resamples=40, seed=3).measure
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(squares, (0.025, 0.975))))


def test_seeds_of_one_setting_are_not_ten_settings():
    many_seeds = pd.concat([models(9)] * 3)
    assert predict(many_seeds, "distribution_gap", "ari").measure.n == 9


@pytest.mark.parametrize("quality", ["ari", "not there"])
def test_prediction_wants_ten_settings(quality: str):
    found = predict(models(9), "distribution_gap", quality)
    assert found.difference.n == (9 if quality == "ari" else 0)
    assert math.isnan(found.measure.ours)


def test_another_profile_is_another_setting():
    both = pd.concat([models(6), models(6).assign(profile="demo-scale-20")])
    assert predict(both, "distribution_gap", "ari").measure.n == 12


def test_runs_without_a_value_are_left_out():
    table = models(12)
    table.loc[:1, "ari"] = np.nan  # both seeds of the first setting
    assert predict(table, "distribution_gap", "ari").measure.n == 11


def test_leaving_a_method_out():
    found = leave_one_out(three_methods(), "gap", "ari")
    assert list(found.index[-1:]) == ["c"]
    assert found["c"] == pytest.approx(1)
    # without b: gaps 0, 1, 2, 9 and ari 0, 1, 2, 0, means 3 and 0.75; sum of products 1 + 4 - 4 * 3 * 0.75 = -4,
    # sums of squares 86 - 4 * 9 = 50 and 5 - 4 * 0.5625 = 2.75
    assert found["b"] == pytest.approx(16 / (50 * 2.75))


def test_within_one_method():
    assert within(three_methods(), "gap", "ari", "a") == pytest.approx(1)
    assert math.isnan(within(three_methods(), "gap", "ari", "c"))  # a single setting


def test_main_models_are_those_fixed_beforehand():
    names = ["base", *METHODS]
    runs = pd.DataFrame({"profile": "demo", "method": names, "alpha": 0.0})
    runs = pd.concat([runs, runs[runs.method == "tpc-cma"].assign(alpha=0.5)])
    kept = main_models(runs)
    assert set(kept.method) == {"base", *METHODS} - {"i0t-post", *ABLATIONS}
    assert kept[kept.method == "tpc-cma"].alpha.tolist() == [0.5]  # alpha 0 is plain CLIP, which is there as "clip"
    assert set(main_models(runs, ablations=True).method) == set(kept.method) | set(ABLATIONS)


def test_alpha_zero_counts_where_the_profile_has_no_clip():
    runs = pd.DataFrame({"profile": ["demo", "demo-scale-20"], "method": ["clip", "tpc-cma"], "alpha": 0.0})
    assert main_models(runs).method.tolist() == ["clip", "tpc-cma"]


def league() -> pd.DataFrame:
    """Twelve settings of three methods whose ARI is the distribution gap; the raw gap alternates."""
    table = models(12).assign(method=np.repeat(["base", "clip", "tpc-cma"], 8))
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
    assert math.isnan(row.within)  # no tpc-cma


def test_league_for_readers():
    shown = show_league(league())
    assert shown.loc["paired", "R²"] == "1.00 [1.00, 1.00]"
    assert shown.loc["paired", "minus the raw gap's"] == "+1.00 [+1.00, +1.00]"
    assert shown.loc["raw gap", "minus the raw gap's"] == "+0.00 [+0.00, +0.00]"


@pytest.fixture
def gaps_league() -> pd.DataFrame:
    table = models(12).assign(centroid_gap=np.tile([0.2, 0.1], 12))
    return league_table(table, "ari", {name: name for name in ("raw_gap", "centroid_gap", "distribution_gap")})


def test_gaps_side_by_side(gaps_league: pd.DataFrame):
    shown = show_gaps({("demo", "cider"): gaps_league, ("fashion", "cider"): gaps_league.iloc[:0]})
    assert shown.loc[("demo", "CIDEr raw-fed"), "distribution gap, paired"] == "1.00 [1.00, 1.00]"
    assert shown.loc[("demo", "CIDEr raw-fed"), "leader of all measures"] == "distribution_gap"
    assert shown.loc[("fashion", "CIDEr raw-fed")].tolist() == ["–"] * 5


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


def test_a_full_sweep_takes_seconds():
    generator = np.random.default_rng(0)
    settings = [(method, alpha) for method in METHODS for alpha in (0.0, 0.5)]
    keys = pd.DataFrame([("demo", *setting) for setting in settings * 5], columns=["profile", "method", "alpha"])
    columns = [*MEASURES, *QUALITIES]
    values = pd.DataFrame(generator.normal(size=(len(keys), len(columns))), columns=columns)
    runs, began = pd.concat([keys, values], axis=1), time.perf_counter()
    for quality in QUALITIES:
        assert len(league_table(runs, quality)) == len(MEASURES)
    assert time.perf_counter() - began < 60  # about two seconds; resampling runs in a loop takes minutes
