import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import tpccma.runs.workers
from tpccma import load_profile
from tpccma.runs.workers import run_all, train_bases


def note_tasks(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Let `run_all` do nothing but note its tasks."""
    noted: list[dict] = []
    monkeypatch.setattr(tpccma.runs.workers, "run_all", lambda work, tasks, jobs: noted.append(tasks) or [])
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
    lines = capsys.readouterr().out.splitlines()
    assert [line[:3] for line in lines] == ["1/3", "2/3", "3/3"]
    assert sum("two FAILED: ValueError: -2 is negative" in line for line in lines) == 1
    assert all(line.endswith("min left") for line in lines)


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
def test_processes_share_the_cores(jobs: int, cores: int, threads: int, monkeypatch: pytest.MonkeyPatch):
    made: list[tuple] = []
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setattr(tpccma.runs.workers.os, "cpu_count", lambda: cores)
    monkeypatch.setattr(
        tpccma.runs.workers, "ProcessPoolExecutor", lambda *given: made.append(given) or ThreadPoolExecutor(given[0])
    )
    assert list(run_all(half, {"one": (1,)}, jobs)) == [("one", 0.5)]
    ((workers, context, initializer, arguments),) = made
    assert (workers, context.get_start_method(), arguments) == (jobs, "spawn", (threads,))
    assert initializer is torch.set_num_threads
    assert tpccma.runs.workers.os.environ["OMP_NUM_THREADS"] == str(threads)


# ---- bases


@pytest.mark.parametrize(
    "name, changes, seeds",
    [
        ("demo", {}, []),  # has weights to load
        ("demo", {"model__pretrained": None}, [0]),  # one base for all seeds
        ("fashion", {}, [1, 3]),  # one a seed
    ],
)
def test_bases_are_trained_once_each(name: str, changes: dict, seeds: list[int], monkeypatch: pytest.MonkeyPatch):
    noted = note_tasks(monkeypatch)
    profile = load_profile(name, **changes)
    train_bases(profile, {3, 1}, 2, "elsewhere")
    assert [task for tasks in noted for task in tasks.values()] == [(profile, seed, "elsewhere") for seed in seeds]


def test_no_base_is_trained_for_no_run(monkeypatch: pytest.MonkeyPatch):
    noted = note_tasks(monkeypatch)
    for profile in (load_profile("fashion"), load_profile("demo", model__pretrained=None)):
        train_bases(profile, set())
    assert noted == []
