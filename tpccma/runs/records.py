"""Records of runs: one JSON file each, and one CSV built from all of them. Reading them needs no torch."""

import json
import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from tpccma.files import write_whole
from tpccma.methods import run_name
from tpccma.runs.schema import check_record
from tpccma.runs.tables import RESULT

if TYPE_CHECKING:
    from tpccma.profiles import Profile

logger = logging.getLogger(__name__)

# Folders beside the profiles' whose files are no records of runs, see `tpccma.runs.benchmark`, `.real_records` and
# `.slider_records`.
BENCHMARKS, REAL, SLIDER = "benchmarks", "real", "slider"
FRONTS, VALIDATION = "fronts", "val_"  # a folder of results in itself, and measures in it, see `tpccma.runs.fronts`
KEYS = RESULT
SCHEMA = (
    *KEYS,
    "base",
    "raw_gap",
    "centroid_gap",
    "distribution_gap",
    "distribution_gap_scale_free",
    "linear_separability",
    "modality_mixing",
    "effective_rank_image",
    "effective_rank_text",
    "zeroshot_top1",
    "i2t_recall_at_1",
    "i2t_recall_at_5",
    "t2i_recall_at_1",
    "t2i_recall_at_5",
    "clustering_ari",
    "clustering_nmi",
    "cider",
    "cider_memory",
    "bleu4",
    "meteor",
    "rouge_l",
    "wall_seconds",
)


def check_free(
    profile: "Profile", key: tuple[str, float, int], content: str, results_dir: str | Path = "results"
) -> None:
    """See to it that a record does not take the place of one that was made from other data.

    Args:
        profile: of the run.
        key: its method, alpha and seed.
        content: names its data, see `tpccma.data.content`.
        results_dir: where the records lie.

    Raises:
        ValueError: if the record that is there has other data; the message says how to keep both.
    """
    path = record_path(profile.name, *key, results_dir)
    if path.is_file() and (found := read_record(path).get("content", "")) != content:
        raise ValueError(
            f"{path} was recorded on other data (content {found or 'not stated'}, now {content or 'not stated'}); to "
            "keep both, give the profile a name of its own (name: in its file) or say another --results-dir"
        )


def save_record(record: dict, results_dir: str | Path = "results", replace_other_code: bool = False) -> Path:
    """Write a record to ``<results_dir>/<profile>/<method>-a<alpha>-s<seed>.json`` and complete the CSV.

    A record that is there already and has the same fingerprint and evaluation is left alone: the run repeats it. One of
    other settings is replaced, which is told of; its run's folder still has it.

    Args:
        record: from `~tpccma.runs.record.make_record`.
        results_dir: where the records lie.
        replace_other_code: write it also where the record that is there was made by other code.

    Returns:
        The path of the JSON file.

    Raises:
        ValueError: if it is no record, see `tpccma.runs.schema.Record`; nothing is written then.
    """
    check_record(record)
    path = record_path(record["profile"], record["method"], record["alpha"], record["seed"], results_dir)
    same = ("fingerprint", "evaluation", *(["code"] if replace_other_code else []))
    found = read_record(path) if path.is_file() else None
    if found and found["fingerprint"] != record["fingerprint"]:
        logger.warning(
            "%s was recorded with other settings (fingerprint %s, now %s) and is replaced; its run's folder keeps it, "
            "and a profile with a name of its own (name: in its file) keeps both here",
            *(path, found["fingerprint"], record["fingerprint"]),
        )
    if not found or any(found.get(key) != record.get(key) for key in same):
        write_whole(path, json.dumps(record, indent=1) + "\n")
    build_csv(results_dir)
    return path


def record_path(profile: str, method: str, alpha: float, seed: int, results_dir: str | Path = "results") -> Path:
    """Say where the record of a run lies."""
    return Path(results_dir) / profile / f"{run_name(method, alpha, seed)}.json"


def record_paths(results_dir: str | Path = "results") -> list[Path]:
    """List the files of all records."""
    return [path for path in Path(results_dir).glob("*/*.json") if path.parent.name not in (BENCHMARKS, REAL, SLIDER)]


def load_records(results_dir: str | Path = "results") -> list[dict]:
    """Read all records, sorted by profile, method, alpha and seed.

    Raises:
        ValueError: if a file is not a record; the message names it.
    """
    records = [read_record(path) for path in record_paths(results_dir)]
    return sorted(records, key=lambda record: tuple(record[key] for key in KEYS))


def build_csv(results_dir: str | Path = "results") -> Path:
    """Build ``results.csv`` where it is not what the records say.

    Raises:
        OSError: naming it and the remedy, if it cannot be written.
    """
    path, text = Path(results_dir) / "results.csv", csv_of(load_records(results_dir))
    if not path.is_file() or path.read_bytes() != text.encode():
        try:
            write_whole(path, text)
        except OSError as error:
            raise type(error)(
                f"{path} is not what the records say and cannot be written ({error.strerror or error}): make room and "
                "its folder writable, and run again"
            ) from None
    return path


def csv_now(results_dir: str | Path = "results") -> str:
    """Return ``results.csv`` as the records say it; built in passing, where it is not so and can be written."""
    try:
        return build_csv(results_dir).read_text(encoding="utf-8")
    except OSError as error:
        logger.warning("%s; what the records say is taken", error)
        return csv_of(load_records(results_dir))


def csv_of(records: list[dict]) -> str:
    """Write records as CSV: a row each, with the columns of ``SCHEMA``, then every other metric by name."""
    named = (*KEYS, "base", "wall_seconds")
    table = pd.DataFrame([{key: r[key] for key in named if key in r} | r["metrics"] for r in records])
    table = table.reindex(columns=[*SCHEMA, *sorted(set(table.columns) - set(SCHEMA))])
    return table.to_csv(index=False)


def read_record(path: Path) -> dict:
    """Read one record from where records lie.

    Raises:
        ValueError: if the file is no record, see `tpccma.runs.schema.Record`, or is named for another run than the one
            it holds, as a copy is; the message names file and key.
    """
    record = parse_record(path)
    own = Path(record["profile"], f"{run_name(*(record[key] for key in KEYS[1:]))}.json")
    if own.parts != path.parts[-2:]:
        raise ValueError(
            f"{path} was copied or renamed: its profile, method, alpha and seed are those of {own}; remove it, or put "
            "it back there"
        )
    return record


def read_kept(path: Path, key: tuple[str, str, float, int], fingerprint: str) -> dict:
    """Read the record that a run keeps in its own folder.

    Args:
        path: of the record.
        key: profile, method, alpha and seed of the run.
        fingerprint: of the run.

    Raises:
        ValueError: if the file is no record, or is another run's; the message names it.
    """
    record = parse_record(path)
    for name, own in zip((*KEYS, "fingerprint"), (*key, fingerprint), strict=True):
        if record[name] != own:
            raise ValueError(f"{path} is another run's: its {name} is {record[name]!r}, not {own!r}; remove it")
    return record


def parse_record(path: Path) -> dict:
    """Read one record, whatever the file's name.

    Raises:
        ValueError: if the file is no record; the message names it.
    """
    try:
        return check_record(json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_twins))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a record: {error}; remove it and run again") from None


def _without_twins(pairs: list[tuple]) -> dict:
    """Make an object of JSON, of which a key that is given twice would else keep the second value."""
    for key, count in Counter(key for key, _ in pairs).items():
        if count > 1:
            raise ValueError(f"{key!r} is given {count} times")
    return dict(pairs)


def best_rates(table: pd.DataFrame) -> dict[str, float]:
    """Choose for each method the learning rate of the largest score; of equal ones the smallest."""
    ordered = table.sort_values(["score", "learning_rate"], ascending=[False, True])
    return ordered.drop_duplicates("method").sort_values("method").set_index("method").learning_rate.to_dict()
