"""Records of models that nobody here made: what was measured of their embeddings, a JSON file each.

`tpccma.runs.real_models` makes them. They lie in ``results/real/``, are no records of runs, and reading them needs no
torch.
"""

from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from tpccma.files import write_whole
from tpccma.runs.records import REAL
from tpccma.runs.schema import Finite, Made, Strict, Word

GAPS = ("raw_gap", "centroid_gap", "distribution_gap", "distribution_gap_scale_free")
SHAPE = ("cone_image", "cone_text", "effective_rank_image", "effective_rank_text")
SEPARABILITY = "linear_separability"
RECALLS = ("i2t_recall_at_1", "i2t_recall_at_5", "t2i_recall_at_1", "t2i_recall_at_5")
STATES = {  # what is measured of the rows as they are, of the centred ones, and of what centring changes
    "raw": {*GAPS, *SHAPE, SEPARABILITY, *RECALLS},
    "centred": {*GAPS, SEPARABILITY, *RECALLS},
    "change": {*RECALLS},
}


class Bounded(NamedTuple):
    """A measure with its 95 % interval."""

    value: Finite
    low: Finite
    high: Finite


def _in_order(found: Bounded) -> Bounded:
    if found.low > found.high:
        raise ValueError(f"low, {found.low}, is above high, {found.high}")
    return found


Measures = dict[str, Annotated[Bounded, AfterValidator(_in_order)]]


class Source(Strict):
    """Where the embeddings come from."""

    model_config = ConfigDict(extra="forbid")

    repository: str
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
    file: str
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    licence: str


class RealModel(Strict):
    """What was measured of the paired embeddings of one model; the embeddings themselves are no part of it.

    Args:
        model: a short name, such as "clip".
        trained: False for the same architecture before its training on pairs.
        source: of the file.
        pairs: N, at least 2.
        width: of the embeddings, D.
        distinct: how many different rows there are of the first modality, and of the texts.
        raw: measure to value, low and high, of the rows scaled to length 1.
        centred: the same after each modality's mean is taken off and the rows are scaled back to length 1.
        change: by how much mean-centring changes each recall.
        resamples: of the bootstrap.
        seed: of all draws.
    """

    model: Word
    trained: bool
    source: Source
    pairs: Annotated[int, Field(ge=2)]
    width: Annotated[int, Field(ge=1)]
    distinct: tuple[int, int]
    raw: Measures
    centred: Measures
    change: Measures
    resamples: Annotated[int, Field(ge=1)]
    seed: Annotated[int, Field(ge=0)]

    @field_validator(*STATES)
    @classmethod
    def _complete(cls, measures: Measures, info) -> Measures:
        if wrong := measures.keys() ^ STATES[info.field_name]:
            raise ValueError(f"lacks, or should not have, {', '.join(sorted(wrong))}")
        return measures


class RealRecord(Made, RealModel):
    """What was measured of one model, and by what."""


def real_path(model: str, trained: bool, results_dir: str | Path = "results") -> Path:
    """Say where the record of a model lies."""
    return Path(results_dir) / REAL / f"{model}{'' if trained else '-untrained'}.json"


def save_real(record: RealRecord, results_dir: str | Path = "results") -> Path:
    """Write a record; its path is returned."""
    path = real_path(record.model, record.trained, results_dir)
    write_whole(path, record.model_dump_json(indent=1) + "\n")
    return path


def load_real(results_dir: str | Path = "results") -> list[RealRecord]:
    """Read all records of ``<results_dir>/real/``, by name.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: naming a file that is no such record, or is named for another model.
    """
    folder = Path(results_dir) / REAL
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise FileNotFoundError(f"there is no record in {folder}: run `tpccma real`")
    return [_read(path) for path in paths]


def _read(path: Path) -> RealRecord:
    try:
        record = RealRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        said = f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
        raise ValueError(f"{path} is not a record of a real model ({said}); remove it and record again") from None
    own = real_path(record.model, record.trained).name
    if path.name != own:
        raise ValueError(f"{path} was copied or renamed: it holds what belongs into {own}; remove it")
    return record
