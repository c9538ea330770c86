"""Intervals and p values over seeds and test pictures, on numbers small enough to work out by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.results_by_hand import HALF
from tpccma.evidence import intervals
from tpccma.evidence.intervals import PICTURES, SEEDS, bootstrap_error, estimate_effect, holm, jackknife_error
from tpccma.evidence.verdicts import difference, gain, points_lost


def part(*values: float, **columns) -> pd.DataFrame:
    return pd.DataFrame({"cider": values, **columns})


def test_a_difference_has_students_interval_and_p_over_seeds():
    found = estimate_effect(difference, [part(2.0, 4.0, 6.0), part(1.0, 2.0, 3.0)], ("cider",))
    # 1, 2, 3: mean 2, error 1 / sqrt(3), t(0.975, 2 degrees) = 4.302653
    assert found.estimate == pytest.approx((2, 2 - HALF, 2 + HALF, 3), abs=1e-5)
    assert found.p == pytest.approx(stats.ttest_1samp([1, 2, 3], 0).pvalue)
    assert found.over == SEEDS
    against_one = estimate_effect(difference, [part(2.0, 4.0, 6.0), part(1.0, 2.0, 3.0)], ("cider",), null=1)
    assert against_one.p == pytest.approx(stats.ttest_1samp([1, 2, 3], 1).pvalue)


def test_a_gain_is_a_ratio_of_means():
    # 1 to 3 and 3 to 3 in two seeds, and a third like the first two on average: 2 to 3 of means, not the mean of
    # 200 %, 0 % and 50 %
    found = estimate_effect(gain, [part(3.0, 3.0, 3.0), part(1.0, 3.0, 2.0)], ("cider",))
    assert found.estimate.ours == pytest.approx(50)
    # left out in turn: references of 2.5, 1.5, 2: gains 20, 100, 50, mean 170 / 3; error² = 2 / 3 of the squares' sum
    left_out = np.array([20, 100, 50])
    assert jackknife_error(gain, np.array([[3.0, 3, 3], [1, 3, 2]])) ** 2 == pytest.approx(
        2 / 3 * ((left_out - 170 / 3) ** 2).sum()
    )


def test_seeds_without_a_value_are_left_out_and_two_have_no_interval():
    found = estimate_effect(difference, [part(2.0, 4.0, math.nan), part(1.0, 2.0, 3.0)], ("cider",))
    assert (found.estimate.ours, found.estimate.n, found.over) == (1.5, 2, "")
    assert math.isnan(found.estimate.low) and math.isnan(found.p)
    assert estimate_effect(difference, [part(), part()], ("cider",)).estimate.n == 0
    assert estimate_effect(difference, [part(1.0), part(1.0)], ("meteor",)).estimate.n == 0


def test_no_spread_is_no_doubt():
    same = estimate_effect(difference, [part(2.0, 2.0, 2.0), part(2.0, 2.0, 2.0)], ("cider",))
    assert (same.estimate[:3], same.p) == ((0, 0, 0), 1)
    other = estimate_effect(difference, [part(2.0, 2.0, 2.0), part(1.0, 1.0, 1.0)], ("cider",))
    assert (other.estimate[:3], other.p) == ((1, 1, 1), 0)


def test_pictures_that_add_nothing_leave_students_interval():
    items = [[{"cider": np.full(40, value)} for value in own] for own in ((2.0, 4.0, 6.0), (1.0, 2.0, 3.0))]
    # of 2,000 resamples the spread is known to 1 / sqrt(4,000)
    assert bootstrap_error(difference, ("cider", "cider"), items) == pytest.approx(1 / np.sqrt(3), rel=0.04)


def test_pictures_alone_give_the_error_of_a_mean_and_are_the_same_for_all_seeds():
    hits = np.arange(100) % 4 == 0  # a quarter of 100 pictures
    right = [[{"zeroshot_correct": hits}] * 4, [{"zeroshot_correct": np.zeros(100)}] * 4]
    columns = ("zeroshot_top1", "zeroshot_top1")
    # sqrt(1/4 * 3/4 / 100), in points; four equal seeds take nothing off it, and sqrt(4 / 3) is on it
    expected = 100 * np.sqrt(3 / 16 / 100) * np.sqrt(4 / 3)
    assert bootstrap_error(points_lost, columns, right) == pytest.approx(expected, rel=0.04)
    same = [[{"zeroshot_correct": hits}] * 4] * 2  # paired by picture: no difference in any resample
    assert bootstrap_error(points_lost, columns, same) == pytest.approx(0, abs=1e-6)


def test_pictures_count_where_all_records_hold_them(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    kept = {name: {"cider": rng.random(50)} for name in "abcdef"}
    monkeypatch.setattr(intervals, "read_items", kept.get)
    run, reference = part(2.0, 4.0, 6.0, record=list("abc")), part(1.0, 2.0, 3.0, record=list("def"))
    assert estimate_effect(difference, [run, reference], ("cider",)).over == PICTURES
    monkeypatch.setitem(kept, "e", None)  # a record of the first round
    assert estimate_effect(difference, [run, reference], ("cider",)).over == SEEDS
    monkeypatch.setitem(kept, "e", {"cider": rng.random(51)})  # other pictures
    assert estimate_effect(difference, [run, reference], ("cider",)).over == SEEDS


def test_holm_by_hand():
    # ascending 0.01, 0.02, 0.03, then 1 for what was not run: times 4, 3, 2, 1, and never falling
    found = holm(pd.Series({"a": 0.03, "b": 0.01, "c": math.nan, "d": 0.02}))
    assert found.to_dict() == pytest.approx({"a": 0.06, "b": 0.04, "c": math.nan, "d": 0.06}, nan_ok=True)
