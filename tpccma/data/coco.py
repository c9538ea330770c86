"""Photographs with several captions each: COCO in Karpathy's split or in its own json, and Flickr8k's ``captions.txt``.

    >>> photographs, report = read_captions("dataset_coco.json", "coco/images", split="test")
    >>> len(photographs), len(photographs.captions[0])
    (5000, 5)

Legend: N pictures, K captions a picture.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

HEADER = "image,caption"
SOURCES = (
    "Karpathy's split of COCO is dataset_coco.json from https://cs.stanford.edu/people/karpathy/deepimagesent/; COCO's "
    "own captions and pictures are at https://cocodataset.org; Flickr8k with captions.txt is on Kaggle"
)


@dataclass(frozen=True)
class Captioned:
    """Pictures and their captions.

    Args:
        paths: N files.
        captions: N lists of K captions.
    """

    paths: list[Path]
    captions: list[list[str]]

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class CaptionReport:
    """What was read and what was left out.

    Args:
        pictures: pictures that the file names, of the split asked for.
        absent: those whose file is missing.
        short: those with fewer than K captions.
    """

    pictures: int
    absent: int
    short: int

    def __str__(self) -> str:
        left_out = f"{self.absent} without a file, {self.short} with too few captions"
        return f"{self.pictures} pictures, of which left out: {left_out}"


def read_captions(
    path: str | Path,
    images_dir: str | Path,
    split: str | None = None,
    captions_per_image: int = 5,
    skip_missing: bool = False,
) -> tuple[Captioned, CaptionReport]:
    """Read which captions belong to which pictures, and look whether the pictures are there.

    Args:
        path: Karpathy's ``dataset_coco.json`` (or his of Flickr), COCO's own ``captions_*.json``, or Flickr8k's
            ``captions.txt``; told apart by content.
        images_dir: the folder that the file's names start from. Karpathy's names have a folder of their own, as in
            ``val2014/COCO_val2014_000000391895.jpg``.
        split: of a file that has splits: "train" (with Karpathy's "restval"), "val" or "test"; None elsewhere.
        captions_per_image: K, the first K of each picture are taken; COCO has 5 to 7. 5 is the protocol.
        skip_missing: leave out pictures without a file or with fewer captions and count them, instead of refusing.

    Returns:
        The pictures in the order of the file, and a report.

    Raises:
        FileNotFoundError: if the file or the folder is missing, or a picture is and `skip_missing` is False.
        ValueError: if the file has none of the three layouts, a caption belongs to no picture, there is no such split,
            a picture has too few captions and `skip_missing` is False, or nothing is left.
    """
    path, images_dir = Path(path), Path(images_dir)
    for place in (path, images_dir):
        if not place.exists():
            raise FileNotFoundError(f"{place} does not exist. {SOURCES}")
    found = _captions(path, split)
    present = {name: captions for name, captions in found.items() if (images_dir / name).is_file()}
    absent = [name for name in found if name not in present]
    short = [name for name, captions in present.items() if len(captions) < captions_per_image]
    if absent and not skip_missing:
        raise FileNotFoundError(
            f"{path} names {len(absent)} of {len(found)} pictures that are not in {images_dir}, such as {absent[0]}; "
            "get them, or let them be skipped (skip_missing)"
        )
    if short and not skip_missing:
        raise ValueError(
            f"{path}: {len(short)} of {len(found)} pictures have fewer than {captions_per_image} captions, such as "
            f"{short[0]} with {len(found[short[0]])}; lower captions_per_image or let them be skipped (skip_missing)"
        )
    kept = {
        name: captions[:captions_per_image] for name, captions in present.items() if len(captions) >= captions_per_image
    }
    report = CaptionReport(len(found), len(absent), len(short))
    if not kept:
        raise ValueError(f"{path}: no picture is left: {report}")
    return Captioned([images_dir / name for name in kept], list(kept.values())), report


def _captions(path: Path, split: str | None) -> dict[str, list[str]]:
    """Map every picture's name to its captions."""
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix != ".json":
        return _of_lines(path, text, split)
    try:
        content = json.loads(text)
        images = content["images"]
        karpathy = "annotations" not in content
        return _of_karpathy(path, images, split) if karpathy else _of_coco(path, images, content["annotations"], split)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is neither Karpathy's nor COCO's captions json ({error!r}). {SOURCES}") from error


def _of_karpathy(path: Path, images: list[dict], split: str | None) -> dict[str, list[str]]:
    groups = {"train": ("train", "restval")}.get(split, (split,))
    known = Counter(image["split"] for image in images)
    if not any(group in known for group in groups):
        raise ValueError(f"{path} has no split {split!r}; it has {dict(known)}")
    return {
        str(Path(image.get("filepath", ""), image["filename"])): [_clean(s["raw"]) for s in image["sentences"]]
        for image in images
        if image["split"] in groups
    }


def _of_coco(path: Path, images: list[dict], annotations: list[dict], split: str | None) -> dict[str, list[str]]:
    _refuse_split(path, split)
    names = {image["id"]: image["file_name"] for image in images}
    found: dict[str, list[str]] = {name: [] for name in names.values()}
    for annotation in annotations:
        if annotation["image_id"] not in names:
            raise ValueError(f"{path}: the caption {annotation['caption']!r} is of image {annotation['image_id']}, "
                             "which the file does not have")  # fmt: skip
        found[names[annotation["image_id"]]].append(_clean(annotation["caption"]))
    return found


def _of_lines(path: Path, text: str, split: str | None) -> dict[str, list[str]]:
    """Read ``image,caption`` lines: the name ends at the first comma, captions hold commas and are not quoted."""
    _refuse_split(path, split)
    header, *lines = text.splitlines() or [""]
    if header.strip() != HEADER:
        raise ValueError(f"{path} starts with {header[:80]!r}; expected {HEADER!r}, as in Flickr8k's captions.txt")
    found: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=2):
        name, comma, caption = line.partition(",")
        if not line.strip():
            continue
        if not (name.strip() and comma and _clean(caption)):
            raise ValueError(f"{path}, line {number}: expected <image>,<caption>, got {line[:80]!r}")
        found.setdefault(name.strip(), []).append(_clean(caption))
    return found


def _refuse_split(path: Path, split: str | None) -> None:
    if split is not None:
        raise ValueError(f"{path} has no splits, so split must be None, got {split!r}")


def _clean(caption: str) -> str:
    """Take line breaks and quotation marks around the whole caption away."""
    caption = " ".join(caption.split())
    whole = len(caption) > 1 and caption[0] == caption[-1] == '"'
    return caption[1:-1].replace('""', '"').strip() if whole else caption
