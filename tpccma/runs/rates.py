"""Learning rates of the trained methods, tried on validation data: ``tpccma rates --profile demo --jobs 2``.

`tpccma.runs.choices` says how they are chosen. Each trial is written to ``results/learning_rates.csv`` as it ends; what
stands there is not tried again, and a training that was killed goes on from its checkpoint, so the same command
finishes what is missing.
"""

import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from filelock import FileLock

from tpccma.data import Corpus, Labelled
from tpccma.data.content import check_places
from tpccma.files import write_whole
from tpccma.methods import ABLATION_ALPHA, METHODS
from tpccma.profiles import Profile, load_profile
from tpccma.runs.choices import GRID, STAGES, TRIALS, Trial, missing_trials, searched_methods
from tpccma.runs.jobs import BASE
from tpccma.runs.provenance import git_revision
from tpccma.runs.room import check_room
from tpccma.runs.shared import corpus_of, train_bases
from tpccma.runs.tables import TRIAL, read_table
from tpccma.runs.workers import run_all
from tpccma.tasks.evaluation import evaluate, possible_tasks
from tpccma.training.identity import evaluation_code, training_code
from tpccma.training.run import Run, base_run, fine_tune

GRID_TASKS = ("zeroshot", "retrieval", "clustering")
PARTS = ("zeroshot_top1", "recall_at_1", "clustering_ari", "score")
WRITTEN_GRID = f"{len(GRID)} rates, {GRID[0]:g} to {GRID[-1]:g}"


def try_rate(profile: Profile, trial: Trial, runs_dir: str | Path = "runs") -> dict:
    """Train a method at one learning rate and score it on the validation split.

    Args:
        profile: what to run.
        trial: method, rate and seed; a method with a dial is set to 0.5, and "base" is scored as it is.
        runs_dir: checkpoints and logs.

    Returns:
        A row of ``learning_rates.csv``: zero-shot accuracy, mean recall@1 of both directions, ARI, and their mean, the
        ``score`` by which the rate is chosen [ours]; of validation data without classes, recall alone. A run that
        diverges scores 0.
    """
    commit, corpus = git_revision(), corpus_of(profile)
    try:
        scores = score(_train(profile, trial, runs_dir, corpus), corpus) | {"diverged": 0}
    except FloatingPointError:
        scores = dict.fromkeys(PARTS, 0.0) | {"diverged": 1}
    code = {"training_code": training_code(), "evaluation_code": evaluation_code(), "commit": commit}
    return {"profile": profile.name, **trial._asdict(), **scores, "grid": WRITTEN_GRID, **code}


def _train(profile: Profile, trial: Trial, runs_dir: str | Path, corpus: Corpus) -> Run:
    if trial.method == BASE:
        return base_run(profile, trial.seed, runs_dir, corpus)
    alpha = ABLATION_ALPHA if METHODS[trial.method].dial else 0.0
    at_rate = load_profile(profile, learning_rates={trial.method: trial.learning_rate})
    run = fine_tune(at_rate, trial.method, alpha, trial.seed, runs_dir, corpus)
    if not all(weights.isfinite().all() for weights in run.encoder.model.parameters()):
        raise FloatingPointError(f"{run.folder} has weights that are not finite")
    return run


def score(run: Run, corpus: Corpus) -> dict[str, float | None]:
    """Score a run on the validation split; see `try_rate`."""
    validation = validation_of(corpus)
    found = evaluate(run, validation, tuple(task for task in GRID_TASKS if task in possible_tasks(validation)))
    scores = {
        "zeroshot_top1": found.get("zeroshot_top1"),
        "recall_at_1": (found["i2t_recall_at_1"] + found["t2i_recall_at_1"]) / 2,
        "clustering_ari": found.get("clustering_ari"),
    }
    known = [value for value in scores.values() if value is not None]
    scores["score"] = sum(known) / len(known)
    return {name: value if value is None else round(value, 6) for name, value in scores.items()}


def validation_of(corpus: Corpus) -> Corpus:
    """Put the validation split in the place of the test split; of classes held back, nothing is asked."""
    validation = replace(corpus, test=corpus.val, labelled=None, clustered=None, small_sets={}, held_back=())
    if not corpus.held_back:
        return validation
    known = [label for label, name in enumerate(corpus.classes) if name not in corpus.held_back]
    labels = torch.searchsorted(torch.tensor(known), corpus.val.labels)
    names = tuple(corpus.classes[label] for label in known)
    return replace(validation, labelled=Labelled(corpus.val.images, labels, names, corpus.templates))


def search_rates(
    profile: Profile,
    jobs: int = 1,
    runs_dir: str | Path = "runs",
    results_dir: str | Path = "results",
    methods: tuple[str, ...] = (),
) -> pd.DataFrame:
    """Try what is missing of the learning rates of every trained method, stage by stage.

    Args:
        profile: what to run.
        jobs: processes.
        runs_dir: checkpoints and logs.
        results_dir: where ``learning_rates.csv`` lies.
        methods: those to search; none takes all.

    Returns:
        The profile's trials; `tpccma.runs.choices.chosen_rates` makes of them what goes into its ``learning_rates``.

    Raises:
        ValueError: see `tpccma.runs.room.check_room`, `tpccma.runs.choices.searched_methods` and
            `tpccma.runs.tables.read_table`.
    """
    methods, path = searched_methods(tuple(methods)), Path(results_dir) / TRIALS
    check_room(profile, results_dir)
    check_places(profile.data)
    failed = []
    for stage in STAGES:
        trials = missing_trials(read_trials(path, profile.name), methods, stage)
        print(f"profile {profile.name}: stage {stage} of {len(STAGES)}, {len(trials)} trials to do", file=sys.stderr)
        train_bases(profile, {trial.seed for trial in trials}, jobs, runs_dir)
        tasks = {_named(profile, trial): (profile, trial, runs_dir) for trial in trials}
        for _, result in run_all(try_rate, tasks, jobs):
            if isinstance(result, BaseException):
                failed.append(result)
            else:
                add_trial(path, result)
    if failed:
        raise failed[0]
    return read_trials(path, profile.name)


def _named(profile: Profile, trial: Trial) -> str:
    return f"{profile.name} {trial.method} {trial.learning_rate:g} seed {trial.seed}"


def read_trials(path: Path, profile: str, keys: tuple[str, ...] = TRIAL) -> pd.DataFrame:
    """Read a profile's trials; none where there is no such file yet."""
    if not path.is_file():
        return pd.DataFrame(columns=[*keys, "score", "diverged"])
    table = read_table(path, keys)
    return table[table.profile == profile].reset_index(drop=True)


def add_trial(path: Path, row: dict, keys: tuple[str, ...] = TRIAL) -> None:
    """Write one more trial to the table, in whole or not at all, beside those of other processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        rows = [row, *(read_table(path, keys).to_dict("records") if path.is_file() else [])]
        table = pd.DataFrame(rows).drop_duplicates(list(keys)).sort_values(list(keys))
        write_whole(path, table.to_csv(index=False))
