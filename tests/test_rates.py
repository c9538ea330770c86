from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from tpccma import load_profile
from tpccma.data import Corpus
from tpccma.methods import ABLATIONS, METHODS
from tpccma.profiles import Profile
from tpccma.runs import rates as learning_rates
from tpccma.runs.rates import GRID_TASKS, search_rates, try_rate
from tpccma.runs.records import best_rates


def test_rate_is_scored_on_validation_data(tiny_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[tuple] = []
    found = {"zeroshot_top1": 0.6, "i2t_recall_at_1": 0.2, "t2i_recall_at_1": 0.4, "clustering_ari": 0.9}

    def evaluate(run, corpus: Corpus, tasks: tuple[str, ...]) -> dict:
        calls.append((run, corpus, tasks))
        return found

    monkeypatch.setattr(learning_rates, "evaluate", evaluate)
    profile = load_profile(tiny_profile, fine_tune__epochs=1)
    row = try_rate(profile, "clip", 2e-5, tmp_path)
    # recall (0.2 + 0.4) / 2 = 0.3; score (0.6 + 0.3 + 0.9) / 3 = 0.6
    assert row == {
        "profile": "demo",
        "method": "clip",
        "learning_rate": 2e-5,
        "zeroshot_top1": 0.6,
        "recall_at_1": 0.3,
        "clustering_ari": 0.9,
        "score": 0.6,
    }
    ((run, corpus, tasks),) = calls
    assert corpus.test is corpus.val and len(corpus.val) == 32 and tasks == GRID_TASKS
    assert (run.method, run.alpha, run.seed) == ("clip", 0.0, 0)
    assert run.steps.learning_rate.max() == pytest.approx(2e-5)
    assert "captioning" not in GRID_TASKS


@pytest.mark.parametrize("method, alpha", [("clip", 0.0), ("tpc-cma", 0.5)])
def test_rate_that_diverges_scores_0(
    method: str, alpha: float, tiny_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def diverge(profile: Profile, *given):
        assert (given[:3], profile.training_of(method).learning_rate) == ((method, alpha, 0), 3.0)
        raise FloatingPointError

    monkeypatch.setattr(learning_rates, "fine_tune", diverge)
    row = try_rate(tiny_profile, method, 3.0, tmp_path)
    assert row["score"] == row["zeroshot_top1"] == row["recall_at_1"] == row["clustering_ari"] == 0.0
    assert (row["profile"], row["method"], row["learning_rate"]) == ("demo", method, 3.0)


def rated(profile: str, method: str, rate: float, score: float = 0.5) -> dict:
    return {"profile": profile, "method": method, "learning_rate": rate, "score": score}


def test_grid_tries_every_trained_method_at_equally_many_rates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_threads
):
    monkeypatch.setattr(
        learning_rates, "try_rate", lambda profile, method, rate, runs: rated(profile.name, method, rate)
    )
    results = tmp_path / "results"
    table = search_rates(load_profile("demo"), 1, tmp_path / "runs", results)
    trained = {"clip", "align-clip", "m2-mix", "clip-refine", "cs-aligner", "i0t-async", "fahim", "modgap"}
    trained |= {"tpc-cma", "tpc-cma-paired"}
    assert Counter(table.method) == dict.fromkeys(trained, 3)
    saved = pd.read_csv(results / "learning_rates.csv")
    keys = list(zip(saved.method, saved.learning_rate, strict=True))
    assert len(keys) == 30 and keys == sorted(keys)


def test_grid_skips_what_is_known_and_keeps_other_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_threads):
    tried: list[tuple] = []

    def rate_it(profile: Profile, method: str, rate: float, runs_dir: Path) -> dict:
        tried.append((method, rate))
        return rated(profile.name, method, rate)

    monkeypatch.setattr(learning_rates, "try_rate", rate_it)
    monkeypatch.setattr(learning_rates, "METHODS", {name: METHODS[name] for name in ("clip", "realign", ABLATIONS[0])})
    path = tmp_path / "learning_rates.csv"
    known, foreign = rated("demo", "clip", 3e-4, 0.7), rated("fashion", "clip", 1e-4, 0.9)
    pd.DataFrame([known, foreign]).to_csv(path, index=False)
    table = search_rates(load_profile("demo"), 1, tmp_path, tmp_path)
    assert sorted(tried) == [("clip", 1e-4), ("clip", 1e-3)]
    assert sorted(table.learning_rate) == [1e-4, 3e-4, 1e-3] and set(table.profile) == {"demo"}
    assert table.score.max() == 0.7
    assert pd.read_csv(path).profile.tolist() == ["demo"] * 3 + ["fashion"]
    search_rates(load_profile("demo"), 1, tmp_path, tmp_path)
    assert len(tried) == 2


def test_grid_ends_with_a_rate_that_fails_and_keeps_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_threads
):
    def fail_at_last(profile: Profile, method: str, rate: float, runs_dir: Path) -> dict:
        if rate == 1e-3:
            raise ValueError("broken")
        return rated(profile.name, method, rate)

    monkeypatch.setattr(learning_rates, "try_rate", fail_at_last)
    monkeypatch.setattr(learning_rates, "METHODS", {"clip": METHODS["clip"]})
    with pytest.raises(ValueError, match="broken"):
        search_rates(load_profile("demo"), 1, tmp_path, tmp_path)
    assert pd.read_csv(tmp_path / "learning_rates.csv").learning_rate.tolist() == [1e-4, 3e-4]


def test_best_rate_is_that_of_the_largest_score_of_equal_ones_the_smallest():
    table = pd.DataFrame(
        [
            rated("demo", "modgap", 1e-3, 0.7),
            rated("demo", "modgap", 1e-4, 0.7),
            rated("demo", "modgap", 3e-4, 0.6),
            rated("demo", "clip", 1e-4, 0.1),
            rated("demo", "clip", 1e-3, 0.2),
        ]
    )
    assert best_rates(table) == {"clip": 1e-3, "modgap": 1e-4}
    assert list(best_rates(table)) == ["clip", "modgap"]


@pytest.mark.parametrize("name", ["demo", "fashion"])
def test_profiles_hold_the_best_of_the_recorded_rates(name: str):
    path = Path(__file__).parents[1] / "results" / "learning_rates.csv"
    profile, table = load_profile(name), pd.read_csv(path)
    best = best_rates(table[table.profile == name])
    tried = table[table.profile == name].groupby("method").learning_rate.apply(set).to_dict()
    grid = {method: set(how.rates) for method, how in METHODS.items() if how.trained and not how.like}
    assert tried == {method: rates for method, rates in grid.items() if method != "tpc-cma"}  # not been swept yet
    assert {method: profile.training_of(method).learning_rate for method in best} == best
