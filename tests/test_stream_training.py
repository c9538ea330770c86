"""Training from shards, which are made here, by a small model of open_clip: steps, counts, resuming."""

import io
import json
import tarfile
from dataclasses import replace
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
from tpccma.data.pictures import ImageFiles
from tpccma.data.shard_files import find_shards
from tpccma.data.shards import PairSource
from tpccma.methods import METHODS
from tpccma.models import prepare
from tpccma.profiles import Profile
from tpccma.training.batches import as_pixels, open_batches
from tpccma.training.checkpoint import seal
from tpccma.training.encoders import build_encoder
from tpccma.training.loop import Trainer, start_accelerator

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


def test_batches_are_read_as_bytes_and_scaled_afterwards(profile: Profile, folder: Path):
    corpus, encoder = corpus_of(folder), build_encoder(profile, seed=0)
    source = replace(corpus.stream, transform=open_clip.image_transform(16, is_train=False))
    batches = open_batches(replace(corpus, stream=source), encoder, 6, 0, start_accelerator(profile.fine_tune))
    raw, _ = next(batches.stream.batches(6))
    assert (raw.dtype, raw.shape) == (torch.uint8, (6, 3, 16, 16))
    expected = source.open(encoder.tokenizer, 0, 0, 1).batches(6)
    for images, tokens in batches.between(0, 3):
        own_images, own_tokens = next(expected)
        assert torch.equal(images.cpu(), own_images)
        assert tokens.shape == (6, 8)  # six tokens at most
        assert torch.equal(tokens.cpu(), own_tokens[:, :8])


def test_pictures_in_files_are_read_as_bytes_and_scaled_afterwards(tmp_path: Path):
    path, transform = tmp_path / "picture.png", open_clip.image_transform(8, is_train=False)
    pixels = np.random.default_rng(0).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    files = ImageFiles([path], transform, workers=1, upright=True)
    read, scale = as_pixels(files)
    assert (read.workers, read.upright, read[[0]].dtype) == (1, True, torch.uint8)
    assert torch.equal(scale(read[[0]]), files[[0]])
    given = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    assert as_pixels(given) == (given, prepare)


def test_processes_that_read_files_persist_and_change_nothing(profile: Profile, folder: Path, tmp_path: Path):
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for number, path in enumerate(paths):
        Image.new("RGB", (8, 8), (60 * number, 0, 0)).save(path)
    encoder, found = build_encoder(profile, seed=0), {}
    for workers in (0, 1):
        files = ImageFiles(paths, to_tensor, workers)
        pairs = Pairs(files, [["one", "two"]] * 4, torch.zeros(4))
        accelerator = start_accelerator(profile.fine_tune)
        batches = open_batches(Corpus(pairs, pairs, pairs), encoder, 2, 0, accelerator)
        assert batches.loader.persistent_workers == (workers > 0)
        assert batches.loader.pin_memory == (accelerator.device.type == "cuda")
        found[workers] = [*batches.between(0, 6), *batches.between(1, 4)]  # three epochs, and a resume in the first
    assert len(found[0]) == 9
    for one, other in zip(found[0], found[1], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    for (images, _), (again, _) in zip(found[0][1:4], found[0][6:], strict=True):
        assert torch.equal(images, again)


@pytest.mark.parametrize("reader", ["rank", "processes", "workers", "none", "step"])
def test_place_of_another_reader_is_not_taken_up(profile: Profile, folder: Path, monkeypatch, reader: str):
    opened, open_picture = [], tpccma.data.shards.open_picture
    monkeypatch.setattr(tpccma.data.shards, "open_picture", lambda image: opened.append(image) or open_picture(image))
    encoder, accelerator = build_encoder(profile, seed=0), start_accelerator(profile.fine_tune)
    batches = open_batches(corpus_of(folder), encoder, 6, 0, accelerator)
    *_, last = batches.between(0, 3)
    read, again = batches.read(), open_batches(corpus_of(folder), encoder, 6, 0, accelerator)
    read["reader"] = {"rank": [1, 1, 0], "processes": [0, 2, 0], "workers": [0, 1, 1]}.get(reader, read["reader"])
    again.resume([] if reader == "none" else [[[0, 9]], read])
    opened.clear()
    first = 2 if reader == "step" else 3
    *_, found = again.between(first, first + 1)
    assert len(opened) >= 6 * (first + 1)  # all that came before as well
    assert torch.equal(found[0], last[0]) == (reader == "step")


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
        seal(killed / "checkpoint")
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
