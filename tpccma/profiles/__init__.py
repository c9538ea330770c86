"""Profiles: one validated YAML file says the data, model, training, loss, curriculum and evaluation of a run.

>>> load_profile("demo").fine_tune.epochs
2
"""

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from tpccma.curriculum import ThreePhaseCurriculum
from tpccma.methods import find_method
from tpccma.profiles.files import check_rate, profile_names, read_profile
from tpccma.profiles.first_reading import FirstReading
from tpccma.profiles.parts import (
    Count,
    DemoData,
    FashionData,
    FolderName,
    HeadsModel,
    NotNegative,
    OpenClipModel,
    PaperData,
    Part,
    PhotoData,
    Positive,
    Preprocessing,
    Share,
    Unnamed,
)

__all__ = [
    "Curriculum",
    "DecoderConfig",
    "DemoData",
    "Evaluation",
    "FashionData",
    "Floor",
    "HeadsModel",
    "Loss",
    "OpenClipModel",
    "PaperData",
    "PhotoData",
    "Preprocessing",
    "Profile",
    "Training",
    "Unnamed",
    "load_profile",
    "profile_names",
]


class Training(Part):
    """One training: AdamW with linear warm-up and cosine decay to 0.

    Args:
        epochs: passes over the training pairs.
        batch_size: pairs in a step, of all processes together.
        learning_rate: at its peak.
        weight_decay: of matrices.
        beta2: of AdamW; beta1 is 0.9.
        warmup: share of the steps, 0 to 1.
        clip_norm: the most that the gradient's norm may be.
        learn_logit_scale: train the inverse temperature as well.
        init_logit_scale: inverse temperature to start from; None leaves the model's own.
        max_logit_scale: the largest that it may grow to.
        precision: of autocast; "no" is float32.
        compile: a backend of torch.compile, such as inductor; None compiles nothing.
        checkpoint_steps: steps from one checkpoint to the next.
        watch_steps: of what is watched, steps from one look at validation accuracy to the next.
        micro_batch_size: pairs a process puts through the towers at a time; the loss sees them all.
    """

    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Positive
    weight_decay: NotNegative = 0.1
    beta2: Share = 0.98
    warmup: Share = 0.1
    clip_norm: Positive = 1.0
    learn_logit_scale: bool = True
    init_logit_scale: Positive | None = None
    max_logit_scale: Positive = 100.0
    precision: Literal["no", "bf16", "fp16"] = "no"
    compile: str | None = None
    checkpoint_steps: Count = 100
    watch_steps: Count | None = None
    micro_batch_size: Count | None = None


class Loss(Part):
    """The arguments of `tpccma.loss.CMALoss` but alpha."""

    reweighted_weight: NotNegative = 1.0
    geometry_weight: NotNegative = 0.25
    centroid_weight: NotNegative = 1.0
    paired_weight: NotNegative = 0.0
    hardness: Annotated[float, Field(ge=0, le=100)] = 1.0


class Floor(Part):
    """The floor under the variance within each modality of ``tpc-cma-floor``."""

    weight: NotNegative | None = None  # chosen on validation data


class Curriculum(Part):
    """The arguments of `tpccma.curriculum.ThreePhaseCurriculum` but alpha_target and total_steps."""

    anchor: Share = 0.15
    ramp_end: Share = 0.6
    deadline: Share = 0.8
    slow_rate: Share = 0.5
    shape: Literal["cosine", "linear"] = "cosine"
    gradient_aware: bool = True
    min_anchor: Share = 0.1
    patience: Share = 0.05

    @model_validator(mode="after")
    def _consistent(self) -> "Curriculum":
        ThreePhaseCurriculum(0.0, 1, **self.model_dump())
        return self


class DecoderConfig(Part):
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


class Evaluation(Part):
    """How much evaluation is done."""

    kmeans_restarts: Count = 10
    bootstrap_resamples: Count = 1_000
    decoder: DecoderConfig = DecoderConfig()


class Profile(Part):
    """Everything that decides a run, but method, alpha and seed.

    Args:
        name: that records are filed under.
        data: one of the four kinds; model one of the two.
        base: how a base model is trained where none is loaded.
        bases: "per-seed" where seed k > 0 starts from a base of its own, by the recipe in ``base``.
        fine_tune: how methods are trained.
        loss: weights of its terms; curriculum the phases; first_reading both of ``tpc-cma-paired``.
        floor: weight of the floor of ``tpc-cma-floor``.
        evaluation: how much is done.
        learning_rates: of methods that train with another one than fine_tune's.
        expected: measures of the base model that show whether weights and data are the right ones.
        expected_within: how far the base may be off, in their own unit.
        download: let open_clip ask hubs for weights and tokenizers that are not on this disk.
        track: tensorboard, wandb or another tracker of accelerate's; it decides nothing.
    """

    name: FolderName
    data: Annotated[DemoData | FashionData | PhotoData | PaperData, Field(discriminator="kind")]
    model: Annotated[OpenClipModel | HeadsModel, Field(discriminator="kind")]
    base: Training
    bases: Literal["one", "per-seed"] = "one"
    fine_tune: Training
    loss: Loss = Loss()
    curriculum: Curriculum = Curriculum()
    first_reading: FirstReading = FirstReading()
    floor: Floor = Floor()
    evaluation: Evaluation = Evaluation()
    learning_rates: dict[str, Positive] = Field(default_factory=dict)

    expected: dict[str, float] = Field(default_factory=dict)
    expected_within: NotNegative = 0.005
    download: bool = False
    track: str | None = None

    @field_validator("model")
    @classmethod
    def _told_of_pictures(cls, model: OpenClipModel | HeadsModel, info) -> OpenClipModel | HeadsModel:
        """The demo's pixels are scaled by the encoder itself; its records are named by a model that says nothing."""
        of_files = getattr(info.data.get("data"), "kind", "demo") != "demo"
        return model.for_pictures() if of_files and isinstance(model, OpenClipModel) else model

    @field_validator("learning_rates")
    @classmethod
    def _known(cls, rates: dict[str, float]) -> dict[str, float]:
        for method in rates:
            find_method(method)
        return rates

    @model_validator(mode="after")
    def _heads_have_one_a_seed(self) -> "Profile":
        if self.model.kind == "heads" and self.bases != "one":
            raise ValueError(f"bases: {self.bases!r} is for models of open_clip, heads have one a seed; leave it out")
        return self

    def has_own_base(self, seed: int) -> bool:
        """Say whether the base model that a seed starts from is trained by the recipe in ``base``, not loaded."""
        loaded = self.model.kind == "open_clip" and self.model.pretrained is not None
        return not loaded or (self.bases == "per-seed" and seed > 0)

    def training_of(self, method: str) -> Training:
        """Return how a method of `tpccma.methods` is trained: all alike but for the learning rate and being watched."""
        how = find_method(method)
        rate = self.learning_rates.get(how.like or method, self.fine_tune.learning_rate) * how.rate_factor
        watch = self.fine_tune.watch_steps if how.watched else None
        return self.fine_tune.model_copy(update={"learning_rate": rate, "watch_steps": watch})


def load_profile(name: "str | Path | Profile" = "demo", /, **changes) -> Profile:
    """Load a profile and check every value of it.

    Args:
        name: a shipped profile's name, the path of a YAML file, or a `~tpccma.profiles.Profile` to change.
        **changes: values that replace the profile's, by dotted name with ``__`` for the dot, such as
            ``fine_tune__epochs=1``.

    Returns:
        The `~tpccma.profiles.Profile`.

    Raises:
        ValueError: if there is no such profile or a value is unknown or out of range; the message names it.
    """
    values = name.model_dump() if isinstance(name, Profile) else read_profile(name)
    rates = values.get("learning_rates")
    for dotted, value in changes.items():
        *parents, leaf = dotted.split("__")
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ValueError(f"{dotted.replace('__', '.')} is unknown: {parent} is {place!r} and has no parts")
        place[leaf] = value
    try:
        profile = Profile.model_validate(values)
        profile.model_dump_json()
    except ValidationError as error:
        named = name.name if isinstance(name, Profile) else name
        raise ValueError(f"profile {named}: {_problems(error.errors())}") from None
    except ValueError:
        raise ValueError(f"profile {name} holds half a character, which no file can hold: take it out") from None
    if "fine_tune__learning_rate" in changes and "learning_rates" not in changes:
        check_rate("load_profile", {"learning_rates": rates}, {"fine_tune": values["fine_tune"]})
    return profile


def _problems(found: list[dict]) -> str:
    """Say what is wrong with values, and what may be meant."""
    missing = {"missing": "", "union_tag_not_found": ".kind"}
    said = []
    for each in found:
        place, kind = ".".join(map(str, each["loc"])), each["type"]
        if kind in missing:
            said.append(f"{place}{missing[kind]}: Field required")
        else:
            said.append(f"{place}: {each['msg']}, got {each['input']!r:.200}" + _meant(each))
    if any(each["type"] in missing for each in found):
        said.append("give what is required, or let the file say which profile has it, such as extends: demo")
    return "; ".join(said)


def _meant(found: dict) -> str:
    """Guess which name of a profile is meant by one that it does not have."""
    if found["type"] != "extra_forbidden":
        return ""
    schema = Profile.model_json_schema()
    known = {name for part in (schema, *schema["$defs"].values()) for name in part["properties"]}
    return "".join(f"; perhaps {name} is meant" for name in get_close_matches(str(found["loc"][-1]), known, 1))
