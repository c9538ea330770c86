"""Which data a run was made from: a checksum of captions, and of the pictures' names and sizes.

Two folders of one shape, named by two profiles that are alike but for the places, are two data sets. A folder that is
moved is the same one. Pictures are not read: that would take as long as training on them.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from tpccma.data.captions import read_captions
from tpccma.data.corpus import Corpus, Pairs
from tpccma.data.fashion import read_styles
from tpccma.data.shard_files import find_shards

if TYPE_CHECKING:
    from tpccma.profiles import FashionData, PaperData, PhotoData

SPLITS = ("train", "val", "test")
PLACES = {"fashion": ("data_dir",), "paper": ("data_dir",), "photos": ("images_dir", "captions")}  # to be filled in


def content_of_files(data) -> str:
    """Name the data that a profile's files hold.

    The small zero-shot sets of the profile ``paper`` are left out: they are published as they are, and torchvision
    checks them when it fetches them.

    Args:
        data: ``data`` of a `tpccma.profiles.Profile`.

    Returns:
        16 hexadecimal digits; "" of the rendered scenes, which their settings decide.

    Raises:
        FileNotFoundError, ValueError: as the loader of the data does, if they are missing or cannot be read.
    """
    check_places(data)
    listings = {"fashion": _fashion, "photos": _photos, "paper": _paper}
    return _digest(listings[data.kind](data)) if data.kind in listings else ""


def content_of_corpus(corpus: Corpus) -> str:
    """Name the data of a corpus: as its loader does, or by captions, labels and tensors where no loader made it."""
    return _digest(_tensors(corpus)) if corpus.content is None else corpus.content


def check_places(data) -> None:
    """See to it that a profile says where its data lie.

    Raises:
        FileNotFoundError: naming the settings, if one of them has no value.
    """
    places = PLACES.get(data.kind, ())
    if any(getattr(data, name) is None for name in places):
        said = " and ".join(f"data.{name}" for name in places)
        options = " and ".join(f"--{name.replace('_', '-')}" for name in places)
        raise FileNotFoundError(
            f"say where the data lie: {said} in the profile, or {options}; the book says what to put there"
        )


def _digest(parts: Iterable) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part if isinstance(part, bytes) else json.dumps(part).encode() + b"\n")
    return whole.hexdigest()[:16]


def _fashion(data: "FashionData") -> Iterator[list]:
    for product in read_styles(data.data_dir)[0]:
        yield [product.id, product.title, product.article_type, product.image.stat().st_size]


def _photos(data: "PhotoData") -> Iterator[list]:
    settings = data.captions_per_image, data.skip_missing
    return _captioned(data.captions, data.images_dir, SPLITS if data.has_splits else (None,), *settings)


def _captioned(captions: Path, images_dir: Path, splits: tuple, *settings) -> Iterator[list]:
    for split in splits:
        found, _ = read_captions(captions, images_dir, split, *settings)
        for path, texts in zip(found.paths, found.captions, strict=True):
            yield [split, str(path.relative_to(images_dir)), path.stat().st_size, texts]


def _paper(data: "PaperData") -> Iterator[list]:
    root = data.data_dir
    for path in find_shards(str(root / data.shards), data.skip_missing).paths:
        stats = path.with_name(f"{path.stem}_stats.json")
        yield [path.name, path.stat().st_size, stats.read_text() if stats.is_file() else None]
    settings = data.captions_per_image, data.skip_missing
    yield from _captioned(root / data.captions, root / data.images_dir, SPLITS, *settings)
    yield from _sizes(sorted(path for path in (root / data.imagenet_dir).rglob("*") if path.is_file()))


def _sizes(paths: Iterable[Path]) -> Iterator[list]:
    for path in paths:
        yield [path.parent.name, path.name, path.stat().st_size]


def _tensors(corpus: Corpus) -> Iterator[list | bytes]:
    for name in SPLITS:
        pairs: Pairs = getattr(corpus, name)
        yield [name, pairs.captions, pairs.labels.tolist()]
        if isinstance(pairs.images, Tensor):
            yield pairs.images.contiguous().numpy().tobytes()
        yield from _sizes(getattr(pairs.images, "paths", []))
    if corpus.stream is not None:
        yield from _sizes(corpus.stream.shards.paths)
