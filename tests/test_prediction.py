"""R² over models, and its bootstrap, on numbers small enough to work out by hand."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from tests.results_by_hand import models, three_methods
from tpccma.evidence import prediction
from tpccma.evidence.prediction import (
    DISTRIBUTION,
    MEASURES,
    RENORMALISED,
    VARIED,
    ceilings,
    correlation,
    leave_one_out,
    main_models,
    predict,
    spearman,
    within,
)
from tpccma.methods import METHODS
from tpccma.metrics import measure_all
from tpccma.runs.jobs import DIAL


def test_measures_are_all_of_a_record():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.nn.functional.normalize(torch.randn(40, 8, generator=generator), dim=1) for _ in "xy")
    assert set(MEASURES) == set(measure_all(x, y))
    assert {*DISTRIBUTION, *RENORMALISED} < set(MEASURES)


def test_prediction_tells_the_gap_that_quality_follows_from_the_one_it_does_not():
    for means in (True, False):
        found = predict(models(12), "distribution_gap", "ari", means, resamples=50)
        assert found.measure == pytest.approx((1, 1, 1, 12))
        assert found.raw == pytest.approx((0, 0, 0, 12), abs=1e-9)  # each setting holds both values of the raw gap
        assert found.difference == pytest.approx((1, 1, 1, 12))
        # no resample has a correlation of 0 or above: twice 1 of 51; of the raw gap every one has just 0
        assert (found.p, found.raw_p) == (pytest.approx(2 / 51), 1)


def test_means_over_seeds_are_told_from_runs():
    # quality 0 and 1 over gaps 0 and 1, each with two seeds that lie 1 above and below: over means a line, over runs
    # the sum of products 10 * 2 * 0.25 = 5, squares 5 and 5 + 20
    table = models(10).assign(distribution_gap=np.tile([0, 0, 1, 1], 5), ari=np.tile([1, -1, 2, 0], 5))
    assert predict(table, "distribution_gap", "ari").measure.ours == pytest.approx(1)
    assert predict(table, "distribution_gap", "ari", means=False).measure.ours == pytest.approx(25 / (5 * 25))


def test_ceilings_by_hand():
    # two settings of two seeds, 0 2 and 4 6: means 1 and 5; inside 1 + 1 + 1 + 1 = 4, all 9 + 1 + 1 + 9 = 20, so that
    # runs reach 1 - 4 / 20; variance of a seed 4 / 2 = 2, of a mean 1, of the means themselves 8
    table = models(2).assign(ari=[0.0, 2, 4, 6])
    assert ceilings(table, "ari") == pytest.approx((1 - 1 / 8, 0.8))
    assert np.isnan(ceilings(table.iloc[::2], "ari")).all()


def test_raw_gap_is_not_ahead_of_itself():
    found = predict(models(12).assign(ari=np.arange(24)), "raw_gap", "ari", resamples=50)
    assert found.measure == found.raw
    assert found.difference[:3] == (0, 0, 0)


def test_r_squared_of_a_hand_made_line():
    # gap 0..9, quality the same with 4 and 5 swapped; both are ranks, so Spearman's r = 1 - 6 * 2 / (10 * 99)
    table = models(10).iloc[::2].assign(distribution_gap=range(10), ari=[0, 1, 2, 3, 5, 4, 6, 7, 8, 9])
    assert predict(table, "distribution_gap", "ari", resamples=10).measure.ours == pytest.approx((1 - 12 / 990) ** 2)
    assert spearman(table, "distribution_gap", "ari") == pytest.approx(1 - 12 / 990)
    bent = table.assign(ari=-np.exp(table.ari))  # order is all that Spearman sees
    assert spearman(bent, "distribution_gap", "ari") == pytest.approx(-(1 - 12 / 990))


def test_a_measure_that_does_not_vary_predicts_nothing():
    table = models(12).assign(distribution_gap=0.3)
    assert predict(table, "distribution_gap", "ari", resamples=20).measure == (0, 0, 0, 12)
    assert spearman(table, "distribution_gap", "ari") == 0


def test_prediction_repeats_exactly():
    noisy = models(12).assign(ari=np.sin(np.arange(24)))
    first, second = (predict(noisy, "distribution_gap", "ari", resamples=50) for _ in range(2))
    assert first == second
    assert 0 <= first.measure.low < first.measure.high <= 1


@pytest.mark.parametrize("means", [True, False])
def test_bootstrap_is_that_of_methods_drawn_one_by_one(means: bool):
    noisy = models(12).assign(ari=np.sin(np.arange(24)))
    noisy["method"] = np.repeat(["a", "b", "c", "d", "e", "f"], 4)  # two alphas each
    points = noisy.groupby(["method", "alpha"]).mean(numeric_only=True).reset_index() if means else noisy
    draws = np.random.default_rng(3).integers(6, size=(40, 6))
    squares = []
    for draw in draws:
        drawn = pd.concat([points[points.method == "abcdef"[i]] for i in draw])
        squares.append(np.corrcoef(drawn.distribution_gap, drawn.ari)[0, 1] ** 2)
    found = predict(noisy, "distribution_gap", "ari", means, resamples=40, seed=3).measure
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(squares, (0.025, 0.975))))


def test_alphas_of_one_method_are_no_five_methods():
    found = predict(models(12).assign(method=np.tile(np.repeat(list("abcd"), 2), 3)), "distribution_gap", "ari")
    assert (found.measure.n, math.isnan(found.measure.ours)) == (12, True)


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
    runs = pd.concat([runs, runs[runs.method == DIAL].assign(alpha=0.5)])
    kept = main_models(runs)
    others = {name for name, method in METHODS.items() if not method.dial}
    assert set(kept.method) == {"base", DIAL, *others}  # tpc-cma has alpha 0 alone here
    assert kept[kept.method == DIAL].alpha.tolist() == [0.5]  # alpha 0 is plain CLIP, which is there as "clip"
    assert set(main_models(runs, ablations=True).method) == {*kept.method, *VARIED}


def test_alpha_zero_counts_where_the_profile_has_no_clip():
    runs = pd.DataFrame({"profile": ["demo", "demo-scale-20"], "method": ["clip", DIAL], "alpha": 0.0})
    assert main_models(runs).method.tolist() == ["clip", DIAL]


def test_runs_count_as_often_as_their_weights_say():
    first, second = pd.Series([0.0, 1, 2, 5]), pd.Series([1.0, 3, 2, 4])
    weights = np.array([[1, 1, 1, 1], [2, 0, 1, 3], [0, 1, 1, 0], [0, 0, 4, 0]])
    drawn = [np.repeat([first, second], times, axis=1) for times in weights[:2]]
    expected = [np.corrcoef(*pair)[0, 1] for pair in drawn]
    # the last but one holds two points, which a line always joins; the last a single one, which does not vary
    assert correlation(first, second, weights) == pytest.approx([*expected, -1, 0])
    assert correlation(first, second) == pytest.approx(expected[0])


def test_resamples_are_computed_all_at_once(monkeypatch: pytest.MonkeyPatch):
    shapes = []

    def watched(first: pd.Series, second: pd.Series, weights: np.ndarray) -> np.ndarray:
        shapes.append(weights.shape)
        return correlation(first, second, weights)

    monkeypatch.setattr(prediction, "correlation", watched)
    predict(models(12), "distribution_gap", "ari", resamples=300)
    assert shapes == [(301, 12)] * 2  # the settings as they are and 300 resamples, for the measure and for the raw gap
