"""One opener for all readers: what is damaged is named, what is unusual right, and the rest as Pillow gives it."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image, ImageFile
from torch import Tensor
from torchvision.transforms.functional import to_tensor

from tests.odd_pictures import BLOCKS, COLOUR, DAMAGED, GREY, ODD, encode, oriented, palette
from tests.test_shards import write_shard
from tpccma.data.duplicates import hash_images
from tpccma.data.features import read_pixels
from tpccma.data.pictures import TURNS, DamagedPicture, ImageFiles, open_picture
from tpccma.data.shards import PairStream


def read_shard(path: Path, skip_bad: bool = False) -> PairStream:
    samples = {"000": {"jpg": path.read_bytes(), "txt": b"a thing"}, "001": {"jpg": encode(GREY), "txt": b"a thing"}}
    shard = write_shard(path.with_suffix(".tar"), samples)
    return PairStream([shard], to_tensor, lambda texts: torch.zeros(1, 1), buffer=1, skip_bad=skip_bad)


READERS: dict[str, Callable[[Path], Tensor]] = {
    "files": lambda path: ImageFiles([path], to_tensor)[[0]][0],
    "groups": lambda path: hash_images([path], None, progress=False)[1],
    "shards": lambda path: next(iter(read_shard(path).batches(1)))[0][0],
    "frozen": read_pixels,
}


@pytest.fixture
def put(tmp_path: Path) -> Callable[[bytes, str], Path]:
    def write(content: bytes, name: str = "picture.jpg") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


# ---- damaged


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_picture_is_named_by_every_reader(kind: str, put):
    path = put(DAMAGED[kind])
    for read in (open_picture, READERS["files"], READERS["frozen"]):
        with pytest.raises(DamagedPicture, match=rf"^{path} is no readable picture \(\w.+\); get it again"):
            read(path)
    with pytest.raises(DamagedPicture, match=r"^number 7 is no readable picture \((?!.* object at 0x)"):
        open_picture(path.read_bytes(), "number 7")
    whole = put(encode(GREY), "whole.jpg")
    readable, hashes, unreadable = hash_images([path, whole], None, progress=False)
    assert (readable, len(hashes), unreadable) == ([1], 1, ("picture.jpg",))
    with pytest.raises(ValueError, match=r"pair 000 of .*picture\.tar: unreadable image \(\w.+\); repair the shard"):
        next(iter(read_shard(path).batches(1)))
    stream = read_shard(path, skip_bad=True)
    next(iter(stream.batches(1)))
    assert stream.tally()["unreadable_image"] == 1


@pytest.mark.parametrize(
    "kind, reason",
    [
        ("nothing", "its content is of no format that Pillow knows"),
        ("small bomb", "it has 10000 x 9000 pixels, more than 89478485; shrink it"),
        ("thread", "it has 1 x 2000 pixels, a side more than 1000 times the other; crop it"),
        ("PostScript", "it is PostScript, a program that Ghostscript would run"),
        ("no numbers", "some of its values are infinite or no numbers"),
    ],
)
def test_the_reason_is_given(kind: str, reason: str):
    with pytest.raises(DamagedPicture) as error:
        open_picture(io.BytesIO(DAMAGED[kind]))
    assert str(error.value) == f"a picture is no readable picture ({reason}); get it again or take it out"


@pytest.mark.parametrize(
    "raised",
    [
        *(SyntaxError, IndexError, EOFError, MemoryError, KeyError, RuntimeError, OverflowError, OSError, TypeError),
        *(struct.error, zlib.error, Image.DecompressionBombError),
    ],
)
def test_whatever_pillow_raises_is_a_damaged_picture(raised: type, put, monkeypatch: pytest.MonkeyPatch):
    def fail(self):
        raise raised

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(DamagedPicture, match=rf"picture\.jpg is no readable picture \({raised.__name__}\)"):
        open_picture(put(encode(GREY)))


def test_absent_picture_is_absent(tmp_path: Path):
    for read in (open_picture, read_pixels):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "gone.jpg")


def test_damaged_picture_is_named_by_processes_that_read_ahead(put):
    parts = ImageFiles([put(DAMAGED["broken chunk"])], to_tensor, workers=1).split(1)
    with pytest.raises(DamagedPicture, match=r"^[^\n]*picture\.jpg is no readable picture[^\n]*$"):  # no traceback
        next(parts)
    assert list(parts) == []  # which ends the process


def test_error_in_what_prepares_a_picture_is_no_damage(put):
    def fail(picture):
        raise OSError("no picture's fault")

    stream = read_shard(put(encode(GREY)), skip_bad=True)
    stream.transform = fail
    with pytest.raises(OSError, match="no picture's fault"):
        next(iter(stream.batches(1)))


def test_warnings_of_pillow_are_no_errors(put, monkeypatch: pytest.MonkeyPatch):
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: warnings.warn("odd", stacklevel=1) or load(self))
    assert np.array_equal(np.asarray(open_picture(put(encode(COLOUR)))), COLOUR)


# ---- unusual


@pytest.mark.parametrize("kind", ODD)
def test_unusual_picture_equals_its_plain_twin(kind: str, put):
    content, expected = ODD[kind]
    found = np.asarray(open_picture(content))
    assert found.shape == expected.shape and np.abs(found.astype(int) - expected).max() <= 1
    odd, twin = put(content), put(encode(found), "twin.png")
    for name, read in READERS.items():
        assert torch.equal(read(odd), read(twin)), name


@pytest.mark.parametrize("number", range(1, 9))
def test_pictures_are_turned_where_asked(number: int, put, tmp_path: Path):
    path, twin = put(oriented(number)), put(encode(COLOUR), "twin.png")
    assert np.array_equal(np.asarray(open_picture(path, upright=True)), COLOUR)
    stored = open_picture(path)
    assert np.array_equal(np.asarray(stored), np.asarray(Image.open(path).convert("RGB")))
    turned = stored if number == 1 else stored.transpose(TURNS[number])
    assert np.array_equal(np.asarray(turned), COLOUR)
    assert torch.equal(ImageFiles([path], to_tensor, upright=True)[[0]], ImageFiles([twin], to_tensor)[[0]])
    for upright in (False, True):  # the same cache, whose files know contents only
        _, hashes, _ = hash_images([path, twin], tmp_path / "cache", False, upright=upright)
        assert torch.equal(hashes[0], hashes[1]) == (upright or number == 1)


def test_unreadable_exif_turns_nothing():
    content = encode(COLOUR, exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40)
    assert np.array_equal(np.asarray(open_picture(content, upright=True)), COLOUR)


# ---- as it was


@pytest.mark.parametrize(
    "content",
    [
        encode(BLOCKS, "JPEG"),
        encode(BLOCKS[..., 0], "JPEG"),
        encode(BLOCKS),
        encode(BLOCKS[..., 0]),
        encode(palette()),
        encode(BLOCKS, "WEBP"),
        encode(Image.fromarray(BLOCKS).convert("CMYK"), "JPEG"),
    ],
    ids=["JPEG", "grey JPEG", "PNG", "grey PNG", "palette", "WebP", "CMYK JPEG"],
)
def test_plain_picture_is_what_pillow_gives(content: bytes):
    found, expected = open_picture(content), Image.open(io.BytesIO(content)).convert("RGB")
    assert (found.mode, found.size) == ("RGB", expected.size) and found.tobytes() == expected.tobytes()


def test_open_clip_prepares_opened_pictures_as_its_own(put):
    transform = open_clip.image_transform(24, is_train=False)
    for pixels in (BLOCKS, BLOCKS[:30, :, 0]):
        path = put(encode(pixels))
        with Image.open(path) as own:
            assert torch.equal(ImageFiles([path], transform)[[0]][0], transform(own))
