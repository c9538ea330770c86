"""Photographs with captions and a model of open_clip, through the same training and evaluation. All made here."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor

from tests.odd_pictures import DAMAGED, encode
from tpccma import evaluate, fine_tune, load_profile
from tpccma.data import load_corpus
from tpccma.data.photos import karpathy_splits
from tpccma.models.towers import ShortTextCLIP
from tpccma.profiles import Profile
from tpccma.training.encoders import build_encoder

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (40, 60, 220), "white": (240, 240, 240)}
CONFIG = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
MODEL = "tpccma-photos-test"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 photographs, so to speak: a noisy colour each, 40 by 50 pixels, with two captions that name it."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "Images").mkdir()
    lines, images = ["image,caption"], []
    for i in range(80):
        name, number = list(COLOURS)[i % 4], f"{i:04d}.jpg"
        noise = np.random.default_rng(i).integers(-90, 90, (5, 4, 3)).repeat(10, 0).repeat(10, 1)
        pixels = np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "Images" / number)
        said = [f"a {name} thing , number {i}", f"number {i} is {name}"]
        lines += [f"{number},{caption}" for caption in said]
        split = "test" if i < 20 else "val" if i < 30 else "restval" if i < 40 else "train"
        images.append({"filename": number, "split": split, "sentences": [{"raw": caption} for caption in said]})
    (folder / "captions.txt").write_text("\n".join(lines))
    (folder / "dataset.json").write_text(json.dumps({"images": images}))
    (folder / f"{MODEL}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / f"{MODEL}.json")
    return folder


def profile_of(folder: Path, captions: str = "captions.txt", **changes) -> Profile:
    data = {
        "kind": "photos",
        "images_dir": folder / "Images",
        "captions": folder / captions,
        "captions_per_image": 2,
        "test_items": 20,
        "val_items": 10,
        "cache_dir": folder / "cache",
        "has_splits": captions == "dataset.json",
    }
    return load_profile(
        "demo",
        data={**data, **changes},
        model={"kind": "open_clip", "name": MODEL, "pretrained": None},
        base__epochs=1,
        base__batch_size=16,
        fine_tune__epochs=3,
        fine_tune__batch_size=16,
        evaluation__bootstrap_resamples=20,
        evaluation__decoder={"width": 32, "layers": 1, "heads": 2, "steps": 20, "warmup_steps": 2, "batch_size": 16},
    )


@pytest.mark.parametrize("captions", ["captions.txt", "dataset.json"])
def test_splits_share_nothing(folder: Path, captions: str):
    corpus = load_corpus(profile_of(folder, captions))
    parts = [corpus.train, corpus.val, corpus.test]
    assert [len(part) for part in parts] == [50, 10, 20]
    assert len({path for part in parts for path in part.images.paths}) == 80
    for part in parts:
        for path, said in zip(part.images.paths, part.captions, strict=True):
            assert len(said) == 2 and said[0].endswith(f"number {int(path.stem)}")
    if captions == "dataset.json":
        assert corpus.test.images.paths[0].name == "0000.jpg"


def test_layout_of_the_captions_makes_no_difference(folder: Path):
    rows = [line.split(",", 1) for line in (folder / "captions.txt").read_text().split("\n")[1:]]
    numbers = [place % 2 for place in range(len(rows))]
    layouts = {
        "numbered.csv": ["image,caption,id", *(f"{name},{text},{i}" for i, (name, text) in enumerate(rows))],
        "results.csv": ["image_name| comment_number| comment",
                        *(f"{name}| {i}| {text}" for i, (name, text) in zip(numbers, rows, strict=True))],
        "flickr.token": [f"{name}#{i}\t{text}" for i, (name, text) in zip(numbers, rows, strict=True)],
    }  # fmt: skip
    expected = load_corpus(profile_of(folder))
    for name, lines in layouts.items():
        (folder / name).write_text("\n".join(lines))
        corpus = load_corpus(profile_of(folder, name))
        assert corpus.content == expected.content
        for part, other in ((corpus.train, expected.train), (corpus.test, expected.test)):
            assert (part.images.paths, part.captions) == (other.images.paths, other.captions)


def test_pictures_that_look_alike_stay_on_one_side(folder: Path):
    pair = [folder / "Images" / name for name in ("0003.jpg", "0007.jpg")]
    kept = pair[1].read_bytes()
    pair[1].write_bytes(pair[0].read_bytes())
    try:
        for seed in range(3):
            corpus = load_corpus(profile_of(folder, seed=seed))
            sides = [set(pair) & set(part.images.paths) for part in (corpus.train, corpus.val, corpus.test)]
            assert sorted(len(side) for side in sides) == [0, 0, 2]
    finally:
        pair[1].write_bytes(kept)


@pytest.fixture
def spoilt(folder: Path) -> Iterator[Callable[[str, bytes], Path]]:
    """Put other content in place of a picture, until the test is over."""
    kept = {}

    def spoil(name: str, content: bytes) -> Path:
        path = folder / "Images" / name
        kept.setdefault(path, path.read_bytes())
        path.write_bytes(content)
        return path

    yield spoil
    for path, content in kept.items():
        path.write_bytes(content)


@pytest.mark.parametrize("captions", ["captions.txt", "dataset.json"])
def test_pictures_are_left_out_however_damaged(folder: Path, captions: str, spoilt: Callable):
    for number, content in enumerate(DAMAGED.values(), start=16):  # of the test and the val split
        spoilt(f"{number:04d}.jpg", content)
    corpus = load_corpus(profile_of(folder, captions, skip_missing=True))
    parts = [corpus.train, corpus.val, corpus.test]
    assert sum(len(part) for part in parts) == 80 - len(DAMAGED)
    for part in parts:
        assert len(part.images[range(len(part))]) == len(part)  # all can be read
    if captions == "dataset.json":
        assert [part["unreadable"] for part in corpus.report.values()] == [0, len(DAMAGED) - 4, 4]
    else:
        assert corpus.report["all"]["unreadable"] == len(DAMAGED)


def test_split_without_a_readable_picture_is_refused(folder: Path, spoilt: Callable):
    for number in range(20):
        spoilt(f"{number:04d}.jpg", DAMAGED["nothing"])
    with pytest.raises(ValueError, match=r"Images: none of 20 pictures can be read; get them again"):
        load_corpus(profile_of(folder, "dataset.json", skip_missing=True))


def test_karpathys_splits_leave_damaged_pictures_out_where_asked(folder: Path, tmp_path: Path, spoilt: Callable):
    files = folder / "dataset.json", folder / "Images", to_tensor, 2
    path = spoilt("0003.jpg", DAMAGED["truncated JPEG"])
    spoilt("0025.jpg", DAMAGED["bomb"])
    pairs, reports = karpathy_splits(*files)  # finds out when the picture is read
    assert len(pairs["test"]) == 20 and "unreadable" not in reports["test"]
    with pytest.raises(ValueError, match=rf"{path} is no readable picture"):
        pairs["test"].images[[3]]
    for _ in range(2):  # hashes are made, then found
        pairs, reports = karpathy_splits(*files, skip_missing=True, cache_dir=tmp_path / "cache")
        assert {name: len(part) for name, part in pairs.items()} == {"train": 50, "val": 9, "test": 19}
        assert {name: report["unreadable"] for name, report in reports.items()} == {"train": 0, "val": 1, "test": 1}
        assert len(pairs["test"].images[range(19)]) == 19 and path not in pairs["test"].images.paths
        assert pairs["test"].captions[3] == ["a red thing , number 4", "number 4 is red"]
    assert (tmp_path / "cache").is_dir()


@pytest.mark.parametrize("kind", ["broken chunk", "bomb"])
def test_damaged_picture_of_a_split_is_named_when_it_is_read(folder: Path, kind: str, spoilt: Callable):
    path = spoilt("0003.jpg", DAMAGED[kind])
    with pytest.raises(ValueError, match=rf"{path} is no readable picture"):
        load_corpus(profile_of(folder, "dataset.json")).test.images[range(20)]


@pytest.mark.parametrize("captions", ["captions.txt", "dataset.json"])
def test_pictures_are_turned_upright(folder: Path, captions: str, spoilt: Callable):
    upright = np.asarray(Image.open(folder / "Images" / "0003.jpg"))
    exif = Image.Exif()
    exif[0x0112] = 6
    paths = [
        spoilt("0003.jpg", encode(upright)),
        spoilt("0007.jpg", encode(np.ascontiguousarray(np.rot90(upright)), exif=exif)),
    ]
    corpus = load_corpus(profile_of(folder, captions))
    images = {path: part.images[[i]] for part in (corpus.train, corpus.val, corpus.test)
              for i, path in enumerate(part.images.paths) if path in paths}  # fmt: skip
    assert torch.equal(*(images[path] for path in paths))
    sides = [set(paths) & set(part.images.paths) for part in (corpus.train, corpus.val, corpus.test)]
    assert sorted(len(side) for side in sides) == [0, 0, 2]  # they look alike
    transform = corpus.test.images.transform
    given, _ = karpathy_splits(folder / "dataset.json", folder / "Images", transform, 2)
    assert not torch.equal(*given["test"].images[[3, 7]])  # what open_clip would see


def test_damaged_picture_is_refused_or_left_out(folder: Path, caplog: pytest.LogCaptureFixture):
    path = folder / "Images" / "0005.jpg"
    kept = path.read_bytes()
    path.write_bytes(b"no picture")
    try:
        with pytest.raises(ValueError, match=r"1 pictures cannot be read, such as 0005\.jpg"):
            load_corpus(profile_of(folder))
        corpus = load_corpus(profile_of(folder, skip_missing=True))
    finally:
        path.write_bytes(kept)
    assert sum(len(part) for part in (corpus.train, corpus.val, corpus.test)) == 79
    assert "1 unreadable pictures left out" in caplog.text


@pytest.mark.parametrize("missing", ["images_dir", "captions"])
def test_profile_that_does_not_say_where_is_refused(folder: Path, missing: str):
    profile = load_profile(profile_of(folder), **{f"data__{missing}": None})
    with pytest.raises(FileNotFoundError, match=r"data\.images_dir and data\.captions"):
        load_corpus(profile)


def test_model_by_name_has_open_clips_tokenizer_and_activation(folder: Path):
    encoder = build_encoder(profile_of(folder))
    assert isinstance(encoder.model, ShortTextCLIP)
    assert torch.equal(encoder.tokenizer(["a red thing"]), open_clip.get_tokenizer(MODEL)(["a red thing"]))
    assert encoder.tokenizer(["a red thing"]).shape == (1, 77)


def test_tasks_of_classes_are_refused_where_there_are_none(folder: Path):
    profile = profile_of(folder)
    with pytest.raises(ValueError, match="no classes, needed for zeroshot and clustering: leave that out"):
        evaluate(build_encoder(profile), load_corpus(profile), ("gap", "zeroshot", "clustering"))


def test_training_that_is_refused_leaves_nothing(folder: Path, tmp_path: Path):
    profile = load_profile(profile_of(folder), fine_tune__batch_size=10_000)
    with pytest.raises(ValueError, match="10000"):
        fine_tune(profile, alpha=0.5, runs_dir=tmp_path)
    assert not [path for path in tmp_path.rglob("tpc-cma*")]


@pytest.mark.deep
@pytest.mark.parametrize("workers", [0, 1])
def test_fine_tuning_and_evaluation_from_end_to_end(folder: Path, tmp_path: Path, workers: int):
    profile = profile_of(folder, workers=workers)
    corpus = load_corpus(profile)
    aligned = fine_tune(profile, alpha=0.5, runs_dir=tmp_path, corpus=corpus)
    clip = fine_tune(profile, alpha=0.0, runs_dir=tmp_path, corpus=corpus)
    assert len(aligned.steps) == 9
    found = {name: evaluate(run, corpus) for name, run in (("aligned", aligned), ("clip", clip))}
    assert found["aligned"]["raw_gap"] < found["clip"]["raw_gap"]
    assert {"t2i_recall_at_1", "cider", "cider_memory", "effective_rank_image"} <= set(found["clip"])
    assert not any(name.startswith(("zeroshot", "clustering")) for name in found["clip"])
    model = open_clip.create_model(MODEL, pretrained=str(aligned.folder / "model.safetensors")).eval()
    with torch.no_grad():
        again = model.encode_image(corpus.test.images[range(20)], normalize=True)
    torch.testing.assert_close(again, aligned.encoder.embed_images(corpus.test.images), atol=1e-5, rtol=0)
    given = {"tokenizer": aligned.encoder.tokenizer, "settings": profile.evaluation}
    bare = evaluate(aligned.encoder.model, corpus, ("gap", "retrieval"), **given)
    assert bare == {name: found["aligned"][name] for name in bare}
