"""Product photographs and their titles, in the layout of Kaggle's "Fashion Product Images (Small)" by Param Aggarwal.

``styles.csv`` quotes nothing: its last column, the title, may hold commas. Saved anew by a program that quotes titles,
it reads the same. Images are ``images/<id>.jpg``. Some rows are malformed and some images missing; such rows are
skipped, and counted in a `Report` that is logged.

Pictures and titles repeat, so everything goes by **group** [ours]: two products are in one group if their titles are
equal, or their pictures are (almost) the same, or a chain of such pairs joins them. A group never stands on both sides
of a split, and a class counts its groups, not its rows.

Legend: N products, F width of a frozen feature.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tpccma.data.captions import has_word
from tpccma.data.corpus import Corpus, Pairs
from tpccma.data.duplicates import group_items, hash_images, split_groups
from tpccma.data.features import image_features
from tpccma.data.tables import Layout, read_rows, read_text

COLUMNS = "id,gender,masterCategory,subCategory,articleType,baseColour,season,year,usage,productDisplayName"
TEMPLATES = (
    "{}",
    "a photo of {}.",
    "a product photo of {}.",
    "{} on a white background.",
    "{} for men.",
    "{} for women.",
    "{} from an online shop.",
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Product:
    """One usable row: id, title, article type (lower case) and picture."""

    id: str
    title: str
    article_type: str
    image: Path


@dataclass(frozen=True)
class Report:
    """What was read and what was left out.

    Args:
        rows: rows of the file, without the header.
        malformed: rows with too few fields, without an article type, or whose id is not a number.
        untitled: rows with an empty title.
        imageless: rows whose picture is missing.
        unreadable: file names of pictures that are damaged.
    """

    rows: int = 0
    malformed: int = 0
    untitled: int = 0
    imageless: int = 0
    unreadable: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.rows} products, of which left out: {self.malformed} malformed, {self.untitled} without title, "
            f"{self.imageless} without image, {len(self.unreadable)} unreadable {list(self.unreadable)}"
        )


def _require(path: Path) -> Path:
    if path.exists():
        return path
    raise FileNotFoundError(
        f"{path} does not exist. Get 'Fashion Product Images (Small)' by Param Aggarwal from "
        "https://www.kaggle.com/datasets/paramaggarwal/fashion-product-images-small and unpack it to "
        "<data_dir>/styles.csv and <data_dir>/images/<id>.jpg"
    )


def read_styles(data_dir: Path | str) -> tuple[list[Product], Report]:
    """Read ``styles.csv`` and look which images are there.

    Args:
        data_dir: folder with ``styles.csv`` and ``images/``.

    Returns:
        The usable products in the order of the file, and what was left out; pictures are not opened here.

    Raises:
        FileNotFoundError: if the folder, the file or ``images/`` is missing.
        ValueError: if the columns are not Kaggle's, or the file is not in UTF-8.
    """
    folder = _require(Path(data_dir))
    images, styles = _require(folder / "images"), _require(folder / "styles.csv")
    header, *lines = [line for line in read_text(styles).split("\n") if line.strip()] or [""]
    if header.strip() != COLUMNS:
        raise ValueError(f"{styles} starts with {header!r}; expected the columns {COLUMNS}")
    present = {path.name for path in images.iterdir()}
    products, skipped = [], {"malformed": 0, "untitled": 0, "imageless": 0}
    rows = [fields for line in lines for _, _, fields in read_rows([line], Layout(width=10, free=9))]
    for fields in rows:
        if len(fields) < 10 or not fields[0].isdigit() or not fields[4]:
            skipped["malformed"] += 1
        elif not fields[9]:
            skipped["untitled"] += 1
        elif f"{fields[0]}.jpg" not in present:
            skipped["imageless"] += 1
        else:
            products.append(Product(fields[0], fields[9], fields[4].lower(), images / f"{fields[0]}.jpg"))
    return products, Report(rows=len(rows), **skipped)


def _frequent_types(article_types: Sequence[str], groups: np.ndarray, min_class_items: int) -> tuple[str, ...]:
    """Name, in alphabetical order, the article types with enough items; products of one group are one item [ours]."""
    items = Counter(article_type for article_type, _ in set(zip(article_types, groups.tolist(), strict=True)))
    classes = tuple(sorted(name for name, count in items.items() if count >= min_class_items))
    if len(classes) < 2:
        raise ValueError(f"{len(classes)} article types have min_class_items={min_class_items} items; lower it")
    return classes


def _forms(word: str) -> set[str]:
    """Guess the singular of a class word; returns the word, its singular and its plural."""
    if word.endswith(("ches", "shes", "sses", "xes")):
        return {word, word[:-2]}
    if word.endswith("ies"):
        return {word, word[:-3] + "y"}
    stem = word[:-1] if word.endswith("s") and not word.endswith("ss") else word
    return {stem, stem + "s"}


def mask_class_words(title: str, classes: Sequence[str]) -> str:
    """Remove the words of class names from a title, so that it no longer tells the class outright.

    Singular and plural go, whatever the case, and "T-shirt" with "tshirts"; synonyms such as "sneakers" stay.

    Args:
        title: such as "Nike Men Navy T-shirt".
        classes: class names whose words go: one name, or all of them so that no title names any class.

    Returns:
        "Nike Men Navy"; the empty string if nothing is left.
    """
    words = {form for name in classes for word in name.lower().split() for form in _forms(word)}
    if not words:
        return title
    spelt = (f"{re.escape(word[0])}[- ]?{re.escape(word[1:])}" for word in sorted(words, key=len, reverse=True))
    return " ".join(re.sub(rf"\b(?:{'|'.join(spelt)})\b", " ", title, flags=re.IGNORECASE).split())


def _require_words(captioned: Sequence[tuple[Product, str]]) -> None:
    """Refuse captions of test without a word, which the caption metrics would refuse after training."""
    for product, caption in captioned:
        if not has_word(caption):
            raise ValueError(
                f"the caption {caption!r} of product {product.id}, {product.title!r}, has no word; write another title "
                "in styles.csv or take the row out (if masking leaves nothing of it, mask_titles: false keeps it)"
            )


def _readable(data_dir: Path | str, cache_dir: Path | str | None, progress: bool) -> tuple[list[Product], Tensor]:
    """Open all pictures; return the products that have a readable one, with its hash, and log what was left out."""
    products, report = read_styles(data_dir)
    readable, hashes, unreadable = hash_images([product.image for product in products], cache_dir, progress)
    level = logging.WARNING if unreadable else logging.INFO
    logger.log(level, "%s: %s", data_dir, replace(report, unreadable=unreadable))
    return [products[i] for i in readable], hashes


def load_fashion(
    data_dir: Path | str,
    cache_dir: Path | str | None,
    min_class_items: int = 100,
    test_items: int = 1_500,
    val_items: int = 700,
    seed: int = 0,
    progress: bool = True,
    mask_titles: bool = False,
    extract: Callable[[list[Path], Path | None, bool], Tensor] = image_features,
) -> Corpus:
    """Load product photographs as frozen features, each with its title as the one caption.

    Args:
        data_dir: folder with ``styles.csv`` and ``images/``.
        cache_dir: folder for features and hashes, made if missing; None keeps nothing.
        min_class_items: items (groups) that an article type must have to be a class.
        test_items: products in test, about.
        val_items: products in val, about.
        seed: of the split.
        progress: show bars on stderr while something is computed.
        mask_titles: take class words out of the captions. The split stays: captions now equal may stand on both sides.
        extract: maps N paths, ``cache_dir`` and ``progress`` to (N, F) features.

    Returns:
        Corpus with (N, F) float32 images (F = 1280), one caption an image, and lower-case article types as classes.

    Raises:
        FileNotFoundError: if the data are not there, with where to get them.
        ImportError: if features must be computed and the optional packages are not installed.
        ValueError: if the columns are not Kaggle's, the sizes asked for do not fit the data, or a caption in test holds
            no word.
    """
    products, hashes = _readable(data_dir, cache_dir, progress)
    groups = group_items(hashes, [[product.title] for product in products])
    classes = _frequent_types([product.article_type for product in products], groups, min_class_items)
    chosen = [i for i, product in enumerate(products) if product.article_type in classes]
    products = [products[i] for i in chosen]
    splits = split_groups(groups[chosen], test_items, val_items, seed)
    captions = [mask_class_words(p.title, classes) if mask_titles else p.title for p in products]
    _require_words([(products[i], captions[i]) for i in splits["test"]])
    features = extract([product.image for product in products], cache_dir and Path(cache_dir), progress)
    labels = torch.tensor([classes.index(p.article_type) for p in products])
    logger.info("%d classes; %s", len(classes), ", ".join(f"{len(rows)} {name}" for name, rows in splits.items()))

    def pairs(rows: np.ndarray) -> Pairs:
        return Pairs(features[rows], [[captions[i]] for i in rows], labels[rows])

    return Corpus(pairs(splits["train"]), pairs(splits["val"]), pairs(splits["test"]), classes, TEMPLATES)
