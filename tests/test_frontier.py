"""Methods against the dial on hand-made results: the curve, the front, and the learning rates they were given."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.results_by_hand import rows, table_of
from tpccma.evidence.frontier import (
    against_curve,
    front_table,
    pareto_front,
    part_outside,
    rate_choices,
    standing_table,
)
from tpccma.profiles import load_profile
from tpccma.runs.choices import GRID, SEEDS
from tpccma.runs.jobs import DIAL, ONE_BASE, SCENES


@pytest.fixture
def curve() -> pd.DataFrame:
    """A curve from (0.8, 0.4) over (0.6, 0.5) to (0.2, 0.9) in each of three seeds."""
    return table_of(
        rows(DIAL, 0.0, raw_gap=0.8, clustering_ari=0.4),
        rows(DIAL, 0.05, raw_gap=0.6, clustering_ari=0.5),
        rows(DIAL, 1.0, raw_gap=0.2, clustering_ari=0.9),
    )


@pytest.mark.parametrize(
    ("gaps", "scores", "ours", "standing"),
    [
        # at a gap of 0.4 the curve is halfway from 0.5 to 0.9, at 0.7 halfway from 0.4 to 0.5
        ([0.4, 0.4, 0.7], [0.8, 0.8, 0.55], 0.1, "above"),
        ([0.4, 0.4, 0.7], [0.6, 0.6, 0.35], -0.1, "below"),
        ([0.4, 0.4, 0.7], [0.6, 0.8, 0.45], 0.0, "not told apart"),
        ([0.2, 0.6, 0.8], [1.0, 0.6, 0.5], 0.1, "above"),  # the curve's own points are covered
        ([0.4, 0.4, 0.81], [0.8, 0.8, 0.5], None, "outside: wider 1/3"),
        ([0.1, 0.4, 0.81], [0.8, 0.8, 0.5], None, "outside: wider 1/3, narrower 1/3"),
        ([0.4, 0.4, 0.7], [0.8, 0.8, None], 0.1, "2 of 3 seeds"),
    ],
)
def test_standing_against_the_curve(curve: pd.DataFrame, gaps: list, scores: list, ours: float | None, standing: str):
    runs = pd.concat([curve, table_of(rows("modgap", raw_gap=gaps, clustering_ari=scores))])
    (found,) = against_curve(runs, ["clustering_ari", "not recorded"]).itertuples()
    assert found.standing == standing
    assert np.isnan(found.ours) if ours is None else found.ours == pytest.approx(ours)


def test_a_method_is_set_against_the_curve_of_its_own_seed(curve: pd.DataFrame):
    curve.loc[curve.seed == 1, "clustering_ari"] += 0.3
    baseline = rows("modgap", seeds=(0, 1, 2, 7), raw_gap=0.8, clustering_ari=[0.5, 0.8, 0.5, 0.9])  # no curve for 7
    (found,) = against_curve(pd.concat([curve, table_of(baseline)]), ["clustering_ari"]).itertuples()
    assert (found.ours, found.low, found.n) == pytest.approx((0.1, 0.1, 3))


def test_standing_table_marks_above_and_below(curve: pd.DataFrame):
    high = rows("modgap", raw_gap=0.4, clustering_ari=0.8)
    wide = rows("fahim", raw_gap=0.9, clustering_ari=0.8)
    shown = standing_table(pd.concat([curve, table_of(high, wide)]), ["clustering_ari"], digits=1)
    assert shown.loc["modgap"].tolist() == ["0.4 ± 0.0", "▲ +0.1 ± 0.0"]
    assert shown.loc["fahim"].tolist() == ["0.9 ± 0.0", "outside: wider 3/3"]


def test_what_is_outside_at_every_task_is_parted_and_named(curve: pd.DataFrame):
    high = rows("modgap", raw_gap=0.4, clustering_ari=0.8)
    wide = [rows(name, raw_gap=0.9, clustering_ari=0.8) for name in ("fahim", "clip")]
    shown, said = part_outside(standing_table(pd.concat([curve, table_of(high, *wide)]), ["clustering_ari"]))
    assert (list(shown.index), said) == (["modgap"], "wider in 3 of 3 seeds: fahim, clip")
    assert part_outside(shown)[1] == "none"


def test_pareto_front():
    gaps = pd.Series([0.2, 0.3, 0.4, 0.4, 0.3, 0.1], list("abcdef"))
    scores = pd.Series([0.5, 0.7, 0.6, 0.7, 0.7, np.nan], list("abcdef"))
    # c and d lose to b; e ties with b, so both stay; f has no score
    assert pareto_front(gaps, scores).tolist() == [True, True, False, False, True, False]


def test_front_table_counts_the_seeds_that_agree():
    runs = table_of(
        rows(DIAL, 0.5, raw_gap=0.2, cider=[1.0, 1.0, 4.0]),
        rows("modgap", raw_gap=0.3, cider=[3.0, 3.0, 3.0]),
        rows("fahim", raw_gap=0.4, cider=[1.0, 1.0, 1.0]),
    )
    table = front_table(runs, ["cider"])
    assert table.cider.to_dict() == {"alpha 0.5": "3 of 3 seeds", "modgap": "2 of 3 seeds"}


def test_learning_rates_say_what_was_chosen(tmp_path: Path):
    used = load_profile(SCENES).training_of("clip").learning_rate
    best = {"clip": used, "modgap": GRID[-1]}  # of all seeds; of modgap at an end of the grid
    keys = {"profile": ONE_BASE, "diverged": 0}
    trials = [
        keys | {"method": method, "learning_rate": rate, "seed": seed, "score": 0.5 + 0.1 * (rate == top)}
        for method, top in best.items()
        for seed in SEEDS
        for rate in GRID
    ]
    base = keys | {"method": "base", "learning_rate": 0.0, "seed": 0, "score": 0.4}
    path = tmp_path / "learning_rates.csv"
    pd.DataFrame([*trials, base, {**base, "profile": "fashion"}]).to_csv(path, index=False)
    found = rate_choices(path, SCENES)
    assert found.index.tolist() == ["clip", "modgap"]
    assert found.learning_rate.tolist() == [used, GRID[-1]]
    assert found.base.tolist() == [0.4, 0.4] and found.at_end.tolist() == [False, True]
    assert found["in use"].tolist() == [True, False]
    assert rate_choices(path, "fashion").empty
