"""What the runs of a sweep share: data that a process loads once, and bases that are trained beforehand."""

from pathlib import Path

from tpccma.data import Corpus, load_corpus
from tpccma.profiles import Profile, load_profile
from tpccma.runs.workers import run_all
from tpccma.training.run import base_recipe, base_run, check_seed, train_base

_corpora: dict[str, Corpus] = {}


def corpus_of(profile: Profile) -> Corpus:
    """Load a profile's data once a process."""
    key = profile.data.model_dump_json()
    if key not in _corpora:
        _corpora[key] = load_corpus(profile)
    return _corpora[key]


def train_bases(
    profile: Profile, seeds: set[int], jobs: int = 1, runs_dir: str | Path = "runs", fresh: bool = False
) -> list[str]:
    """Train what bases runs of these seeds start from, before two of them at once train the same one.

    Args:
        profile: what to run; nothing is trained if its base has weights to load.
        seeds: of the runs that follow.
        jobs: processes.
        runs_dir: checkpoints and logs.
        fresh: make anew what other code has made.

    Returns:
        The names of those that failed; the runs that need them say so too.
    """
    seeds = {seed for seed in seeds if profile.has_own_base(seed)}
    if seeds and profile.model.kind == "open_clip" and profile.bases == "one":
        seeds = {0}
    tasks = {f"{profile.name} base model {seed}": (profile, seed, runs_dir, fresh) for seed in sorted(seeds)}
    results = run_all(train_one_base, tasks, jobs) if tasks else ()
    return [name for name, result in results if isinstance(result, BaseException)]


def train_one_base(profile: Profile, seed: int, runs_dir: str | Path = "runs", fresh: bool = False) -> None:
    """Train a profile's base model, or find it trained."""
    base_run(profile, seed, runs_dir, fresh=fresh)


def make_seed_bases(
    seeds: set[int], jobs: int = 1, runs_dir: str | Path = "runs", profile: str | Profile = "demo-bases"
) -> tuple[dict[str, Path], list[str]]:
    """Train the base models that seeds of a profile start from; killed and run again, each goes on.

    Args:
        seeds: 1 or more each: seed 0 has the base that ships.
        jobs: processes.
        runs_dir: where the bases are kept, and looked for by the runs that start from them.
        profile: one whose ``bases`` are "per-seed".

    Returns:
        What records call each base, and the folder it lies in; and the names of those that failed.

    Raises:
        ValueError: if a seed has no base of its own.
    """
    profile = load_profile(profile)
    for seed in seeds:
        if not profile.has_own_base(check_seed(seed)):
            raise ValueError(f"seed {seed} of profile {profile.name!r} starts from the base that ships: give 1 or more")
    failed = train_bases(profile, seeds, jobs, runs_dir)
    runs = [] if failed else [train_base(base_recipe(profile), seed, runs_dir) for seed in sorted(seeds)]  # loaded
    return {run.base: run.folder for run in runs}, failed
