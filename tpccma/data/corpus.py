"""What loaders make: three splits of image-caption pairs, and pictures of known classes.

Legend: N pairs in a split, K captions for each image, (3, H, W) pixels, F width of a frozen feature.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from tpccma.data.pictures import Pictures
    from tpccma.data.shards import PairSource


@dataclass(frozen=True)
class Pairs:
    """One split of paired data.

    Args:
        images: (N, 3, H, W) uint8 pixels, (N, F) float32 frozen features, or `tpccma.data.pictures.Pictures`.
        captions: N lists of K captions; every caption of a list describes the same image.
        labels: (N,) int64, index of each image's class in ``Corpus.classes``; -1 where there are no classes.
    """

    images: "Tensor | Pictures"
    captions: list[list[str]]
    labels: Tensor

    def __post_init__(self):
        sizes = {"images": len(self.images), "captions": len(self.captions), "labels": len(self.labels)}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"images, captions and labels must have one length, got {sizes}")
        row = next((i for i, own in enumerate(self.captions) if isinstance(own, str)), None)
        if row is not None:
            said = f"the captions of picture {row} are the text {self.captions[row]!r}"
            raise ValueError(f"{said}: pass a list of texts for every picture, one or several")

    def __len__(self) -> int:
        return len(self.captions)


@dataclass(frozen=True)
class Labelled:
    """Pictures of known classes, for zero-shot classification and joint clustering.

    Args:
        images: as in `Pairs`.
        labels: (N,) int64, index of each image's class in `classes`.
        classes: class names, in the order of the labels.
        templates: prompts with one ``{}`` for the class name.
    """

    images: "Tensor | Pictures"
    labels: Tensor
    classes: tuple[str, ...]
    templates: tuple[str, ...]

    def __post_init__(self):
        if len(self.images) != len(self.labels):
            raise ValueError(f"{len(self.images)} images have {len(self.labels)} labels: one each is needed")


@dataclass(frozen=True)
class Corpus:
    """Everything that one profile trains and evaluates on.

    Args:
        train: pairs to learn from.
        val: pairs for choices such as a learning rate.
        test: pairs that only `tpccma.evaluate` sees.
        classes: class names, in the order of the labels of the pairs; none where the pairs have no classes.
        templates: prompts with one ``{}`` for the class name.
        stream: what fine-tuning reads instead of ``train``, where that does not fit into memory.
        labelled: pictures to classify instead of those of ``test``; None where ``test`` has classes or there are none.
        clustered: pictures to cluster; None where they are those that are classified.
        small_sets: further pictures to classify, by name.
        report: what was read and what was left out, for the run's record.
        held_back: those of `classes` of which train and val have no picture.
        content: names the data, see `tpccma.data.content`; "" where the profile's settings do; None where no loader of
            this package made them.
    """

    train: Pairs
    val: Pairs
    test: Pairs
    classes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    stream: "PairSource | None" = None
    labelled: Labelled | None = None
    clustered: Labelled | None = None
    small_sets: dict[str, Labelled] = field(default_factory=dict)
    report: dict = field(default_factory=dict)
    held_back: tuple[str, ...] = ()
    content: str | None = None

    @property
    def classified(self) -> Labelled | None:
        """The pictures that zero-shot classification is measured on; None where there are no classes."""
        if self.labelled is None and self.classes:
            return Labelled(self.test.images, self.test.labels, self.classes, self.templates)
        return self.labelled
