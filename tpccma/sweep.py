"""Every run of the book, one JSON record each::

    python -m tpccma.sweep --profile demo --jobs 2       # two processes use two cores better than one with two threads
    python -m tpccma.sweep --profile demo --grid         # learning rates of the trained methods, on validation data
    python -m tpccma.sweep --profile demo --verify 3     # three recorded runs once more, from scratch

What is recorded is skipped, and a run that was killed goes on from its checkpoint; so the same command again finishes
what is missing.
"""

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch

from tpccma.data import Corpus, load_corpus
from tpccma.evaluate import evaluate
from tpccma.methods import ABLATIONS, METHODS
from tpccma.profiles import Profile, load_profile
from tpccma.results import build_csv, load_records, record_path, record_run
from tpccma.train import Run, base_run, fine_tune, fingerprint, run_name

ALPHAS = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0)
SEEDS = (0, 1, 2, 3, 4)
ABLATION_SEEDS = {"demo": SEEDS[:3], "fashion": SEEDS}  # a run of the demo takes three times as long
ABLATION_ALPHA = 0.5
VARIANT_ALPHAS = (0.0, 0.05, 0.5)  # of profiles that vary the base or the titles
GRID_TASKS = ("zeroshot", "retrieval", "clustering")
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


@dataclass(frozen=True)
class Job:
    """One run of a sweep: a method of `tpccma.methods` or "base", alpha and seed."""

    method: str
    alpha: float
    seed: int


def plan(profile: str) -> list[Job]:
    """List the runs of a profile: all methods, alphas and ablations, or, of a variant such as "demo-scale-20", a few.

    Args:
        profile: its name.

    Returns:
        The jobs, seed by seed, ablations last.
    """
    if "-" in profile:
        settings = [("base", 0.0), *(("tpc-cma", alpha) for alpha in VARIANT_ALPHAS)]
        return [Job(*setting, seed) for seed in SEEDS for setting in settings]
    others = [name for name in METHODS if name != "tpc-cma" and name not in ABLATIONS]
    settings = [("base", 0.0), *(("tpc-cma", alpha) for alpha in ALPHAS), *((name, 0.0) for name in others)]
    jobs = [Job(*setting, seed) for seed in SEEDS for setting in settings]
    return jobs + [Job(name, ABLATION_ALPHA, seed) for seed in ABLATION_SEEDS.get(profile, SEEDS) for name in ABLATIONS]


def is_recorded(profile: Profile, job: Job, results_dir: str | Path = "results") -> bool:
    """Say whether a job has a record with its fingerprint and the profile's evaluation settings."""
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
        job: one of `plan`.
        runs_dir: checkpoints and logs.
        results_dir: where its record goes.

    Returns:
        The record.
    """
    corpus = _corpus(profile)
    return record_run(_train(profile, job, runs_dir, corpus), corpus, results_dir)


def _train(profile: Profile, job: Job, runs_dir: str | Path, corpus: Corpus) -> Run:
    if job.method == "base":
        return base_run(profile, job.seed, runs_dir, corpus)
    return fine_tune(profile, job.method, job.alpha, job.seed, runs_dir, corpus)


_corpora: dict[str, Corpus] = {}


def _corpus(profile: Profile) -> Corpus:
    """Load a profile's data once a process."""
    key = profile.data.model_dump_json()
    if key not in _corpora:
        _corpora[key] = load_corpus(profile)
    return _corpora[key]


def try_rate(profile: Profile, method: str, rate: float, runs_dir: str | Path = "runs") -> dict:
    """Train a method at one learning rate, seed 0, and score it on the validation split.

    Args:
        profile: what to run.
        method: a trained one; with a dial, it is set to 0.5.
        rate: the learning rate.
        runs_dir: checkpoints and logs.

    Returns:
        A row of ``learning_rates.csv``: zero-shot accuracy, mean recall@1 of both directions, ARI, and their mean, the
        ``score`` by which the rate is chosen [ours]; of validation data without classes, recall alone. A run that
        diverges scores 0.
    """
    row = {"profile": profile.name, "method": method, "learning_rate": rate}
    corpus = _corpus(profile)
    alpha = ABLATION_ALPHA if METHODS[method].dial else 0.0
    try:
        run = fine_tune(load_profile(profile, learning_rates={method: rate}), method, alpha, 0, runs_dir, corpus)
    except FloatingPointError:
        return {**row, "zeroshot_top1": 0.0, "recall_at_1": 0.0, "clustering_ari": 0.0, "score": 0.0}
    validation = replace(corpus, test=corpus.val, labelled=None, clustered=None, small_sets={})
    found = evaluate(run, validation, GRID_TASKS)
    scores = {
        "zeroshot_top1": found.get("zeroshot_top1"),
        "recall_at_1": (found["i2t_recall_at_1"] + found["t2i_recall_at_1"]) / 2,
        "clustering_ari": found.get("clustering_ari"),
    }
    known = [value for value in scores.values() if value is not None]
    row |= {**scores, "score": sum(known) / len(known)}
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()}


def verify(record: dict, profile: Profile) -> pd.DataFrame:
    """Run a recorded job once more, from scratch in a folder of its own, and compare every measure.

    Args:
        record: from `tpccma.results.load_records`.
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
            "run": run_name(job.method, job.alpha, job.seed),
            "measure": tolerances.keys(),
            "recorded": [record["metrics"][name] for name in tolerances],
            "again": [again["metrics"][name] for name in tolerances],
            "tolerance": tolerances.values(),
        }
    )
    rows["difference"] = (rows.again - rows.recorded).abs()
    rows["ok"] = rows.difference <= rows.tolerance
    return rows


def run_all(work: Callable, tasks: dict[str, tuple], jobs: int) -> Iterator[tuple[str, object]]:
    """Do independent tasks in processes of their own, with a line for each and an estimate of the time left.

    Args:
        work: a function of this module.
        tasks: name to its arguments.
        jobs: processes; they share the machine's cores.

    Yields:
        Name and result of each task as it ends, or the exception that ended it.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs)
    os.environ |= {"OMP_NUM_THREADS": str(threads), "THP_MEM_ALLOC_ENABLE": "1"}  # huge pages: 0.9 of the time
    began, context = time.perf_counter(), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, torch.set_num_threads, (threads,)) as pool:
        futures = {pool.submit(work, *arguments): name for name, arguments in tasks.items()}
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                left = (time.perf_counter() - began) / done * (len(futures) - done)
                problem = future.exception()
                state = f"FAILED: {type(problem).__name__}: {problem}" if problem else "done"
                print(f"{done}/{len(futures)} {futures[future]} {state}; {left / 60:.0f} min left", flush=True)
                yield futures[future], problem or future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def sweep(profile: Profile, jobs: int = 1, runs_dir: str = "runs", results_dir: str = "results") -> list[str]:
    """Record every run of `plan` that is missing, then rebuild the CSV.

    Args:
        profile: what to run.
        jobs: processes.
        runs_dir: checkpoints and logs.
        results_dir: where the records go.

    Returns:
        The names of the runs that failed.
    """
    missing = {
        f"{profile.name} {run_name(job.method, job.alpha, job.seed)}": (profile, job, runs_dir, results_dir)
        for job in plan(profile.name)
        if not is_recorded(profile, job, results_dir)
    }
    print(f"profile {profile.name}: {len(plan(profile.name)) - len(missing)} runs recorded, {len(missing)} to do")
    train_bases(profile, {job.seed for _, job, *_ in missing.values()}, jobs, runs_dir)
    failed = [name for name, result in run_all(run_job, missing, jobs) if isinstance(result, Exception)]
    build_csv(results_dir)
    return failed


def train_bases(profile: Profile, seeds: set[int], jobs: int = 1, runs_dir: str | Path = "runs") -> None:
    """Train what bases runs of these seeds start from, before two of them at once train the same one.

    Args:
        profile: what to run; nothing is trained if its base has weights to load.
        seeds: of the runs that follow.
        jobs: processes.
        runs_dir: checkpoints and logs.
    """
    if profile.model.kind == "open_clip":  # one for all seeds
        seeds = {0} if seeds and profile.model.pretrained is None else set()
    tasks = {f"{profile.name} base model {seed}": (profile, seed, runs_dir) for seed in sorted(seeds)}
    if tasks:
        list(run_all(train_one_base, tasks, jobs))  # one that fails is named here, and by the runs that need it


def train_one_base(profile: Profile, seed: int, runs_dir: str | Path = "runs") -> None:
    """Train a profile's base model, or find it trained."""
    base_run(profile, seed, runs_dir)


def search_rates(profile: Profile, jobs: int = 1, runs_dir: str = "runs", results_dir: str = "results") -> pd.DataFrame:
    """Try what is missing in ``<results_dir>/learning_rates.csv`` of the learning rates of every trained method.

    Args as in `sweep`.

    Returns:
        The table, sorted; where `score` is largest stands the rate to put into the profile's ``learning_rates``.
    """
    path = Path(results_dir) / "learning_rates.csv"
    rows = pd.read_csv(path).to_dict("records") if path.is_file() else []
    known = {(row["profile"], row["method"], row["learning_rate"]) for row in rows}
    tasks = {
        f"{profile.name} {name} {rate:g}": (profile, name, rate, runs_dir)
        for name, method in METHODS.items()
        for rate in method.rates
        if method.trained and not method.like and (profile.name, name, rate) not in known
    }
    train_bases(profile, {0} if tasks else set(), jobs, runs_dir)
    for _, result in run_all(try_rate, tasks, jobs):
        if isinstance(result, Exception):
            raise result
        rows.append(result)
        table = pd.DataFrame(rows).sort_values(["profile", "method", "learning_rate"])
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False)
    return pd.DataFrame(rows).query("profile == @profile.name")


def best_rates(table: pd.DataFrame) -> dict[str, float]:
    """Choose for each method the learning rate of the largest score; of equal ones the smallest."""
    ordered = table.sort_values(["score", "learning_rate"], ascending=[False, True])
    return ordered.drop_duplicates("method").sort_values("method").set_index("method").learning_rate.to_dict()


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
    tasks = {run_name(r["method"], r["alpha"], r["seed"]): (r, profile) for r in chosen}
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
