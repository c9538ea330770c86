"""The weight of ``tpc-cma-floor``'s floor, tried on validation data: ``tpccma rates --floor --profile demo --jobs 2``.

All weights of ``WEIGHTS`` are tried at alpha 0.5 with the seeds and the score of `tpccma.runs.choices`, 12 trials, each
written to ``results/floor_weights.csv`` as it ends. The weight whose mean score is largest, of equal ones the smallest,
goes into the profile's ``floor`` part. Nothing of the test data is read.
"""

import sys
from pathlib import Path

import pandas as pd

from tpccma.data.content import check_places
from tpccma.methods import ABLATION_ALPHA, FLOOR
from tpccma.profiles import Profile, load_profile
from tpccma.runs.choices import SEEDS
from tpccma.runs.provenance import git_revision
from tpccma.runs.rates import PARTS, add_trial, read_trials, score
from tpccma.runs.room import check_room
from tpccma.runs.shared import corpus_of, train_bases
from tpccma.runs.workers import run_all
from tpccma.training.identity import evaluation_code, training_code
from tpccma.training.run import fine_tune

WEIGHTS = (1.0, 10.0, 100.0, 1000.0)
TABLE = "floor_weights.csv"
KEY = ("profile", "method", "weight", "seed")


def try_weight(profile: Profile, weight: float, seed: int, runs_dir: str | Path = "runs") -> dict:
    """Train with a floor of some weight and score it on the validation split.

    Args:
        profile: what to run.
        weight: of the floor.
        seed: of the run.
        runs_dir: checkpoints and logs.

    Returns:
        A row of ``floor_weights.csv``, scored as `tpccma.runs.rates.try_rate` does.
    """
    commit, corpus = git_revision(), corpus_of(profile)
    weighed = load_profile(profile, floor__weight=weight)
    try:
        scores = score(fine_tune(weighed, FLOOR, ABLATION_ALPHA, seed, runs_dir, corpus), corpus) | {"diverged": 0}
    except FloatingPointError:
        scores = dict.fromkeys(PARTS, 0.0) | {"diverged": 1}
    code = {"training_code": training_code(), "evaluation_code": evaluation_code(), "commit": commit}
    return {"profile": profile.name, "method": FLOOR, "weight": weight, "seed": seed, **scores, **code}


def search_weights(
    profile: Profile, jobs: int = 1, runs_dir: str | Path = "runs", results_dir: str | Path = "results"
) -> dict[str, float]:
    """Try what is missing of the weights, and choose one.

    Args:
        profile: what to run.
        jobs: processes.
        runs_dir: checkpoints and logs.
        results_dir: where ``floor_weights.csv`` lies.

    Returns:
        The ``weight`` and its mean ``score``.

    Raises:
        ValueError: see `tpccma.runs.room.check_room` and `tpccma.runs.tables.read_table`.
    """
    path = Path(results_dir) / TABLE
    check_room(profile, results_dir)
    check_places(profile.data)
    known = set(read_trials(path, profile.name, KEY)[["weight", "seed"]].itertuples(index=False, name=None))
    missing = [(weight, seed) for seed in SEEDS for weight in WEIGHTS if (weight, seed) not in known]
    print(f"profile {profile.name}: {len(missing)} trials of the floor's weight to do", file=sys.stderr)
    train_bases(profile, {seed for _, seed in missing}, jobs, runs_dir)
    tasks = {
        f"{profile.name} floor {weight:g} seed {seed}": (profile, weight, seed, runs_dir) for weight, seed in missing
    }
    failed = []
    for _, result in run_all(try_weight, tasks, jobs):
        failed.append(result) if isinstance(result, BaseException) else add_trial(path, result, KEY)
    if failed:
        raise failed[0]
    return chosen_weight(read_trials(path, profile.name, KEY))


def chosen_weight(trials: pd.DataFrame) -> dict[str, float]:
    """Choose the weight whose mean score over the seeds is largest, of equal ones the smallest.

    Args:
        trials: of one profile.
    """
    means = trials.groupby("weight").score.mean()
    return {"weight": float(means.idxmax()), "score": float(means.max())}
