"""Data and models that a profile may name, and what of their settings names a run."""

import json
from dataclasses import dataclass
from os.path import expanduser
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open

from tpccma.files import file_in

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
ANY = object()
# How pictures in files are prepared for this package's own model: to what it saw of the demo's pixels.
OWN = {"tpccma-demo": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}}
LONGEST_NAME = 100  # bytes, of a profile
# Folders beside those of profiles, in results and runs.
TAKEN = ("benchmarks", "cache", "fronts", "migrations", "real", "trials")


@dataclass(frozen=True)
class Unnamed:
    """Marks a setting that a run's fingerprint leaves out.

    Args:
        at: the one value at which it is left out, so that runs keep the name which they had before there was this
            setting, or before it had another value; ``ANY`` leaves it out always.
    """

    at: Any = ANY


def _at_home(place: Path | str | None) -> Path | str | None:
    """Put the user's folder in place of a leading ``~``, as a shell does; of an unknown user's it stays."""
    return place and type(place)(expanduser(place))


def _fit_for_a_folder(name: str) -> str:
    """See to it that a profile's name can name the folders of its runs and records."""
    if not name.strip(".") or not name.isprintable() or set(name) & set("/\\") or name != name.strip():
        raise ValueError(
            "it names folders, so it has no / or \\, control character or space about it, and more than dots"
        )
    if len(name.encode()) > LONGEST_NAME or name in TAKEN:
        raise ValueError(f"it names folders: at most {LONGEST_NAME} bytes, and none of {', '.join(TAKEN)}")
    return name


FolderName = Annotated[str, AfterValidator(_fit_for_a_folder)]
AtHome = AfterValidator(_at_home)
Elsewhere = Unnamed()  # a place, or how data are read: `tpccma.data.content` names what lies there
Place = Annotated[Path, AtHome, Elsewhere]
PlaceToName = Annotated[Path | None, AtHome, Elsewhere]  # outside: of a part of a union a mark would be lost
Switch = Annotated[bool, Unnamed(at=False)]
Workers = Annotated[int, Field(ge=0), Elsewhere]


class Part(BaseModel):
    """A part of a profile: no unknown setting, and none that changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def identity(self) -> dict[str, Any]:
        """Return what names a run: all settings that have a value, but those that are `Unnamed`."""
        settings = self.model_dump(mode="json", exclude_none=True)
        return {name: value for name, value in settings.items() if not self._is_unnamed(name, value)}

    def _is_unnamed(self, name: str, value: Any) -> bool:
        marks = (mark for mark in type(self).model_fields[name].metadata if isinstance(mark, Unnamed))
        return any(mark.at is ANY or mark.at == value for mark in marks)


class DemoData(Part):
    """The rendered scene world: pictures for the base model, for fine-tuning (train), val and test.

    Train and val may be a narrower, noisier world than the base model saw and test holds.

    Args:
        base_pairs: pairs that a base model is trained on.
        train_pairs: to fine-tune on; val_pairs to choose on; test_pairs to measure on.
        seed: of the drawing.
        held_back: classes of which train and val have no picture.
        exchanged: share of the captions of train and val that is taken from other pictures, 0 to 1.
    """

    kind: Literal["demo"] = "demo"
    base_pairs: Count = 96_000
    train_pairs: Count = 24_000
    val_pairs: Count = 1_000
    test_pairs: Count = 1_000
    seed: int = 0
    held_back: Annotated[tuple[str, ...], Unnamed(at=[])] = ()
    exchanged: Annotated[Share, Unnamed(at=0.0)] = 0.0


class FashionData(Part):
    """Kaggle's Fashion Product Images: where they lie and how they are split.

    Args:
        data_dir: folder with ``styles.csv`` and ``images/``.
        cache_dir: where features are kept.
        min_class_items: items that an article type must have to be a class.
        test_items: products in test, about; val_items likewise in val.
        seed: of the split.
        mask_titles: take the words of class names out of the titles.
    """

    kind: Literal["fashion"]
    data_dir: PlaceToName = None
    cache_dir: Place = Path("runs/cache")
    min_class_items: Count = 100
    test_items: Count = 1_500
    val_items: Count = 700
    seed: int = 0
    mask_titles: Switch = False


class PhotoData(Part):
    """Photographs with captions: where they lie and, where the captions' file has no splits, how they are split.

    Args:
        images_dir: folder of the pictures.
        captions: dataset_coco.json, captions_*.json, captions.txt, results.csv or a .token file.
        has_splits: the captions' file says them, as Karpathy's json does.
        captions_per_image: captions taken of each picture; one that has fewer lacks captions.
        skip_missing: leave out pictures that are missing, damaged or lack captions, instead of refusing.
        test_items: pictures in test, about; val_items likewise in val.
        seed: of the split.
        cache_dir: where it is kept which pictures could be read.
        workers: processes that read pictures ahead.
    """

    kind: Literal["photos"]
    images_dir: PlaceToName = None
    captions: PlaceToName = None
    has_splits: Switch = False
    captions_per_image: Count = 5
    skip_missing: Switch = False
    test_items: Count = 1_000
    val_items: Count = 1_000
    seed: int = 0
    cache_dir: Place = Path("runs/cache")
    workers: Workers = 0


class PaperData(Part):
    """The paper's own data. Places are relative to ``data_dir``.

    Args:
        data_dir: the folder that all others are in.
        shards: tar files of Conceptual Captions, ``{00000..00331}`` for a range.
        pairs: in an epoch; None takes the sum of img2dataset's ``_stats.json``.
        buffer: pairs among which the next one is drawn, undecoded, for each worker: under 1 GiB at 5,000.
        skip_bad: skip and count damaged pairs of the shards instead of refusing.
        captions: Karpathy's json of COCO; images_dir the folder of its pictures.
        captions_per_image: captions taken of each of them.
        imagenet_dir: a folder for each class.
        imagenet_classes: how many of them there must be.
        imagenet_prompts: OpenAI's 80 or its seven best; accuracies by the two never compare.
        clustering_classes: classes that joint clustering takes, chosen by clustering_seed.
        zeroshot_dir: folder of the small sets, zeroshot_sets, as torchvision unpacks them.
        download: let torchvision fetch small sets that are missing.
        skip_missing: go on without missing shards, and without pictures that are missing or damaged.
        cache_dir: where it is kept which pictures could be read.
        workers: processes that read ahead, for each training process.
    """

    kind: Literal["paper"]
    data_dir: PlaceToName = None
    shards: Annotated[str, AtHome] = "cc3m/{00000..00331}.tar"
    pairs: Count | None = None
    buffer: Count = 5_000
    skip_bad: Switch = True
    captions: Place = Path("coco/dataset_coco.json")
    images_dir: Place = Path("coco")
    captions_per_image: Count = 5
    imagenet_dir: Place = Path("imagenet/val")
    imagenet_classes: Annotated[int, Field(ge=2, le=1000)] = 1000
    imagenet_prompts: Literal[80, 7] = 80
    clustering_classes: Annotated[int, Field(ge=2)] = 200
    clustering_seed: int = 0
    zeroshot_dir: Place = Path("zeroshot")
    zeroshot_sets: tuple[str, ...] = ("cifar10", "cifar100", "food101", "caltech101", "flowers")
    download: Annotated[bool, Elsewhere] = False
    skip_missing: Switch = False
    cache_dir: Place = Path("runs/cache")
    workers: Workers = 0


class Preprocessing(Part):
    """How pictures are prepared for a model, in open_clip's words; what is left out follows from the weights.

    Args:
        mean: of red, green and blue, where white is 1; std likewise.
        interpolation: of resizing.
        resize_mode: what of a picture is kept.
    """

    mean: tuple[Share, Share, Share] | None = None
    std: tuple[Positive, Positive, Positive] | None = None
    interpolation: Literal["bicubic", "bilinear"] | None = None
    resize_mode: Literal["shortest", "longest", "squash"] | None = None


class OpenClipModel(Part):
    """A two-tower model that open_clip knows by name, and the weights to start from; without any, a base is trained.

    Args:
        name: of the architecture.
        pretrained: open_clip's tag, or a file; it counts by its tensors, or by the recipe of the base.
        quick_gelu: of weights in a file that does not say whether they were trained with QuickGELU.
        preprocess: of weights in a file of which it is not known, or known to be another.
    """

    kind: Literal["open_clip"]
    name: str
    pretrained: Annotated[str | None, AtHome, Elsewhere]
    quick_gelu: bool | None = None
    preprocess: Preprocessing | None = None

    def for_pictures(self) -> "OpenClipModel":
        """Return the same model; this package's own says then how pictures in files are prepared, where it did not.

        What is not stated is as its weights were trained, if the file says it, else as the demo's.
        """
        if self.name not in OWN:
            return self
        said = self.preprocess.model_dump(exclude_none=True) if self.preprocess else {}
        return self.model_copy(update={"preprocess": Preprocessing(**(OWN[self.name] | self._noted() | said))})

    def _noted(self) -> dict[str, Any]:
        path = file_in(self.pretrained or "none")
        if path.suffix != ".safetensors" or not path.is_file():
            return {}
        try:
            with safe_open(path, framework="np") as file:
                architecture = json.loads((file.metadata() or {}).get("architecture", "{}"))
            noted = dict(architecture["preprocess"] or {})
        except (KeyError, RecursionError, SafetensorError, TypeError, ValueError):
            return {}  # nothing is said; what is damaged is named by whoever loads the weights
        return {name: value for name, value in noted.items() if value is not None}


class HeadsModel(Part):
    """Two trainable heads on frozen features.

    Args:
        image_width: numbers of a picture's feature; text_width of a title's.
        hidden_width: of the layer between.
        embed_dim: of the embeddings.
    """

    kind: Literal["heads"]
    image_width: Count
    text_width: Count
    hidden_width: Count
    embed_dim: Count
