"""How estimates and tables of them are written."""

import math

import numpy as np
import pandas as pd
import pytest

from tpccma.evidence.verdicts import Estimate
from tpccma.evidence.writing import (
    excludes_zero,
    mark,
    spread,
    tidy,
    write,
    write_effect,
    write_half,
    write_paper,
)


@pytest.mark.parametrize(
    ("found", "digits", "sign", "text"),
    [
        (Estimate(0.51649, 0.5, 0.53, 5), 3, False, "0.516 [0.500, 0.530]"),
        (Estimate(0.5, n=2), 1, True, "+0.5"),
        (Estimate(-0.5, -1, 0, 3), 1, True, "-0.5 [-1.0, 0.0]"),
        (Estimate(), 3, False, "–"),
    ],
)
def test_estimates_are_written_with_the_interval_they_have(found: Estimate, digits: int, sign: bool, text: str):
    assert write(found, digits, sign) == text


def test_unit_is_put_behind():
    assert write(Estimate(0.5, 0.4, 0.6, 3), 1, unit="%") == "0.5 [0.4, 0.6] %"
    assert write(Estimate(), unit="%") == "–"


def test_half_an_interval():
    assert write_half(Estimate(0.5, 0.45, 0.55, 5)) == "0.50 ± 0.05"
    assert write_half(Estimate(3.0, n=2), 1, sign=True) == "+3.0"
    assert write_half(Estimate()) == "–"


@pytest.mark.parametrize(
    ("low", "high", "excluded"), [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False), (math.nan, math.nan, False)]
)
def test_exclusion_of_zero(low: float, high: float, excluded: bool):
    assert excludes_zero(Estimate(0.15, low, high, 3)) is excluded
    assert mark(Estimate(0.15, low, high, 3)) == ("+0.150*" if excluded else "+0.150")


def test_a_star_never_stands_beside_zero():
    assert mark(Estimate(-0.00023, -0.0003, -0.0001, 3)) == "-0.0002*"
    assert mark(Estimate(0.0000423, 0.00004, 0.00005, 3)) == "+0.00004*"
    assert mark(Estimate(-0.00023, -0.0003, 0.0001, 3)) == "0.000"


@pytest.mark.parametrize(
    ("unit", "effect", "paper"),
    [
        ("%", "0.5 [0.2, 0.8] %", "62.3 %"),
        ("points", "0.5 [0.2, 0.8] points", "62.3 points"),
        ("ARI", "0.512 [0.249, 0.775] ARI", "62.264 ARI"),
        ("R²", "0.512 [0.249, 0.775] R²", "62.264 R²"),
    ],
)
def test_claims_are_written_by_their_unit(unit: str, effect: str, paper: str):
    row = pd.Series({"ours": 0.5124, "low": 0.249, "high": 0.7751, "paper": 62.2642, "unit": unit})
    assert (write_effect(row), write_paper(row)) == (effect, paper)
    assert write_paper(row.replace(62.2642, math.nan)) == "stated"


def test_a_table_is_laid_out_in_its_own_order():
    found = Estimate(1.0, 0.5, 1.5, 3)
    table = tidy([("b", "z", found), ("b", "y", Estimate()), ("a", "z", Estimate(2.0))])
    shown = spread(table, write_half, {"y": "why"}, digits=1)
    assert shown.columns.tolist() == ["z", "why"]
    assert shown.index.tolist() == ["b", "a"]
    assert shown.values.tolist() == [["1.0 ± 0.5", "–"], ["2.0", "–"]]
    assert (shown.index.name, shown.columns.name) == (None, None)


def test_a_bound_beside_zero_is_seen_on_its_side():
    assert write(Estimate(-0.21, -0.42, -0.004, 5), 2, sign=True) == "-0.210 [-0.420, -0.004]"
    assert write(Estimate(-0.21, -0.42, 0.004, 5), 2, sign=True) == "-0.210 [-0.420, +0.004]"
    assert write(Estimate(-0.21, -0.42, 0.0, 5), 2, sign=True) == "-0.21 [-0.42, 0.00]"
    assert write(Estimate(-0.001, -0.4, 0.4, 5), 2) == "0.00 [-0.40, 0.40]"  # a zero has no minus
    assert write(Estimate(*np.array([1.0, -0.4, 0.004])), 2, sign=True) == "+1.000 [-0.400, +0.004]"
