"""Learning rates of the trained methods: as many tried for each, scored on validation data.

``tpccma rates --profile demo`` writes them to ``results/learning_rates.csv`` and prints the best.
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from tpccma.data.content import check_places
from tpccma.files import write_whole
from tpccma.methods import ABLATION_ALPHA, METHODS
from tpccma.profiles import Profile, load_profile
from tpccma.runs.room import check_room
from tpccma.runs.shared import corpus_of, train_bases
from tpccma.runs.tables import RATE, read_table
from tpccma.runs.workers import run_all
from tpccma.tasks.evaluation import evaluate
from tpccma.training.run import fine_tune

GRID_TASKS = ("zeroshot", "retrieval", "clustering")


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
    corpus = corpus_of(profile)
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


def search_rates(profile: Profile, jobs: int = 1, runs_dir: str = "runs", results_dir: str = "results") -> pd.DataFrame:
    """Try what is missing in ``<results_dir>/learning_rates.csv`` of the learning rates of every trained method.

    Args:
        profile: what to run.
        jobs: processes.
        runs_dir: checkpoints and logs.
        results_dir: where the table lies.

    Returns:
        The table, sorted; where `score` is largest stands the rate to put into the profile's ``learning_rates``.

    Raises:
        ValueError: see `tpccma.runs.room.check_room` and `tpccma.runs.tables.read_table`.
    """
    check_room(profile, results_dir)
    check_places(profile.data)
    path = Path(results_dir) / "learning_rates.csv"
    rows = read_table(path, RATE).to_dict("records") if path.is_file() else []
    known = {(row["profile"], row["method"], row["learning_rate"]) for row in rows}
    tasks = {
        f"{profile.name} {name} {rate:g}": (profile, name, rate, runs_dir)
        for name, method in METHODS.items()
        for rate in method.rates
        if method.trained and not method.like and (profile.name, name, rate) not in known
    }
    train_bases(profile, {0} if tasks else set(), jobs, runs_dir)
    for _, result in run_all(try_rate, tasks, jobs):
        if isinstance(result, BaseException):
            raise result
        rows.append(result)
        table = pd.DataFrame(rows).sort_values(["profile", "method", "learning_rate"])
        write_whole(path, table.to_csv(index=False))
    return pd.DataFrame(rows).query("profile == @profile.name")
