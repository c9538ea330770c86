"""Fixtures for several test files: a demo profile small enough to train in a second, with its data and base."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import settings

import tpccma.runs.record
import tpccma.runs.workers
from tpccma import load_profile
from tpccma.data import Corpus, load_corpus
from tpccma.profiles import Profile
from tpccma.runs.jobs import Job
from tpccma.runs.record import run_job
from tpccma.runs.verify import DRIFT
from tpccma.tasks.evaluation import Evaluated
from tpccma.training.encoders import build_encoder

# The same examples on every machine, and no time limit on one: a busy machine is no failure.
STEADY = {"deadline": None, "derandomize": True, "database": None}
settings.register_profile("quick", max_examples=25, **STEADY)
settings.register_profile("deep", max_examples=500, **STEADY)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

TINY = {
    "data__train_pairs": 256,
    "data__val_pairs": 32,
    "data__test_pairs": 64,
    "fine_tune__epochs": 2,  # of 8 steps
    "fine_tune__batch_size": 32,
    "fine_tune__checkpoint_steps": 5,
    "floor__weight": 10.0,
    "evaluation__kmeans_restarts": 1,
    "evaluation__bootstrap_resamples": 20,
    "evaluation__decoder": {"width": 32, "layers": 1, "heads": 2, "steps": 20, "warmup_steps": 2, "batch_size": 64},
}

CENTRED = Job("mean-centering", 0.0, 1)  # takes no training
FOUND = {name: 0.25 for name in (*DRIFT, "zeroshot_top5")}


@pytest.fixture(scope="session")
def tiny_profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """The demo profile on 256 pairs, 16 steps of 32, from an untrained base of its own."""
    path: Path = tmp_path_factory.mktemp("base") / "base.safetensors"
    build_encoder(load_profile("demo")).save(path)
    return load_profile("demo", model__pretrained=str(path), **TINY)


@pytest.fixture(scope="session")
def tiny_corpus(tiny_profile: Profile) -> Corpus:
    """The data of `tiny_profile`; not to be changed."""
    return load_corpus(tiny_profile)


class InThread(ThreadPoolExecutor):
    """Stands for a process of `run_all`."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, kill_workers: bool = False) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let `run_all` work in threads of this process, where fixtures count, and leave the number of threads alone."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(tpccma.runs.workers, "start_worker", lambda threads: InThread(1))
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run be evaluated at no cost: every measure is 0.25."""
    monkeypatch.setattr(tpccma.runs.record, "evaluate_whole", lambda run, corpus: Evaluated(dict(FOUND), {}, {}))


@pytest.fixture
def record(tiny_profile: Profile, tmp_path: Path, quick) -> dict:
    """The record of `CENTRED`, which lies in results/."""
    return run_job(tiny_profile, CENTRED, tmp_path / "runs", tmp_path / "results")
