"""Effects, intervals and every verdict, on numbers small enough to work out by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpccma.evidence.verdicts import (
    VERDICTS,
    Estimate,
    best_gain,
    difference,
    direction,
    gain,
    judge,
    points_gained,
    points_lost,
    reduction,
    rules_table,
    seed_interval,
    share_left,
    share_of_gain,
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
    [  # against a paper's figure of 10: as large from 7.5 to 12.5
        ("size", 7.5, 12.5, "as large"),
        ("size", 9, 11, "as large"),
        ("size", 12.6, 14, "larger"),
        ("size", 1, 7.4, "smaller"),
        ("size", -3, -1, "opposite"),
        ("size", 7.4, 12, "undecided"),
        ("size", 12, 13, "undecided"),
        ("size", 1, 40, "undecided"),
        ("size", -1, 7, "undecided"),  # no direction
        ("size", -1, 0, "undecided"),
        ("bound", -5, -1, "no drop found"),
        ("bound", 0, 40, "no drop found"),
        ("bound", 1, 10, "within the bound"),
        ("bound", 10.1, 12, "beyond it"),
        ("bound", 9, 11, "undecided"),
        ("half", -4, 49, "less than half"),
        ("half", 51, 120, "more than half"),
        ("half", 49, 51, "undecided"),
        ("size", math.nan, math.nan, "not run"),
        ("bound", math.nan, math.nan, "not run"),
        ("half", math.nan, math.nan, "not run"),
    ],
)
def test_verdict_of_an_interval_against_ten(rule: str, low: float, high: float, verdict: str):
    assert judge(rule, Estimate((low + high) / 2, low, high, 5), 10) == verdict


@given(st.tuples(*[st.floats(-30, 30)] * 2).map(sorted), st.floats(0.1, 20))
def test_every_interval_has_one_verdict_and_wider_ones_never_decide_more(interval: list[float], paper: float):
    low, high = interval
    for rule in ("size", "half"):
        verdict = judge(rule, Estimate(low, low, high, 5), paper)
        wider = judge(rule, Estimate(low, low - 1, high + 1, 5), paper)
        assert verdict in VERDICTS and wider in (verdict, "undecided")


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 9, "same direction"),
        (-9, -0.1, "other direction"),
        (-1, 9, "no direction"),
        (0, 1, "no direction"),
        (math.nan, math.nan, ""),
    ],
)
def test_direction_is_said_apart(low: float, high: float, said: str):
    assert direction(Estimate(1, low, high, 3)) == said


def test_unknown_rule_is_named():
    with pytest.raises(ValueError, match="unknown rule 'loss': give one of size, bound, half"):
        judge("loss", Estimate(1, 0, 2, 3), 1)


def test_every_verdict_has_a_mark_and_a_sentence():
    table = rules_table()
    assert list(table.index) == list(VERDICTS) and list(table.columns) == ["mark", "rule"]
    assert table.loc["larger", "rule"] == "it lies above 1.25 times the paper's figure"


def test_share_of_a_gain():
    whole = pd.Series([2.5, 0.4])  # gains 2.0 over 0.5, of which 0.2 - 0.5 is -15 %; and nothing over 0.4
    assert share_of_gain(RUN, pd.Series([0.5, 0.4]), whole).tolist() == pytest.approx([-15, math.nan], nan_ok=True)


def test_gain_of_the_best():
    assert best_gain(1.0, 3.0, 2.0, 1.5) == pytest.approx(50)  # 3 against 2
