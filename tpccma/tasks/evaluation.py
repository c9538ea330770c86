"""Evaluate a model on four tasks and the geometry of its embeddings: one dictionary of numbers, alike for all models.

Legend: N test pairs, K captions a picture, C classes, T templates, M training captions, D embedding width.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from tpccma.data import Corpus, Labelled, Pairs, load_corpus
from tpccma.metrics import gap_interval, measure_all
from tpccma.models import Encoder
from tpccma.models.transforms import prepare_by
from tpccma.profiles import Evaluation
from tpccma.tasks.caption_scores import start_meteor
from tpccma.tasks.captioning import caption_pictures, caption_scores
from tpccma.tasks.clustering import JointClustering, joint_clustering
from tpccma.tasks.retrieval import retrieval_hits
from tpccma.tasks.zeroshot import (
    accuracy_by_group,
    fill_templates,
    zero_shot_accuracy,
    zero_shot_classifier,
    zero_shot_hits,
)

if TYPE_CHECKING:
    from tpccma.training.run import Run

TASKS = ("gap", "zeroshot", "retrieval", "clustering", "captioning")  #: What can be measured.
MOST_CLASSES = 100  # accuracy by class is reported up to here


class Evaluated(NamedTuple):
    """What an evaluation found.

    Args:
        metrics: by the names of the results schema.
        items: what makes some of them up, (N,) for the test pictures, see `tpccma.runs.items.unpack_items`.
        said: the captions that were generated, one a test picture, by the way the decoder was fed.
    """

    metrics: dict[str, float]
    items: dict[str, np.ndarray]
    said: dict[str, list[str]]


class Embedded(NamedTuple):
    """One split as unit-length embeddings: ``images`` (N, D) and ``captions`` (N, K, D)."""

    images: Tensor
    captions: Tensor

    @property
    def first_captions(self) -> Tensor:
        """(N, D), the caption that each picture is paired with where one is needed."""
        return self.captions[:, 0]


def evaluate(
    what: "Run | Encoder | nn.Module",
    corpus: Corpus | None = None,
    tasks: Sequence[str] | None = None,
    *,
    tokenizer: Callable[[list[str]], Tensor] | None = None,
    transform: Callable[[Image.Image], Tensor] | None = None,
    settings: Evaluation | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Measure the gap of a model and what it does on the test split.

        >>> model, _, transform = open_clip.create_model_and_transforms("ViT-B-32-quickgelu", pretrained="openai")
        >>> evaluate(model, corpus, tokenizer=open_clip.get_tokenizer("ViT-B-32-quickgelu"), transform=transform)

    Args:
        what: what `tpccma.fine_tune` or `tpccma.training.run.base_run` returned, a `tpccma.models.Encoder`, or any
            model of open_clip. The model of a run is moved to the GPU, if there is one; others stay where they lie.
        corpus: what to measure it on; of a run, the profile's data where it is left out. Captioning learns from the
            captions and the mean picture of ``train``; ``val`` is not looked at.
        tasks: which of ``TASKS``; zeroshot and clustering are left out where the data have no classes.
        tokenizer: of a model of open_clip, such as ``open_clip.get_tokenizer`` gives.
        transform: of a model of open_clip: prepares pictures that are uint8 pixels. Float tensors and
            `tpccma.data.pictures.Pictures` are taken as prepared.
        settings: how much evaluation is done; left out, the profile's of a run, else the defaults, the demo's.
        seed: of the caption decoder; a run has its own.

    Returns:
        A flat dictionary of floats, with the names of the results schema.

    Raises:
        ValueError: if there is no such task, ``what`` is none of these, a model lacks its tokenizer or a corpus, its
            pictures are pixels and there is no transform, or the test pictures do not have one number of captions.
    """
    given = {"tokenizer": tokenizer, "transform": transform, "settings": settings, "seed": seed}
    return evaluate_whole(what, corpus, tasks, **given).metrics


def evaluate_whole(
    what: "Run | Encoder | nn.Module",
    corpus: Corpus | None = None,
    tasks: Sequence[str] | None = None,
    *,
    tokenizer: Callable[[list[str]], Tensor] | None = None,
    transform: Callable[[Image.Image], Tensor] | None = None,
    settings: Evaluation | None = None,
    seed: int = 0,
) -> Evaluated:
    """Measure a model, and keep what was found of each test picture.

    Args and raises as `tpccma.evaluate`.
    """
    if unknown := sorted(set(tasks or ()) - set(TASKS)):
        raise ValueError(f"unknown task {unknown[0]!r}: give some of {', '.join(TASKS)}")
    run = what if hasattr(what, "profile") else None
    encoder = _encoder_of(run.encoder if run else what, tokenizer, transform)
    if run:
        corpus, settings, seed = corpus or load_corpus(run.profile), settings or run.profile.evaluation, run.seed
        encoder.use_gpu()
    if corpus is None:
        raise ValueError("say what to measure the model on: evaluate(model, corpus), with a tpccma.data.Corpus")
    return _measure(encoder, corpus, tasks, settings or Evaluation(), seed)


def _encoder_of(model: Encoder | nn.Module, tokenizer: Callable | None, transform: Callable | None) -> Encoder:
    """Put a model of open_clip behind the methods of an `Encoder`; return an encoder as it is."""
    if isinstance(model, Encoder):
        if tokenizer or transform:
            raise ValueError("a run and an Encoder bring their own: leave tokenizer= and transform= out")
        return model
    if not (hasattr(model, "encode_image") and hasattr(model, "encode_text")):
        kind = type(model).__name__
        raise ValueError(f"pass a Run, an Encoder or a model of open_clip; {kind} has no encode_image and encode_text")
    if tokenizer is None:
        raise ValueError("a model of open_clip needs its tokenizer: say tokenizer=open_clip.get_tokenizer(NAME)")
    return Encoder(model, tokenizer, prepare=prepare_by(transform))


def _measure(
    encoder: Encoder, corpus: Corpus, tasks: Sequence[str] | None, settings: Evaluation, seed: int
) -> Evaluated:
    tasks = possible_tasks(corpus) if tasks is None else tasks
    if unfit := [task for task in tasks if task not in possible_tasks(corpus)]:
        raise ValueError(f"the pictures have no classes, needed for {' and '.join(unfit)}: leave that out")
    test = embed(encoder, corpus.test)
    measures = {
        "gap": lambda: measure_gap(test, settings),
        "zeroshot": lambda: classify_all(encoder, corpus, test),
        "retrieval": lambda: retrieve(test),
        "clustering": lambda: cluster_all(encoder, corpus, test, settings),
        "captioning": lambda: caption_all(encoder, corpus, test, settings, seed),
    }
    parts = [measures[task]() for task in measures if task in tasks]
    return Evaluated(*(reduce(or_, part) for part in zip(Evaluated({}, {}, {}), *parts, strict=True)))


def possible_tasks(corpus: Corpus) -> tuple[str, ...]:
    """Name the tasks that a corpus is good for: those of classes need pictures with classes."""
    return tuple(task for task in TASKS if corpus.classified is not None or task not in ("zeroshot", "clustering"))


def measure_gap(test: Embedded, settings: Evaluation) -> Evaluated:
    """Measure the geometry of pictures and their first captions, and bound the gaps."""
    bounds = gap_bounds(test, settings.bootstrap_resamples)
    return Evaluated(measure_all(test.images, test.first_captions) | bounds, {}, {})


class Classified(NamedTuple):
    """What zero-shot classification found.

    Args:
        accuracy: ``zeroshot_top1`` and ``zeroshot_top5``.
        per_class: the accuracy of every class that occurs, by its name.
        correct: (N,) truth values.
    """

    accuracy: dict[str, float]
    per_class: dict[str, float]
    correct: Tensor


def classify(encoder: Encoder, pictures: Labelled, images: Tensor) -> Classified:
    """Classify pictures zero-shot.

    Args:
        encoder: embeds the prompts.
        pictures: N pictures with labels, class names and prompts.
        images: (N, D) embeddings of the pictures.
    """
    classifier = zero_shot_classifier(encoder.embed_texts, pictures.classes, pictures.templates)
    accuracy = zero_shot_accuracy(images, classifier, pictures.labels)
    per_class = {pictures.classes[label]: value for label, value in accuracy.pop("zeroshot_per_class").items()}
    return Classified(accuracy, per_class, zero_shot_hits(images, classifier, pictures.labels)[:, 0])


def classify_all(encoder: Encoder, corpus: Corpus, test: Embedded) -> Evaluated:
    """Classify the pictures of known classes, and those of the small sets."""
    images = test.images if corpus.labelled is None else encoder.embed_images(corpus.labelled.images)
    results, per_class, correct = classify(encoder, corpus.classified, images)
    if len(per_class) <= MOST_CLASSES:
        results |= {f"zeroshot_top1_{name}": value for name, value in per_class.items()}
    if corpus.held_back:
        counts = Counter(corpus.classes[label] for label in corpus.classified.labels.tolist())
        results |= accuracy_by_group(per_class, counts, corpus.held_back)
    for name, pictures in corpus.small_sets.items():
        small = classify(encoder, pictures, encoder.embed_images(pictures.images))
        results[f"zeroshot_{name}_top1"] = small.accuracy["zeroshot_top1"]
        results[f"zeroshot_{name}_mean_per_class"] = sum(small.per_class.values()) / len(small.per_class)
    return Evaluated(results, _of_test(corpus.classified, corpus, zeroshot_correct=correct), {})


def _of_test(pictures: Labelled, corpus: Corpus, **found: Tensor) -> dict[str, np.ndarray]:
    """Keep what was found of pictures and their class, if they are those of the test."""
    if pictures.images is not corpus.test.images:
        return {}
    return {name: values.cpu().numpy() for name, values in {"class": pictures.labels, **found}.items()}


def retrieve(test: Embedded) -> Evaluated:
    """Find captions by pictures and pictures by captions."""
    hits = {name: each.cpu().numpy() for name, each in retrieval_hits(test.images, test.captions).items()}
    items = {"i2t_hit": hits["i2t_recall_at_1"], "t2i_hits": hits["t2i_recall_at_1"].mean(1)}
    return Evaluated({name: float(each.mean()) for name, each in hits.items()}, items, {})


def embed(encoder: Encoder, pairs: Pairs) -> Embedded:
    """Embed the pictures and all captions of a split, of which each picture is to have as many as any other.

    Raises:
        ValueError: if they do not, or there are none.
    """
    counts = sorted({len(captions) for captions in pairs.captions})
    if len(counts) != 1 or 0 in counts:
        found = f"{counts[0]} to {counts[-1]} captions" if counts else "no pictures"
        raise ValueError(f"the split has {found}: retrieval wants K >= 1 captions of every picture, cut them to one K")
    texts = [caption for captions in pairs.captions for caption in captions]
    return Embedded(encoder.embed_images(pairs.images), encoder.embed_texts(texts).unflatten(0, (len(pairs), -1)))


def gap_bounds(test: Embedded, resamples: int) -> dict[str, float]:
    """Bound the four gaps by a 95 % bootstrap interval over pairs, as ``<gap>_low`` and ``<gap>_high``."""
    interval = gap_interval(test.images, test.first_captions, n_resamples=resamples)
    bounds = {f"{name}_gap": getattr(interval, name) for name in ("raw", "centroid", "distribution")}
    bounds["distribution_gap_scale_free"] = interval.scale_free
    return {
        f"{name}_{side}": float(value)
        for name, ends in bounds.items()
        for side, value in zip(("low", "high"), ends, strict=True)
    }


def cluster_all(encoder: Encoder, corpus: Corpus, test: Embedded, settings: Evaluation) -> Evaluated:
    """Measure how well `cluster` finds the classes."""
    found = cluster(encoder, corpus, test, settings)
    of_images, of_texts = found.assignments.chunk(2)
    pictures = corpus.clustered or corpus.classified
    return Evaluated(found.metrics(), _of_test(pictures, corpus, cluster_image=of_images, cluster_text=of_texts), {})


def cluster(encoder: Encoder, corpus: Corpus, test: Embedded, settings: Evaluation) -> JointClustering:
    """Cluster pictures of known classes and class prompts together, see `~tpccma.tasks.clustering.joint_clustering`."""
    pictures = corpus.clustered or corpus.classified
    prompts = torch.stack([encoder.embed_texts(fill_templates(name, pictures.templates)) for name in pictures.classes])
    images = test.images if pictures.images is corpus.test.images else encoder.embed_images(pictures.images)
    return joint_clustering(images, pictures.labels, prompts, n_init=settings.kmeans_restarts)


def caption_all(encoder: Encoder, corpus: Corpus, test: Embedded, settings: Evaluation, seed: int) -> Evaluated:
    """Caption the test pictures in every way, and score what was said."""
    start_meteor()
    said = caption_pictures(encoder, corpus, test, settings, seed)
    return Evaluated(*caption_scores(corpus.test.captions, said), said)
