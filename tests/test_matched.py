"""Tasks at the same fall of the gap, on curves small enough to read off by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from tests.results_by_hand import rows
from tpccma.evidence.matched import first_crossing, match_worlds, matched_runs, matched_table
from tpccma.runs.jobs import DIAL, SCENES


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (0, 1.0),  # reached at once
        (30, 1.5),  # half way from 10 to 50
        (50, 2.0),
        (60, 4.0),  # on the first rise that gets there, from 40 to 80, whatever comes after
        (90, math.nan),
    ],
)
def test_score_at_the_first_crossing(wanted: float, expected: float):
    falls, scores = np.array([10.0, 50, 40, 80, 20]), np.array([1.0, 2, 3, 5, 9])
    assert first_crossing(falls, scores, wanted) == pytest.approx(expected, nan_ok=True)


@pytest.fixture
def runs() -> pd.DataFrame:
    """Raw gap 1 of every base; of seed 2 it stays above 0.4, of the others it falls to 0.2, 0.3 and 0.1."""
    return pd.DataFrame(
        [
            *rows("base", 0, [0, 1, 2, 3], raw_gap=1.0, clustering_ari=0.2, zeroshot_top1=0.8, cider=1.0),
            *rows(DIAL, 0, [0, 1, 2, 3], raw_gap=1.0, clustering_ari=0.2, zeroshot_top1=0.8, cider=1.0),
            *rows(
                DIAL,
                0.5,
                [0, 1, 2, 3],
                raw_gap=[0.2, 0.4, 0.5, 0.2],
                clustering_ari=[0.6, 0.8, 0.9, 0.4],
                zeroshot_top1=0.9,
                cider=2.0,
            ),
        ]
    )


def test_each_seed_is_read_off_its_own_curve(runs: pd.DataFrame):
    found = matched_runs(runs, 60)
    # a fall of 60 % is 3 / 4, all and 3 / 4 of the way, and beyond seed 2's
    assert found.alpha.tolist() == pytest.approx([0.375, 0.5, math.nan, 0.375], nan_ok=True)
    assert found.clustering_ari.tolist() == pytest.approx([0.5, 0.8, math.nan, 0.35], nan_ok=True)
    assert "cider_memory" not in found


def test_worlds_and_dials_that_get_nowhere_are_named(runs: pd.DataFrame):
    shown, missed = match_worlds(runs.assign(profile=SCENES))  # a fall of 66.6 % is reached, one of 82.3 % is not
    assert shown.loc[["method", "gap falls by"]].to_numpy().ravel().tolist() == [DIAL, "66.6 %"]
    assert missed == f"{DIAL} on the scenes (82.3 %)"


def test_table_says_how_many_seeds_reach_the_fall(runs: pd.DataFrame):
    shown = matched_table(runs, falls=(60, 80, 90))
    assert shown["reached"].tolist() == ["by 3 of 4 seeds", "by 2 of 4 seeds", "not reached (4 seeds)"]
    assert shown["alpha"].tolist() == ["0.417", "0.500", "–"]  # (0.375 + 0.5 + 0.375) / 3
    # 0.3, 0.6 and 0.15 more than the base's: mean 0.35, standard deviation 0.2291, times 4.302653 / sqrt(3)
    assert shown.loc["60 %", "joint clustering ARI"] == "+0.350 [-0.219, +0.919]"
    assert shown.loc["80 %", "joint clustering ARI"] == "+0.300"  # two seeds, no interval
    assert shown.loc["90 %"].tolist()[2:] == ["–"] * 4
    assert matched_table(runs.iloc[:0])["reached"].tolist() == ["not reached (0 seeds)"] * 2
