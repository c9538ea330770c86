"""Fixtures for several test files: a demo profile small enough to train in a second, with its data and base."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import settings

import tpccma.runs.workers
from tpccma import load_profile
from tpccma.data import Corpus, load_corpus
from tpccma.profiles import Profile
from tpccma.training.encoders import build_encoder

# The same examples on every machine, and no time limit on one: a busy machine is no failure.
settings.register_profile("tpccma", deadline=None, derandomize=True, database=None)
settings.load_profile("tpccma")

TINY = {
    "data__train_pairs": 256,
    "data__val_pairs": 32,
    "data__test_pairs": 64,
    "fine_tune__epochs": 2,  # of 8 steps
    "fine_tune__batch_size": 32,
    "fine_tune__checkpoint_steps": 5,
    "evaluation__kmeans_restarts": 1,
    "evaluation__bootstrap_resamples": 20,
    "evaluation__decoder": {"width": 32, "layers": 1, "heads": 2, "steps": 20, "warmup_steps": 2, "batch_size": 64},
}


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


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let `run_all` work in threads of this process, where fixtures count, and leave the number of threads alone."""
    threads = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(
        tpccma.runs.workers, "ProcessPoolExecutor", lambda jobs, *of_processes: ThreadPoolExecutor(jobs)
    )
    yield
    torch.set_num_threads(threads)
