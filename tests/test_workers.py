import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

import tpccma.runs.shared
import tpccma.runs.workers
from tests.look_around import look_around
from tpccma import base_run, load_profile
from tpccma.cli import app
from tpccma.profiles import Profile
from tpccma.runs.shared import train_bases
from tpccma.runs.workers import run_all


def note_tasks(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Let `run_all` do nothing but note its tasks."""
    noted: list[dict] = []
    monkeypatch.setattr(tpccma.runs.shared, "run_all", lambda work, tasks, jobs: noted.append(tasks) or [])
    return noted


def half(number: float) -> float:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number / 2


def test_failing_task_stops_no_other(in_threads, capsys):
    done = dict(run_all(half, {"one": (1,), "two": (-2,), "three": (3,)}, jobs=2))
    problem = done.pop("two")
    assert isinstance(problem, ValueError) and str(problem) == "-2 is negative"
    assert done == {"one": 0.5, "three": 1.5}
    lines = capsys.readouterr().err.splitlines()
    assert [line[:3] for line in lines] == ["1/3", "2/3", "3/3"]
    assert sum("two FAILED: ValueError: -2 is negative" in line for line in lines) == 1
    ahead = [line.rpartition("; ")[2] for line in lines]
    assert ahead == [f"{left} running, 0 waiting, 0 min left" for left in (2, 1, 0)]


def test_tasks_not_begun_are_dropped_when_the_caller_stops(in_threads):
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        time.sleep(0.2 if number else 0)

    results = run_all(work, {str(number): (number,) for number in range(20)}, jobs=1)
    next(results)
    results.close()  # after a moment, where all tasks would take four seconds
    assert 1 <= len(begun) < 20


@pytest.mark.parametrize(
    "jobs, cores, threads", [(1, 2, 2), (2, 2, 1), (2, 5, 2), (3, 2, 1)]
)  # processes share the cores, each has one thread at least
def test_processes_share_the_cores(jobs: int, cores: int, threads: int, in_threads, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    start = tpccma.runs.workers.start_worker
    monkeypatch.setattr(tpccma.runs.workers, "start_worker", lambda threads: asked.append(threads) or start(threads))
    monkeypatch.setattr(tpccma.runs.workers.os, "cpu_count", lambda: cores)
    tasks = {str(number): (number,) for number in range(5)}
    assert dict(run_all(half, tasks, jobs)) == {"0": 0.0, "1": 0.5, "2": 1.0, "3": 1.5, "4": 2.0}
    assert asked == [threads] * jobs


def test_process_that_dies_fails_its_task_alone_and_nothing_is_left_of_its_settings(
    monkeypatch: pytest.MonkeyPatch, capfd
):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    monkeypatch.setattr(tpccma.runs.workers.os, "cpu_count", lambda: 3)
    before = dict(os.environ)
    done = dict(run_all(look_around, {"one": (), "two": ("of memory",), "three": ()}, jobs=1))
    assert list(done) == ["one", "two", "three"]
    assert isinstance(done["two"], BrokenProcessPool) and "killed" in str(done["two"])
    assert done["one"] == done["three"] == (3, "3", "1")
    assert "2/3 two FAILED: BrokenProcessPool: its process died" in capfd.readouterr().err
    assert dict(os.environ) == before


WAITING = """
import time
from tpccma.runs.workers import run_all

for name, _ in run_all(time.sleep, {"short": (0,), "long": (600,)}, 1):
    print(name, flush=True)
"""


@pytest.mark.parametrize("how", [pytest.param(signal.SIGINT, marks=pytest.mark.deep), signal.SIGTERM])
def test_processes_end_with_the_first_one(how: signal.Signals):
    started = psutil.Popen(
        [sys.executable, "-c", WAITING],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with started.stdout:
        assert started.stdout.readline() == b"short\n"
        processes = started.children(recursive=True)
        if how == signal.SIGINT:
            os.killpg(started.pid, how)  # as a terminal does
        else:
            started.send_signal(how)
        _, alive = psutil.wait_procs([started, *processes], timeout=60)
    assert len(processes) > 0 and alive == []


# ---- bases


@pytest.mark.parametrize(
    "name, changes, seeds",
    [
        ("demo", {}, []),  # has weights to load
        ("demo", {"model__pretrained": None}, [0]),  # one base for all seeds
        ("fashion", {}, [1, 3]),  # one a seed
        ("demo-bases", {}, [1, 3]),
        ("demo-bases", {"model__pretrained": None}, [0, 1, 3]),
    ],
)
def test_bases_are_trained_once_each(name: str, changes: dict, seeds: list[int], monkeypatch: pytest.MonkeyPatch):
    noted = note_tasks(monkeypatch)
    profile = load_profile(name, **changes)
    for fresh in (False, True):
        train_bases(profile, {3, 0, 1} if name == "demo-bases" else {3, 1}, 2, "elsewhere", fresh)
    expected = [(profile, seed, "elsewhere", fresh) for fresh in (False, True) for seed in seeds]
    assert [task for tasks in noted for task in tasks.values()] == expected


def test_bases_of_seeds_are_made_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_profile: Profile):
    noted = note_tasks(monkeypatch)
    changes = {"bases": "per-seed", "data__base_pairs": 64, "base__epochs": 1, "base__batch_size": 32}
    profile = load_profile(tiny_profile, **changes)
    monkeypatch.setattr(tpccma.runs.shared, "load_profile", lambda name: profile if name == "demo-bases" else None)
    said = CliRunner().invoke(app, ["base", "--seed", "1", "--seed", "2", "--runs-dir", str(tmp_path)])
    assert [list(tasks) for tasks in noted] == [["demo base model 1", "demo base model 2"]]
    lines = [line.split() for line in said.stdout.splitlines()]
    assert [Path(folder).parent for _, folder in lines] == [tmp_path / "bases"] * 2
    assert [base_run(profile, seed, tmp_path).base for seed in (1, 2)] == [base for base, _ in lines]
    monkeypatch.setattr(tpccma.runs.shared, "run_all", lambda *given: [("demo base model 1", OSError("full"))])
    said = CliRunner().invoke(app, ["base", "--seed", "1"])
    assert (said.exit_code, said.stdout, said.stderr) == (1, "", "1 bases failed: demo base model 1\n")
    said = CliRunner().invoke(app, ["base", "--seed", "0"])
    assert said.exit_code == 2 and "seed 0 of profile 'demo' starts from the base that ships" in said.stderr


def test_no_base_is_trained_for_no_run(monkeypatch: pytest.MonkeyPatch):
    noted = note_tasks(monkeypatch)
    for profile in (load_profile("fashion"), load_profile("demo", model__pretrained=None)):
        train_bases(profile, set())
    assert noted == []
