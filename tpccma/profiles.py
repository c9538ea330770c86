"""Profiles: one validated YAML file says the data, model, training, loss, curriculum and evaluation of a run.

>>> load_profile("demo").fine_tune.epochs
2
"""

from dataclasses import dataclass
from importlib import resources
from os.path import expanduser
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tpccma.curriculum import ThreePhaseCurriculum
from tpccma.methods import find_method

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Deviation = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
ANY = object()


@dataclass(frozen=True)
class Unnamed:
    """Marks a setting that a run's fingerprint leaves out.

    Args:
        at: the one value at which it is left out, so that runs keep the name which they had before there was this
            setting, or before it had another value; `ANY` leaves it out always.
    """

    at: Any = ANY


def _at_home(place: Path | str | None) -> Path | str | None:
    """Put the user's folder in place of a leading ``~``, as a shell does; of an unknown user's it stays."""
    return place and type(place)(expanduser(place))


AtHome = AfterValidator(_at_home)
Elsewhere = Unnamed()  # a place, or how data are read: `tpccma.data.content` names what lies there
Place = Annotated[Path, AtHome, Elsewhere]
PlaceToName = Annotated[Path | None, AtHome, Elsewhere]  # outside: of a part of a union a mark would be lost
Switch = Annotated[bool, Unnamed(at=False)]
Workers = Annotated[int, Field(ge=0), Elsewhere]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def identity(self) -> dict[str, Any]:
        """Return what names a run: all settings that have a value, but those that are `Unnamed`."""
        settings = self.model_dump(mode="json", exclude_none=True)
        return {name: value for name, value in settings.items() if not self._is_unnamed(name, value)}

    def _is_unnamed(self, name: str, value: Any) -> bool:
        marks = (mark for mark in type(self).model_fields[name].metadata if isinstance(mark, Unnamed))
        return any(mark.at is ANY or mark.at == value for mark in marks)


class DemoData(_Part):
    """The rendered scene world: pictures for the base model, for fine-tuning (train), val and test."""

    kind: Literal["demo"] = "demo"
    base_pairs: Count = 96_000
    train_pairs: Count = 24_000
    val_pairs: Count = 1_000
    test_pairs: Count = 1_000
    seed: int = 0


class FashionData(_Part):
    """Kaggle's Fashion Product Images: where they lie and how they are split."""

    kind: Literal["fashion"]
    data_dir: PlaceToName = None
    cache_dir: Place = Path("runs/cache")
    min_class_items: Count = 100
    test_items: Count = 1_500
    val_items: Count = 700
    seed: int = 0
    mask_titles: Switch = False  # take the words of class names out of the titles


class PhotoData(_Part):
    """Photographs with captions: where they lie and, where the captions' file has no splits, how they are split."""

    kind: Literal["photos"]
    images_dir: PlaceToName = None
    captions: PlaceToName = None  # dataset_coco.json, captions_*.json or captions.txt
    has_splits: Switch = False  # as Karpathy's json has
    captions_per_image: Count = 5
    skip_missing: Switch = False  # leave out pictures that are missing, damaged or lack captions, instead of refusing
    test_items: Count = 1_000
    val_items: Count = 1_000
    seed: int = 0
    cache_dir: Place = Path("runs/cache")
    workers: Workers = 0  # processes that read pictures ahead


class PaperData(_Part):
    """The paper's own data. Places are relative to `data_dir`."""

    kind: Literal["paper"]
    data_dir: PlaceToName = None
    shards: Annotated[str, AtHome] = "cc3m/{00000..00331}.tar"
    pairs: Count | None = None  # in an epoch; None takes the sum of img2dataset's _stats.json
    buffer: Count = 5_000  # pairs among which the next one is drawn, for each worker
    skip_bad: Switch = True  # skip and count damaged pairs of the shards instead of refusing
    captions: Place = Path("coco/dataset_coco.json")
    images_dir: Place = Path("coco")
    captions_per_image: Count = 5
    imagenet_dir: Place = Path("imagenet/val")
    imagenet_classes: Annotated[int, Field(ge=2, le=1000)] = 1000
    imagenet_prompts: Literal[80, 7] = 80  # OpenAI's full list, or its seven best; accuracies by the two never compare
    clustering_classes: Annotated[int, Field(ge=2)] = 200
    clustering_seed: int = 0
    zeroshot_dir: Place = Path("zeroshot")
    zeroshot_sets: tuple[str, ...] = ("cifar10", "cifar100", "food101", "caltech101", "flowers")
    download: Annotated[bool, Elsewhere] = False  # let torchvision fetch small sets that are missing
    skip_missing: Switch = False  # go on without missing shards, and without COCO pictures that are missing
    workers: Workers = 0  # processes that read ahead, for each training process


class Preprocessing(_Part):
    """How pictures are prepared for a model, in open_clip's words; what is left out follows from the weights."""

    mean: tuple[Share, Share, Share] | None = None  # of red, green and blue, where white is 1
    std: tuple[Deviation, Deviation, Deviation] | None = None
    interpolation: Literal["bicubic", "bilinear"] | None = None
    resize_mode: Literal["shortest", "longest", "squash"] | None = None


class OpenClipModel(_Part):
    """A two-tower model that open_clip knows by name, and the weights to start from; without any, a base is trained."""

    kind: Literal["open_clip"]
    name: str
    pretrained: Annotated[str | None, AtHome, Elsewhere]  # counts by its bytes, or by the recipe of the base
    quick_gelu: bool | None = None  # of weights in a file that does not say whether they were trained with QuickGELU
    preprocess: Preprocessing | None = None  # of weights in a file of which it is not known, or known to be another


class HeadsModel(_Part):
    """Two trainable heads on frozen features."""

    kind: Literal["heads"]
    image_width: Count
    text_width: Count
    hidden_width: Count
    embed_dim: Count


class Training(_Part):
    """One training: AdamW with linear warm-up and cosine decay to 0."""

    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Positive
    weight_decay: NotNegative = 0.1
    beta2: Share = 0.98
    warmup: Share = 0.1
    clip_norm: Positive = 1.0
    learn_logit_scale: bool = True
    init_logit_scale: Positive | None = None  # inverse temperature to start from; None leaves the model's own
    max_logit_scale: Positive = 100.0
    precision: Literal["no", "bf16", "fp16"] = "no"
    compile: str | None = None  # a backend of torch.compile, such as inductor
    checkpoint_steps: Count = 100
    micro_batch_size: Count | None = None  # pairs a process puts through the towers at a time; the loss sees them all


class Loss(_Part):
    """The arguments of `tpccma.loss.CMALoss` but alpha."""

    reweighted_weight: NotNegative = 1.0
    geometry_weight: NotNegative = 10.0
    centroid_weight: NotNegative = 1.0
    paired_weight: NotNegative = 10.0
    hardness: NotNegative = 1.0
    false_negative_rate: Annotated[float, Field(ge=0, lt=1)] = 0.0
    chunk_size: Count | None = None


class Curriculum(_Part):
    """The arguments of `tpccma.curriculum.ThreePhaseCurriculum` but alpha_target and total_steps."""

    anchor: Share = 0.15
    ramp_end: Share = 0.6
    deadline: Share = 0.8
    rho: Positive = 2.0
    slow_rate: Share = 0.5
    shape: Annotated[Literal["cosine", "linear"], Unnamed(at="cosine")] = "cosine"

    @model_validator(mode="after")
    def _consistent(self) -> "Curriculum":
        ThreePhaseCurriculum(0.0, 1, **self.model_dump())
        return self


class DecoderConfig(_Part):
    """Size and training of the caption decoder; the defaults are the demo profile's [ours].

    DeCap's own size, which the paper profile uses, is ``width=768, layers=4, heads=4``. Small batches at a high
    learning rate are used because they gave more exact captions in the same time than large ones.

    Args:
        width: width of the transformer, a multiple of ``heads``.
        layers: transformer blocks.
        heads: attention heads.
        steps: optimiser steps.
        batch_size: captions a step.
        learning_rate: peak learning rate of AdamW, after ``warmup_steps`` of linear warm-up; then a cosine to 0.
        warmup_steps: at most ``steps``.
        label_smoothing: share of the target spread over the vocabulary, in [0, 1).
        max_tokens: longest caption in words and punctuation marks, its end token included; longer ones are cut.
        memory_size: training captions kept for ``project_to_memory`` (see ``caption_memory``).

    Raises:
        pydantic.ValidationError: (a ValueError) for an unknown field or a value out of range.
    """

    width: int = Field(128, ge=1)
    layers: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    steps: int = Field(800, ge=1)
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(3e-3, gt=0, allow_inf_nan=False)
    warmup_steps: int = Field(50, ge=0)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    max_tokens: int = Field(24, ge=2)
    memory_size: int = Field(20_000, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> "DecoderConfig":
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width {self.width} and heads {self.heads}")
        if self.warmup_steps > self.steps:
            raise ValueError(f"warmup_steps must be at most steps, got {self.warmup_steps} of {self.steps} steps")
        return self


class Evaluation(_Part):
    """How much evaluation is done."""

    kmeans_restarts: Count = 10
    bootstrap_resamples: Count = 1_000
    decoder: DecoderConfig = DecoderConfig()


class Profile(_Part):
    """Everything that decides a run, but method, alpha and seed."""

    name: str
    data: Annotated[DemoData | FashionData | PhotoData | PaperData, Field(discriminator="kind")]
    model: Annotated[OpenClipModel | HeadsModel, Field(discriminator="kind")]
    base: Training
    fine_tune: Training
    loss: Loss = Loss()
    curriculum: Curriculum = Curriculum()
    evaluation: Evaluation = Evaluation()
    learning_rates: dict[str, Positive] = {}  # of methods that train with another one than fine_tune's
    expected: dict[str, float] = {}  # measures of the base model that show whether weights and data are the right ones
    expected_within: NotNegative = 0.005  # how far the base may be off

    @field_validator("learning_rates")
    @classmethod
    def _known(cls, rates: dict[str, float]) -> dict[str, float]:
        for method in rates:
            find_method(method)
        return rates

    def training_of(self, method: str) -> Training:
        """Return how a method of `tpccma.methods` is trained: all alike but for the learning rate."""
        name = find_method(method).like or method
        rate = self.learning_rates.get(name, self.fine_tune.learning_rate)
        return self.fine_tune.model_copy(update={"learning_rate": rate})


def profile_names() -> list[str]:
    """List the profiles that ship with the package."""
    return sorted(
        path.name.removesuffix(".yaml")
        for path in resources.files("tpccma.configs").iterdir()
        if path.name.endswith(".yaml")
    )


def load_profile(name: "str | Path | Profile" = "demo", /, **changes) -> Profile:
    """Load a profile and check every value of it.

    Args:
        name: a shipped profile's name, the path of a YAML file, or a `Profile` to change.
        **changes: values that replace the profile's, by dotted name with ``__`` for the dot, such as
            ``fine_tune__epochs=1``.

    Returns:
        The `Profile`.

    Raises:
        ValueError: if there is no such profile or a value is unknown or out of range; the message names it.
    """
    values = name.model_dump() if isinstance(name, Profile) else _read(name)
    for dotted, value in changes.items():
        *parents, leaf = dotted.split("__")
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ValueError(f"{dotted.replace('__', '.')} is unknown: {parent} is {place!r} and has no parts")
        place[leaf] = value
    try:
        return Profile.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}" for e in error.errors())
        raise ValueError(f"profile {getattr(name, 'name', name)}: {problems}") from None


def _read(name: str | Path) -> dict:
    """Read a profile's values; those of the profile that it ``extends`` stand where it has none of its own.

    An empty mapping, such as ``expected: {}``, clears what is extended.
    """
    values = yaml.safe_load(_find(name).read_text())
    if not isinstance(values, dict):
        raise ValueError(f"profile {name}: the file must hold names and values such as `extends: demo`, got {values!r}")
    return _merge(_read(values.pop("extends")), values) if "extends" in values else values


def _merge(old: dict, new: dict) -> dict:
    if new.get("kind", old.get("kind")) != old.get("kind"):
        return new  # data or a model of another kind has other settings
    merged = {
        key: _merge(old[key], value) if value and isinstance(value, dict) and isinstance(old.get(key), dict) else value
        for key, value in new.items()
    }
    return {**old, **merged}


def _find(name: str | Path):
    shipped = resources.files("tpccma.configs") / f"{name}.yaml"
    if shipped.is_file():
        return shipped
    if Path(name).suffix in (".yaml", ".yml") and Path(name).is_file():
        return Path(name)
    raise ValueError(
        f"unknown profile {str(name)!r}: give one of {', '.join(profile_names())}, or the path of a .yaml file"
    )
