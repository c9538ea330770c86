"""Data as the rest of the package sees it: three splits of image-caption pairs, class names and prompt templates.

Legend: N pairs in a split, K captions for each image, (C, H, W) pixels, F width of a frozen feature.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from tpccma.data.coco import ImageFiles
    from tpccma.data.shards import PairSource


@dataclass(frozen=True)
class Pairs:
    """One split of paired data.

    Args:
        images: (N, 3, H, W) uint8 pixels, (N, F) float32 frozen features, or `tpccma.data.coco.ImageFiles`.
        captions: N lists of K captions; every caption of a list describes the same image.
        labels: (N,) int64, index of each image's class in `Corpus.classes`; -1 where there are no classes.
    """

    images: "Tensor | ImageFiles"
    captions: list[list[str]]
    labels: Tensor

    def __post_init__(self):
        sizes = {"images": len(self.images), "captions": len(self.captions), "labels": len(self.labels)}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"images, captions and labels must have one length, got {sizes}")

    def __len__(self) -> int:
        return len(self.captions)


@dataclass(frozen=True)
class Corpus:
    """Everything that one profile trains and evaluates on.

    Args:
        train: pairs to learn from.
        val: pairs for choices such as a learning rate.
        test: pairs that only `tpccma.evaluate` sees.
        classes: class names, in the order of the labels; none where the pictures have no classes.
        templates: prompts with one ``{}`` for the class name.
        stream: what fine-tuning reads instead of `train`, where that does not fit into memory.
    """

    train: Pairs
    val: Pairs
    test: Pairs
    classes: tuple[str, ...]
    templates: tuple[str, ...]
    stream: "PairSource | None" = None


def load_corpus(profile) -> Corpus:
    """Load the data that a profile names.

    Args:
        profile: a `tpccma.profiles.Profile`.

    Returns:
        Its `Corpus`.

    Raises:
        FileNotFoundError: if the profile's files are not where it says; the message tells where they are to be had.
    """
    if profile.data.kind == "demo":
        from tpccma.data.demo import load_demo

        return load_demo(profile.data)
    if profile.data.kind == "photos":
        from tpccma.data.photos import load_photos

        return load_photos(profile.data, profile.model)
    from tpccma.data.fashion import load_fashion

    return load_fashion(**profile.data.model_dump(exclude={"kind"}))
