"""Photographs with several captions each: COCO in Karpathy's split or in its own json, and tables such as Flickr8k's.

    >>> photographs, report = read_captions("dataset_coco.json", "coco/images", split="test")
    >>> len(photographs), len(photographs.captions[0])
    (5000, 5)

Legend: N pictures, K captions a picture.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize, ucd_3_2_0

from tpccma.data.tables import read_captions_table, read_text

SKIP = "leave such pictures out: skip_missing: true below data: in a profile, or --skip-missing where a command has it"
PUBLISHED = ("dataset_coco.json", "captions_train2014.json", "captions_val2014.json", "captions.txt", "results.csv")
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
        short: those with fewer than K captions that hold a word.
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
        path: Karpathy's ``dataset_coco.json`` (or his of Flickr), COCO's own ``captions_*.json``, or a table such as
            Flickr8k's ``captions.txt`` or Flickr30k's ``results.csv``, see `tpccma.data.tables.read_captions_table`;
            told apart by content.
        images_dir: the folder that the file's names start from, and stay in; links that lie there are followed.
            Karpathy's names have a folder of their own, as in ``val2014/COCO_val2014_000000391895.jpg``. A name is
            looked for in Unicode's other normal form too, in which some systems write it.
        split: of a file that has splits: "train" (with Karpathy's "restval"), "val" or "test"; None elsewhere.
        captions_per_image: K, the first K of each picture are taken; COCO has 5 to 7. 5 is the protocol.
        skip_missing: leave out pictures without a file or with fewer captions and count them, instead of refusing; a
            caption without a word then does not count, see `has_word`.

    Returns:
        The pictures in the order of the file, and a report.

    Raises:
        FileNotFoundError: if the file or the folder is missing, or a picture is and ``skip_missing`` is False.
        ValueError: if the file has none of these layouts or is not in UTF-8, a caption belongs to no picture or is no
            text, a picture is named twice or outside the folder or two have one id, there is no such split, a picture
            has too few captions or one without a word and ``skip_missing`` is False, or nothing is left.
    """
    path, images_dir = Path(path), Path(images_dir)
    for place in (path, images_dir):
        if not place.exists():
            known = f". {SOURCES}" if path.name in PUBLISHED else ": name the captions' file, and the pictures' folder"
            raise FileNotFoundError(f"{place} does not exist{known}")
    found = _captions(path, split)
    present = _locate(path, images_dir, found)
    if not skip_missing:
        _require_files(path, images_dir, found, present)
        _require_captions(path, found, captions_per_image)
    worded = {name: list(filter(has_word, found[name]))[:captions_per_image] for name in present}
    kept = {name: captions for name, captions in worded.items() if len(captions) == captions_per_image}
    report = CaptionReport(len(found), len(found) - len(present), len(present) - len(kept))
    if not kept:
        raise ValueError(f"{path}: no picture is left: {report}")
    return Captioned([present[name] for name in kept], list(kept.values())), report


def has_word(caption: str) -> bool:
    """Say whether a caption holds a word, without which the caption metrics refuse it, after a training.

    A letter that Unicode 3.2 had below U+10000, or one of the digits 0 to 9, makes a word. The metrics' Penn Treebank
    tokenizer keeps all of these; it drops punctuation, some written entities such as ``&MD;``, and characters that are
    too new for it. What it keeps besides, such as "€" or "½", is no word here.

    Args:
        caption: any text.

    Returns:
        True only if `tpccma.tasks.caption_scores.ptb_tokenize` leaves something of the caption.
    """
    letters = re.sub(r"&#?\w+;", " ", caption)
    return any(c in "0123456789" or (c <= "\uffff" and ucd_3_2_0.category(c)[0] == "L") for c in letters)


def _locate(path: Path, images_dir: Path, names: Iterable[str]) -> dict[str, Path]:
    """Map the name of every picture that is there to its file."""
    present, named = {}, {}
    for name in names:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{path} names {name!r}, which lies outside {images_dir}; write names that start there")
        forms = dict.fromkeys([name, normalize("NFC", name), normalize("NFD", name)])
        file = next((images_dir / form for form in forms if os.path.isfile(images_dir / form)), None)
        if file is None:
            continue
        if file in named:
            raise ValueError(f"{path} names {file} in two ways, {named[file]!a} and {name!a}; write it in one")
        present[name], named[file] = file, name
    return present


def _require_files(path: Path, images_dir: Path, found: dict[str, list[str]], present: dict[str, Path]) -> None:
    absent = [name for name in found if name not in present]
    if absent:
        raise FileNotFoundError(
            f"{path} names {len(absent)} of {len(found)} pictures that are not in {images_dir}, such as {absent[0]}; "
            f"get them, or {SKIP}"
        )


def _require_captions(path: Path, found: dict[str, list[str]], captions_per_image: int) -> None:
    short = [name for name, captions in found.items() if len(captions) < captions_per_image]
    if short:
        raise ValueError(
            f"{path}: {len(short)} of {len(found)} pictures have fewer than {captions_per_image} captions, such as "
            f"{short[0]} with {len(found[short[0]])}; take fewer, by a profile with the lines `extends: photos` and "
            f"`data: {{captions_per_image: 1}}`, or {SKIP}"
        )
    taken = ((name, caption) for name, captions in found.items() for caption in captions[:captions_per_image])
    name, caption = next(((name, caption) for name, caption in taken if not has_word(caption)), (None, None))
    if name is not None:
        raise ValueError(
            f"{path}: the caption {caption!r} of {name} has no word, so that no caption can be compared with it; write "
            f"one, take it out, or {SKIP}"
        )


def _captions(path: Path, split: str | None) -> dict[str, list[str]]:
    """Map every picture's name to its captions."""
    if path.suffix.lower() != ".json":
        return _of_table(path, split)
    content = _of_json(path)
    try:
        images = content["images"]
        karpathy = "annotations" not in content
        return _of_karpathy(path, images, split) if karpathy else _of_coco(path, images, content["annotations"], split)
    except (KeyError, TypeError, AttributeError) as error:
        raise _other_layout(path, error) from error


def _of_json(path: Path) -> object:
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _other_layout(path, error) from error


def _other_layout(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is neither Karpathy's nor COCO's captions json ({error!r}). {SOURCES}")


def _of_karpathy(path: Path, images: list[dict], split: str | None) -> dict[str, list[str]]:
    groups = {"train": ("train", "restval")}.get(split, (split,))
    known = Counter(image["split"] for image in images)
    if not any(group in known for group in groups):
        raise ValueError(f"{path} has no split {split!r}; it has {dict(known)}")
    names = [str(Path(image.get("filepath", ""), image["filename"])) for image in images]
    (name, times), *_ = Counter(names).most_common(1)
    if times > 1:
        splits = sorted({image["split"] for image, own in zip(images, names, strict=True) if own == name})
        raise ValueError(
            f"{path} names {name} {times} times, in {' and '.join(splits)}; a picture is to stand there once, with all "
            "its captions: take the others out"
        )
    return {
        name: [_text(path, name, sentence["raw"]) for sentence in image["sentences"]]
        for name, image in zip(names, images, strict=True)
        if image["split"] in groups
    }


def _of_coco(path: Path, images: list[dict], annotations: list[dict], split: str | None) -> dict[str, list[str]]:
    _refuse_split(path, split)
    names = _names_by_id(path, images)
    found: dict[str, list[str]] = {name: [] for name in names.values()}
    for annotation in annotations:
        if annotation["image_id"] not in names:
            raise ValueError(f"{path}: the caption {annotation['caption']!r} is of image {annotation['image_id']}, "
                             "which the file does not have")  # fmt: skip
        name = names[annotation["image_id"]]
        found[name].append(_text(path, name, annotation["caption"]))
    return found


def _names_by_id(path: Path, images: list[dict]) -> dict[int, str]:
    names, ids = {}, {}
    for image in images:
        number, name = image["id"], str(Path(image["file_name"]))
        if number in names:
            raise ValueError(f"{path}: {names[number]} and {name} have one id, {number!r}, so that nobody knows whose "
                             "captions are whose; give each picture an id of its own")  # fmt: skip
        if name in ids:
            raise ValueError(f"{path} names {name} twice, with the ids {ids[name]!r} and {number!r}; give all its "
                             "captions one id and take the other entry out")  # fmt: skip
        names[number], ids[name] = name, number
    return names


def _of_table(path: Path, split: str | None) -> dict[str, list[str]]:
    _refuse_split(path, split)
    found: dict[str, list[str]] = {}
    for name, caption in read_captions_table(path):
        name = str(Path(name))  # ./a.jpg is a.jpg
        found.setdefault(name, []).append(_text(path, name, caption))
    return found


def _refuse_split(path: Path, split: str | None) -> None:
    if split is not None:
        raise ValueError(f"{path} has no splits, so split must be None, got {split!r}")


def _text(path: Path, name: str, caption: object) -> str:
    """Put a caption on one line, after seeing that it is text."""
    if not isinstance(caption, str):
        raise ValueError(f"{path}: a caption of {name} is {caption!r}; write it as text, in quotation marks")
    if re.search("[\ud800-\udfff]", caption):
        raise ValueError(f"{path}: the caption {caption!r} of {name} holds half a character; write it anew")
    return " ".join(caption.split())
