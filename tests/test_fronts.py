"""Fronts without retraining, measured and recorded."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

import tpccma.runs.dial
import tpccma.runs.fronts
import tpccma.tasks.captioning
from tpccma import base_run, fine_tune, interpolate, load_profile
from tpccma.cli import app
from tpccma.data import Corpus
from tpccma.evidence.budget import choose, points_of
from tpccma.evidence.table import load_results
from tpccma.profiles import Profile
from tpccma.runs.fronts import measure_both, record_front, record_fronts
from tpccma.runs.items import unpack_items
from tpccma.runs.rates import validation_of
from tpccma.runs.records import load_records, read_record
from tpccma.tasks.caption_scores import METRICS
from tpccma.tasks.evaluation import Evaluated, evaluate_whole
from tpccma.training.identity import evaluation_code

KEY = ("clip", 0.0)  # the quickest training
NAME = "interpolated-clip-a0"


def scored_by_length(references: list[list[str]], said: dict[str, list[str]], wanted: dict[str, tuple]) -> dict:
    """Stand for the scores of captions, and need no Java: what was said decides them."""
    cider = {feed: np.array([len(text) % 7 for text in texts]) for feed, texts in said.items()}
    return {
        feed: SimpleNamespace(totals=dict.fromkeys(METRICS, each.mean()), cider=each) for feed, each in cider.items()
    }


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let captions cost no Java."""
    monkeypatch.setattr(tpccma.tasks.captioning, "score_all", scored_by_length)
    for module in ("tpccma.tasks.evaluation", "tpccma.runs.fronts"):
        monkeypatch.setattr(f"{module}.start_meteor", lambda: None)


@pytest.fixture
def profile(tiny_profile: Profile) -> Profile:
    return load_profile(tiny_profile, fine_tune__epochs=1)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Three points, measured at no cost: the raw gap falls with t, and the logit scale is remembered."""
    seen = []

    def measure(encoder, corpus, settings, seed):
        seen.append(seed)
        gap = 1 - 0.5 * (len(seen) - 1) / 2
        many = {f"measure_{number}": 0.5 for number in range(150)}  # as a front has, of which pandas once warned
        return Evaluated({"raw_gap": gap, "val_raw_gap": gap + 0.5, "val_cider_memory": 2 - gap} | many, {}, {})

    monkeypatch.setattr(tpccma.runs.fronts, "STEPS", (0.0, 0.5, 1.0))
    monkeypatch.setattr(tpccma.runs.fronts, "measure_both", measure)
    return seen


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the trainings of these tests are, each made once."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def places(runs: Path, tmp_path: Path) -> dict[str, Path]:
    return {"runs_dir": runs, "results_dir": tmp_path / "results"}


def test_both_splits_are_measured_as_an_evaluation_measures_them(cheap, profile: Profile, tiny_corpus: Corpus):
    encoder, settings = base_run(profile).encoder, profile.evaluation
    found = measure_both(encoder, tiny_corpus, settings, seed=3)
    test = evaluate_whole(encoder, tiny_corpus, settings=settings, seed=3)
    validation = evaluate_whole(encoder, validation_of(tiny_corpus), settings=settings, seed=3)
    assert found.metrics == test.metrics | {f"val_{name}": value for name, value in validation.metrics.items()}
    assert found.metrics["raw_gap"] != found.metrics["val_raw_gap"]
    assert found.items.keys() == test.items.keys()
    assert all(np.array_equal(values, test.items[name]) for name, values in found.items.items())


def test_point_is_recorded_with_what_it_was_made_from(
    cheap, profile: Profile, places: dict, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tpccma.runs.fronts, "STEPS", (0.25,))
    seen = []
    monkeypatch.setattr(
        tpccma.runs.fronts, "measure_both", lambda *given: seen.append((given, measure_both(*given))) or seen[0][1]
    )
    (path,) = record_front(profile, 0, *KEY, **places)
    assert path == places["results_dir"] / "fronts" / profile.name / f"{NAME}-a0.25-s0.json"
    record = read_record(path)
    base, run = base_run(profile, 0, places["runs_dir"]), fine_tune(profile, *KEY, 0, places["runs_dir"])
    ((between, corpus, *_), found) = seen[0]
    weights = interpolate(base, run, 0.25, corpus.train.images).model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in between.model.state_dict().items())
    scale = torch.lerp(base.encoder.model.logit_scale, run.encoder.model.logit_scale, 0.25).exp().item()
    expected = {name: round(float(value), 6) for name, value in found.metrics.items()} | {
        "logit_scale": round(scale, 6)
    }
    assert record["metrics"] == pytest.approx(expected, abs=2e-6)
    assert (record["method"], record["alpha"], record["base"], record["wall_seconds"]) == (NAME, 0.25, base.base, 0)
    made_from = record["training"]
    assert (made_from["method"], made_from["alpha"], made_from["t"]) == (*KEY, 0.25)
    assert made_from["fingerprint"] == run.fingerprint
    assert record["code"]["evaluation"] == evaluation_code() and record["code"]["training"] != run.code["training"]
    assert len(unpack_items(record["items"])["cider_memory"]) == 64


def test_front_goes_on_where_it_was_ended(
    profile: Profile, steps: list, places: dict, monkeypatch: pytest.MonkeyPatch, capsys
):
    paths = record_front(profile, 1, *KEY, **places)
    assert [path.stem for path in paths] == [f"{NAME}-a{t}-s1" for t in ("0", "0.5", "1")] and steps == [1, 1, 1]
    capsys.readouterr()
    before = paths[0].read_bytes()
    paths[1].unlink()  # as if it had been ended there
    assert record_front(profile, 1, *KEY, **places) == paths and steps == [1] * 4
    assert capsys.readouterr().err.splitlines() == [f"{profile.name} {NAME}-a0.5-s1"]
    assert paths[0].read_bytes() == before and paths[1].is_file()


def test_records_of_a_front_are_results_and_points_of_a_choice(profile: Profile, steps: list, places: dict):
    record_front(profile, 0, *KEY, **places)
    assert load_records(places["results_dir"]) == []  # none of them is a run of the book
    table = load_results(places["results_dir"] / "fronts")
    assert (table.method.unique().tolist(), table.alpha.tolist()) == ([NAME], [0, 0.5, 1])
    validation, test = points_of(table), points_of(table, validation=False)
    assert validation.raw_gap.tolist() == [1.5, 1.25, 1.0] and test.raw_gap.tolist() == [1.0, 0.75, 0.5]
    assert validation.cider_memory.tolist() == [1.0, 1.25, 1.5]
    assert test.cider_memory.isna().all()
    assert choose(validation, "cider_memory -0%").t == 1.0


def test_record_of_other_weights_is_refused_or_replaced(profile: Profile, steps: list, places: dict):
    (path, *_) = record_front(profile, 0, *KEY, **places)
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"fingerprint": "00000000"}))
    with pytest.raises(ValueError, match=r"a0-s0\.json is of other weights or another evaluation than .*--fresh"):
        record_front(profile, 0, *KEY, **places)
    assert len(steps) == 3
    record_front(profile, 0, *KEY, **places, fresh=True)
    assert len(steps) == 4 and read_record(path)["fingerprint"] == record["fingerprint"]
    other = load_profile(profile, evaluation__kmeans_restarts=2)
    with pytest.raises(ValueError, match="another evaluation"):
        record_front(other, 0, *KEY, **places)


def test_record_of_other_code_is_told_of(profile: Profile, steps: list, places: dict, caplog: pytest.LogCaptureFixture):
    (path, *_) = record_front(profile, 0, *KEY, **places)
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"code": {"training": "a", "evaluation": "b"}}))
    with caplog.at_level(logging.WARNING):
        record_front(profile, 0, *KEY, **places)
    assert len(steps) == 3 and f"{path} was made by other code and is used as it is" in caplog.text
    record_front(profile, 0, *KEY, **places, fresh=True)
    assert len(steps) == 4 and read_record(path)["code"] == record["code"]


def test_seeds_are_recorded_each_for_itself(profile: Profile, steps: list, places: dict, in_threads, monkeypatch):
    monkeypatch.setattr(tpccma.runs.fronts, "STEPS", (1.0,))
    assert record_fronts(profile, (1, 0, 1), 1, *KEY, **places) == []
    assert sorted(load_results(places["results_dir"] / "fronts").seed) == [0, 1]
    with pytest.raises(ValueError, match="unknown method 'clipp'"):
        record_fronts(profile, (0,), 1, "clipp", 0.0, **places)


def test_command_records_and_names_the_table(
    profile: Profile, steps: list, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_threads
):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(yaml.safe_dump(profile.model_dump(mode="json")))
    given = ["fronts", "--profile", "tiny.yaml", "--method", "clip", "--alpha", "0", "--seed", "0"]
    given += ["--runs-dir", str(runs)]
    result = CliRunner().invoke(app, given, catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (0, "results/fronts/results.csv\n"), result.stderr
    assert len(load_results("results/fronts")) == 3
    (path, *_) = Path("results/fronts/demo").glob("*-a0.5-*.json")
    path.write_text("{}")
    result = CliRunner().invoke(app, given, catch_exceptions=False)
    assert result.exit_code == 1 and result.stderr.endswith("1 fronts failed: demo front of clip-a0-s0\n")
    result = CliRunner().invoke(app, [*given[:3], "--alpha", "2"], catch_exceptions=False)
    assert result.exit_code == 2 and "alpha" in result.stderr
