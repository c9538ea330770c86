"""Any folder of photographs with captions, for any model that open_clip knows.

Captions come from Karpathy's json, whose splits are kept, or from COCO's json or a table such as Flickr8k's, which are
split here by group: photographs that look alike or share a caption stand on one side.

Photographs are turned upright by their EXIF orientation, as whoever looks at the folder sees them.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tpccma.data.captions import Captioned, read_captions
from tpccma.data.corpus import Corpus, Pairs
from tpccma.data.duplicates import group_items, hash_images, split_groups
from tpccma.data.pictures import ImageFiles
from tpccma.models.transforms import image_transform

if TYPE_CHECKING:
    from tpccma.profiles import OpenClipModel, PhotoData

SPLITS = ("train", "val", "test")

logger = logging.getLogger(__name__)


def load_photos(data: "PhotoData", architecture: "OpenClipModel", progress: bool = True) -> Corpus:
    """Load captioned photographs; the pictures are opened when they are needed.

    Args:
        data: where they lie and how they are split. Every picture is opened and hashed first, unless the captions' file
            has splits and nothing is to be skipped: measured, 400 of 640 x 480 pixels a second on one core; later loads
            find the hashes in ``data.cache_dir`` and only read the files.
        architecture: the model, which decides how a picture is prepared.
        progress: show a bar on stderr while pictures are hashed.

    Returns:
        A `~tpccma.data.Corpus` without classes: zero-shot classification and joint clustering are not asked of it.

    Raises:
        FileNotFoundError: if they are not there.
        ValueError: if the captions cannot be read, see `tpccma.data.captions.read_captions`, or do not fill the splits;
            if a picture is damaged and not to be skipped, which with splits in the file is found when it is read.
    """
    transform = image_transform(architecture)
    parts, report = _keep(data, progress) if data.has_splits else _deal(data, progress)
    return Corpus(
        **{name: _pairs(parts[name], transform, data.workers, upright=True) for name in SPLITS}, report=report
    )


def karpathy_splits(
    captions: Path,
    images_dir: Path,
    transform: Callable[[Image.Image], Tensor],
    captions_per_image: int = 5,
    skip_missing: bool = False,
    workers: int = 0,
    cache_dir: Path | None = None,
) -> tuple[dict[str, Pairs], dict[str, dict[str, int]]]:
    """Read the train, val and test split of Karpathy's json for pictures as open_clip's evaluations take them.

    These do not follow the EXIF orientation. Pictures are opened here only if damaged ones are to be left out; else one
    is a `tpccma.data.pictures.DamagedPicture` when it is read.

    Args:
        captions: the json.
        images_dir: where its names start from.
        transform: turns a PIL image into (3, H, W) float32.
        captions_per_image: as `tpccma.data.captions.read_captions` takes it.
        skip_missing: likewise; damaged pictures are left out and counted, too.
        workers: processes that read pictures ahead.
        cache_dir: folder in which hashes of pictures that could be read are kept; None keeps nothing.

    Returns:
        The pairs of each split, and for each what was read and left out.

    Raises:
        FileNotFoundError, ValueError: as `tpccma.data.captions.read_captions` does.
    """
    pairs, reports = {}, {}
    for split in SPLITS:
        found, reports[split] = _read(captions, images_dir, split, captions_per_image, skip_missing)
        if skip_missing:
            found, _, reports[split]["unreadable"] = _readable(found, images_dir, cache_dir, skip_missing)
        pairs[split] = _pairs(found, transform, workers)
    return pairs, reports


def _pairs(part: Captioned, transform: Callable[[Image.Image], Tensor], workers: int, upright: bool = False) -> Pairs:
    return Pairs(ImageFiles(part.paths, transform, workers, upright), part.captions, torch.full((len(part),), -1))


def _read(
    captions: Path, images_dir: Path, split: str | None, captions_per_image: int, skip_missing: bool
) -> tuple[Captioned, dict[str, int]]:
    found, report = read_captions(captions, images_dir, split, captions_per_image, skip_missing)
    level = logging.WARNING if report.absent or report.short else logging.INFO
    logger.log(level, "%s, %s: %s", captions, split or "all", report)
    return found, dict(vars(report))


def _keep(data: "PhotoData", progress: bool) -> tuple[dict[str, Captioned], dict[str, dict[str, int]]]:
    """Keep the splits of a file that has them."""
    parts, reports = {}, {}
    for split in SPLITS:
        given = (data.captions, data.images_dir, split, data.captions_per_image, data.skip_missing)
        parts[split], reports[split] = _read(*given)
        if data.skip_missing:
            hashed = _readable(parts[split], data.images_dir, data.cache_dir, True, progress, upright=True)
            parts[split], _, reports[split]["unreadable"] = hashed
    return parts, reports


def _deal(data: "PhotoData", progress: bool) -> tuple[dict[str, Captioned], dict[str, dict[str, int]]]:
    """Deal the photographs of a file without splits out, group by group."""
    found, report = _read(data.captions, data.images_dir, None, data.captions_per_image, data.skip_missing)
    places = data.images_dir, data.cache_dir
    found, hashes, unreadable = _readable(found, *places, data.skip_missing, progress, upright=True)
    splits = split_groups(group_items(hashes, found.captions), data.test_items, data.val_items, data.seed)
    return {name: _take(found, rows) for name, rows in splits.items()}, {"all": {**report, "unreadable": unreadable}}


def _readable(
    found: Captioned,
    images_dir: Path,
    cache_dir: Path | None,
    skip_missing: bool,
    progress: bool = True,
    upright: bool = False,
) -> tuple[Captioned, Tensor, int]:
    """Open all pictures; return the readable ones, their hashes, and the number of others, which may be refused."""
    readable, hashes, unreadable = hash_images(found.paths, cache_dir, progress, upright)
    if unreadable and not skip_missing:
        raise ValueError(
            f"{images_dir}: {len(unreadable)} pictures cannot be read, such as {unreadable[0]}; get them again, "
            "or let them be skipped (data.skip_missing)"
        )
    if unreadable:
        logger.warning("%s: %d unreadable pictures left out: %s", images_dir, len(unreadable), unreadable[:10])
    if not readable:
        raise ValueError(f"{images_dir}: none of {len(unreadable)} pictures can be read; get them again")
    return _take(found, readable), hashes, len(unreadable)


def _take(found: Captioned, rows: list[int] | np.ndarray) -> Captioned:
    return Captioned([found.paths[i] for i in rows], [found.captions[i] for i in rows])
