"""Effects, intervals and every verdict, on numbers small enough to work out by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from tpccma.evidence.verdicts import (
    Estimate,
    difference,
    gain,
    judge,
    judge_prediction,
    points_gained,
    points_lost,
    reduction,
    seed_interval,
    share_left,
    squared_reduction,
)

RUN, REFERENCE = pd.Series([0.2, 0.6]), pd.Series([0.8, 0.5])


@pytest.mark.parametrize(
    ("effect", "expected"),
    [
        (reduction, [75.0, -20.0]),  # 1 - 0.2 / 0.8 = 0.75; 1 - 0.6 / 0.5 = -0.2
        (squared_reduction, [93.75, -44.0]),  # 1 - 0.04 / 0.64 = 0.9375; 1 - 0.36 / 0.25 = -0.44
        (gain, [-75.0, 20.0]),
        (difference, [-0.6, 0.1]),
        (points_lost, [60.0, -10.0]),
        (points_gained, [-60.0, 10.0]),
        (share_left, [25.0, 120.0]),
    ],
)
def test_effects(effect, expected: list[float]):
    assert effect(RUN, REFERENCE).tolist() == pytest.approx(expected)


def test_relative_effect_of_a_reference_that_is_not_positive_is_left_out():
    assert reduction(pd.Series([1.0, 1.0]), pd.Series([0.0, -0.1])).isna().all()


def test_interval_of_three_seeds_is_students():
    # mean 2, standard deviation 1, t(0.975, 2 degrees) = 4.302653: 2 -+ 4.302653 / sqrt(3)
    found = seed_interval(pd.Series([1.0, 2.0, 3.0, np.nan]))
    assert found == pytest.approx((2, 2 - 2.484138, 2 + 2.484138, 3), abs=1e-5)


def test_fewer_than_three_seeds_have_no_interval():
    found = seed_interval(pd.Series([1.0, 3.0]))
    assert (found.ours, found.n) == (2.0, 2)
    assert math.isnan(found.low) and math.isnan(found.high)
    assert seed_interval(pd.Series([], dtype=float)).n == 0


@pytest.mark.parametrize(
    ("rule", "low", "high", "verdict"),
    [
        ("gain", 9, 11, "reproduced"),  # holds the paper's 10
        ("gain", 12, 14, "reproduced"),  # beyond it
        ("gain", 1, 9, "direction only"),
        ("gain", -1, 12, "not reproduced"),  # holds the paper's figure and no effect
        ("gain", -3, -1, "contradicted"),
        ("cost", 2, 9, "reproduced"),  # less than the paper's price
        ("cost", -5, 9, "reproduced"),
        ("cost", -5, -1, "reproduced"),  # a gain instead of a price
        ("cost", 9, 12, "reproduced"),  # the paper's price
        ("cost", -1, 12, "not reproduced"),  # no price, or more than the paper's
        ("cost", 11, 12, "contradicted"),
        ("statement", 11, 20, "reproduced"),
        ("statement", 9, 11, "not reproduced"),
        ("statement", 1, 9, "contradicted"),
        ("gain", math.nan, math.nan, "not run"),
        ("cost", math.nan, math.nan, "not run"),
        ("statement", math.nan, math.nan, "not run"),
    ],
)
def test_verdict_of_an_interval_against_ten(rule: str, low: float, high: float, verdict: str):
    assert judge(rule, Estimate((low + high) / 2, low, high, 5), 10) == verdict


def test_unknown_rule_is_named():
    with pytest.raises(ValueError, match="unknown rule 'loss'"):
        judge("loss", Estimate(1, 0, 2, 3), 1)


@pytest.mark.parametrize(
    ("low", "high", "reached", "verdict"),
    [
        (0.1, 0.3, True, "reproduced"),
        (0.1, 0.3, False, "direction only"),
        (-0.1, 0.3, True, "not reproduced"),
        (-0.3, -0.1, True, "contradicted"),
        (math.nan, math.nan, False, "not run"),
    ],
)
def test_verdict_of_a_prediction(low: float, high: float, reached: bool, verdict: str):
    assert judge_prediction(Estimate(0, low, high, 12), reached) == verdict
