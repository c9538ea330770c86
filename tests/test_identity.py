"""What names a run: its settings, and the code that has made it; and that one training at a time works in a folder."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import types
import typing
from pathlib import Path

import pytest
import torch

import tpccma
import tpccma.training.folder
from tpccma import fine_tune, load_profile
from tpccma.data import Corpus
from tpccma.models import read_weights
from tpccma.profiles import FashionData, PaperData, PhotoData, Profile
from tpccma.profiles.parts import ANY, Unnamed
from tpccma.training.folder import CODE, LOCK, WEIGHTS, alone_in, code_of, note_code, settle
from tpccma.training.identity import (
    EVALUATION_SOURCES,
    ROOT,
    TRAINING_SOURCES,
    digest_of,
    evaluation_code,
    fingerprint,
    joined,
    training_code,
)
from tpccma.training.loop import Trainer
from tpccma.training.run import Run

# Modules that a training loads and that are no part of what it does, each with its reason.
NO_PART = {
    "__init__": "names what is behind it",
    "files": "writes what it is given",
    "profiles/__init__": "its values are named by the fingerprint",
    "profiles/files": "reads them",
    "profiles/first_reading": "likewise",
    "profiles/parts": "likewise",
    "data/content": "names the data",
    "models/identity": "names weights",
    "training/__init__": "empty",
    "training/run": "calls the rest",
    "training/folder": "looks after what the rest has made",
    "training/identity": "names the rest",
    "training/interruption": "decides when a training ends, and nothing of its steps",
    "training/watch": "looks on, and changes nothing",
    "training/tracking": "tells others what is logged",
    **dict.fromkeys(("tasks/__init__", "tasks/checks", "tasks/zeroshot"), "by which it looks"),
    **{f"metrics/{path.stem}": "likewise" for path in (ROOT / "metrics").glob("*.py")},
}

# ---- settings


@pytest.mark.parametrize("data", [FashionData, PhotoData, PaperData])
def test_no_place_on_this_machine_names_a_run(data: type):
    for name, field in data.model_fields.items():
        kinds = typing.get_args(field.annotation) if isinstance(field.annotation, types.UnionType) else ()
        if Path in (field.annotation, *kinds):
            assert Unnamed(ANY) in field.metadata, name


def test_settings_are_named_but_where_they_are_marked():
    data = PhotoData(kind="photos", images_dir="a", captions="b", workers=2, has_splits=True)
    assert data.identity() == {
        "kind": "photos",
        "has_splits": True,
        "captions_per_image": 5,
        "test_items": 1000,
        "val_items": 1000,
        "seed": 0,
    }
    assert "has_splits" not in PhotoData(kind="photos").identity()
    linear = load_profile("demo", first_reading__curriculum__shape="linear")
    assert linear.first_reading.curriculum.identity()["shape"] == "linear"
    assert "shape" not in load_profile("demo").first_reading.curriculum.identity()


@pytest.mark.parametrize("name, place", [("photos", "captions"), ("paper", "captions"), ("paper", "imagenet_dir")])
def test_moved_data_are_the_same_run(name: str, place: str):
    here, there = (
        load_profile(name, model__pretrained=None, **{f"data__{place}": path}) for path in ("here", "/there")
    )
    assert fingerprint(here, "clip", 0.0, 0) == fingerprint(there, "clip", 0.0, 0)


# ---- code


def imported(module: str, known: set[str]) -> set[str]:
    """List the modules of the package that a module and what it imports load, as files without their ending."""
    path = ROOT / f"{module}.py"
    tree = ast.parse(path.read_text())
    named = {
        f"{n.module}.{a.name}" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module for a in n.names
    }
    names = {name.removeprefix("tpccma.").replace(".", "/") for name in named if name.startswith("tpccma.")}
    for name in names:
        for file in (name, f"{name}/__init__", name.rpartition("/")[0], f"{name.rpartition('/')[0]}/__init__"):
            if file not in known and (ROOT / f"{file}.py").is_file():
                known |= {file} | imported(file, known | {file})
    return known


def test_all_that_a_training_loads_is_named_or_left_out_with_a_reason():
    loaded = imported("training/run", {"training/run"})
    named = {name.removesuffix(".py") for name in TRAINING_SOURCES}
    assert {"loss", "curriculum", "training/loop", "data/scenes"} <= loaded & named
    assert loaded - named - NO_PART.keys() == set()
    assert named & NO_PART.keys() == set()


def test_every_task_and_metric_is_part_of_evaluation():
    rooms = ("metrics", "tasks")
    assert {f"{room}/{path.name}" for room in rooms for path in (ROOT / room).glob("*.py")} <= EVALUATION_SOURCES.keys()
    assert len(training_code()) == len(evaluation_code()) == 16 and training_code() != evaluation_code()


SOURCE = 'def f(x):\n    """Say."""\n    return x + 1\n'


@pytest.mark.parametrize(
    "text",
    [
        'def f(x):\n    """Say it better."""\n    return x + 1\n',
        '"""A module."""\n\n\ndef f(x):  # adds\n    return (x\n            + 1)\n',
    ],
)
def test_prose_and_layout_are_no_part_of_code(text: str):
    assert digest_of({"f.py": text}) == digest_of({"f.py": SOURCE})


@pytest.mark.parametrize("text", [SOURCE.replace("1", "2"), SOURCE.replace("+", "-"), SOURCE + "f = None\n"])
def test_other_statements_are_other_code(text: str):
    assert digest_of({"f.py": text}) != digest_of({"f.py": SOURCE})
    assert digest_of({"f.py": SOURCE, "g.py": text}) != digest_of({"f.py": text, "g.py": SOURCE})


def test_a_run_on_a_base_of_other_code_is_of_neither():
    assert joined("a", "a") == joined("a", "") == "a"
    assert len({joined("a", "b"), joined("b", "a"), joined("a", "unknown"), "a", "b"}) == 5


# ---- what other code has made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with weights that code "old" has made."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / WEIGHTS).write_text("weights")
    note_code(folder, "old")
    return folder


def test_what_the_same_code_has_made_is_used_in_silence(folder: Path, caplog: pytest.LogCaptureFixture):
    settle(folder, "old", fresh=True)
    assert (folder / WEIGHTS).is_file() and caplog.text == "" and code_of(folder) == "old"


def test_what_other_code_has_made_is_told_of_every_time(folder: Path, caplog: pytest.LogCaptureFixture):
    for _ in range(2):
        settle(folder, "new")
    assert code_of(folder) == "old"
    assert len(caplog.messages) == 2
    assert caplog.messages[0] == (
        f"{folder} was made by other code (old, now new) and is used as it is; fresh=True, or --fresh, makes it anew "
        "and keeps the old one"
    )


def test_what_was_made_before_code_was_noted_is_told_of_once(folder: Path, caplog: pytest.LogCaptureFixture):
    (folder / CODE).unlink()
    for _ in range(2):
        settle(folder, "new")
    assert len(caplog.messages) == 1 and "made by other code (unknown, now new)" in caplog.text
    assert code_of(folder) == "unknown"
    settle(folder, "new", fresh=True)
    assert code_of(folder) == "" and (folder.with_name("run.old-unknown") / WEIGHTS).is_file()


def test_checkpoint_of_other_code_gives_a_run_of_two(folder: Path, caplog: pytest.LogCaptureFixture):
    (folder / WEIGHTS).unlink()
    assert code_of(folder) == ""  # nothing was made yet
    (folder / "checkpoint").mkdir()
    settle(folder, "new")
    assert "goes on from its checkpoint" in caplog.text
    assert code_of(folder) == joined("new", "old")


def test_fresh_moves_aside_and_loses_nothing(folder: Path):
    (folder / LOCK).touch()
    for code in ("new", "newer"):
        settle(folder, code, fresh=True)
        assert [path.name for path in folder.iterdir() if path.name != CODE] == [LOCK]
        (folder / WEIGHTS).write_text(code)
    note_code(folder, "old")
    settle(folder, "newest", fresh=True)
    kept = {path.name: (path / WEIGHTS).read_text() for path in folder.parent.glob("*.old-*")}
    assert kept == {"run.old-old": "weights", "run.old-new": "new", "run.old-old-2": "newer"}


# An edit of the loss, made in a copy of the package: the contrast at half the temperature.
EDIT = """
_forward = CMALoss.forward
CMALoss.forward = lambda self, x, y, scale, **options: _forward(self, x, y, scale / 2, **options)
"""
SCRIPT = """
import json, logging, sys
import torch
from tpccma import fine_tune, load_profile
from tpccma.training.identity import training_code

logging.basicConfig(stream=sys.stderr, format="%(message)s")
profile = load_profile(sys.argv[1])
for fresh in (False, True):
    run = fine_tune(profile, "clip", 0.0, 0, sys.argv[2], fresh=fresh)
    weights = run.encoder.model.state_dict()["text_projection"].double().abs().sum().item()
    print(json.dumps([str(run.folder), run.code["training"], training_code(), weights]))
"""


def test_edited_loss_is_noticed_and_the_run_made_anew_on_request(tiny_profile: Profile, tmp_path: Path):
    profile = load_profile(tiny_profile, data__train_pairs=64, fine_tune__epochs=1)  # 2 steps
    run = fine_tune(profile, "clip", 0.0, 0, tmp_path / "runs")
    shutil.copytree(ROOT, tmp_path / "edited" / "tpccma", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "edited" / "tpccma" / "loss.py").open("a") as file:
        file.write(EDIT)
    (tmp_path / "tiny.yaml").write_text(json.dumps(profile.model_dump(mode="json")))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "tiny.yaml"), str(tmp_path / "runs")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "edited"), "OMP_NUM_THREADS": str(torch.get_num_threads())},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (place, code, now, used), (again, new, _, made) = map(json.loads, done.stdout.splitlines())
    own = run.encoder.model.state_dict()["text_projection"].double().abs().sum().item()
    assert place == again == str(run.folder) and code == run.code["training"] == training_code() != now == new
    assert f"{place} was made by other code ({code}, now {now}) and is used as it is" in done.stderr
    assert used == pytest.approx(own, rel=1e-9) and made != pytest.approx(own, rel=1e-6)
    kept = read_weights(Path(f"{place}.old-{code}") / WEIGHTS)
    assert torch.equal(kept["text_projection"], run.encoder.model.state_dict()["text_projection"])


def test_a_base_of_other_code_makes_its_runs_other_and_fresh_makes_both_anew(
    tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    changes = {"data__base_pairs": 128, "base__epochs": 1, "base__batch_size": 64, "fine_tune__epochs": 1}
    profile = load_profile(tiny_profile, model__pretrained=None, **changes)

    def train(fresh: bool = False) -> Run:
        return fine_tune(profile, "clip", 0, 0, tmp_path, tiny_corpus, fresh)

    first = train()
    assert first.code == {"training": training_code(), "evaluation": evaluation_code()} and caplog.text == ""
    (base,) = (path for path in (tmp_path / "demo").iterdir() if path.name.startswith("base"))
    note_code(base, "old")
    used = train()
    assert used.code["training"] == training_code()  # made before the base was another's
    assert len(caplog.messages) == 2 and str(base) in caplog.messages[0] and str(first.folder) in caplog.messages[1]
    fresh = train(fresh=True)
    assert fresh.code == first.code
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == sorted(
        [base.name, f"{base.name}.old-old", first.folder.name]
    )


def test_post_processing_is_of_the_code_that_is_there(tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path):
    run = fine_tune(tiny_profile, "mean-centering", 0, 0, tmp_path, tiny_corpus)
    note_code(run.folder, "old")
    assert fine_tune(tiny_profile, "mean-centering", 0, 0, tmp_path, tiny_corpus, fresh=True).code == run.code
    assert code_of(run.folder) == training_code()
    assert (run.folder.with_name(f"{run.folder.name}.old-old") / WEIGHTS).is_file()


# ---- one training at a time

HOLDER = """
import sys
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> typing.Iterator[subprocess.Popen]:
    """Another process that trains in tmp_path, until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def end_when_told(holder: subprocess.Popen, monkeypatch: pytest.MonkeyPatch, then=lambda: None) -> list[str]:
    """Let the other process end as soon as this one says that it waits; return what it says."""
    told: list[str] = []

    def warning(message: str, *values) -> None:
        told.append(message % values)
        then()
        holder.stdin.close()

    monkeypatch.setattr(tpccma.training.folder.logger, "warning", warning)
    return told


def test_second_training_waits_for_the_first(holder: subprocess.Popen, tmp_path: Path, monkeypatch):
    told = end_when_told(holder, monkeypatch)
    with alone_in(tmp_path):
        assert holder.wait() == 0
    assert told == [f"another process trains in {tmp_path}; this one waits until it has ended"]


def test_lock_of_a_dead_process_does_not_hold(holder: subprocess.Popen, tmp_path: Path, caplog):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / LOCK).is_file()
    with alone_in(tmp_path):
        assert caplog.text == ""


def test_whoever_waited_loads_what_the_other_has_finished(
    tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    profile = load_profile(tiny_profile, fine_tune__epochs=1)
    first = fine_tune(profile, "clip", 0, 0, tmp_path / "first", tiny_corpus)
    folder = tmp_path / "second" / "demo" / first.folder.name
    folder.mkdir(parents=True)
    command = [sys.executable, "-c", HOLDER, str(folder / LOCK)]
    monkeypatch.setattr(Trainer, "run", lambda trainer: pytest.fail("trained again"))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        finish = lambda: shutil.copytree(first.folder, folder, dirs_exist_ok=True, ignore=lambda *_: [LOCK])  # noqa: E731
        told = end_when_told(holder, monkeypatch, finish)
        second = fine_tune(profile, "clip", 0, 0, tmp_path / "second", tiny_corpus)
    assert len(told) == 1 and second.folder == folder
    assert torch.equal(
        second.encoder.model.state_dict()["text_projection"], first.encoder.model.state_dict()["text_projection"]
    )
