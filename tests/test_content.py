"""Which data a run was made from: other captions or pictures are other data, a folder that was moved is the same."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from tests.paper_world import SMALL, write_world
from tpccma import base_run, fine_tune, load_profile
from tpccma.data import Corpus, load_corpus
from tpccma.data.content import content_of_corpus, content_of_files
from tpccma.data.fashion import COLUMNS
from tpccma.evidence.table import load_results
from tpccma.methods import PAIRED
from tpccma.profiles import Profile
from tpccma.runs.record import record_run
from tpccma.runs.sweep import sweep
from tpccma.tasks.evaluation import Evaluated

MODEL = "tpccma-content-test"
CONFIG = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
WORDS = ("red", "green", "blue", "white")


def write_noise(path: Path, *seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (24 + seed[0] % 7, 24, 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_photos(folder: Path, seed: int = 0) -> Path:
    """24 pictures of noise with a caption each."""
    lines = ["image,caption"]
    for i in range(24):
        write_noise(folder / "images" / f"{i}.png", seed, i)
        lines.append(f"{i}.png,a {WORDS[i % 4]} star number {i}")
    (folder / "captions.txt").write_text("\n".join(lines))
    return folder


def photos(folder: Path, name: str = "photos") -> Profile:
    (folder / f"{MODEL}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / f"{MODEL}.json")
    training = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3}
    data = {"kind": "photos", "images_dir": folder / "images", "captions": folder / "captions.txt"}
    return load_profile(
        "photos",
        name=name,
        data={**data, "captions_per_image": 1, "test_items": 4, "val_items": 4, "cache_dir": folder / "cache"},
        model={"kind": "open_clip", "name": MODEL, "pretrained": None},
        base=training,
        fine_tune=training,
    )


def write_fashion(folder: Path) -> Path:
    rows = [COLUMNS]
    for i in range(6):
        rows.append(f"{i},Men,Apparel,Topwear,Shirts,Blue,Fall,2011,Casual,{WORDS[i % 4]} shirt {i}")
        write_noise(folder / "images" / f"{i}.jpg", i)
    (folder / "styles.csv").write_text("\n".join(rows))
    return folder


def fashion(folder: Path) -> Profile:
    return load_profile("fashion", data__data_dir=folder)


def paper(folder: Path) -> Profile:
    return load_profile("paper", data={"kind": "paper", "data_dir": folder, **SMALL["data"]})


def edit(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize(
    "write, profile_of, change",
    [
        (write_photos, photos, lambda folder: edit(folder / "captions.txt", "red", "pink")),
        (write_photos, photos, lambda folder: write_noise(folder / "images" / "3.png", 99)),
        (write_fashion, fashion, lambda folder: edit(folder / "styles.csv", "red", "pink")),
        (write_fashion, fashion, lambda folder: write_noise(folder / "images" / "3.jpg", 99)),
        (write_world, paper, lambda folder: edit(folder / "coco" / "dataset_coco.json", "view 3", "sight 3")),
        (write_world, paper, lambda folder: edit(folder / "cc3m" / "00001_stats.json", "8", "7")),
        (write_world, paper, lambda folder: (folder / "cc3m" / "00001.tar").write_bytes(b"another shard")),
        (write_world, paper, lambda folder: next((folder / "imagenet").rglob("*.JPEG")).write_bytes(b"other")),
    ],
)
def test_changed_data_are_other_data_and_moved_ones_the_same(
    tmp_path: Path, write: Callable, profile_of: Callable, change: Callable
):
    folder = write(tmp_path / "first")
    first = content_of_files(profile_of(folder).data)
    moved = shutil.move(folder, tmp_path / "moved")
    assert content_of_files(profile_of(moved).data) == first and len(first) == 16
    change(moved)
    assert content_of_files(profile_of(moved).data) != first


def test_two_folders_of_one_shape_give_two_runs_and_two_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tpccma.runs.record.evaluate_whole", lambda run, corpus: Evaluated({"raw_gap": 1.0}, {}, {}))
    runs = []
    for i in range(2):
        profile = photos(write_photos(tmp_path / str(i), seed=i), name=f"photos-{i}")
        runs.append(fine_tune(profile, alpha=0.5, runs_dir=tmp_path / "runs" / "together"))
        record_run(runs[-1], results_dir=tmp_path / "results")
    assert runs[0].fingerprint == runs[1].fingerprint and runs[0].content != runs[1].content
    assert load_results(tmp_path / "results").profile.tolist() == ["photos-0", "photos-1"]


def test_other_data_under_one_name_train_anew_and_spare_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tpccma.runs.record.evaluate_whole", lambda run, corpus: Evaluated({"raw_gap": 1.0}, {}, {}))
    profiles = [photos(write_photos(tmp_path / str(i), seed=i)) for i in range(2)]
    runs = [fine_tune(profile, PAIRED, 0.5, runs_dir=tmp_path / "runs") for profile in profiles]  # as sweeps plan
    assert runs[0].folder != runs[1].folder and all((run.folder / "model.safetensors").is_file() for run in runs)
    weights = [run.encoder.model.state_dict()["text_projection"] for run in runs]
    assert not torch.equal(*weights)
    results = {"results_dir": tmp_path / "results"}
    record_run(runs[0], **results)
    for again in (
        lambda: record_run(runs[1], **results),
        lambda: sweep(profiles[1], runs_dir=tmp_path / "other", **results),
    ):
        with pytest.raises(ValueError, match=r"was recorded on other data.*name of its own"):
            again()
    assert not (tmp_path / "other").exists()  # refused before anything was trained


def test_scenes_are_named_by_their_settings(tiny_corpus: Corpus, tiny_profile: Profile):
    assert content_of_files(tiny_profile.data) == content_of_corpus(tiny_corpus) == ""


def test_corpus_made_by_hand_is_named_by_what_it_holds(tiny_corpus: Corpus):
    hand_made = replace(tiny_corpus, content=None)
    train = replace(tiny_corpus.train, images=tiny_corpus.train.images.flip(0))
    found = {content_of_corpus(corpus) for corpus in (hand_made, replace(hand_made), replace(hand_made, train=train))}
    assert len(found) == 2 and "" not in found


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fashion", r"data\.data_dir in the profile, or --data-dir; the book"),
        ("paper", r"data\.data_dir in the profile, or --data-dir; the book"),
        ("photos", r"data\.images_dir and data\.captions in the profile, or --images-dir and --captions; the book"),
    ],
)
@pytest.mark.parametrize(
    "ask",
    [
        lambda name, folder: load_corpus(load_profile(name)),
        lambda name, folder: base_run(name, runs_dir=folder),
        lambda name, folder: fine_tune(name, runs_dir=folder),
    ],
)
def test_missing_place_is_named_before_any_work(tmp_path: Path, ask: Callable, name: str, said: str):
    with pytest.raises(FileNotFoundError, match=f"say where the data lie: {said} says what to put there"):
        ask(name, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
