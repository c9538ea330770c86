"""Records of the slider of the book's first page: what models between a base and an aligned one look like and do.

`tpccma.runs.slider` makes them. They lie in ``results/slider/``, one a profile, are no records of runs, and reading
them needs no torch.

Legend: N pairs that are drawn, P pictures with captions.
"""

import base64
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from tpccma.files import write_whole
from tpccma.runs.records import SLIDER
from tpccma.runs.schema import Finite, Made, Strict, Word

UNIT = 1000  # whole numbers that a length of 1 is drawn with
MEASURES = (
    "raw_gap",
    "centroid_gap",
    "distribution_gap",
    "distribution_gap_scale_free",
    "clustering_ari",
    "zeroshot_top1",
    "cider",
    "cider_memory",
    "cider_centred",
    "cider_text",
)
Share = Annotated[float, Field(ge=0, le=1)]


class Stop(Strict):
    """One model that the slider shows.

    Args:
        t: of a model between the base, 0, and the aligned one, 1.
        alpha: in place of t, of a model that was trained.
        cloud: from `pack_cloud`.
        metrics: a value for each of ``MEASURES``.
        captions: P captions, by a decoder fed with the pictures' own embeddings.
    """

    model_config = ConfigDict(extra="forbid")

    t: Share | None
    alpha: Share | None
    cloud: str
    metrics: dict[str, Finite]
    captions: tuple[str, ...]

    @model_validator(mode="after")
    def _one_of_two(self) -> "Stop":
        if (self.t is None) == (self.alpha is None):
            raise ValueError(f"a stop has t or alpha, one of them; got t {self.t} and alpha {self.alpha}")
        return self

    @field_validator("cloud")
    @classmethod
    def _readable(cls, cloud: str) -> str:
        unpack_cloud(cloud)
        return cloud

    @field_validator("metrics")
    @classmethod
    def _complete(cls, metrics: dict[str, float]) -> dict[str, float]:
        if wrong := metrics.keys() ^ set(MEASURES):
            raise ValueError(f"lacks, or should not have, {', '.join(sorted(wrong))}")
        return metrics


class Picture(Strict):
    """A test picture that is captioned.

    Args:
        number: its place among the test pictures, from 0.
        shows: the name of its class.
        png: the file in base64.
    """

    model_config = ConfigDict(extra="forbid")

    number: Annotated[int, Field(ge=0)]
    shows: str
    png: str


class Slider(Strict):
    """All that the slider shows.

    Args:
        profile: of both models.
        method: of the aligned run, and of those that were trained with another alpha.
        alpha: of the aligned run.
        seed: of all runs and of the caption decoders.
        fingerprint: names the settings of the aligned run.
        base: names the weights at t = 0, see `tpccma.models.identity`.
        evaluation: the settings that all were measured with.
        code: digests of the code of the aligned run and of the evaluation.
        pairs: how many test pairs there are; the first N are drawn, the measures are those of all.
        pictures: P of them.
        stops: in the order of the slider, see `tpccma.runs.slider.in_order`.
    """

    profile: Word
    method: Word
    alpha: Share
    seed: Annotated[int, Field(ge=0)]
    fingerprint: Word
    base: str
    evaluation: dict[str, Any]
    code: dict[str, str]
    pairs: Annotated[int, Field(ge=1)]
    pictures: tuple[Picture, ...]
    stops: Annotated[tuple[Stop, ...], Field(min_length=2)]

    @field_validator("stops")
    @classmethod
    def _from_base_to_aligned(cls, stops: tuple[Stop, ...], info) -> tuple[Stop, ...]:
        places = [stop.t for stop in stops if stop.t is not None]
        if places != sorted(places) or not {0.0, 1.0} <= {*places}:
            raise ValueError(f"t is to rise from 0 to 1, got {places}")
        if len({(len(stop.cloud), len(stop.captions)) for stop in stops}) > 1:
            raise ValueError("stops have clouds or captions of different number")
        if len(stops[0].captions) != len(info.data.get("pictures", ())):
            raise ValueError(f"{len(stops[0].captions)} captions are not one a picture")
        return stops

    @property
    def ends(self) -> tuple[Stop, Stop]:
        """The base and the aligned model."""
        first, *_, last = (stop for stop in self.stops if stop.t is not None)
        return first, last


class SliderRecord(Made, Slider):
    """All that the slider shows, and by what it was made."""


def pack_cloud(images: np.ndarray, texts: np.ndarray) -> str:
    """Write the places of N pairs in the plane, each (N, 2), to a thousandth, within 32: little-endian, in base64."""
    return base64.b64encode(np.round(np.stack([images, texts]) * UNIT).astype("<i2").tobytes()).decode()


def unpack_cloud(cloud: str) -> np.ndarray:
    """Read what `pack_cloud` wrote.

    Returns:
        (2, N, 2) int16: images and texts, right and up, in thousandths.

    Raises:
        ValueError: if it is something else.
    """
    raw = base64.b64decode(cloud, validate=True)
    if not raw or len(raw) % 8:
        raise ValueError(f"a cloud of {len(raw)} bytes is none: 8 a pair are needed")
    return np.frombuffer(raw, "<i2").reshape(2, -1, 2)


def slider_path(profile: str, results_dir: str | Path = "results") -> Path:
    """Say where the record of a profile lies."""
    return Path(results_dir) / SLIDER / f"{profile}.json"


def save_slider(record: SliderRecord, results_dir: str | Path = "results") -> Path:
    """Write a record in place of the profile's last one; its path is returned."""
    path = slider_path(record.profile, results_dir)
    write_whole(path, record.model_dump_json(indent=1) + "\n")
    return path


def load_slider(profile: str, results_dir: str | Path = "results") -> SliderRecord:
    """Read the record of a profile.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: naming the file, if it is no such record, or another profile's.
    """
    path, again = slider_path(profile, results_dir), f"run `tpccma slider --profile {profile}`"
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: {again}")
    try:
        record = SliderRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        said = f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
        raise ValueError(f"{path} is not a record of a slider ({said}); {again}") from None
    if record.profile != profile:
        raise ValueError(f"{path} is of profile {record.profile!r}; {again}")
    return record
