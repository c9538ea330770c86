"""Methods side by side on hand-made results: what is paired, the curve of the dial, the front, and every rule."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tpccma.evidence.claims import BASE, CONTINUED
from tpccma.evidence.frontier import (
    PAPER_GAIN,
    against_curve,
    bound_shares,
    changes,
    class_changes,
    compared_runs,
    feed_changes,
    feed_verdicts,
    front_table,
    intervals,
    list_verdicts,
    missing_seeds,
    pareto_front,
    price_of_alignment,
    rate_grid,
    runs_by_profile,
    spread,
    standing_table,
    write_interval,
)
from tpccma.evidence.verdicts import Estimate, gain
from tpccma.profiles import load_profile
from tpccma.runs.jobs import SEEDS, planned_jobs

HALF = 2.484138  # of the interval of 1, 2, 3: standard deviation 1, t(0.975, 2 degrees) = 4.302653, over sqrt(3)


def rows(method: str, alpha: float = 0.0, seeds: tuple = (0, 1, 2), profile: str = "demo", **columns) -> list[dict]:
    """One row a seed; a column given as a list has one value a seed."""
    model = f"alpha {alpha:g}" if method == "tpc-cma" else method
    keys = {"profile": profile, "method": method, "alpha": alpha, "model": model}
    return [
        {
            **keys,
            "seed": seed,
            **{name: value[i] if isinstance(value, list) else value for name, value in columns.items()},
        }
        for i, seed in enumerate(seeds)
    ]


def table_of(*parts: list[dict]) -> pd.DataFrame:
    return pd.DataFrame([row for part in parts for row in part])


def one(table: pd.DataFrame, **keys) -> pd.Series:
    (found,) = table[np.logical_and.reduce([table[name] == value for name, value in keys.items()])].itertuples()
    return found


def test_compared_runs_are_ordered_and_leave_out_ablations_and_the_twin():
    results = table_of(
        rows("modgap"),
        rows("tpc-cma", 0.5),
        rows("tpc-cma-no-geometry", 0.5),
        rows("i0t-post"),
        rows("tpc-cma", 0.05, i2t_recall_at_1=0.6, t2i_recall_at_1=0.2),
        rows("clip"),
        rows("base"),
        rows("clip", profile="fashion"),
    )
    runs = compared_runs(results, "demo")
    assert list(runs.model.unique()) == ["base", "alpha 0.05", "alpha 0.5", "clip", "modgap"]
    assert runs[runs.model == "alpha 0.05"].recall_at_1.tolist() == pytest.approx([0.4] * 3)
    assert runs[runs.model == "base"].recall_at_1.isna().all()
    assert list(runs_by_profile(results)) == ["demo", "fashion"]
    assert list(runs_by_profile(results[results.profile == "demo"])) == ["demo"]


def test_missing_seeds_are_named():
    jobs = [job for job in planned_jobs("demo") if not job.method.startswith("tpc-cma-")]
    results = table_of(*(rows(job.method, job.alpha, (job.seed,)) for job in jobs))
    assert missing_seeds(results, "demo").endswith("settings, every seed recorded.")
    cut = results[~((results.alpha == 0.3) & (results.seed > 1)) & (results.method != "fahim")]
    assert missing_seeds(cut, "demo").endswith(
        f"2 lack seeds: alpha 0.3 (2 of {len(SEEDS)}), fahim (0 of {len(SEEDS)})."
    )


def test_intervals_over_seeds():
    runs = table_of(rows("clip", cider=[1.0, 2.0, 3.0]), rows("modgap", seeds=(0, 1), cider=[1.0, 3.0]))
    clip, modgap = intervals(runs, ["cider", "not recorded"]).itertuples(index=False)
    assert clip == pytest.approx(("clip", "cider", 2, 2 - HALF, 2 + HALF, 3))
    assert modgap.ours == 2 and np.isnan(modgap.low) and modgap.n == 2


def test_changes_are_paired_by_seed_and_leave_out_the_reference():
    runs = table_of(
        rows("base", seeds=(0,), cider=1.0),  # the only base stands for every seed
        rows("tpc-cma", 0.0, cider=[1.0, 2.0, 3.0]),
        rows("tpc-cma", 0.5, seeds=(2, 1, 0), cider=[6.0, 4.0, 2.0]),  # in another order: twice its reference each
    )
    found = changes(runs, ["cider", "not recorded"], CONTINUED, gain)
    assert list(found.model) == ["base", "alpha 0.5"]
    assert found.iloc[1, 2:].tolist() == pytest.approx([100, 100, 100, 3])
    found = changes(runs, ["cider"], BASE)
    assert list(found.model) == ["alpha 0", "alpha 0.5"]
    assert one(found, model="alpha 0.5").ours == pytest.approx(3.0)  # (5 + 3 + 1) / 3


@pytest.fixture
def curve() -> pd.DataFrame:
    """A curve from (0.8, 0.4) over (0.6, 0.5) to (0.2, 0.9) in each of three seeds."""
    return table_of(
        rows("tpc-cma", 0.0, raw_gap=0.8, clustering_ari=0.4),
        rows("tpc-cma", 0.05, raw_gap=0.6, clustering_ari=0.5),
        rows("tpc-cma", 1.0, raw_gap=0.2, clustering_ari=0.9),
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


def test_pareto_front():
    gaps = pd.Series([0.2, 0.3, 0.4, 0.4, 0.3, 0.1], list("abcdef"))
    scores = pd.Series([0.5, 0.7, 0.6, 0.7, 0.7, np.nan], list("abcdef"))
    # c and d lose to b; e ties with b, so both stay; f has no score
    assert pareto_front(gaps, scores).tolist() == [True, True, False, False, True, False]


def test_front_table_counts_the_seeds_that_agree():
    runs = table_of(
        rows("tpc-cma", 0.5, raw_gap=0.2, cider=[1.0, 1.0, 4.0]),
        rows("modgap", raw_gap=0.3, cider=[3.0, 3.0, 3.0]),
        rows("fahim", raw_gap=0.4, cider=[1.0, 1.0, 1.0]),
    )
    table = front_table(runs, ["cider"])
    assert table.cider.to_dict() == {"alpha 0.5": "3 of 3 seeds", "modgap": "2 of 3 seeds"}


def test_c5_is_judged_for_each_feed_and_reference():
    runs = table_of(
        rows("base", seeds=(0,), cider=1.0, cider_centred=2.0, cider_memory=3.0),
        rows("tpc-cma", 0.0, cider=2.0, cider_centred=2.0, cider_memory=3.0),
        rows("tpc-cma", 0.5, cider=2.0, cider_centred=[2.1, 2.2, 2.3], cider_memory=[2.6, 2.7, 2.8]),
    )
    assert PAPER_GAIN == 57.1
    found = feed_verdicts(feed_changes(runs))
    assert found["against base, %"].tolist() == ["+100.0 ± 0.0", "+10.0 ± 12.4", "-10.0 ± 8.3"]
    assert found["verdict, base"].tolist() == ["reproduced", "not reproduced", "contradicted"]
    assert found.loc["raw-fed", "verdict, continued CLIP"] == "not reproduced"  # 2 to 2
    assert (feed_verdicts(feed_changes(runs[runs.alpha == 0])) == "–").all(axis=None)


def test_shares_of_the_bound_are_of_the_same_run():
    runs = table_of(rows("clip", cider=[1.0, 2.0, 3.0], cider_memory=4.0, cider_text=[2.0, 4.0, 6.0]))
    found = bound_shares(runs)
    assert found.measure.tolist() == ["raw-fed", "memory"]
    assert found.ours.tolist() == pytest.approx([50, 100 * (2 + 1 + 2 / 3) / 3])


@pytest.mark.parametrize(
    ("images", "texts", "collapse"),
    [
        ([85.0, 85.1, 84.9], 100.0, "found"),
        (100.0, [85.0, 85.1, 84.9], "found"),
        ([91.0, 91.1, 90.9], 100.0, "not found"),  # a loss, but less than 10 %
        ([70.0, 80.0, 105.0], 100.0, "not found"),  # -15 % on average, but not in every seed
        ([85.0, None, 84.9], 100.0, "not run"),
    ],
)
def test_rule_for_collapse(images, texts, collapse: str):
    runs = table_of(
        rows("tpc-cma", 0.0, effective_rank_image=100.0, effective_rank_text=100.0),
        rows("tpc-cma", 1.0, effective_rank_image=images, effective_rank_text=texts),
        rows("modgap", effective_rank_image=1.0, effective_rank_text=1.0),
    )
    assert price_of_alignment(runs).collapse.to_dict() == {"alpha 1": collapse}


@pytest.mark.parametrize(
    ("accuracy", "cost"),
    [([0.79, 0.80, 0.79], "not found"), ([0.79, 0.79, 0.79], "found"), ([0.81, 0.81, 0.81], "not found")],
)
def test_rule_for_accuracy_cost(accuracy: list[float], cost: str):
    runs = table_of(rows("tpc-cma", 0.0, zeroshot_top1=0.8), rows("tpc-cma", 0.3, zeroshot_top1=accuracy))
    found = price_of_alignment(runs)
    assert found["accuracy cost"].to_dict() == {"alpha 0.3": cost}
    assert found.collapse.item() == "not run"  # no rank was recorded


def test_classes_are_ordered_by_loss_and_unknown_ones_left_out():
    columns = {"zeroshot_top1": 0.5, "zeroshot_top1_socks": None}
    runs = table_of(
        rows("tpc-cma", 0.0, zeroshot_top1_ring=0.9, zeroshot_top1_moon=0.9, **columns),
        rows("tpc-cma", 0.5, zeroshot_top1_ring=0.95, zeroshot_top1_moon=0.7, **columns),
        rows("tpc-cma", 1.0, zeroshot_top1_ring=0.90, zeroshot_top1_moon=0.6, **columns),
    )
    found = class_changes(runs)
    assert list(zip(found.measure, found.model, strict=True)) == [
        ("moon", "alpha 0.5"),
        ("moon", "alpha 1"),
        ("ring", "alpha 0.5"),
        ("ring", "alpha 1"),
    ]
    assert found.ours.tolist() == pytest.approx([-20, -30, 5, 0])


def test_what_a_reader_sees():
    assert write_interval(Estimate(0.5, 0.45, 0.55, 5)) == "0.50 ± 0.05"
    assert write_interval(Estimate(3.0, n=2), 1, sign=True) == "+3.0"
    assert write_interval(Estimate()) == "–"
    runs = table_of(rows("clip", cider=1.0), rows("base", cider=2.0, bleu4=0.5))
    shown = spread(intervals(runs, ["cider", "bleu4"]), 1)
    assert shown.index.tolist() == ["clip", "base"]
    assert shown.loc["clip"].tolist() == ["1.0 ± 0.0", "–"]
    verdicts = pd.Series({"base": "found", "alpha 0.5": "found", "alpha 1": "found", "clip": "outside: wider 1/3"})
    assert list_verdicts(verdicts) == "found: base, alpha 0.5, 1; outside: clip"
    assert list_verdicts(verdicts[:0]) == "no runs"


def test_learning_rates_say_what_was_chosen(tmp_path: Path):
    path = tmp_path / "learning_rates.csv"
    assert rate_grid(path, "demo").empty
    used = load_profile("demo").training_of("clip").learning_rate
    measures = {"zeroshot_top1": 0.9, "recall_at_1": 0.4, "clustering_ari": 0.5}
    grid = [("clip", used / 2, 0.3), ("clip", used, 0.2), ("clip", used * 2, 0.1), ("modgap", 1e-9, 0.1)]
    keys = ("profile", "method", "learning_rate", "score")
    recorded = [{**dict(zip(keys, ("demo", *row), strict=True)), **measures} for row in grid]
    pd.DataFrame(recorded).to_csv(path, index=False)
    found = rate_grid(path, "demo")
    assert found.index.tolist() == ["clip", "clip", "clip", "modgap"]
    assert found.chosen.tolist() == [True, False, False, True]
    assert found["in use"].tolist() == [False, True, False, False]
    assert found["end of the grid"].tolist() == [True, False, True, True]
    assert rate_grid(path, "fashion").empty
