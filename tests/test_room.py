"""Whether there is room for a profile's records, asked before any work at every door that records."""

import json
from pathlib import Path
from tempfile import TemporaryFile

import pytest
import torch
import yaml
from typer.testing import CliRunner

import tpccma.runs.record
import tpccma.runs.room
import tpccma.runs.sweep
from tests.conftest import FOUND
from tpccma import load_profile
from tpccma.cli import app
from tpccma.models import read_metadata, read_weights
from tpccma.models.weight_files import save_weights
from tpccma.profiles import Profile
from tpccma.runs.jobs import Job
from tpccma.runs.rates import search_rates
from tpccma.runs.record import run_job, train_and_record
from tpccma.runs.records import load_records, save_record
from tpccma.runs.room import check_room, differences
from tpccma.runs.sweep import sweep
from tpccma.training.identity import fingerprint

CLIP = Job("clip", 0.0, 0)


def publish(profile: Profile, job: Job, results_dir: Path, **changes) -> dict:
    """Record a run of a profile that was never made."""
    training = profile.training_of(job.method).model_dump(mode="json") if job == CLIP else None
    record = {
        "profile": profile.name,
        "method": job.method,
        "alpha": job.alpha,
        "seed": job.seed,
        "fingerprint": fingerprint(profile, job.method, job.alpha, job.seed),
        "training": training,
        "versions": {},
        "hardware": {"machine": "arm64", "threads": 1, "device": ""},
        "wall_seconds": 1.0,
        "metrics": FOUND,
        "evaluation": profile.model_dump(mode="json")["evaluation"],
    }
    save_record(record | changes, results_dir)
    return record | changes


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no run be made."""
    for module, name in ((tpccma.runs.record, "train"), (tpccma.runs.sweep, "run_all")):
        monkeypatch.setattr(module, name, lambda *given: pytest.fail("trained"))


def doors(profile: Profile, runs: Path, results: Path) -> list:
    """List all that makes and records runs."""
    return [
        lambda: train_and_record(profile, CLIP, runs, results),
        lambda: run_job(profile, CLIP, runs, results),
        lambda: sweep(profile, 1, runs, results),
        lambda: search_rates(profile, 1, runs, results),
    ]


CHANGES = {
    "fine_tune.epochs": {"fine_tune__epochs": 1},
    "loss.hardness": {"loss__hardness": 0.0},
    "data.seed": {"data__seed": 4},
    "bases": {"bases": "per-seed"},
    "evaluation.kmeans_restarts": {"evaluation__kmeans_restarts": 3},
    "learning_rates.clip": {"learning_rates": {"clip": 0.5}},
    "model.pretrained": {"model__pretrained": None},
    "first_reading.loss": {"first_reading__loss__hardness": 0.0},
}


@pytest.mark.parametrize(("named", "change"), CHANGES.items())
def test_changed_profile_is_kept_out_of_the_shipped_ones_records(named: str, change: dict, tmp_path: Path, no_training):
    results = tmp_path / "results"
    before = [publish(load_profile("demo"), CLIP, results)]
    changed = load_profile("demo", **change)
    for door in doors(changed, tmp_path / "runs", results):
        with pytest.raises(ValueError, match=rf"'demo' differs from the one that ships .*{named}.*name of its own"):
            door()
    assert load_records(results) == before and not (tmp_path / "runs").exists()
    check_room(load_profile(changed, name="mine"), results)
    check_room(changed, tmp_path / "others")


def test_file_that_extends_a_profile_without_a_name_is_kept_out(tmp_path: Path, no_training):
    publish(load_profile("demo"), CLIP, tmp_path / "results")
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"extends": "demo", "loss": {"hardness": 0.0}}))
    places = ["--runs-dir", str(tmp_path / "runs"), "--results-dir", str(tmp_path / "results")]
    for name in ("train", "sweep", "rates"):
        said = CliRunner().invoke(app, [name, "--profile", str(path), *places])
        assert said.exit_code == 2 and "give it a name of its own" in said.stderr and said.stderr.count("\n") == 1


def test_the_shipped_profile_itself_has_room(tmp_path: Path):
    publish(load_profile("demo"), CLIP, tmp_path)
    publish(load_profile("fashion"), Job("base", 0.0, 0), tmp_path)
    check_room(load_profile("demo"), tmp_path)
    places = {"data__data_dir": tmp_path / "data", "data__cache_dir": tmp_path / "cache"}
    check_room(load_profile("fashion", **places), tmp_path)
    check_room(load_profile("fashion", name="mine", data__seed=5), tmp_path)


def test_copied_weights_are_no_difference_and_others_are(tmp_path: Path):
    from tpccma.training.encoders import weights_path

    shipped, copy = load_profile("demo"), tmp_path / "copy.safetensors"
    copy.write_bytes(weights_path(shipped).read_bytes())
    changed = load_profile("demo", model__pretrained=str(copy))
    assert differences(changed, shipped) == []
    save_weights({**read_weights(copy), "logit_scale": torch.tensor(2.0)}, copy, read_metadata(copy))
    assert differences(changed, shipped) == ["model.pretrained"]


def test_small_trials_keep_the_name_among_themselves(tmp_path: Path):
    small = load_profile("demo", data__train_pairs=64)
    publish(small, CLIP, tmp_path)
    check_room(small, tmp_path)
    check_room(load_profile(small, fine_tune__epochs=1), tmp_path)
    other = load_profile("demo", fine_tune__epochs=1)
    publish(other, Job("base", 0.0, 0), tmp_path)  # is the shipped one's too: nothing of it was changed
    check_room(other, tmp_path)


def test_weights_of_a_tag_are_not_fetched_to_tell(tmp_path: Path):
    paths = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    one, two = (load_profile("photos", model__pretrained=str(path)) for path in paths)
    for i, path in enumerate(paths):
        save_weights({"a": torch.tensor(i)}, path, {})
    check_room(one, tmp_path)
    publish(one, CLIP, tmp_path)
    check_room(one, tmp_path)
    with pytest.raises(
        ValueError, match=r"'photos' differs .*\(in model\.pretrained\), and .* not its own, as of clip"
    ):
        check_room(two, tmp_path)


# ---- a folder to write to


def test_folder_that_cannot_be_written_to_is_found_before_training(
    tmp_path: Path, no_training, monkeypatch: pytest.MonkeyPatch
):
    def on_a_read_only_disk(dir: Path):
        if "results" in str(dir):
            raise OSError(30, "Read-only file system")
        return TemporaryFile(dir=dir)

    results = tmp_path / "results"
    results.mkdir()
    monkeypatch.setattr(tpccma.runs.room, "TemporaryFile", on_a_read_only_disk)
    for door in doors(load_profile("demo"), tmp_path / "runs", results):
        with pytest.raises(
            OSError, match=r"results cannot be written to \(Read-only file system\): make it writable, or"
        ):
            door()
    places = ["--runs-dir", str(tmp_path / "runs"), "--results-dir", str(results / "deeper")]
    said = CliRunner().invoke(app, ["train", "--method", "clip", *places])
    assert said.exit_code == 2 and "deeper cannot be written to" in said.stderr and said.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == [results] and list(results.iterdir()) == []


@pytest.mark.parametrize("name", ["results", "results/demo"])
def test_file_in_the_folders_place_is_found_before_training(name: str, tmp_path: Path, no_training):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(json.dumps({}))
    for door in doors(load_profile("demo"), tmp_path / "runs", tmp_path / "results"):
        with pytest.raises(NotADirectoryError, match=rf"{name} cannot be written to"):
            door()


def test_nothing_is_left_where_room_was_looked_for(tmp_path: Path):
    check_room(load_profile("demo"), tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
