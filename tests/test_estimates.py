"""Effects paired by seed, on hand-made results."""

import math

import pandas as pd
import pytest

from tpccma.evidence.estimates import (
    Setting,
    change,
    changes,
    compare_profiles,
    continued_clip,
    in_words,
    level,
    levels,
    missing_runs,
    runs_of,
)
from tpccma.evidence.writing import mark, spread
from tpccma.methods import PAIRED
from tpccma.runs.jobs import DIAL

ARI = {"clustering_ari": "ARI"}


def rows(profile: str, method: str, alpha: float, values: list[float]) -> pd.DataFrame:
    """One row a seed, 0, 1, 2 and so on."""
    keys = {"profile": profile, "method": method, "alpha": alpha}
    return pd.DataFrame({**keys, "seed": range(len(values)), "clustering_ari": values})


@pytest.fixture
def results() -> pd.DataFrame:
    parts = [
        rows("demo", "base", 0, [0.1]),
        rows("demo", DIAL, 0, [0.2, 0.3, 0.4]),
        rows("demo", DIAL, 0.5, [0.5, 0.7, 0.6]),
        rows("demo-scale-20", DIAL, 0.5, [0.4, 0.5, 0.3]),
    ]
    return pd.concat(parts, ignore_index=True)


def test_level_is_the_mean_over_seeds(results: pd.DataFrame):
    # mean 0.3, standard deviation 0.1, t(0.975, 2 degrees) = 4.302653: 0.3 -+ 0.4302653 / sqrt(3)
    found = level(results, continued_clip("demo"), "clustering_ari")
    assert found == pytest.approx((0.3, 0.3 - 0.248414, 0.3 + 0.248414, 3), abs=1e-5)
    assert level(results, Setting("demo", "fahim"), "clustering_ari").n == 0
    assert level(results, continued_clip("demo"), "cider").n == 0


def test_change_is_paired_by_seed_whatever_the_order(results: pd.DataFrame):
    whole = Setting("demo", DIAL, 0.5)
    # 0.3, 0.4, 0.2: mean 0.3 and standard deviation 0.1 again
    found = change(results.iloc[::-1], whole, continued_clip("demo"), "clustering_ari")
    assert found == pytest.approx((0.3, 0.3 - 0.248414, 0.3 + 0.248414, 3), abs=1e-5)


def test_a_seed_that_one_side_lacks_is_left_out(results: pd.DataFrame):
    less = results.drop(results.index[(results.alpha == 0) & (results.seed == 1)])
    found = change(less, Setting("demo", DIAL, 0.5), continued_clip("demo"), "clustering_ari")
    assert (found.ours, found.n) == (pytest.approx((0.3 + 0.2) / 2), 2)
    assert math.isnan(found.low)


def test_a_single_base_stands_for_every_seed(results: pd.DataFrame):
    found = change(results, Setting("demo", DIAL, 0.5), Setting("demo", "base"), "clustering_ari")
    assert (found.ours, found.n) == (pytest.approx(0.5), 3)  # 0.4, 0.6, 0.5


def test_nothing_is_made_of_settings_that_were_not_run(results: pd.DataFrame):
    assert runs_of(results, Setting("fashion", "base")).empty
    whole = Setting("demo", DIAL, 0.5)
    for setting, reference in ((whole, Setting("demo", "fahim")), (Setting("demo", "fahim"), whole)):
        assert change(results, setting, reference, "clustering_ari").n == 0


def test_tidy_tables_and_their_layout(results: pd.DataFrame):
    whole, plain = Setting("demo", DIAL, 0.5), continued_clip("demo")
    table = changes(results, {"whole": (whole, plain), "none": (plain, plain)}, ARI)
    assert table[["model", "profile", "measure", "n"]].values.tolist() == [
        ["whole", "demo", "clustering_ari", 3],
        ["none", "demo", "clustering_ari", 3],
    ]
    assert spread(table, mark, ARI).ARI.to_dict() == {"whole": "+0.300*", "none": "0.000"}
    assert spread(levels(results, {"plain": plain}, ARI)).iloc[0, 0] == "0.300 [0.052, 0.548]"
    assert spread(levels(rows("demo", DIAL, 0, [0.3] * 3), {"plain": plain}, ARI)).iloc[0, 0] == "0.300"
    assert spread(table, labels=ARI, sign=True).ARI["none"] == "0.000 [0.000, 0.000]"


def test_two_profiles_side_by_side(results: pd.DataFrame):
    profiles = {"at 100": "demo", "at 20": "demo-scale-20"}
    shown = compare_profiles(results, profiles, {"alpha 0.5": (DIAL, 0.5), "base": ("base", 0.0)}, ARI)
    assert shown.loc[("alpha 0.5", "ARI"), "at 20"].startswith("0.400 [")
    # -0.1, -0.2, -0.3: -0.2 -+ 0.248
    assert shown.loc[("alpha 0.5", "ARI"), "difference"] == "-0.200 [-0.448, +0.048]"
    assert shown.loc[("base", "ARI")].tolist() == ["0.100", "–", "–"]


def test_missing_runs_are_named(results: pd.DataFrame):
    results = results.replace({DIAL: PAIRED})
    said = missing_runs(results, [Setting("demo", "base"), Setting("demo", PAIRED, 0.5), Setting("fashion", "base")])
    lacking = f"demo base 0 (1 of 5), demo {PAIRED} 0.5 (3 of 5), photographs base 0 (0 of 5)"
    assert said == f"Of 3 settings, 3 lack seeds: {lacking}."
    complete = pd.concat([results, rows("demo", "fahim", 0, [0.1] * 5)])
    assert missing_runs(complete, [Setting("demo", "fahim")]) == "1 settings, 5 runs: every seed is there."


def test_tables_are_put_in_words_and_keep_what_has_none():
    table = pd.DataFrame({"raw_gap": [0.5, 0.2], "in use": [True, False]}, index=["cider", "clip"])
    said = in_words(table)
    assert said.columns.tolist() == ["raw gap", "in use"] and said.index.tolist() == ["CIDEr raw-fed", "clip"]
    assert said["in use"].tolist() == ["yes", "no"] and said["raw gap"].tolist() == [0.5, 0.2]
    assert table.columns.tolist() == ["raw_gap", "in use"]


def test_tables_with_a_row_twice_are_put_in_words():
    assert in_words(pd.DataFrame({"chosen": [True, False]}, index=["clip", "clip"])).chosen.tolist() == ["yes", "no"]
