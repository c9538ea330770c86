"""Fronts without retraining, as records: models between a base and an aligned run, on test and validation data.

Each point of a front is a record like a run's, in ``results/fronts``, which is a folder of results like any other: read
it by ``load_results("results/fronts")``. What differs from the record of a run:

- ``method`` is ``interpolated-<method>-a<alpha>``, by the aligned run's names, and ``alpha`` is t, from 0 to 1.
- ``metrics`` holds every measure twice: of the test data by its name, of the validation data with ``val_`` before it.
- ``training`` names what the point was made from, which took no training: ``wall_seconds`` is 0.
- t = 0 is not the record of the base: batch norm's statistics are measured anew on training pictures, at every t.

One caption decoder is trained for each model, on training captions, and captions both splits.
"""

import json
import logging
import sys
from collections.abc import Iterable
from inspect import getsource
from pathlib import Path

import pandas as pd

from tpccma.data import Corpus
from tpccma.methods import FULL
from tpccma.models import Encoder, interpolation
from tpccma.models.identity import weights_identity
from tpccma.models.interpolation import interpolate
from tpccma.profiles import Evaluation, Profile
from tpccma.runs.dial import PICTURES, STEPS, some_of
from tpccma.runs.items import pack_items
from tpccma.runs.jobs import Job
from tpccma.runs.rates import validation_of
from tpccma.runs.record import check_job, make_record
from tpccma.runs.records import FRONTS, VALIDATION, check_free, read_record, record_path, save_record
from tpccma.runs.room import check_room
from tpccma.runs.shared import corpus_of, train_bases
from tpccma.runs.workers import run_all
from tpccma.tasks.caption_scores import start_meteor
from tpccma.tasks.captioning import Captioner, caption_scores, train_captioner
from tpccma.tasks.evaluation import TASKS, Evaluated, embed, evaluate_whole
from tpccma.training.folder import WEIGHTS
from tpccma.training.identity import digest_of, evaluation_code, joined, mark_of
from tpccma.training.run import Run, base_run, fine_tune

UNCAPTIONED = tuple(task for task in TASKS if task != "captioning")
SOURCE = {"models/interpolation.py": getsource(interpolation)}

logger = logging.getLogger(__name__)


def record_fronts(
    profile: Profile,
    seeds: Iterable[int],
    jobs: int = 1,
    method: str = FULL,
    alpha: float = 0.5,
    runs_dir: str | Path = "runs",
    results_dir: str | Path = "results",
    fresh: bool = False,
) -> list[str]:
    """Record the fronts of several seeds, each in a process of its own. Args as `record_front`, ``jobs`` processes.

    Returns:
        The names of those that failed.
    """
    seeds = sorted(set(seeds))
    for seed in seeds:
        check_job(Job(method, alpha, seed))
    check_room(profile, results_dir)
    train_bases(profile, set(seeds), jobs, runs_dir)
    given = method, alpha, runs_dir, results_dir, fresh
    tasks = {f"{profile.name} front of {Job(method, alpha, seed).name}": (profile, seed, *given) for seed in seeds}
    return [name for name, result in run_all(record_front, tasks, jobs) if isinstance(result, BaseException)]


def record_front(
    profile: Profile,
    seed: int = 0,
    method: str = FULL,
    alpha: float = 0.5,
    runs_dir: str | Path = "runs",
    results_dir: str | Path = "results",
    fresh: bool = False,
) -> list[Path]:
    """Measure and record the models at ``tpccma.runs.dial.STEPS`` between a seed's base and its aligned run.

    What is recorded is left alone, so that the same call goes on where it was ended. A run that is missing is trained.

    Args:
        profile: of both.
        seed: of both, and of the caption decoder.
        method: of the aligned run.
        alpha: likewise.
        runs_dir: where both lie.
        results_dir: the records go to ``fronts`` in it.
        fresh: replace records of other weights.

    Returns:
        The paths of the records, from t = 0 to 1.

    Raises:
        ValueError: if there is no such run, or a record of other weights, data or evaluation is there.
        Diverged: if the aligned run does; that is a FloatingPointError.
    """
    check_job(Job(method, alpha, seed))
    base, aligned = base_run(profile, seed, runs_dir), fine_tune(profile, method, alpha, seed, runs_dir)
    base.encoder.use_gpu()
    return [_recorded(base, aligned, t, Path(results_dir) / FRONTS, fresh) for t in STEPS]


def _recorded(base: Run, aligned: Run, t: float, results_dir: Path, fresh: bool) -> Path:
    point = _point(base, aligned, t)
    key = point.method, t, point.seed
    check_free(point.profile, key, point.content, results_dir)
    path = record_path(point.profile.name, *key, results_dir)
    if path.is_file() and _is_usable(path, point, fresh):
        return path
    print(f"{point.profile.name} {point.name}", file=sys.stderr, flush=True)
    corpus = corpus_of(point.profile)
    point.encoder = interpolate(base.encoder, aligned.encoder, t, some_of(corpus.train.images))
    return save_record(_measured(point, aligned, corpus), results_dir, replace_other_code=fresh)


def _point(base: Run, aligned: Run, t: float) -> Run:
    """Name a point by all that decides it; its model is not made yet."""
    mark = mark_of(json.dumps([t, aligned.seed, PICTURES]), f"{base.base} {_weights_of(aligned)}".encode())
    code = {"training": joined(digest_of(SOURCE), aligned.code["training"]), "evaluation": evaluation_code()}
    method = f"interpolated-{aligned.method}-a{aligned.alpha:g}"
    named = aligned.profile, method, t, aligned.seed, aligned.folder
    return Run(*named, base.encoder, pd.DataFrame(), mark, aligned.content, code, base.base)


def _weights_of(run: Run) -> str:
    return weights_identity(run.folder / WEIGHTS)


def _is_usable(path: Path, point: Run, fresh: bool) -> bool:
    """Say whether a record is this point's; another's is replaced where it is to be `fresh`, and else refused."""
    record = read_record(path)
    own = record["fingerprint"] == point.fingerprint and record.get("evaluation") == _evaluation(point)
    if not (own or fresh):
        raise ValueError(
            f"{path} is of other weights or another evaluation than {point.folder} and its base: replace it by "
            "fresh=True, or --fresh, or say another --results-dir"
        )
    same_code = record.get("code") == point.code
    if own and not (same_code or fresh):
        logger.warning("%s was made by other code and is used as it is; fresh=True, or --fresh, measures anew", path)
    return own and (same_code or not fresh)


def _evaluation(point: Run) -> dict:
    return point.profile.model_dump(mode="json")["evaluation"]


def _measured(point: Run, aligned: Run, corpus: Corpus) -> dict:
    found = measure_both(point.encoder, corpus, point.profile.evaluation, point.seed)
    scale = point.encoder.model.logit_scale.exp().item()
    made_from = {"method": aligned.method, "alpha": aligned.alpha, "fingerprint": aligned.fingerprint}
    record = make_record(point, found.metrics | {"logit_scale": scale}) | {"evaluation": _evaluation(point)}
    record["training"] = made_from | {"weights": _weights_of(aligned), "t": point.alpha, "pictures": PICTURES}
    return record | ({"items": pack_items(found.items)} if found.items else {})


def measure_both(encoder: Encoder, corpus: Corpus, settings: Evaluation, seed: int = 0) -> Evaluated:
    """Measure a model on test and validation data with one caption decoder.

    Args:
        encoder: the model.
        corpus: both splits, and training captions.
        settings: how much evaluation is done.
        seed: of the decoder.

    Returns:
        The measures of the test data, those of the validation data with ``val_`` before their names, and what was found
        of each test picture.
    """
    start_meteor()
    encoder.use_gpu()
    captioner = train_captioner(encoder, corpus, settings, seed)
    splits = (corpus, validation_of(corpus))
    test, validation = (_measure_split(encoder, captioner, each, settings, seed) for each in splits)
    named = {f"{VALIDATION}{name}": value for name, value in validation.metrics.items()}
    return Evaluated(test.metrics | named, test.items, {})


def _measure_split(
    encoder: Encoder, captioner: Captioner, corpus: Corpus, settings: Evaluation, seed: int
) -> Evaluated:
    found, test = (
        evaluate_whole(encoder, corpus, UNCAPTIONED, settings=settings, seed=seed),
        embed(encoder, corpus.test),
    )
    feeds = captioner.feeds(test.images) | {"text": test.first_captions}
    said = {name: captioner.decoder.generate(features) for name, features in feeds.items()}
    totals, items = caption_scores(corpus.test.captions, said)
    return Evaluated(found.metrics | totals, found.items | items, {})
