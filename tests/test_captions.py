"""Captions in three layouts, and pictures that are read when asked for. All files are made here."""

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor

from tests.test_cli import refused, run
from tpccma.data.captions import CaptionReport, has_word, read_captions
from tpccma.data.pictures import ImageFiles

FIVE = [f"caption {k}" for k in range(5)]


def draw(path: Path, shade: int = 0) -> Path:
    """Write a picture of one shade of grey, 4 by 3 pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), (shade, shade, shade)).save(path)
    return path


def karpathy(folder: Path, *images: tuple[str, str, list[str]]) -> Path:
    """Write a file in Karpathy's layout; images are split, name and captions."""
    rows = [
        {"filepath": "val2014", "filename": name, "split": split, "sentences": [{"raw": c} for c in captions]}
        for split, name, captions in images
    ]
    path = folder / "dataset_coco.json"
    path.write_text(json.dumps({"dataset": "coco", "images": rows}))
    return path


def coco(folder: Path, images: list[dict], annotations: list[dict]) -> Path:
    path = folder / "captions_val2017.json"
    path.write_text(json.dumps({"info": {}, "images": images, "annotations": annotations}))
    return path


def flickr(folder: Path, *lines: str) -> Path:
    path = folder / "captions.txt"
    path.write_text("\n".join(["image,caption", *lines]) + "\n")
    return path


# ---- Karpathy's split


def test_karpathys_splits_are_told_apart(tmp_path: Path):
    images = [("test", "a.jpg", [*FIVE, "a sixth"]), ("train", "b.jpg", FIVE), ("restval", "c.jpg", FIVE)]
    path = karpathy(tmp_path, *images)
    for _, name, _ in images:
        draw(tmp_path / "images" / "val2014" / name)
    test, report = read_captions(path, tmp_path / "images", "test")
    assert test.paths == [tmp_path / "images" / "val2014" / "a.jpg"]
    assert test.captions == [FIVE]  # the first five
    assert (len(test), report) == (1, CaptionReport(1, 0, 0))
    train, _ = read_captions(path, tmp_path / "images", "train")
    assert [picture.name for picture in train.paths] == ["b.jpg", "c.jpg"]


@pytest.mark.parametrize("split", ["tset", None])
def test_unknown_split_is_named_with_what_there_is(tmp_path: Path, split: str | None):
    path = karpathy(tmp_path, ("test", "a.jpg", FIVE), ("val", "b.jpg", FIVE))
    with pytest.raises(ValueError, match=rf"dataset_coco.json has no split {split!r}; it has .'test': 1, 'val': 1"):
        read_captions(path, tmp_path, split)


def test_absent_pictures_are_refused_or_counted(tmp_path: Path):
    path = karpathy(tmp_path, ("test", "a.jpg", FIVE), ("test", "gone.jpg", FIVE), ("test", "lost.jpg", FIVE))
    draw(tmp_path / "val2014" / "a.jpg")
    with pytest.raises(FileNotFoundError, match=r"names 2 of 3 pictures that are not in .*, such as val2014/gone\.jpg"):
        read_captions(path, tmp_path, "test")
    kept, report = read_captions(path, tmp_path, "test", skip_missing=True)
    assert ([p.name for p in kept.paths], report) == (["a.jpg"], CaptionReport(3, 2, 0))
    assert str(report) == "3 pictures, of which left out: 2 without a file, 0 with too few captions"


def test_pictures_with_few_captions_are_refused_or_counted(tmp_path: Path):
    path = karpathy(tmp_path, ("test", "a.jpg", FIVE), ("test", "b.jpg", FIVE[:3]))
    for name in ("a.jpg", "b.jpg"):
        draw(tmp_path / "val2014" / name)
    with pytest.raises(ValueError, match=r"1 of 2 pictures have fewer than 5 captions, such as val2014/b\.jpg with 3"):
        read_captions(path, tmp_path, "test")
    kept, report = read_captions(path, tmp_path, "test", skip_missing=True)
    assert ([p.name for p in kept.paths], report.short) == (["a.jpg"], 1)
    assert read_captions(path, tmp_path, "test", captions_per_image=3)[0].captions == [FIVE[:3]] * 2


def test_nothing_left_is_an_error(tmp_path: Path):
    path = karpathy(tmp_path, ("test", "gone.jpg", FIVE))
    with pytest.raises(ValueError, match="no picture is left: 1 pictures, of which left out: 1 without a file"):
        read_captions(path, tmp_path, "test", skip_missing=True)


# ---- COCO's own json


def test_cocos_own_json_joins_captions_by_id(tmp_path: Path):
    images = [{"id": 7, "file_name": "b.jpg"}, {"id": 3, "file_name": "a.jpg"}]
    said = [(3, "one"), (7, "two"), (3, " three\n"), (7, "four")]
    path = coco(tmp_path, images, [{"image_id": i, "caption": caption} for i, caption in said])
    for name in ("a.jpg", "b.jpg"):
        draw(tmp_path / name)
    found, _ = read_captions(path, tmp_path, captions_per_image=2)
    assert [p.name for p in found.paths] == ["b.jpg", "a.jpg"]
    assert found.captions == [["two", "four"], ["one", "three"]]


def test_caption_of_no_picture_is_named(tmp_path: Path):
    path = coco(tmp_path, [{"id": 1, "file_name": "a.jpg"}], [{"image_id": 2, "caption": "a stray one"}])
    with pytest.raises(ValueError, match="the caption 'a stray one' is of image 2, which the file does not have"):
        read_captions(path, tmp_path)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"images": ' + "1" * 5_000 + "}", "", "{", "[]", '{"images": [{"id": 1}]}', '{"annotations": []}'],
)
def test_json_of_another_layout_is_named(tmp_path: Path, text: str):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.json is neither Karpathy's nor COCO's captions json"):
        read_captions(path, tmp_path, "test")


# ---- Flickr8k's lines


def test_captions_keep_their_commas(tmp_path: Path):
    lines = ["a.jpg,A man , a dog .", "b.jpg,Two girls", 'a.jpg,"He says ""stay"" , twice"', "", "b.jpg,A swing"]
    path = flickr(tmp_path, *lines)
    for name in ("a.jpg", "b.jpg"):
        draw(tmp_path / "Images" / name)
    found, report = read_captions(path, tmp_path / "Images", captions_per_image=2)
    assert found.captions == [["A man , a dog .", 'He says "stay" , twice'], ["Two girls", "A swing"]]
    assert report == CaptionReport(2, 0, 0)


@pytest.mark.parametrize("line", ["a.jpg", "a.jpg,", ",a caption", "a.jpg,  "])
def test_line_without_name_or_caption_is_named(tmp_path: Path, line: str):
    path = flickr(tmp_path, "a.jpg,fine", line)
    with pytest.raises(ValueError, match=r"captions\.txt, line 3: expected <image>,<caption>, got"):
        read_captions(path, tmp_path)


def test_other_header_is_named(tmp_path: Path):
    path = tmp_path / "captions.txt"
    path.write_text("picture;number;text\n")
    with pytest.raises(ValueError, match=r"captions\.txt starts with 'picture;.*'; expected 'image,caption'"):
        read_captions(path, tmp_path)


def test_split_of_a_file_without_splits_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"has no splits, so split must be None, got 'test'"):
        read_captions(flickr(tmp_path, "a.jpg,fine"), tmp_path, "test")


@pytest.mark.parametrize("missing", ["captions.txt", "Images"])
def test_missing_file_or_folder_says_where_it_is_to_be_had(tmp_path: Path, missing: str):
    if missing != "captions.txt":
        flickr(tmp_path, "a.jpg,fine")
    with pytest.raises(FileNotFoundError, match=rf"{missing} does not exist\. Karpathy's split .*cocodataset\.org"):
        read_captions(tmp_path / "captions.txt", tmp_path / "Images")


@pytest.mark.parametrize("missing", ["my.csv", "pictures"])
def test_missing_file_of_ones_own_is_named_alone(tmp_path: Path, missing: str):
    if missing != "my.csv":
        (tmp_path / "my.csv").write_text("image,caption\na.jpg,fine\n")
    with pytest.raises(FileNotFoundError, match=rf"{missing} does not exist: name the captions' file, and the pict"):
        read_captions(tmp_path / "my.csv", tmp_path / "pictures")


# ---- whose caption is whose


def test_two_pictures_of_one_id_are_refused(tmp_path: Path):
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}]
    path = coco(tmp_path, images, [{"image_id": 1, "caption": "A dog"}, {"image_id": 1, "caption": "A cat"}])
    for name in ("a.jpg", "b.jpg"):
        draw(tmp_path / name)
    for skip in (False, True):
        with pytest.raises(
            ValueError, match=r"captions_val2017\.json: a\.jpg and b\.jpg have one id, 1, .*; give each"
        ):
            read_captions(path, tmp_path, captions_per_image=1, skip_missing=skip)


@pytest.mark.parametrize("again", ["a.jpg", "./a.jpg"])
def test_picture_of_two_ids_is_refused(tmp_path: Path, again: str):
    path = coco(tmp_path, [{"id": 1, "file_name": "a.jpg"}, {"id": "x", "file_name": again}], [])
    with pytest.raises(ValueError, match=r"names a\.jpg twice, with the ids 1 and 'x'; give all its captions one id"):
        read_captions(path, tmp_path)


@pytest.mark.parametrize("split, where", [("test", "test"), ("val", "test and val"), ("restval", "restval and test")])
def test_picture_named_twice_in_karpathys_json_is_refused(tmp_path: Path, split: str, where: str):
    path = karpathy(tmp_path, ("test", "a.jpg", FIVE), ("train", "b.jpg", FIVE), (split, "a.jpg", FIVE[::-1]))
    for asked in ("test", "train"):
        with pytest.raises(ValueError, match=rf"names val2014/a\.jpg 2 times, in {where}; a picture is to stand there"):
            read_captions(path, tmp_path, asked)


def test_picture_spelt_in_two_ways_is_one(tmp_path: Path):
    draw(tmp_path / "a.jpg")
    found, _ = read_captions(flickr(tmp_path, "a.jpg,one", "./a.jpg,two"), tmp_path, captions_per_image=2)
    assert (found.paths, found.captions) == ([tmp_path / "a.jpg"], [["one", "two"]])


# ---- where pictures lie

NFC, NFD = "caf\u00e9.jpg", "cafe\u0301.jpg"


def named(folder: Path, name: str) -> list[tuple[Path, str | None]]:
    """Write a file of each layout that names one picture."""
    (folder / "captions.json").write_text(
        json.dumps({"images": [{"id": 1, "file_name": name}], "annotations": [{"image_id": 1, "caption": "one"}]})
    )
    (folder / "dataset.json").write_text(
        json.dumps({"images": [{"filename": name, "split": "test", "sentences": [{"raw": "one"}]}]})
    )
    (folder / "results.csv").write_text(f"image_name| comment_number| comment\n{name}| 0| one\n")
    (folder / "results.token").write_text(f"{name}#0\tone\n")
    files = ("captions.json", "results.csv", "results.token")
    return [
        (flickr(folder, f"{name},one"), None),
        *((folder / file, None) for file in files),
        (folder / "dataset.json", "test"),
    ]


@pytest.mark.parametrize("there, asked", [(NFC, NFD), (NFD, NFC), (NFC, NFC)])
def test_name_in_unicodes_other_form_is_found(tmp_path: Path, there: str, asked: str):
    draw(tmp_path / "images" / there)
    for path, split in named(tmp_path, asked):
        found, _ = read_captions(path, tmp_path / "images", split, 1)
        assert (found.paths, found.captions) == ([tmp_path / "images" / there], [["one"]])


def test_picture_named_in_both_forms_is_refused_unless_there_are_two(tmp_path: Path):
    path = flickr(tmp_path, f"{NFC},one", f"{NFD},two")
    draw(tmp_path / NFC)
    for skip in (False, True):
        with pytest.raises(ValueError, match=r"in two ways, 'caf\\xe9\.jpg' and 'cafe\\u0301\.jpg'; write it in one"):
            read_captions(path, tmp_path, captions_per_image=1, skip_missing=skip)
    draw(tmp_path / NFD)
    assert read_captions(path, tmp_path, captions_per_image=1)[0].paths == [tmp_path / NFC, tmp_path / NFD]


def test_absent_picture_is_named_in_every_layout(tmp_path: Path):
    for path, split in named(tmp_path, NFD):
        with pytest.raises(FileNotFoundError, match=rf"{path.name} names 1 of 1 pictures .*, such as {NFD}"):
            read_captions(path, tmp_path, split, 1)


@pytest.mark.parametrize("outside", ["../a.jpg", "images/../../a.jpg", "/a.jpg"])
def test_name_outside_the_folder_is_refused(tmp_path: Path, outside: str):
    draw(tmp_path / "a.jpg")
    (tmp_path / "images").mkdir()
    outside = str(tmp_path / "a.jpg") if outside == "/a.jpg" else outside
    for path, split in named(tmp_path, outside):
        for skip in (False, True):
            told = (
                rf"{path.name} names '{re.escape(outside)}', which lies outside .*images; write names that start there"
            )
            with pytest.raises(ValueError, match=told):
                read_captions(path, tmp_path / "images", split, 1, skip)


def test_links_that_lie_in_the_folder_are_followed(tmp_path: Path):
    draw(tmp_path / "elsewhere.jpg")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    path = flickr(tmp_path, "a.jpg,one")
    assert read_captions(path, tmp_path / "images", captions_per_image=1)[0].paths == [tmp_path / "images" / "a.jpg"]


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "a\0.jpg", "\ud800.jpg"])
def test_name_that_no_file_can_have_is_absent(tmp_path: Path, name: str):
    path = coco(tmp_path, [{"id": 1, "file_name": name}], [])
    with pytest.raises(FileNotFoundError, match="names 1 of 1 pictures that are not in"):
        read_captions(path, tmp_path)


@pytest.mark.parametrize("name", ["a.jpg", "cafe\u0301.jpg", "../a.jpg"])
def test_command_refuses_them_before_any_training(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    path = flickr(tmp_path, f"{name},one")
    refused(run("train", "--profile", "photos", "--images-dir", "images", "--captions", path), name)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["captions.txt", "images"]


# ---- captions that are none


def layouts(folder: Path, *captions: object) -> list[tuple[Path, str | None]]:
    """Write captions of a.jpg, and two good ones of b.jpg, in each layout that can hold them; files and splits."""
    (folder / "val2014").mkdir()
    for name in ("a.jpg", "b.jpg", "val2014/a.jpg", "val2014/b.jpg"):
        draw(folder / name)
    said = [("a.jpg", caption) for caption in captions] + [("b.jpg", "fine")] * 2
    rows = [{"image_id": name, "caption": caption} for name, caption in said]
    written = [
        (karpathy(folder, ("test", "a.jpg", list(captions)), ("test", "b.jpg", ["fine"] * 2)), "test"),
        (coco(folder, [{"id": name, "file_name": name} for name in ("a.jpg", "b.jpg")], rows), None),
    ]
    if all(isinstance(text, str) and text.strip() and "\ud83d" not in text for text in captions):
        written.append((flickr(folder, *(f"{name},{caption}" for name, caption in said)), None))
    return written


@pytest.mark.parametrize("caption", ["", " ", "...", "--", "\U0001f600", "&MD;", "€"])
def test_caption_without_a_word_is_refused_or_skipped(tmp_path: Path, caption: str):
    cleaned = " ".join(caption.split())
    for path, split in layouts(tmp_path, caption, "fine"):
        told = rf"the caption {cleaned!r} of (val2014/)?a\.jpg has no word, .*; write one, take it out, or leave such"
        with pytest.raises(ValueError, match=told):
            read_captions(path, tmp_path, split, 2)
        found, report = read_captions(path, tmp_path, split, 2, skip_missing=True)
        assert ([p.name for p in found.paths], report) == (["b.jpg"], CaptionReport(2, 0, 1))
        kept, report = read_captions(path, tmp_path, split, 1, skip_missing=True)
        assert (kept.captions, report.short) == ([["fine"], ["fine"]], 0)


def test_caption_without_a_word_that_is_not_taken_does_no_harm(tmp_path: Path):
    for path, split in layouts(tmp_path, "fine", "!"):
        assert read_captions(path, tmp_path, split, 1)[0].captions == [["fine"], ["fine"]]


@pytest.mark.parametrize("caption", [7, None, True, ["a dog"], {"raw": "a dog"}])
def test_caption_that_is_no_text_is_refused(tmp_path: Path, caption: object):
    for path, split in layouts(tmp_path, caption, "fine"):
        told = rf"{path.name}: a caption of (val2014/)?a\.jpg is {re.escape(repr(caption))}; write it as text"
        for skip in (False, True):
            with pytest.raises(ValueError, match=told):
                read_captions(path, tmp_path, split, 1, skip)


def test_half_a_character_is_refused(tmp_path: Path):
    for path, split in layouts(tmp_path, "a \ud83d dog", "fine"):
        with pytest.raises(ValueError, match=r"the caption 'a \\ud83d dog' of .*a\.jpg holds half a character"):
            read_captions(path, tmp_path, split, 1)


@pytest.mark.parametrize("caption", ['"STOP" sign beside a sign that says "YIELD"', '"A dog"', 'He says ""stay""'])
def test_quotation_marks_in_json_are_the_captions_own(tmp_path: Path, caption: str):
    for path, split in layouts(tmp_path, caption, "fine")[:2]:
        assert read_captions(path, tmp_path, split, 1)[0].captions[0] == [caption]


@pytest.mark.parametrize("end", ["\x85", "\u2028", "\u2029"])
def test_line_ends_of_unicode_make_no_second_picture(tmp_path: Path, end: str):
    for path, split in layouts(tmp_path, f"A dog{end}b.jpg,on grass", "fine"):
        found, _ = read_captions(path, tmp_path, split, 2)
        assert found.captions == [["A dog b.jpg,on grass", "fine"], ["fine", "fine"]]


# What `tpccma.tasks.caption_scores.ptb_tokenize` leaves of them was recorded: nothing of any.
NOTHING = ["", ".", "...", ". . .", "--", "-", "``", "''", '"', "\u2018", "…", "—", "\u2013", "&MD;", "- &MD; -"]
NOTHING += ["\u200b", "\ufeff", "\u00ad", "\U0001f600", "\U0001f44d\U0001f3fd"]  # no width, emoji
NOTHING += ["\u1369", "\u2163", "\u0528", "\U0001d400", "\U00020000"]  # letters and digits that it does not know
SOMETHING = ["A dog.", "a", "7", "-7-", "É", "犬", "いぬ", "собака", "ª", "ー", "\U0001f600 dog"]
SOMETHING += ["``x''", "&MD; a", "&amp x", "½ cup", "U.S.", "n't", "a_b", "(b)"]


@pytest.mark.parametrize("captions, expected", [(NOTHING, False), (SOMETHING, True)])
def test_word_is_what_the_caption_metrics_see(captions: list[str], expected: bool):
    assert {caption: has_word(caption) for caption in captions} == dict.fromkeys(captions, expected)


@pytest.mark.parametrize("caption", ["€", "½", "№", "!?", "(", "٣", "&quot;", "\u0301"])
def test_what_the_metrics_keep_besides_is_no_word(caption: str):
    assert not has_word(caption)


# ---- pictures


@pytest.mark.parametrize("workers", [0, 1])
def test_pictures_are_read_in_order(tmp_path: Path, workers: int):
    paths = [draw(tmp_path / f"{shade}.png", shade) for shade in (0, 51, 102, 153, 204)]
    files = ImageFiles(paths, to_tensor, workers)
    assert len(files) == 5
    parts = list(files.split(2))
    assert [tuple(part.shape) for part in parts] == [(2, 3, 3, 4), (2, 3, 3, 4), (1, 3, 3, 4)]
    torch.testing.assert_close(torch.cat(parts)[:, 0, 0, 0], torch.tensor([0, 0.2, 0.4, 0.6, 0.8]))
    torch.testing.assert_close(files[torch.tensor([3, 1])][:, 0, 0, 0], torch.tensor([0.6, 0.2]))


def test_damaged_picture_is_named(tmp_path: Path):
    whole = draw(tmp_path / "whole.jpg", 128)
    cut, text = tmp_path / "cut.jpg", tmp_path / "text.jpg"
    cut.write_bytes(whole.read_bytes()[:200])
    text.write_text("no picture")
    for path in (cut, text):
        with pytest.raises(ValueError, match=f"{path} is no readable picture"):
            ImageFiles([whole, path], to_tensor)[[0, 1]]
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg has gone since the list"):
        ImageFiles([tmp_path / "gone.jpg"], to_tensor)[[0]]
