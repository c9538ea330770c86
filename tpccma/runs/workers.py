"""Independent work in processes of its own, and what the processes share: the data, and bases trained beforehand."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch

from tpccma.data import Corpus, load_corpus
from tpccma.profiles import Profile
from tpccma.training.run import base_run


def run_all(work: Callable, tasks: dict[str, tuple], jobs: int) -> Iterator[tuple[str, object]]:
    """Do independent tasks in processes of their own, with a line for each and an estimate of the time left.

    Args:
        work: a function at the top of a module, so that another process finds it.
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


_corpora: dict[str, Corpus] = {}


def corpus_of(profile: Profile) -> Corpus:
    """Load a profile's data once a process."""
    key = profile.data.model_dump_json()
    if key not in _corpora:
        _corpora[key] = load_corpus(profile)
    return _corpora[key]


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
