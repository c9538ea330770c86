"""Any folder of photographs with captions, for any model that open_clip knows.

Captions come from Karpathy's json, whose splits are kept, or from COCO's json or Flickr8k's ``captions.txt``, which are
split here by group: photographs that look alike or share a caption stand on one side.
"""

import logging
from typing import TYPE_CHECKING

import numpy as np
import torch

from tpccma.data import Corpus, Pairs
from tpccma.data.coco import Captioned, ImageFiles, read_captions
from tpccma.data.groups import group_items, hash_images, split_groups
from tpccma.pretrained import image_transform

if TYPE_CHECKING:
    from tpccma.profiles import OpenClipModel, PhotoData

SPLITS = ("train", "val", "test")

logger = logging.getLogger(__name__)


def load_photos(data: "PhotoData", architecture: "OpenClipModel", progress: bool = True) -> Corpus:
    """Load captioned photographs; the pictures are opened when they are needed.

    Args:
        data: where they lie and how they are split.
        architecture: the model, which decides how a picture is prepared.
        progress: show a bar on stderr while pictures are hashed.

    Returns:
        A `Corpus` without classes: zero-shot classification and joint clustering are not asked of it.

    Raises:
        FileNotFoundError: if the profile does not say where they are, or they are not there.
        ValueError: if the captions cannot be read, see `tpccma.data.coco.read_captions`, or do not fill the splits.
    """
    if data.captions is None or data.images_dir is None:
        raise FileNotFoundError("say where the photographs are: data.images_dir and data.captions in the profile")
    transform = image_transform(architecture)

    def pairs(part: Captioned) -> Pairs:
        images = ImageFiles(part.paths, transform, data.workers)
        return Pairs(images, part.captions, torch.full((len(part),), -1))

    parts = _karpathy(data) if data.has_splits else _deal(data, progress)
    return Corpus(*(pairs(parts[name]) for name in SPLITS), classes=(), templates=())


def _karpathy(data: "PhotoData") -> dict[str, Captioned]:
    return {name: _read(data, name) for name in SPLITS}


def _read(data: "PhotoData", split: str | None) -> Captioned:
    found, report = read_captions(data.captions, data.images_dir, split, data.captions_per_image, data.skip_missing)
    level = logging.WARNING if report.absent or report.short else logging.INFO
    logger.log(level, "%s, %s: %s", data.captions, split or "all", report)
    return found


def _deal(data: "PhotoData", progress: bool) -> dict[str, Captioned]:
    """Deal the photographs of a file without splits out, group by group."""
    found = _read(data, None)
    readable, hashes, unreadable = hash_images(found.paths, data.cache_dir, progress)
    if unreadable and not data.skip_missing:
        raise ValueError(
            f"{data.images_dir}: {len(unreadable)} pictures cannot be read, such as {unreadable[0]}; get them again, "
            "or let them be skipped (data.skip_missing)"
        )
    if unreadable:
        logger.warning("%s: %d unreadable pictures left out: %s", data.images_dir, len(unreadable), unreadable[:10])
    found = _take(found, readable)
    splits = split_groups(group_items(hashes, found.captions), data.test_items, data.val_items, data.seed)
    return {name: _take(found, rows) for name, rows in splits.items()}


def _take(found: Captioned, rows: list[int] | np.ndarray) -> Captioned:
    return Captioned([found.paths[i] for i in rows], [found.captions[i] for i in rows])
