"""What a record of a run must hold, asked of every file before its figures are believed."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from tpccma.runs.items import unpack_items
from tpccma.runs.tables import RESULT, WORDS

Word = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^/\\]+$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Strict(BaseModel):
    """A part of a record, in which a number is a number: no text that reads like one, no truth value."""

    model_config = ConfigDict(strict=True, frozen=True)


class Code(Strict):
    """Digests of the code that trained and evaluated a run.

    Args:
        training: 16 hexadecimal digits, see `tpccma.training.identity`.
        evaluation: likewise.
    """

    training: str
    evaluation: str


class Hardware(Strict):
    """On what a run was computed.

    Args:
        machine: its architecture, such as "x86_64".
        threads: that torch had, 1 or more.
        device: name of the GPU, or of the processor.
        processor: its generation; None where it was not noted, as by the first records.
        processes: that trained together, each with a part of every batch; written if there were several.
    """

    machine: str
    threads: Annotated[int, Field(ge=1)]
    device: str
    processor: str | None = None
    processes: Annotated[int, Field(ge=1, exclude_if=lambda count: count == 1)] = 1


class Made(Strict):
    """By what a record was made. Named before the class of what it says, it comes after that, as in the files.

    Args:
        versions: of Python and packages.
        hardware: on what it was computed.
        git_revision: commit of the package, with "-dirty" if it differed.
    """

    model_config = ConfigDict(extra="forbid")

    versions: dict[str, str]
    hardware: Hardware
    git_revision: str | None


class Record(Strict):
    """One run: its key, what it was made from and by, and its measures.

    Args:
        profile: name of its profile, and of the folder that its file lies in.
        method: a name in `tpccma.methods`, or "base".
        alpha: alpha_target, 0 to 1.
        seed: of the run, >= 0.
        fingerprint: names its settings, see `tpccma.training.identity.fingerprint`.
        versions: of Python and packages.
        hardware: on what it was computed.
        wall_seconds: of its training, >= 0.
        metrics: measure to value, each a finite number; a run that diverged has ``diverged`` and what its log tells.
        content: names its data where they lie in files, see `tpccma.data.content`.
        base: names the weights that it started from, see `tpccma.models.identity`; of some first records not known.
        training: the settings that it was trained with; None if it was not trained.
        code: digests of the code it rests on; not noted by the first records.
        git_revision: commit of the package, with "-dirty" if it differed.
        samples_per_second: of its training, >= 0.
        data: what was read, left out and chosen, where that is not fixed.
        evaluation: the settings that it was measured with.
        items: what was found of each test picture, see `tpccma.runs.items.unpack_items`; the first records lack it.
    """

    model_config = ConfigDict(extra="forbid")

    profile: Word
    method: Word
    alpha: Annotated[float, Field(ge=0, le=1)]
    seed: Annotated[int, Field(ge=0)]
    fingerprint: Word
    versions: dict[str, str]
    hardware: Hardware
    wall_seconds: NotNegative
    metrics: Annotated[dict[str, Finite], Field(min_length=1)]
    content: str = ""
    base: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")] = None  # may be missing, not null
    training: dict[str, Any] | None = None
    code: Code = None  # likewise
    git_revision: str | None = None
    samples_per_second: NotNegative = 0.0
    data: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None
    items: dict[str, dict[str, str]] | None = None

    @field_validator("metrics")
    @classmethod
    def _named_for_themselves(cls, metrics: dict[str, float]) -> dict[str, float]:
        if taken := metrics.keys() & {*RESULT, *WORDS, "wall_seconds"}:
            raise ValueError(f"no measure may be named {', '.join(sorted(taken))}, as what names a run is")
        return metrics

    @field_validator("items")
    @classmethod
    def _unpacked(cls, items: dict[str, dict[str, str]] | None) -> dict[str, dict[str, str]] | None:
        unpack_items(items or {})
        return items


def check_record(values: Any) -> dict:
    """See to it that what a file holds is a record.

    Args:
        values: of the file, as JSON gives them.

    Returns:
        The same values.

    Raises:
        ValueError: naming every key that is missing, unknown, or whose value is none.
    """
    try:
        Record.model_validate(values)
    except ValidationError as error:
        raise ValueError("; ".join(_said(error))) from None
    return values


def _said(error: ValidationError) -> list[str]:
    """Say what is wrong, what is missing first."""
    missing = [each["loc"][-1] for each in error.errors() if each["type"] == "missing"]
    wrong = [
        f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg']}, got {each['input']!r:.80}"
        for each in error.errors()
        if each["type"] != "missing"
    ]
    return [f"it lacks {', '.join(missing)}", *wrong] if missing else wrong
