"""Recorded runs once more, from scratch: ``tpccma verify 3 --profile demo``.

A run repeats to the last digit on one generation of processors and with one set of versions; elsewhere rounding makes
trainings drift apart. The first 422 records name their processor "AMD EPYC" only, which is several generations: it
cannot be told whether they were made on such a machine as this, so those that do not repeat are held against ``DRIFT``.
Later ones name family, model and stepping.
"""

import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch

from tpccma.data.content import content_of_files
from tpccma.profiles import Profile
from tpccma.runs.jobs import Job
from tpccma.runs.record import run_job
from tpccma.runs.records import load_records
from tpccma.runs.room import check_records, is_record_of
from tpccma.runs.workers import run_all

ROUNDING = 1e-4  # how far any measure may be off where hardware, threads and versions are the recorded ones
# How far these may be off where they are not.
DRIFT = {
    "raw_gap": 0.03,
    "centroid_gap": 0.03,
    "distribution_gap": 0.03,
    "zeroshot_top1": 0.03,
    "i2t_recall_at_1": 0.04,
    "t2i_recall_at_1": 0.04,
    "clustering_ari": 0.12,
    "cider": 1.0,
    "cider_memory": 0.8,
}
REPEATS, WITHIN_DRIFT, DIFFERS, FAILED = "repeats", "repeats within drift", "DIFFERS", "FAILED"


@dataclass(frozen=True)
class Repeat:
    """What came of a recorded run that was run once more.

    Args:
        run: its name.
        outcome: "repeats" (every measure within ``ROUNDING``), "repeats within drift" (those of ``DRIFT`` within its
            tolerances, and it is not known to have been recorded on such a machine as this), "DIFFERS" or "FAILED".
        rows: one row a measure that was compared: measure, recorded, again, difference, tolerance and ok.
        reason: in what machine and versions differ, or why it failed; "" where that decided nothing.
        unmatched: measures that only the record has, and that only the repeat has, with those words before them.
    """

    run: str
    outcome: str
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    reason: str = ""
    unmatched: str = ""

    @property
    def ok(self) -> bool:
        """Whether it repeats, if only within drift."""
        return self.outcome in (REPEATS, WITHIN_DRIFT)

    def as_dict(self) -> dict:
        """All of it, as JSON can hold it."""
        measures = self.rows.to_dict("records")
        kept = {"run": self.run, "outcome": self.outcome, "reason": self.reason, "unmatched": self.unmatched}
        return kept | {"measures": measures}

    def __str__(self) -> str:
        parts = [f"{self.run}: {self.outcome}"]
        if len(self.rows):
            worst = self.rows.loc[(self.rows.difference / self.rows.tolerance).idxmax()]
            largest = f"largest difference {worst.difference:.2g} in {worst.measure}, tolerance {worst.tolerance:g}"
            parts += [f"{len(self.rows)} measures compared, {largest}"]
        lines = ["; ".join(filter(None, [*parts, self.reason, self.unmatched]))]
        if len(self.rows) and not self.rows.ok.all():
            lines.append(self.rows[~self.rows.ok].to_string(index=False))
        return "\n".join(lines)


def verify(record: dict, profile: Profile) -> Repeat:
    """Run a recorded job once more, from scratch in a folder of its own, and compare every measure.

    Args:
        record: from `tpccma.runs.records.load_records`.
        profile: what it was made from.

    Returns:
        What came of it, see `compare`.
    """
    torch.set_num_threads(record["hardware"]["threads"])
    job = Job(record["method"], record["alpha"], record["seed"])
    with tempfile.TemporaryDirectory() as folder:
        return compare(record, run_job(profile, job, Path(folder) / "runs", Path(folder) / "results"))


def compare(record: dict, again: dict) -> Repeat:
    """Compare the record of a run with that of its repeat, in the measures that both have.

    Args:
        record: as it was recorded.
        again: of the repeat.

    Returns:
        The outcome: "repeats" if all measures are within ``ROUNDING``. Else, on one machine with one set of versions,
        it differs. Else, those of ``DRIFT`` decide by its tolerances.
    """
    run = Job(record["method"], record["alpha"], record["seed"]).name
    shared = [name for name in record["metrics"] if name in again["metrics"]]
    unmatched = _unmatched(record["metrics"], again["metrics"])
    rows, reason = _rows(record, again, dict.fromkeys(shared, ROUNDING)), ""
    outcome = REPEATS if _all_ok(rows) else DIFFERS
    if outcome == DIFFERS and (reason := _machines_differ(record, again)):
        rows = _rows(record, again, {name: drift for name, drift in DRIFT.items() if name in shared})
        outcome = WITHIN_DRIFT if _all_ok(rows) else DIFFERS
    return Repeat(run, outcome, rows, reason, unmatched)


def _rows(record: dict, again: dict, tolerances: dict[str, float]) -> pd.DataFrame:
    values = [(name, record["metrics"][name], again["metrics"][name], tolerances[name]) for name in tolerances]
    rows = pd.DataFrame(values, columns=["measure", "recorded", "again", "tolerance"])
    rows["difference"] = (rows.again - rows.recorded).abs()
    rows["ok"] = rows.difference <= rows.tolerance
    return rows


def _all_ok(rows: pd.DataFrame) -> bool:
    return len(rows) > 0 and bool(rows.ok.all())


def _unmatched(recorded: dict, again: dict) -> str:
    sides = (("only recorded", recorded.keys() - again.keys()), ("only measured now", again.keys() - recorded.keys()))
    return "; ".join(f"{side}: {', '.join(sorted(names))}" for side, names in sides if names)


def _machines_differ(record: dict, again: dict) -> str:
    """Say in what hardware and versions differ, or that it cannot be told; "" if both are known and the same."""
    told = [
        f"{name} {old.get(name)!r}, now {new.get(name)!r}"
        for old, new in ((record["hardware"], again["hardware"]), (record["versions"], again["versions"]))
        for name in sorted(old.keys() | new.keys())
        if name != "processor" and old.get(name) != new.get(name)
    ]
    processors = [each["hardware"].get("processor") for each in (record, again)]
    if not all(processors):
        told.append("the processor's model is not recorded")
    elif processors[0] != processors[1]:
        told.append(f"processor {processors[0]!r}, now {processors[1]!r}")
    return ", ".join(told)


def _check_own(records: list[dict], profile: Profile) -> None:
    content = content_of_files(profile.data)
    for record in records:
        wrong = [] if is_record_of(record, profile) else ["settings"]
        wrong += [] if record.get("content", "") == content else ["data"]
        if wrong:
            run = Job(record["method"], record["alpha"], record["seed"]).name
            raise ValueError(
                f"{run} of profile {profile.name!r} was recorded with other {' and '.join(wrong)} than the profile "
                "names now, so it cannot be repeated; say the profile and data that it was made from"
            )


def verify_some(
    profile: Profile, count: int, seed: int = 0, jobs: int = 1, results_dir: str | Path = "results"
) -> Iterator[Repeat]:
    """Verify records drawn at random.

    Args:
        profile: whose.
        count: how many.
        seed: of the draw.
        jobs: processes.
        results_dir: where the records lie.

    Yields:
        What came of each, as it ends.

    Raises:
        ValueError: if there are not as many; or if they were made from other settings or data than the profile names,
            which says nothing of whether they repeat.
    """
    check_records(profile, results_dir)
    records = [record for record in load_records(results_dir) if record["profile"] == profile.name]
    if count > len(records):
        raise ValueError(
            f"cannot verify {count} runs: profile {profile.name!r} has {len(records)} records in {results_dir}"
        )
    chosen = random.Random(seed).sample(records, count)
    _check_own(chosen, profile)
    tasks = {Job(r["method"], r["alpha"], r["seed"]).name: (r, profile) for r in chosen}
    for name, result in run_all(verify, tasks, jobs):
        failed = isinstance(result, BaseException)
        yield Repeat(name, FAILED, reason=f"{type(result).__name__}: {result}") if failed else result
