"""Pictures of known classes: ImageNet in folders, and small zero-shot sets as clip-benchmark and torchvision keep them.

    >>> validation = imagenet_folders("imagenet/val", transform)
    >>> len(validation.classes), validation.classes[0]
    (1000, 'tench')

Class names and prompts of ImageNet are open_clip's, whose 80 templates are OpenAI's; those of the small sets are
clip-benchmark's.

Legend: N pictures, C classes.
"""

import logging
import random
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import open_clip
import torch
from clip_benchmark.datasets.builder import build_dataset
from PIL import Image
from timm.data import ImageNetInfo
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from tpccma.data.corpus import Labelled
from tpccma.data.duplicates import hash_images
from tpccma.data.pictures import ImageFiles, Pictures, reason_of

# name in clip-benchmark: what torchvision unpacks it to
SMALL_SETS = {
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "food101": "food-101",
    "caltech101": "caltech101",
    "flowers": "flowers-102",
}
PROMPTS = {80: open_clip.OPENAI_IMAGENET_TEMPLATES, 7: open_clip.SIMPLE_IMAGENET_TEMPLATES}
LABELS = ("targets", "_labels", "y")  # where torchvision's sets keep theirs

Transform = Callable[[Image.Image], Tensor]

logger = logging.getLogger(__name__)


def imagenet_folders(
    root: str | Path, transform: Transform, classes: int = 1000, prompts: int = 80, workers: int = 0
) -> Labelled:
    """Read ImageNet's pictures from one folder a class, named by its WordNet number such as ``n01440764``.

    Pictures are not turned by their EXIF orientation, which open_clip's evaluation does not follow either.

    Args:
        root: the folder of folders, such as ``imagenet/val``.
        transform: turns a PIL image into (3, H, W) float32.
        classes: C, how many folders there must be; fewer than 1000 are classified among themselves.
        prompts: 80 for OpenAI's full list, 7 for its shorter one.
        workers: processes that read ahead.

    Returns:
        The pictures, sorted by folder and name.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if the number of folders is not ``classes``, one is no class of ImageNet's, or one is empty.
    """
    folders = _class_folders(Path(root), classes)
    numbers = {number: place for place, number in enumerate(ImageNetInfo().label_names())}
    unknown = [folder.name for folder in folders if folder.name not in numbers]
    if unknown:
        raise ValueError(f"{root}: folder {unknown[0]} is none of ImageNet's 1000 classes, such as n01440764")
    files = [sorted(path for path in folder.iterdir() if path.suffix.lower() in IMG_EXTENSIONS) for folder in folders]
    empty = [folder.name for folder, paths in zip(folders, files, strict=True) if not paths]
    if empty:
        raise ValueError(f"{root}: {len(empty)} folders hold no picture, such as {empty[0]}; unpack them again")
    return Labelled(
        ImageFiles([path for paths in files for path in paths], transform, workers),
        torch.repeat_interleave(torch.tensor([len(paths) for paths in files])),
        tuple(open_clip.IMAGENET_CLASSNAMES[numbers[folder.name]] for folder in folders),
        tuple(template("{}") for template in PROMPTS[prompts]),
    )


def _class_folders(root: Path, classes: int) -> list[Path]:
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root} does not exist; ImageNet is at https://image-net.org: unpack the validation pictures there, "
            "one folder a class"
        )
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    if len(folders) != classes:
        loose = sum(path.suffix.lower() in IMG_EXTENSIONS for path in root.iterdir())
        advice = f"; sort the {loose} pictures that lie there into folders named by WordNet number" if loose else ""
        raise ValueError(f"{root} has {len(folders)} folders, but the profile says {classes} classes{advice}")
    return folders


def choose_classes(pictures: Labelled, count: int, seed: int) -> Labelled:
    """Keep the pictures of some classes, chosen at random.

    Args:
        pictures: of C classes, in files.
        count: classes to keep.
        seed: of the choice.

    Returns:
        Their pictures, labelled anew, the classes in their old order.

    Raises:
        ValueError: if there are fewer classes.
    """
    if count > len(pictures.classes):
        raise ValueError(f"clustering_classes is {count}, but there are {len(pictures.classes)} classes; lower it")
    chosen = sorted(random.Random(seed).sample(range(len(pictures.classes)), count))
    place = torch.full((len(pictures.classes),), -1)
    place[chosen] = torch.arange(count)
    kept = _take(pictures, (place[pictures.labels] >= 0).nonzero().flatten().tolist())
    return replace(kept, labels=place[kept.labels], classes=tuple(pictures.classes[i] for i in chosen))


def leave_out_damaged(pictures: Labelled, cache_dir: Path | None) -> tuple[Labelled, int]:
    """Open all pictures that lie in files and leave out what is missing or damaged.

    Args:
        pictures: of C classes.
        cache_dir: folder in which hashes of pictures that could be read are kept; None keeps nothing.

    Returns:
        The others, and how many were left out: none of a set of pixels, which torchvision has checked.

    Raises:
        ValueError: if no picture of a class is left; the message names it.
    """
    files = pictures.images
    if not isinstance(files, ImageFiles):
        return pictures, 0
    rows, _, damaged = hash_images(files.paths, cache_dir, progress=True)
    kept = _take(pictures, rows)
    if lost := set(pictures.labels.tolist()) - set(kept.labels.tolist()):
        name = pictures.classes[min(lost)]
        raise ValueError(f"{files.paths[0].parents[1]}: no picture of class {name!r} can be read; get them again")
    if damaged:
        told = "%s: %d missing or damaged pictures left out: %s"
        logger.warning(told, files.paths[0].parents[1], len(damaged), damaged[:10])
    return kept, len(damaged)


def _take(pictures: Labelled, rows: list[int]) -> Labelled:
    files = pictures.images
    images = ImageFiles([files.paths[row] for row in rows], files.transform, files.workers)
    return replace(pictures, images=images, labels=pictures.labels[rows])


def small_set(name: str, root: str | Path, transform: Transform, workers: int = 0, download: bool = False) -> Labelled:
    """Read the test pictures of CIFAR-10/100, Food-101, Flowers-102, or all of Caltech-101, which has no split.

    Args:
        name: one of ``SMALL_SETS``.
        root: the folder that torchvision unpacks all of them into.
        transform: turns a PIL image into (3, H, W) float32.
        workers: processes that read ahead.
        download: let torchvision fetch what is missing.

    Returns:
        The pictures with clip-benchmark's class names and prompts, not turned by their EXIF orientation.

    Raises:
        FileNotFoundError: if it is not there and may not be fetched.
        ValueError: if there is no such set, or it has more classes than names.
    """
    if name not in SMALL_SETS:
        raise ValueError(f"unknown zero-shot set {name!r}: give some of {', '.join(SMALL_SETS)}")
    place = Path(root) / SMALL_SETS[name]
    if not download and not place.is_dir():
        raise FileNotFoundError(
            f"{place} does not exist; let torchvision fetch it (data.download: true), or take {name} out of "
            "data.zeroshot_sets"
        )
    try:
        with warnings.catch_warnings(action="ignore"):  # that Caltech-101 has no split
            data = build_dataset(name, root=str(root), transform=None, split="test", download=download)
    except Exception as error:  # torchvision raises what its parsers happen to raise
        reason = reason_of(error)
        raise FileNotFoundError(f"{place} is not whole ({reason}); fetch it again (data.download: true)") from None
    labels = torch.tensor(next(getattr(data, name) for name in LABELS if hasattr(data, name)))
    if len(labels) == 0 or labels.max() >= len(data.classes):
        found = f"{len(labels)} pictures of {len(labels.unique())} classes"
        raise ValueError(f"{place} holds {found}, but {name} has {len(data.classes)}; fetch it again")
    prompts = tuple(template.replace("{c}", "{}") for template in data.templates)
    paths = _paths(data, place)
    images = ImageFiles(paths, transform, workers) if paths else Pictures(_Pixels(data, transform), len(data), workers)
    return Labelled(images, labels, tuple(data.classes), prompts)


def _paths(data, place: Path) -> list[Path]:
    """List the files of a set's pictures; none of a set that holds pixels, as CIFAR does."""
    if hasattr(data, "_image_files"):
        return [Path(path) for path in data._image_files]
    if not hasattr(data, "categories"):
        return []
    folders = [place / "101_ObjectCategories" / name for name in data.categories]  # of Caltech-101
    return [folders[y] / f"image_{number:04d}.jpg" for y, number in zip(data.y, data.index, strict=True)]


class _Pixels:
    """Reads a picture of a set of pixels and labels; a class, since worker processes can be sent it."""

    def __init__(self, data, transform: Transform):
        self.data, self.transform = data, transform

    def __call__(self, row: int) -> Tensor:
        return self.transform(self.data[row][0])
