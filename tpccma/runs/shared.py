"""What the runs of a sweep share: data that a process loads once, and bases that are trained beforehand."""

from pathlib import Path

from tpccma.data import Corpus, load_corpus
from tpccma.profiles import Profile
from tpccma.runs.workers import run_all
from tpccma.training.run import base_run

_corpora: dict[str, Corpus] = {}


def corpus_of(profile: Profile) -> Corpus:
    """Load a profile's data once a process."""
    key = profile.data.model_dump_json()
    if key not in _corpora:
        _corpora[key] = load_corpus(profile)
    return _corpora[key]


def train_bases(
    profile: Profile, seeds: set[int], jobs: int = 1, runs_dir: str | Path = "runs", fresh: bool = False
) -> None:
    """Train what bases runs of these seeds start from, before two of them at once train the same one.

    Args:
        profile: what to run; nothing is trained if its base has weights to load.
        seeds: of the runs that follow.
        jobs: processes.
        runs_dir: checkpoints and logs.
        fresh: make anew what other code has made.
    """
    if profile.model.kind == "open_clip":  # one for all seeds
        seeds = {0} if seeds and profile.model.pretrained is None else set()
    tasks = {f"{profile.name} base model {seed}": (profile, seed, runs_dir, fresh) for seed in sorted(seeds)}
    if tasks:
        list(run_all(train_one_base, tasks, jobs))  # one that fails is named here, and by the runs that need it


def train_one_base(profile: Profile, seed: int, runs_dir: str | Path = "runs", fresh: bool = False) -> None:
    """Train a profile's base model, or find it trained."""
    base_run(profile, seed, runs_dir, fresh=fresh)
