"""Every run of the book, one JSON record each::

    python -m tpccma.sweep --profile demo --jobs 2       # two processes use two cores better than one with two threads
    python -m tpccma.sweep --profile demo --grid         # learning rates of the trained methods, on validation data
    python -m tpccma.sweep --profile demo --verify 3     # three recorded runs once more, from scratch

What is recorded is skipped, and a run that was killed goes on from its checkpoint; so the same command again finishes
what is missing.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

import pandas as pd
import torch

from tpccma.data import Corpus
from tpccma.data.content import content_of_files
from tpccma.profiles import Profile, load_profile
from tpccma.runs.jobs import Job, planned_jobs
from tpccma.runs.rates import search_rates
from tpccma.runs.record import check_free, record_run
from tpccma.runs.records import best_rates, build_csv, load_records, record_path
from tpccma.runs.workers import corpus_of, run_all, train_bases
from tpccma.training.run import Run, base_run, fine_tune, fingerprint

# How far a repeated run may be off where hardware or threads differ: rounding makes trainings drift apart.
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
ROUNDING = 1e-4  # how far any measure may be off where hardware and threads are the recorded ones


def is_recorded(profile: Profile, job: Job, results_dir: str | Path = "results") -> bool:
    """Say whether a job has a record with its fingerprint and the profile's evaluation settings.

    Whether it is one of the same data is asked by `tpccma.runs.records.check_free`.
    """
    path = record_path(profile.name, job.method, job.alpha, job.seed, results_dir)
    if not path.is_file():
        return False
    record = _records(results_dir)[profile.name, job.method, job.alpha, job.seed]
    mark = fingerprint(profile, job.method, job.alpha, job.seed)
    return record["fingerprint"] == mark and record.get("evaluation") == profile.model_dump(mode="json")["evaluation"]


def _records(results_dir: str | Path) -> dict[tuple, dict]:
    return {tuple(r[key] for key in ("profile", "method", "alpha", "seed")): r for r in load_records(results_dir)}


def run_job(profile: Profile, job: Job, runs_dir: str | Path = "runs", results_dir: str | Path = "results") -> dict:
    """Train, evaluate and record one job.

    Args:
        profile: what to run.
        job: one of `planned_jobs`.
        runs_dir: checkpoints and logs.
        results_dir: where its record goes.

    Returns:
        The record.
    """
    corpus = corpus_of(profile)
    return record_run(_train(profile, job, runs_dir, corpus), corpus, results_dir)


def _train(profile: Profile, job: Job, runs_dir: str | Path, corpus: Corpus) -> Run:
    if job.method == "base":
        return base_run(profile, job.seed, runs_dir, corpus)
    return fine_tune(profile, job.method, job.alpha, job.seed, runs_dir, corpus)


def verify(record: dict, profile: Profile) -> pd.DataFrame:
    """Run a recorded job once more, from scratch in a folder of its own, and compare every measure.

    Args:
        record: from `tpccma.runs.records.load_records`.
        profile: what it was made from.

    Returns:
        One row a measure that was compared: recorded, again, difference, tolerance and ok. On the recorded hardware
        every measure is compared, to `ROUNDING`; elsewhere those of `DRIFT`, to its tolerances.
    """
    torch.set_num_threads(record["hardware"]["threads"])
    job = Job(record["method"], record["alpha"], record["seed"])
    with tempfile.TemporaryDirectory() as folder:
        again = run_job(profile, job, Path(folder) / "runs", Path(folder) / "results")
    same = again["hardware"] == record["hardware"] and again["versions"] == record["versions"]
    tolerances = dict.fromkeys(record["metrics"], ROUNDING) if same else DRIFT
    rows = pd.DataFrame(
        {
            "run": job.name,
            "measure": tolerances.keys(),
            "recorded": [record["metrics"][name] for name in tolerances],
            "again": [again["metrics"][name] for name in tolerances],
            "tolerance": tolerances.values(),
        }
    )
    rows["difference"] = (rows.again - rows.recorded).abs()
    rows["ok"] = rows.difference <= rows.tolerance
    return rows


def sweep(profile: Profile, jobs: int = 1, runs_dir: str = "runs", results_dir: str = "results") -> list[str]:
    """Record every run of `planned_jobs` that is missing, then rebuild the CSV.

    Args:
        profile: what to run.
        jobs: processes.
        runs_dir: checkpoints and logs.
        results_dir: where the records go.

    Returns:
        The names of the runs that failed.

    Raises:
        ValueError: if there are records of other data, see `tpccma.runs.records.check_free`.
    """
    content = content_of_files(profile.data)
    for job in planned_jobs(profile.name):
        check_free(profile, (job.method, job.alpha, job.seed), content, results_dir)
    missing = {
        f"{profile.name} {job.name}": (profile, job, runs_dir, results_dir)
        for job in planned_jobs(profile.name)
        if not is_recorded(profile, job, results_dir)
    }
    recorded = len(planned_jobs(profile.name)) - len(missing)
    print(f"profile {profile.name}: {recorded} runs recorded, {len(missing)} to do")
    train_bases(profile, {job.seed for _, job, *_ in missing.values()}, jobs, runs_dir)
    failed = [name for name, result in run_all(run_job, missing, jobs) if isinstance(result, Exception)]
    build_csv(results_dir)
    return failed


def main(arguments: list[str] | None = None) -> None:
    """Record every run of a profile that is missing."""
    parser = argparse.ArgumentParser(prog="python -m tpccma.sweep", description=main.__doc__)
    parser.add_argument("--profile", default="demo", help="name, or path of a .yaml file")
    parser.add_argument("--jobs", type=int, default=1, help="processes, which share the cores")
    parser.add_argument("--grid", action="store_true", help="try learning rates instead")
    parser.add_argument("--verify", type=int, metavar="K", help="repeat K recorded runs instead and compare")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of the K runs")
    parser.add_argument("--data-dir", help="where the profile's data lie, if it needs any")
    parser.add_argument("--runs-dir", default="runs", help="checkpoints and logs")
    parser.add_argument("--results-dir", default="results", help="records")
    given = parser.parse_args(arguments)
    if given.jobs < 1:
        parser.error(f"--jobs must be 1 or more, got {given.jobs}")
    if given.verify is not None and given.verify < 1:
        parser.error(f"--verify must be 1 or more, got {given.verify}")
    try:
        profile = load_profile(given.profile, **({"data__data_dir": given.data_dir} if given.data_dir else {}))
        if given.verify:
            sys.exit(_verify_some(profile, given))
        if given.grid:
            print(best_rates(search_rates(profile, given.jobs, given.runs_dir, given.results_dir)))
            return
        failed = sweep(profile, given.jobs, given.runs_dir, given.results_dir)
    except (ValueError, FileNotFoundError) as error:
        parser.exit(2, f"error: {error}\n")
    if failed:
        parser.exit(1, f"{len(failed)} runs failed: {', '.join(failed)}\n")


def _verify_some(profile: Profile, given: argparse.Namespace) -> int:
    """Verify K records drawn at random; print what differs and return the exit status."""
    records = [record for record in load_records(given.results_dir) if record["profile"] == profile.name]
    if given.verify > len(records):
        raise ValueError(f"--verify {given.verify}: profile {profile.name!r} has {len(records)} records")
    chosen = random.Random(given.seed).sample(records, given.verify)
    tasks = {Job(r["method"], r["alpha"], r["seed"]).name: (r, profile) for r in chosen}
    status = 0
    for name, result in run_all(verify, tasks, given.jobs):
        if isinstance(result, Exception):
            raise result
        wrong = result[~result.ok]
        status |= int(len(wrong) > 0)
        largest = f"{len(result)} measures compared, largest difference {result.difference.max():.2g}"
        print(f"{name}: {'repeats' if wrong.empty else 'DIFFERS'}; {largest}")
        if len(wrong):
            print(wrong.to_string(index=False))
    return status


if __name__ == "__main__":
    main()
