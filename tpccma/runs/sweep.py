"""Every run of the book, one JSON record each: ``tpccma sweep --profile demo --jobs 2``.

Two processes use two cores better than one with two threads. What is recorded is skipped, and a run that was killed
goes on from its checkpoint; so the same command again finishes what is missing.
"""

import sys
from pathlib import Path

from tpccma.data.content import content_of_files
from tpccma.profiles import Profile
from tpccma.runs.jobs import Job, planned_jobs
from tpccma.runs.record import run_job
from tpccma.runs.records import build_csv, check_free, load_records
from tpccma.runs.room import check_room, is_record_of
from tpccma.runs.shared import train_bases
from tpccma.runs.workers import run_all
from tpccma.training.identity import evaluation_code, training_code


def sweep(
    profile: Profile,
    jobs: int = 1,
    runs_dir: str | Path = "runs",
    results_dir: str | Path = "results",
    fresh: bool = False,
) -> list[str]:
    """Record every run of `~tpccma.runs.jobs.planned_jobs` that is missing, then rebuild the CSV.

    Args:
        profile: what to run.
        jobs: processes.
        runs_dir: checkpoints and logs.
        results_dir: where the records go.
        fresh: make anew what is recorded as made by other code; else it is left alone, and told of.

    Returns:
        The names of the runs that failed.

    Raises:
        ValueError: if there are records of other data or of another profile, see `tpccma.runs.records.check_free` and
            `tpccma.runs.room.check_room`.
    """
    check_room(profile, results_dir)
    planned = planned_jobs(profile.name)
    content = content_of_files(profile.data)
    for job in planned:
        check_free(profile, (job.method, job.alpha, job.seed), content, results_dir)
    found = recorded(profile, planned, results_dir)
    other = [job for job, record in found.items() if is_of_other_code(record)]
    missing = [job for job in planned if job not in found or (fresh and job in other)]
    _announce(profile, len(planned) - len(missing), len(missing), len(other), fresh)
    train_bases(profile, {job.seed for job in missing}, jobs, runs_dir, fresh)
    tasks = {f"{profile.name} {job.name}": (profile, job, runs_dir, results_dir, fresh) for job in missing}
    failed = [name for name, result in run_all(run_job, tasks, jobs) if isinstance(result, BaseException)]
    build_csv(results_dir)
    return failed


def recorded(profile: Profile, jobs: list[Job], results_dir: str | Path = "results") -> dict[Job, dict]:
    """Find the records of jobs that have one with their fingerprint and the profile's evaluation settings.

    Whether they are of the same data is asked by `tpccma.runs.records.check_free`.

    Args:
        profile: of the jobs.
        jobs: which to look for.
        results_dir: where the records lie.

    Returns:
        Job to record, of those that are recorded.
    """
    records = {
        (r["method"], r["alpha"], r["seed"]): r for r in load_records(results_dir) if r["profile"] == profile.name
    }
    found = {job: records.get((job.method, job.alpha, job.seed)) for job in jobs}
    return {job: record for job, record in found.items() if record and is_record_of(record, profile)}


def is_of_other_code(record: dict) -> bool:
    """Say whether a record names other code than the present one; those from before code was noted name none."""
    code = record.get("code")
    own = ("", training_code())  # "" of a base that was not trained here
    return code is not None and (code["training"] not in own or code["evaluation"] != evaluation_code())


def _announce(profile: Profile, recorded: int, missing: int, other: int, fresh: bool) -> None:
    print(f"profile {profile.name}: {recorded} runs recorded, {missing} to do", file=sys.stderr)
    if other:
        what = "are made anew" if fresh else "are left alone; --fresh makes them anew"
        print(f"{other} were recorded by other code and {what}", file=sys.stderr)
