"""Record the slider of the book's first page: models between a base and an aligned run, looked at and measured::

    tpccma slider --profile demo --alpha 0.5 --trained 0.05  # results/slider/demo.json; 20 seconds a model on one core

The plane of the clouds is that of the base at t = 0 for all models and for both modalities, see
`tpccma.runs.plane.gap_plane`. The first pairs of the test data are drawn. Captioned is the first test picture of each
of the first ten classes that occur, by a decoder fed with the picture's own embedding.
"""

import base64
import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tpccma.data import Corpus
from tpccma.methods import FULL
from tpccma.models import Encoder
from tpccma.models.interpolation import interpolate
from tpccma.profiles import Profile
from tpccma.runs.dial import STEPS, some_of
from tpccma.runs.jobs import Job
from tpccma.runs.plane import gap_plane
from tpccma.runs.provenance import git_revision, hardware, versions
from tpccma.runs.record import check_job
from tpccma.runs.shared import corpus_of
from tpccma.runs.slider_records import MEASURES, Picture, SliderRecord, Stop, pack_cloud, save_slider
from tpccma.tasks.evaluation import embed, evaluate_whole
from tpccma.training.identity import evaluation_code
from tpccma.training.run import Run, base_run, fine_tune

PAIRS, PICTURES = 300, 10  # that are drawn, and captioned


def record_slider(
    profile: Profile,
    method: str = FULL,
    alpha: float = 0.5,
    trained: Iterable[float] = (),
    seed: int = 0,
    runs_dir: str | Path = "runs",
    results_dir: str | Path = "results",
    fresh: bool = False,
) -> Path:
    """Measure the models at ``tpccma.runs.dial.STEPS`` between base and aligned run, and runs of other alphas.

    A run that is missing is trained. The profile's last record is replaced.

    Args:
        profile: of all runs; its test pictures are pixels and have classes, as the demo's.
        method: of the aligned run and the other ones.
        alpha: of the aligned run.
        trained: alphas of the other ones, which are stops of their own.
        seed: of all of them, and of the caption decoders.
        runs_dir: where the runs lie.
        results_dir: the record goes to ``slider`` in it.
        fresh: make runs anew that other code has made.

    Returns:
        The path of the record.

    Raises:
        ValueError: if there is no such run, or the data have no pictures or classes to show.
        Diverged: if a run does; that is a FloatingPointError.
    """
    alphas = [alpha, *sorted({*trained} - {alpha})]
    for each in alphas:
        check_job(Job(method, each, seed))
    revision, corpus = git_revision(), corpus_of(profile)
    pictures = choose_pictures(corpus)
    base = base_run(profile, seed, runs_dir)
    aligned, *others = (fine_tune(profile, method, each, seed, runs_dir, corpus, fresh) for each in alphas)
    stops = in_order(_measured(_models(base, aligned, others, corpus), corpus, pictures, aligned))
    record = SliderRecord(
        **_run_of(aligned, base),
        pairs=len(corpus.test),
        pictures=tuple(pictures),
        stops=tuple(stops),
        versions=versions(),
        hardware=hardware(),
        git_revision=revision,
    )
    return save_slider(record, results_dir)


def _run_of(aligned: Run, base: Run) -> dict:
    named = {name: getattr(aligned, name) for name in ("method", "alpha", "seed", "fingerprint")}
    evaluation = aligned.profile.model_dump(mode="json")["evaluation"]
    code = {"training": aligned.code["training"], "evaluation": evaluation_code()}
    return named | {"profile": aligned.profile.name, "base": base.base, "evaluation": evaluation, "code": code}


def choose_pictures(corpus: Corpus) -> list[Picture]:
    """Take the first test picture of each of the first classes that occur, ``PICTURES`` at most.

    Raises:
        ValueError: if pictures are no pixels, or have no classes.
    """
    images, labels = corpus.test.images, corpus.test.labels
    if not (isinstance(images, torch.Tensor) and images.dtype == torch.uint8 and images.ndim == 4 and corpus.classes):
        raise ValueError("the slider shows small pictures of known classes, and these data have none: --profile demo")
    first = [(name, (labels == label).nonzero()) for label, name in enumerate(corpus.classes)]
    numbers = [(name, int(found[0])) for name, found in first if len(found)][:PICTURES]
    return [Picture(number=number, shows=name, png=_png(images[number])) for name, number in numbers]


def _png(pixels: torch.Tensor) -> str:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())).save(file, "png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def _models(base: Run, aligned: Run, others: list[Run], corpus: Corpus) -> Iterator[tuple[dict, Encoder]]:
    for t in STEPS:
        yield {"t": t, "alpha": None}, interpolate(base, aligned, t, some_of(corpus.train.images))
    for run in others:
        yield {"t": None, "alpha": run.alpha}, run.encoder


def _measured(
    models: Iterable[tuple[dict, Encoder]], corpus: Corpus, pictures: list[Picture], aligned: Run
) -> Iterator[Stop]:
    plane = None
    for named, encoder in models:
        print(
            f"slider, {' '.join(f'{k} {v:g}' for k, v in named.items() if v is not None)}", file=sys.stderr, flush=True
        )
        encoder.use_gpu()
        found = evaluate_whole(encoder, corpus, settings=aligned.profile.evaluation, seed=aligned.seed)
        test = embed(encoder, corpus.test)
        parts = [part.cpu().numpy() for part in (test.images, test.first_captions)]
        plane = gap_plane(*parts) if plane is None else plane
        yield Stop(
            **named,
            cloud=pack_cloud(*(part[:PAIRS] @ plane for part in parts)),
            metrics={name: round(found.metrics[name], 4) for name in MEASURES},
            captions=tuple(found.said["raw"][picture.number] for picture in pictures),
        )


def in_order(stops: Iterable[Stop]) -> list[Stop]:
    """Put stops where the slider has them.

    Args:
        stops: those with t, rising, then those with alpha.

    Returns:
        Those with t as they were; one with alpha stands behind the last of these whose raw gap is not smaller, among
        several there by its gap.
    """
    stops = list(stops)
    between = [stop for stop in stops if stop.t is not None]
    trained = sorted((stop for stop in stops if stop.t is None), key=lambda stop: -stop.metrics["raw_gap"])
    places = {id(stop): (number, 0) for number, stop in enumerate(between)}
    for rank, stop in enumerate(trained, 1):
        wider = [number for number, each in enumerate(between) if each.metrics["raw_gap"] >= stop.metrics["raw_gap"]]
        places[id(stop)] = (max(wider, default=-1), rank)
    return sorted(stops, key=lambda stop: places[id(stop)])
