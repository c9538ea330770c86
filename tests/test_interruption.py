"""What ends a training from outside, and what it then goes on from: signals, full disks, damaged checkpoints."""

import hashlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
import yaml
from filelock import FileLock

from tests.interrupted import STEP
from tests.test_embeddings import Ran
from tests.test_run import MEASURED, Killed, kill_at
from tpccma import fine_tune, load_profile
from tpccma.data import Corpus
from tpccma.profiles import Profile
from tpccma.training.checkpoint import check_seal, seal
from tpccma.training.encoders import build_encoder
from tpccma.training.folder import code_of
from tpccma.training.interruption import Terminated, signals_held, terminable
from tpccma.training.loop import Trainer
from tpccma.training.run import Run


def assert_same_bits(one: Run, other: Run) -> None:
    weights = other.encoder.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in one.encoder.model.state_dict().items())
    pd.testing.assert_frame_equal(one.steps[MEASURED], other.steps[MEASURED], check_exact=True)


@pytest.fixture(scope="module")
def undisturbed(tiny_profile: Profile, tiny_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fine_tune(tiny_profile, runs_dir=tmp_path_factory.mktemp("undisturbed"), corpus=tiny_corpus)


# ---- signals


@pytest.fixture(autouse=True)
def signals_end_a_process():
    """What a shell starts in the background ignores Ctrl-C, and so would the tests."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.deep
@pytest.mark.parametrize(
    "what, how, status",
    [
        ("train", signal.SIGTERM, 143),
        ("train", signal.SIGINT, 130),
        ("sweep", signal.SIGTERM, 1),
    ],
)
def test_signal_leaves_a_checkpoint_of_its_step_and_says_how_to_go_on(
    what: str, how: int, status: int, tiny_profile: Profile, tiny_corpus: Corpus, undisturbed: Run, tmp_path: Path
):
    file = write_tiny(tiny_profile, tmp_path)
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "tests.interrupted", what, str(int(how)), str(file)]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | threads, capture_output=True, text=True, timeout=300)
    assert done.returncode == status, done.stderr
    said = "terminated" if how == signal.SIGTERM else "interrupted"
    if what == "train":
        assert (done.stdout, done.stderr) == ("", f"{said}; the same command goes on from here\n")
    else:
        assert "Terminated" in done.stderr and "semlock" not in done.stderr
    profile = load_profile(file)
    [checkpoint] = (tmp_path / "runs").glob("*/*/checkpoint")
    assert json.loads((checkpoint / "step.json").read_text()) == {"step": STEP + 1}
    with pytest.MonkeyPatch.context() as patch:
        taken: list[int] = []
        take_step = Trainer._take_step
        patch.setattr(Trainer, "_take_step", lambda self, *batch: taken.append(self.step) or take_step(self, *batch))
        resumed = fine_tune(profile, runs_dir=tmp_path / "runs", corpus=tiny_corpus)
    assert taken == list(range(STEP + 1, 16))
    assert_same_bits(resumed, undisturbed)


def write_tiny(profile: Profile, folder: Path) -> Path:
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(profile.model_dump(mode="json") | {"name": "tiny"}))
    return file


def start_together(command: list[str], folder: Path) -> list[subprocess.Popen]:
    """Start a command as each of two processes that train together, as a launcher does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    place |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    ranks = [{"RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
    return [subprocess.Popen(command, cwd=folder, env=os.environ | place | rank, **pipes) for rank in ranks]


@pytest.mark.parametrize(
    "how, status", [(signal.SIGTERM, "143"), pytest.param(signal.SIGINT, "130", marks=pytest.mark.deep)]
)
def test_signal_to_one_of_two_processes_stops_both_at_one_step(
    how: int, status: str, tiny_profile: Profile, tmp_path: Path
):
    file = write_tiny(tiny_profile, tmp_path)
    command = [sys.executable, "-m", "tests.interrupted", "together", str(int(how)), str(file)]
    started = start_together(command, tmp_path)
    ended = [process.communicate(timeout=300) for process in started]
    said = "terminated" if how == signal.SIGTERM else "interrupted"
    for process, (out, err) in zip(started, ended, strict=True):
        assert (process.returncode, out) == (0, f'{status}\n{{"step": {STEP + 1}}}\n'), err
        assert f"{said}; the same command goes on from here\n" in err
    assert_same_files(*((tmp_path / place / "tiny") for place in ("undisturbed", "runs")))


def assert_same_files(one: Path, other: Path) -> None:
    """See that the only run in one folder has the weights and steps of the only one in the other."""
    (one,), (other,) = one.iterdir(), other.iterdir()
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    steps = [pd.read_csv(folder / "steps.csv")[MEASURED] for folder in (one, other)]
    pd.testing.assert_frame_equal(*steps, check_exact=True)


@pytest.mark.deep
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_a_launcher_stops_its_processes_at_one_step(how: int, tiny_profile: Profile, tmp_path: Path):
    file = write_tiny(tiny_profile, tmp_path)
    launcher = [Path(sys.executable).with_name("accelerate"), "launch", "--multi_gpu", "--num_processes", "2"]
    launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    settings = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}

    def launch(*given: object) -> subprocess.CompletedProcess:
        command = [str(part) for part in (*launcher, "-m", *given)]
        return subprocess.run(command, cwd=tmp_path, env=os.environ | settings, capture_output=True, text=True)

    ended = launch("tests.interrupted", "launched", int(how), file)
    assert ended.returncode == 1  # which is the launcher's
    said = "terminated" if how == signal.SIGTERM else "interrupted"
    assert ended.stderr.count(f"{said}; the same command goes on from here\n") == 2, ended.stderr
    [checkpoint] = (tmp_path / "runs/tiny").glob("*/checkpoint/step.json")
    assert json.loads(checkpoint.read_text()) == {"step": STEP + 1}
    for place in ("runs", "undisturbed"):
        given = ("--profile", file, "--runs-dir", place, "--results-dir", f"results of {place}")
        assert launch("tpccma", "train", *given).returncode == 0
    assert_same_files(tmp_path / "undisturbed/tiny", tmp_path / "runs/tiny")


@pytest.mark.deep
@pytest.mark.parametrize("how", ["Ctrl-C", "a kill"])
def test_what_ends_a_notebook_ends_the_processes_that_it_has_started(how: str, tiny_profile: Profile, tmp_path: Path):
    file = write_tiny(load_profile(tiny_profile, fine_tune__epochs=2_000), tmp_path)
    settings = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "tests.interrupted", "notebook", "2", str(file)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = psutil.Popen(command, cwd=tmp_path, env=os.environ | settings, start_new_session=True, **pipes)
    while not list(tmp_path.glob("runs/tiny/*/checkpoint/step.json")):
        assert started.poll() is None, started.communicate()
        time.sleep(0.1)
    children = started.children(recursive=True)
    assert len(children) >= 2
    try:
        os.killpg(started.pid, signal.SIGINT) if how == "Ctrl-C" else started.kill()  # the group, as Jupyter does
        out, err = started.communicate(timeout=120)
        assert how == "a kill" or out.splitlines()[-1] == "KeyboardInterrupt default_int_handler", err
        assert not psutil.wait_procs(children, timeout=120)[1]
    finally:
        for process in children:
            if process.is_running():
                process.kill()
    [step] = tmp_path.glob("runs/tiny/*/checkpoint/step.json")
    logged = pd.read_csv(step.parents[1] / "steps.csv").step.tolist()
    assert logged == list(range(json.loads(step.read_text())["step"]))


@pytest.mark.parametrize("number, raised", [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_signal_waits_until_the_work_is_done_and_a_second_one_does_not(number: int, raised: type):
    done = []
    with terminable(), pytest.raises(raised), signals_held() as caught:
        signal.raise_signal(number)
        done.append(list(caught))
    assert done == [[number]]
    with terminable(), pytest.raises(raised), signals_held():
        signal.raise_signal(number)
        signal.raise_signal(number)
        done.append("more")
    assert len(done) == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_ignored_signal_stays_ignored(monkeypatch: pytest.MonkeyPatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals_held() as caught:
            signal.raise_signal(signal.SIGINT)
        assert caught == []
    finally:
        signal.signal(signal.SIGINT, before)


def test_handler_that_goes_on_ends_the_work_all_the_same():
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        with pytest.raises(KeyboardInterrupt), signals_held():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_signals_are_held_in_the_main_thread_alone():
    found = []

    def work() -> None:
        with terminable(), signals_held() as caught:
            found.append((list(caught), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [([], signal.SIG_DFL)]


def test_signal_in_the_last_step_leaves_the_finished_run(
    tiny_profile: Profile, tiny_corpus: Corpus, undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    take_step = Trainer._take_step

    def signalled(trainer: Trainer, *batch) -> dict:
        if trainer.step == 15:
            signal.raise_signal(signal.SIGINT)
        return take_step(trainer, *batch)

    monkeypatch.setattr(Trainer, "_take_step", signalled)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(tiny_profile, runs_dir=tmp_path, corpus=tiny_corpus)
    monkeypatch.setattr(Trainer, "run", lambda trainer: pytest.fail("trained again"))
    assert_same_bits(fine_tune(tiny_profile, runs_dir=tmp_path, corpus=tiny_corpus), undisturbed)


# ---- damaged checkpoints


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def turn_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[2 * len(content) // 3] ^= 0b100
    path.write_bytes(content)


DAMAGES = {
    "truncated": truncate,
    "a bit": turn_a_bit,
    "empty": lambda path: path.write_bytes(b""),
    "random": lambda path: path.write_bytes(bytes(range(256)) * 4),
    "gone": Path.unlink,
}
FILES = [
    "model.safetensors",
    "optimizer.bin",
    "custom_checkpoint_0.pkl",
    "random_states_0.pkl",  # which accelerate would do without
    "step.json",
    "read-0.json",
    "checksums.json",
]


def kill_and_find(profile: Profile, corpus: Corpus, runs_dir: Path, step: int) -> Path:
    """Train up to a step; return the run's folder."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at(step, patch)
        fine_tune(profile, runs_dir=runs_dir, corpus=corpus)
    [folder] = (runs_dir / "demo").iterdir()
    return folder


@pytest.mark.parametrize(
    "file, how",
    [
        ("model.safetensors", "truncated"),
        ("optimizer.bin", "a bit"),
        ("random_states_0.pkl", "gone"),
        pytest.param("optimizer.bin", "random", marks=pytest.mark.deep),
        pytest.param("custom_checkpoint_0.pkl", "empty", marks=pytest.mark.deep),
        pytest.param("step.json", "truncated", marks=pytest.mark.deep),
    ],
)
def test_damaged_checkpoint_falls_back_to_the_one_before(
    file: str, how: str, tiny_profile: Profile, tiny_corpus: Corpus, undisturbed: Run, tmp_path: Path, caplog
):
    folder = kill_and_find(tiny_profile, tiny_corpus, tmp_path, 12)
    DAMAGES[how](folder / "checkpoint" / file)
    taken: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        take_step = Trainer._take_step
        patch.setattr(Trainer, "_take_step", lambda self, *batch: taken.append(self.step) or take_step(self, *batch))
        resumed = fine_tune(tiny_profile, runs_dir=tmp_path, corpus=tiny_corpus)
    assert taken == list(range(5, 16))
    assert f"{folder / 'checkpoint'} cannot be read" in caplog.text and "goes on from the one before" in caplog.text
    assert_same_bits(resumed, undisturbed)
    assert not list(folder.glob("checkpoint*"))


@pytest.mark.parametrize("file", FILES)
def test_damaged_checkpoint_without_one_before_names_the_remedy(
    file: str, tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, caplog
):
    trainer = Trainer(build_encoder(tiny_profile), tiny_profile, tiny_profile.fine_tune, 0.5, 0, tmp_path, tiny_corpus)
    trainer.step = 5
    trainer.save()
    path = tmp_path / "checkpoint" / file
    content = path.read_bytes()
    for damage in DAMAGES.values():
        damage(path)
        with pytest.raises(
            ValueError, match=f"{tmp_path}/checkpoint cannot be read .*; remove it, and the training begins"
        ):
            trainer.resume()
        path.write_bytes(content)
    trainer.resume()
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("bit", range(8))
def test_every_bit_of_a_sealed_folder_counts(bit: int, tmp_path: Path):
    (tmp_path / "one").write_bytes(b"ab")
    (tmp_path / "two").write_bytes(b"")
    seal(tmp_path)
    check_seal(tmp_path)
    sealed = json.loads((tmp_path / "checksums.json").read_text())
    assert sealed == {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("one", "two")}
    for place in (0, 1):
        content = bytearray(b"ab")
        content[place] ^= 1 << bit
        (tmp_path / "one").write_bytes(content)
        with pytest.raises(ValueError, match="one is not what was written"):
            check_seal(tmp_path)


def test_checkpoint_may_be_read_by_whom_the_umask_lets(tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path):
    trainer = Trainer(build_encoder(tiny_profile), tiny_profile, tiny_profile.fine_tune, 0.5, 0, tmp_path, tiny_corpus)
    before = os.umask(0o027)
    try:
        trainer.save()
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "checkpoint").iterdir()} == {0o640}


@pytest.mark.parametrize("file", ["custom_checkpoint_0.pkl", "optimizer.bin"])
def test_code_in_a_checkpoint_is_not_run(file: str, tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path):
    trainer = Trainer(build_encoder(tiny_profile), tiny_profile, tiny_profile.fine_tune, 0.5, 0, tmp_path, tiny_corpus)
    trainer.step = 5
    trainer.save()
    mark = tmp_path / "ran"
    torch.save(Ran(mark), tmp_path / "checkpoint" / file)
    seal(tmp_path / "checkpoint")  # as whoever plants code can
    with pytest.raises(ValueError, match=f"{tmp_path}/checkpoint cannot be read .*; remove it"):
        trainer.resume()
    assert not mark.exists()
    torch.load(tmp_path / "checkpoint" / file, weights_only=False)
    assert mark.exists()  # it would have


def test_damaged_files_of_a_finished_run_name_the_remedy(
    tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    profile = load_profile(tiny_profile, fine_tune__epochs=1)
    folder = fine_tune(profile, runs_dir=tmp_path, corpus=tiny_corpus).folder
    for file in ("model.safetensors", "steps.csv", "code.json"):
        more = {"model.safetensors": [truncate, turn_a_bit], "code.json": [truncate], "steps.csv": [DAMAGES["gone"]]}
        for damage in (DAMAGES["empty"], *more[file]):
            before = (folder / file).read_bytes()
            damage(folder / file)
            with pytest.raises(ValueError, match=f"{folder}.*; remove it"):
                fine_tune(profile, runs_dir=tmp_path, corpus=tiny_corpus)
            (folder / file).write_bytes(before)
    for text in ("{}", "[" * 100_000):
        (folder / "code.json").write_text(text)
        with pytest.raises(ValueError, match=r"code\.json does not say which code .*; remove it"):
            code_of(folder)


def test_what_a_kill_has_left_beside_a_finished_run_is_removed(
    tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def killed(folder: Path):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("tpccma.training.run.remove_checkpoints", killed)
        fine_tune(tiny_profile, runs_dir=tmp_path, corpus=tiny_corpus)
    [folder] = (tmp_path / "demo").iterdir()
    left = ["checkpoint", "checkpoint.old"]
    assert sorted(path.name for path in folder.glob("checkpoint*")) == left
    (folder / "checkpoint.partial").mkdir()
    content = (folder / "model.safetensors").read_bytes()
    with FileLock(folder / ".lock"):  # somebody works there
        fine_tune(tiny_profile, runs_dir=tmp_path, corpus=tiny_corpus)
    assert sorted(path.name for path in folder.glob("checkpoint*")) == [*left, "checkpoint.partial"]
    fine_tune(tiny_profile, runs_dir=tmp_path, corpus=tiny_corpus)
    assert not list(folder.glob("checkpoint*")) and (folder / "model.safetensors").read_bytes() == content


# ---- full disks


@pytest.fixture
def full_disk():
    """Let no file grow beyond a size, as if the disk were full there."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_is_named_and_leaves_the_checkpoint_before(
    tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, full_disk: Callable
):
    trainer = Trainer(build_encoder(tiny_profile), tiny_profile, tiny_profile.fine_tune, 0.5, 0, tmp_path, tiny_corpus)
    trainer.step = 5
    trainer.save()
    for size in (1_000, 5_000_000):  # too little for the weights, and for the optimiser
        full_disk(size)
        with pytest.raises(OSError, match=rf"{tmp_path}/checkpoint\.partial could not be written .*: make room and"):
            trainer.save()
        full_disk(resource.RLIM_INFINITY)
        trainer.resume()
        assert trainer.step == 5


def test_full_disk_is_named_by_what_is_written_last(
    tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(folder: Path):
        raise OSError(28, "No space left on device")

    trainer = Trainer(build_encoder(tiny_profile), tiny_profile, tiny_profile.fine_tune, 0.5, 0, tmp_path, tiny_corpus)
    monkeypatch.setattr("tpccma.training.checkpoint.seal", fail)
    with pytest.raises(OSError, match=rf"{tmp_path}/checkpoint\.partial could not be written .*: make room and"):
        trainer.save()


def test_full_disk_is_named_by_what_saves_a_model(tiny_profile: Profile, tmp_path: Path, full_disk: Callable):
    encoder, path = build_encoder(tiny_profile), tmp_path / "model.safetensors"
    encoder.save(path)
    before = path.read_bytes()
    full_disk(1_000)
    with pytest.raises(OSError, match=rf"{path} could not be written .*: make room and run again"):
        encoder.save(path)
    full_disk(resource.RLIM_INFINITY)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
