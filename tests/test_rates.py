from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from tpccma import load_profile
from tpccma.data import Corpus, Pairs
from tpccma.methods import ABLATIONS
from tpccma.profiles import Profile
from tpccma.runs import rates as learning_rates
from tpccma.runs.choices import (
    BASE_RATE,
    GRID,
    TRIALS,
    Trial,
    chosen_rates,
    missing_trials,
    searched_methods,
    second_rates,
)
from tpccma.runs.rates import GRID_TASKS, add_trial, read_trials, search_rates, try_rate, validation_of
from tpccma.runs.records import best_rates
from tpccma.runs.tables import TRIAL, read_table
from tpccma.training.run import Run

SEARCHED = {"clip", "align-clip", "m2-mix", "clip-refine", "cs-aligner", "i0t-async", "fahim", "modgap"}
SEARCHED |= {"tpc-cma", "tpc-cma-paired"}
FOUND = {"zeroshot_top1": 0.6, "i2t_recall_at_1": 0.2, "t2i_recall_at_1": 0.4, "clustering_ari": 0.9}


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Let evaluation find `FOUND`; returns what it was asked."""
    calls: list[tuple] = []

    def evaluate(run: Run, corpus: Corpus, tasks: tuple[str, ...]) -> dict:
        calls.append((run, corpus, tasks))
        return FOUND

    monkeypatch.setattr(learning_rates, "evaluate", evaluate)
    return calls


# ---- one trial


def test_rate_is_scored_on_validation_data(tiny_profile: Profile, tmp_path: Path, evaluated: list[tuple]):
    profile = load_profile(tiny_profile, fine_tune__epochs=1)
    row = try_rate(profile, Trial("clip", 2e-5, 1, 2), tmp_path)
    notes = {name: row.pop(name) for name in ("training_code", "evaluation_code", "commit")}
    # recall (0.2 + 0.4) / 2 = 0.3; score (0.6 + 0.3 + 0.9) / 3 = 0.6
    scores = {"zeroshot_top1": 0.6, "recall_at_1": 0.3, "clustering_ari": 0.9, "score": 0.6, "diverged": 0}
    keys = {"profile": "demo", "method": "clip", "learning_rate": 2e-5, "seed": 1, "stage": 2}
    assert row == keys | scores | {"grid": "8 rates, 1e-06 to 0.03"}
    assert len(notes["training_code"]) == len(notes["evaluation_code"]) == 16
    ((run, corpus, tasks),) = evaluated
    assert corpus.test is corpus.val and len(corpus.val) == 32 and tasks == GRID_TASKS
    assert (run.method, run.alpha, run.seed) == ("clip", 0.0, 1)
    assert run.steps.learning_rate.max() == pytest.approx(2e-5)
    assert "captioning" not in GRID_TASKS


def test_base_is_scored_as_it_is(tiny_profile: Profile, tmp_path: Path, evaluated: list[tuple]):
    row = try_rate(tiny_profile, Trial("base", BASE_RATE, 2, 2), tmp_path)
    assert (row["method"], row["learning_rate"], row["seed"], row["score"]) == ("base", 0.0, 2, 0.6)
    ((run, _, _),) = evaluated
    assert (run.method, run.seed, len(run.steps)) == ("base", 2, 0)


@pytest.mark.parametrize("method, alpha", [("clip", 0.0), ("tpc-cma", 0.5)])
def test_rate_that_diverges_scores_0(
    method: str, alpha: float, tiny_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def diverge(profile: Profile, *given):
        assert (given[:3], profile.training_of(method).learning_rate) == ((method, alpha, 2), 3.0)
        raise FloatingPointError

    monkeypatch.setattr(learning_rates, "fine_tune", diverge)
    row = try_rate(tiny_profile, Trial(method, 3.0, 2, 2), tmp_path)
    assert row["score"] == row["zeroshot_top1"] == row["recall_at_1"] == row["clustering_ari"] == 0.0
    assert (row["profile"], row["method"], row["learning_rate"], row["diverged"]) == ("demo", method, 3.0, 1)


def test_weights_that_a_last_step_made_infinite_have_diverged(
    tiny_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluated: list[tuple]
):
    whole = learning_rates.fine_tune

    def spoil(*given) -> Run:
        run = whole(*given)
        next(run.encoder.model.parameters()).data[0] = torch.inf
        return run

    monkeypatch.setattr(learning_rates, "fine_tune", spoil)
    row = try_rate(load_profile(tiny_profile, fine_tune__epochs=1), Trial("clip", 1e-3, 0, 1), tmp_path)
    assert (row["score"], row["diverged"]) == (0.0, 1) and evaluated == []


def test_classes_held_back_are_not_asked_of_validation_data():
    pairs = [Pairs(torch.zeros(len(own), 3, 2, 2), [["a."]] * len(own), torch.tensor(own)) for own in ([3], [1, 3, 0])]
    corpus = Corpus(*pairs, pairs[1], ("arrow", "circle", "ring", "star"), ("a {}.",), held_back=("ring",))
    validation = validation_of(corpus)
    assert validation.test is corpus.val and validation.held_back == ()
    assert validation.classified.classes == ("arrow", "circle", "star")
    assert validation.classified.labels.tolist() == [1, 2, 0]
    whole = validation_of(replace(corpus, held_back=()))
    assert whole.classified.classes == corpus.classes and whole.classified.labels.tolist() == [1, 3, 0]


# ---- which trials there are


def trial_row(method: str, rate: float, seed: int = 0, score: float = 0.5, profile: str = "demo", diverged: int = 0):
    keys = {"profile": profile, "method": method, "learning_rate": rate, "seed": seed, "stage": 2 if seed else 1}
    return keys | {"score": score, "diverged": diverged}


def stage_1(method: str, scores: list[float]) -> pd.DataFrame:
    return pd.DataFrame([trial_row(method, rate, 0, score) for rate, score in zip(GRID, scores, strict=True)])


NOTHING = read_trials(Path("nowhere"), "demo")


def test_every_trained_method_has_the_same_grid():
    assert GRID == (1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
    assert set(searched_methods()) == SEARCHED
    trials = missing_trials(NOTHING, searched_methods(), 1)
    assert Counter(trial.method for trial in trials) == {"base": 1, **dict.fromkeys(SEARCHED, 8)}
    assert [trial.learning_rate for trial in trials if trial.method == "clip-refine"] == list(GRID)
    assert {(trial.seed, trial.stage) for trial in trials} == {(0, 1)}
    assert missing_trials(NOTHING, ("clip",), 2) == [Trial("base", 0.0, seed, 2) for seed in (1, 2)]


@pytest.mark.parametrize(
    "scores, rates",
    [
        ([0.1, 0.2, 0.3, 0.9, 0.4, 0.0, 0.0, 0.0], (1e-4, 3e-4, 1e-3)),  # the best and its neighbours
        ([0.9, 0.2, 0.3, 0.4, 0.4, 0.0, 0.0, 0.0], (1e-6, 1e-5, 1e-4)),  # at an end: the two nearest inside
        ([0.1, 0.2, 0.3, 0.4, 0.4, 0.5, 0.5, 0.6], (3e-3, 1e-2, 3e-2)),
        ([0.1, 0.5, 0.3, 0.4, 0.4, 0.5, 0.3, 0.3], (1e-6, 1e-5, 1e-4)),  # of equal ones the smallest
    ],
)
def test_second_stage_is_about_the_best_of_the_first(scores: list[float], rates: tuple[float, ...]):
    table = stage_1("clip", scores)
    assert second_rates(table) == rates
    trials = [trial for trial in missing_trials(table, ("clip",), 2) if trial.method == "clip"]
    assert trials == [Trial("clip", rate, seed, 2) for seed in (1, 2) for rate in rates]
    assert [trial for trial in missing_trials(table, ("clip",), 1) if trial.method == "clip"] == []
    assert second_rates(table[:-1]) == ()  # stage 1 is not complete


@pytest.mark.parametrize("name, why", [("realign", "it is not trained"), (ABLATIONS[0], "the rate of tpc-cma-paired")])
def test_method_without_a_rate_of_its_own_is_named(name: str, why: str):
    with pytest.raises(ValueError, match=f"{name}.*{why}"):
        searched_methods(("clip", name))


# ---- the choice


def complete(method: str, first: list[float], second: dict[float, tuple[float, float]]) -> pd.DataFrame:
    later = [trial_row(method, rate, seed, second[rate][seed - 1]) for rate in second for seed in (1, 2)]
    return pd.concat([stage_1(method, first), pd.DataFrame(later)], ignore_index=True)


def test_chosen_is_the_best_mean_of_three_seeds():
    # means: 1e-4 (0.6 + 0.9 + 0.9) / 3 = 0.8; 3e-4 (0.9 + 0.6 + 0.6) / 3 = 0.7; 1e-3 (0.3 + 0.3 + 0.3) / 3
    second = {1e-4: (0.9, 0.9), 3e-4: (0.6, 0.6), 1e-3: (0.3, 0.3)}
    clip = complete("clip", [0.1, 0.2, 0.6, 0.9, 0.3, 0.0, 0.0, 0.0], second)
    clip.loc[clip.learning_rate == 1e-2, "diverged"] = 1
    base = pd.DataFrame([trial_row("base", 0.0, seed, score) for seed, score in enumerate((0.3, 0.4, 0.5))])
    found = chosen_rates(pd.concat([clip, base]))
    assert found.to_dict("index") == {
        "clip": {
            "learning_rate": 1e-4,
            "score": pytest.approx(0.8),
            "lowest": 0.6,
            "highest": 0.9,
            "base": pytest.approx(0.4),
            "at_end": False,
            "diverged": 1,
        }
    }


@pytest.mark.parametrize("rates", [GRID[:3], GRID[-3:]])
def test_rate_at_an_end_of_the_grid_is_told(rates: tuple[float, ...]):
    first = [0.9 if rate in (GRID[0], GRID[-1]) and rate in rates else 0.1 for rate in GRID]
    table = complete("clip", first, dict.fromkeys(rates, (0.1, 0.1)))
    assert chosen_rates(table).at_end.tolist() == [True]
    table.loc[table.learning_rate == rates[1], "score"] = 0.8  # of every seed
    found = chosen_rates(table).loc["clip"]
    assert (found.at_end, found.learning_rate) == (False, rates[1])


def test_nothing_is_chosen_before_all_trials_are_there():
    table = complete("clip", [0.1] * 7 + [0.2], dict.fromkeys(GRID[-3:], (0.1, 0.1)))
    assert chosen_rates(table).index.tolist() == ["clip"]
    assert chosen_rates(table[:-1]).empty and chosen_rates(NOTHING).empty


def test_of_equal_means_the_smallest_rate_is_chosen():
    table = complete("clip", [0.1] * 8, dict.fromkeys(GRID[:3], (0.1, 0.1)))
    assert chosen_rates(table).learning_rate.tolist() == [1e-6]


# ---- the search


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Trial]:
    """Let a trial score most near 3e-4, and none train; returns those that were tried."""
    trials: list[Trial] = []

    def rate_it(profile: Profile, trial: Trial, runs_dir: Path) -> dict:
        trials.append(trial)
        return trial_row(*trial[:3], 1 - abs(trial.learning_rate - 3e-4), profile.name)

    monkeypatch.setattr(learning_rates, "try_rate", rate_it)
    return trials


def test_search_is_fourteen_trials_of_every_method(tmp_path: Path, in_threads, tried: list[Trial], capsys):
    table = search_rates(load_profile("demo"), 1, tmp_path / "runs", tmp_path / "results")
    assert Counter(table.method) == {"base": 3, **dict.fromkeys(SEARCHED, 14)} == Counter(t.method for t in tried)
    assert [trial.stage for trial in tried] == sorted(trial.stage for trial in tried)
    assert set(chosen_rates(table).learning_rate) == {3e-4}
    saved = pd.read_csv(tmp_path / "results" / TRIALS)
    keys = list(zip(saved.method, saved.learning_rate, saved.seed, strict=True))
    assert len(keys) == 143 and keys == sorted(keys)
    said = capsys.readouterr().err
    assert "profile demo: stage 1 of 2, 81 trials to do" in said and "stage 2 of 2, 62 trials to do" in said
    assert "81/81 demo modgap 0.03 seed 0 done" in said


def test_search_goes_on_where_it_was_killed(tmp_path: Path, in_threads, tried: list[Trial]):
    foreign = trial_row("clip", 1e-4, 0, 0.9, "fashion")
    for row in (trial_row("clip", 3e-4, 0, 0.97), foreign):
        add_trial(tmp_path / TRIALS, row)
    table = search_rates(load_profile("demo"), 1, tmp_path, tmp_path, ("clip",))
    assert Counter(trial.method for trial in tried) == {"clip": 13, "base": 3}
    assert Trial("clip", 3e-4, 0, 1) not in tried and set(table.profile) == {"demo"}
    assert 0.97 in table.score.tolist()
    assert Counter(pd.read_csv(tmp_path / TRIALS).profile) == {"demo": 17, "fashion": 1}
    search_rates(load_profile("demo"), 1, tmp_path, tmp_path, ["clip"])
    assert len(tried) == 16


def test_trial_is_written_before_the_next_one_ends(tmp_path: Path, in_threads, monkeypatch: pytest.MonkeyPatch):
    found: list[int] = []

    def count(profile: Profile, trial: Trial, runs_dir: Path) -> dict:
        found.append(len(read_trials(tmp_path / TRIALS, "demo")))
        return trial_row(*trial[:3])

    monkeypatch.setattr(learning_rates, "try_rate", count)
    search_rates(load_profile("demo"), 1, tmp_path, tmp_path, ("clip",))
    assert found == list(range(17))


def test_trial_that_fails_keeps_the_others_and_is_told(tmp_path: Path, in_threads, monkeypatch: pytest.MonkeyPatch):
    def fail_at_last(profile: Profile, trial: Trial, runs_dir: Path) -> dict:
        if trial.learning_rate == GRID[-1]:
            raise ValueError("broken")
        return trial_row(*trial[:3])

    monkeypatch.setattr(learning_rates, "try_rate", fail_at_last)
    with pytest.raises(ValueError, match="broken"):
        search_rates(load_profile("demo"), 1, tmp_path, tmp_path, ("clip",))
    saved = pd.read_csv(tmp_path / TRIALS)
    assert saved.learning_rate.tolist() == [0.0] * 3 + list(GRID[:-1])


def test_two_searches_write_one_table(tmp_path: Path):
    for row in (trial_row("clip", 1e-4), trial_row("modgap", 1e-4), trial_row("clip", 1e-4)):
        add_trial(tmp_path / TRIALS, row | {"commit": "12e45678", "training_code": "0000000000000007"})
    table = read_table(tmp_path / TRIALS, TRIAL)
    assert table.method.tolist() == ["clip", "modgap"]
    assert set(table.commit) == {"12e45678"} and set(table.training_code) == {"0000000000000007"}


# ---- the first round


def rated(profile: str, method: str, rate: float, score: float = 0.5) -> dict:
    return {"profile": profile, "method": method, "learning_rate": rate, "score": score}


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


def test_the_demo_holds_the_best_of_the_first_round():
    path = Path(__file__).parents[1] / "results" / "learning_rates_first_round.csv"
    profile, table = load_profile("demo"), pd.read_csv(path)
    best = best_rates(table[table.profile == "demo"])
    tried = table[table.profile == "demo"].groupby("method").learning_rate.apply(tuple).to_dict()
    three = dict.fromkeys(SEARCHED - {"tpc-cma"}, (1e-4, 3e-4, 1e-3))
    assert tried == three | {"clip-refine": (1e-6, 1e-5, 1e-4)}
    assert {method: profile.training_of(method).learning_rate for method in best} == best


@pytest.mark.parametrize(("profile", "tried_on"), [("demo-bases", "demo"), ("fashion", "fashion")])
def test_a_profile_has_the_rates_that_were_chosen(profile: str, tried_on: str):
    chosen = chosen_rates(read_trials(Path(__file__).parents[1] / "results" / TRIALS, tried_on))
    used = {name: load_profile(profile).training_of(name).learning_rate for name in chosen.index}
    assert set(used) == SEARCHED and used == chosen.learning_rate.to_dict()
