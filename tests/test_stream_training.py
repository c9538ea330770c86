"""Training from shards, which are made here, by a small model of open_clip: steps, counts, resuming."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor

import tpccma.data.shards
from tpccma import load_profile
from tpccma.data import Corpus, Pairs
from tpccma.data.shard_files import find_shards
from tpccma.data.shards import PairSource
from tpccma.methods import METHODS
from tpccma.profiles import Profile
from tpccma.training.encoders import build_encoder
from tpccma.training.loop import Trainer

MODEL = "tpccma-stream-test"
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
NOTHING = Pairs(torch.zeros(0, 1), [], torch.zeros(0))


def write(folder: Path, shard: int) -> None:
    """Write a shard of ten pairs, the last with a damaged picture."""
    with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
        for i in range(10):
            number = 10 * shard + i
            pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            content = file.getvalue()[: 60 if i == 9 else None]
            for name, part in (("png", content), ("txt", f"picture number {number}".encode())):
                entry = tarfile.TarInfo(f"{number:09d}.{name}")
                entry.size = len(part)
                tar.addfile(entry, io.BytesIO(part))
    (folder / f"{shard:05d}_stats.json").write_text(json.dumps({"successes": 10}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(3):
        write(folder, shard)
    (folder / f"{MODEL}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / f"{MODEL}.json")
    return folder


@pytest.fixture(scope="module")
def profile(folder: Path) -> Profile:
    return load_profile(
        "photos",
        model={"kind": "open_clip", "name": MODEL, "pretrained": None},
        fine_tune__epochs=2,
        fine_tune__batch_size=6,
        fine_tune__checkpoint_steps=3,
        fine_tune__learning_rate=1e-3,
    )


def corpus_of(folder: Path, workers: int = 0) -> Corpus:
    shards = find_shards(f"{folder}/{{00000..00003}}.tar", skip_missing=True)
    source = PairSource(shards, to_tensor, pairs=shards.pairs, workers=workers, buffer=8)
    return Corpus(NOTHING, NOTHING, NOTHING, (), (), source)


def trainer_of(profile: Profile, corpus: Corpus, folder: Path) -> Trainer:
    encoder = build_encoder(profile, seed=0)
    return Trainer(encoder, profile, profile.fine_tune, 0.5, 0, folder, corpus, METHODS["tpc-cma"])


def steps_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "steps.csv")[["step", "phase", "alpha", "loss", "cosine"]]


@pytest.mark.parametrize("workers", [0, 2])
def test_training_reads_its_share_and_counts_what_it_skipped(
    profile: Profile, folder: Path, tmp_path: Path, workers: int
):
    trainer_of(profile, corpus_of(folder, workers), tmp_path).run()
    steps = steps_of(tmp_path)
    assert len(steps) == 10  # 30 pairs by the statistics, 5 batches of 6, 2 epochs
    assert steps.alpha.iloc[-1] == 0.5
    data = json.loads((tmp_path / "data.json").read_text())
    assert (data["pairs"], data["missing_shards"]) == (30, 1)
    assert data["used"] >= 60 and data["unreadable_image"] >= 6
    assert (data["without_text"], data["without_image"], data["broken_shard"]) == (0, 0, 0)


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("remembered", [True, False], ids=["", "checkpoint without what was read"])
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.deep)])
def test_killed_training_goes_on_where_it_was(
    profile: Profile, folder: Path, tmp_path: Path, monkeypatch, workers: int, remembered: bool
):
    whole, killed, opened = tmp_path / "whole", tmp_path / "killed", []
    open_picture = tpccma.data.shards.open_picture
    monkeypatch.setattr(tpccma.data.shards, "open_picture", lambda image: opened.append(image) or open_picture(image))
    trainer_of(profile, corpus_of(folder, workers), whole).run()
    by_whole, take_step = len(opened), Trainer._take_step

    def die(trainer: Trainer, *batch: torch.Tensor) -> dict:
        if trainer.step == 7:
            raise Killed
        return take_step(trainer, *batch)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trainer, "_take_step", die)
        trainer_of(profile, corpus_of(folder, workers), killed).run()
    if not remembered:
        (killed / "checkpoint" / "read-0.json").unlink()
    by_resumed = len(opened)
    resumed = trainer_of(profile, corpus_of(folder, workers), killed)
    resumed.run()
    assert resumed.step == 10
    pd.testing.assert_frame_equal(steps_of(killed), steps_of(whole), rtol=1e-6)
    if not workers:
        assert json.loads((killed / "data.json").read_text()) == json.loads((whole / "data.json").read_text())
        spared = by_whole - (len(opened) - by_resumed)
        assert spared >= 6 * 6 + 3 if remembered else spared == 0  # the pairs of 6 steps, 3 damaged in the first pass


def test_stream_that_does_not_fill_a_batch_is_refused(profile: Profile, folder: Path, tmp_path: Path):
    large = load_profile(profile, fine_tune__batch_size=31)
    with pytest.raises(ValueError, match="30 training pairs do not fill one batch of 31"):
        trainer_of(large, corpus_of(folder), tmp_path)
