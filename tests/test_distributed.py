"""Two processes over gloo train as one process does with the whole batch: losses, gradients, curriculum, weights."""

import os
import socket
import warnings
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

import tpccma.training.encoders
from tpccma import fine_tune, load_profile
from tpccma.data import Corpus, Pairs
from tpccma.methods import METHODS
from tpccma.models import read_weights
from tpccma.profiles import Profile
from tpccma.training.encoders import build_encoder
from tpccma.training.loop import warn_of_batch_norm

pytestmark = pytest.mark.deep  # every method is trained three times
TRAINED = [name for name, method in METHODS.items() if method.trained]
IN_PARTS = ["tpc-cma", "clip-refine"]  # the second has a loss of the raw embeddings
COMPARED = ["step", "phase", "alpha", "loss", "logit_scale", "clip_norm", "cma_norm", "cosine"]
PROFILE = {
    "model__image_width": 16,
    "model__text_width": 8,
    "model__hidden_width": 32,
    "model__embed_dim": 8,
    "base__epochs": 1,
    "base__batch_size": 32,
    "fine_tune__epochs": 2,
    "fine_tune__batch_size": 32,
    "fine_tune__learning_rate": 1e-3,
    "fine_tune__watch_steps": 4,
    "first_reading__curriculum__rho": 0.5,  # so that the cap binds
    "learning_rates": {},
    "floor__weight": 10.0,
}


def featured() -> tuple[Profile, Corpus]:
    """A profile of heads and its corpus: 192 pairs of a common cause, seen through two maps."""
    generator = torch.Generator().manual_seed(0)
    causes = torch.randn(192, 6, generator=generator)
    images = causes @ torch.randn(6, 16, generator=generator)
    texts = dict(zip([f"text {i}" for i in range(192)], causes @ torch.randn(6, 8, generator=generator), strict=True))
    unknown = torch.ones(8)  # prompts
    tpccma.training.encoders.make_tokenizer = lambda profile: (
        lambda names: torch.stack([texts.get(name, unknown) for name in names])
    )
    pairs = Pairs(images, [[name] for name in texts], torch.arange(192) % 3)
    return load_profile("fashion", **PROFILE), Corpus(pairs, pairs, pairs, ("one", "two", "three"), ("a {}.",))


def train_all(rank: int, processes: int, port: int, folder: str) -> None:
    """Train every method; what is to be compared is written by the first process."""
    torch.set_num_threads(1)
    if processes > 1:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1"}
        os.environ |= {key: str(value) for key, value in (place | {"MASTER_PORT": port}).items()}
        os.environ["ACCELERATE_USE_CPU"] = "true"
    profile, corpus = featured()
    for name in TRAINED:
        fine_tune(profile, name, 0.5 if METHODS[name].dial else 0.0, 0, folder, corpus)
    parts = load_profile(profile, fine_tune__micro_batch_size=5)  # 16 or 32 pairs in parts of 5
    for name in IN_PARTS:
        fine_tune(parts, name, 0.5 if METHODS[name].dial else 0.0, 0, Path(folder) / "parts", corpus)
    if processes > 1:
        assert dist.get_world_size() == processes and dist.get_backend() == "gloo"
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of runs of one process and of two."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for processes, folder in ((1, one), (2, two)):  # both in processes of their own: accelerate keeps its state
        torch.multiprocessing.spawn(train_all, (processes, port, str(folder)), nprocs=processes)
    return one, two


def find(folder: Path, method: str) -> Path:
    (found,) = folder.glob(f"fashion/{method}-a0*-s0-*")
    return found


@pytest.mark.parametrize("method", TRAINED)
def test_two_processes_equal_one(trained: tuple[Path, Path], method: str):
    one, two = (find(folder, method) for folder in trained)
    steps = [pd.read_csv(folder / "steps.csv")[COMPARED] for folder in (one, two)]
    assert len(steps[0]) == 12
    pd.testing.assert_frame_equal(*steps, rtol=1e-5, atol=1e-6)
    weights, others = (read_weights(folder / "model.safetensors") for folder in (one, two))
    for name, value in weights.items():
        torch.testing.assert_close(value, others[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("method", IN_PARTS)
def test_micro_batches_change_nothing(trained: tuple[Path, Path], processes: int, method: str):
    whole, parts = find(trained[0], method), find(trained[processes - 1] / "parts", method)
    steps = [pd.read_csv(folder / "steps.csv")[COMPARED] for folder in (whole, parts)]
    pd.testing.assert_frame_equal(*steps, rtol=1e-5, atol=1e-6)
    weights, others = (read_weights(folder / "model.safetensors") for folder in (whole, parts))
    for name, value in weights.items():
        torch.testing.assert_close(value, others[name], rtol=1e-4, atol=1e-5, msg=name)


def test_the_cap_and_the_ramp_took_part(trained: tuple[Path, Path]):
    steps = pd.read_csv(find(trained[0], "tpc-cma") / "steps.csv")
    assert set(steps.phase) == {"anchor", "ramp", "stabilize"}
    assert steps.alpha.iloc[-1] == 0.5


@pytest.mark.parametrize("processes", [1, 2])
def test_batch_norm_in_several_processes_is_told_of(processes: int, tiny_profile: Profile):
    several = SimpleNamespace(num_processes=processes, is_main_process=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_batch_norm(build_encoder(tiny_profile).model, several)
        warn_of_batch_norm(torch.nn.Linear(2, 2), several)
    said = "its statistics are of each process's own pairs, so 2 processes do not give what one gives"
    assert [str(each.message) for each in caught] == [f"the model has batch norm: {said}"] * (processes == 2)
