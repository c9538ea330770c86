"""Evaluate a run on four tasks and the geometry of its embeddings: one dictionary of numbers, alike for all runs.

Legend: N test pairs, K captions a picture, C classes, T templates, M training captions, D embedding width.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tpccma.data import Corpus, Labelled, Pairs, load_corpus
from tpccma.metrics import gap_interval, measure_all
from tpccma.tasks.caption_scores import score_captions
from tpccma.tasks.clustering import JointClustering, joint_clustering
from tpccma.tasks.decoder import CaptionDecoder, caption_memory, project_to_memory, train_decoder
from tpccma.tasks.retrieval import retrieval_recall
from tpccma.tasks.zeroshot import zero_shot_accuracy, zero_shot_classifier

if TYPE_CHECKING:
    from tpccma.models import Encoder
    from tpccma.profiles import Evaluation
    from tpccma.training.run import Run

TASKS = ("gap", "zeroshot", "retrieval", "clustering", "captioning")
MOST_CLASSES = 100  # accuracy by class is reported up to here


class Embedded(NamedTuple):
    """One split as unit-length embeddings: `images` (N, D) and `captions` (N, K, D)."""

    images: Tensor
    captions: Tensor

    @property
    def first_captions(self) -> Tensor:
        """(N, D), the caption that each picture is paired with where one is needed."""
        return self.captions[:, 0]


def evaluate(run: "Run", corpus: Corpus | None = None, tasks: tuple[str, ...] = TASKS) -> dict[str, float]:
    """Measure the gap of a run's model and what it does on the test split.

    Args:
        run: what `tpccma.fine_tune` or `tpccma.training.run.base_run` returned.
        corpus: the profile's data, where the caller has it loaded already.
        tasks: which of `TASKS`; zeroshot and clustering are left out where the data have no classes.

    Returns:
        A flat dictionary of floats, with the names of the results schema.

    Raises:
        ValueError: if there is no such task.
    """
    unknown = sorted(set(tasks) - set(TASKS))
    if unknown:
        raise ValueError(f"unknown task {unknown[0]!r}: give some of {', '.join(TASKS)}")
    corpus = corpus or load_corpus(run.profile)
    if corpus.classified is None:
        tasks = tuple(task for task in tasks if task not in ("zeroshot", "clustering"))
    encoder, settings = run.encoder, run.profile.evaluation
    encoder.use_gpu()
    test = embed(encoder, corpus.test)
    results: dict[str, float] = {}
    if "gap" in tasks:
        results |= measure_all(test.images, test.first_captions) | gap_bounds(test, settings.bootstrap_resamples)
    if "zeroshot" in tasks:
        results |= classify_all(encoder, corpus, test)
    if "retrieval" in tasks:
        results |= retrieval_recall(test.images, test.captions)
    if "clustering" in tasks:
        results |= cluster(encoder, corpus, test, settings).metrics()
    if "captioning" in tasks:
        results |= caption_scores(encoder, corpus, test, settings, run.seed)
    return results


def classify(encoder: "Encoder", pictures: Labelled, images: Tensor) -> tuple[dict[str, float], dict[str, float]]:
    """Classify pictures zero-shot.

    Args:
        encoder: embeds the prompts.
        pictures: N pictures with labels, class names and prompts.
        images: (N, D) embeddings of the pictures.

    Returns:
        ``zeroshot_top1`` and ``zeroshot_top5``; and the accuracy of every class that occurs, by its name.
    """
    classifier = zero_shot_classifier(encoder.embed_texts, pictures.classes, pictures.templates)
    accuracy = zero_shot_accuracy(images, classifier, pictures.labels)
    per_class = accuracy.pop("zeroshot_per_class")
    return accuracy, {pictures.classes[label]: value for label, value in per_class.items()}


def classify_all(encoder: "Encoder", corpus: Corpus, test: Embedded) -> dict[str, float]:
    """Classify the pictures of known classes, and those of the small sets; names as in the results schema."""
    images = test.images if corpus.labelled is None else encoder.embed_images(corpus.labelled.images)
    results, per_class = classify(encoder, corpus.classified, images)
    if len(per_class) <= MOST_CLASSES:
        results |= {f"zeroshot_top1_{name}": value for name, value in per_class.items()}
    for name, pictures in corpus.small_sets.items():
        accuracy, per_class = classify(encoder, pictures, encoder.embed_images(pictures.images))
        results[f"zeroshot_{name}_top1"] = accuracy["zeroshot_top1"]
        results[f"zeroshot_{name}_mean_per_class"] = sum(per_class.values()) / len(per_class)
    return results


def embed(encoder: "Encoder", pairs: Pairs) -> Embedded:
    """Embed the pictures and all captions of a split."""
    texts = [caption for captions in pairs.captions for caption in captions]
    return Embedded(encoder.embed_images(pairs.images), encoder.embed_texts(texts).unflatten(0, (len(pairs), -1)))


def gap_bounds(test: Embedded, resamples: int) -> dict[str, float]:
    """Bound the three gaps by a 95 % bootstrap interval over pairs, as ``<gap>_low`` and ``<gap>_high``."""
    interval = gap_interval(test.images, test.first_captions, n_resamples=resamples)
    bounds = {name: getattr(interval, name) for name in ("raw", "centroid", "distribution")}
    return {
        f"{name}_gap_{side}": float(value)
        for name, ends in bounds.items()
        for side, value in zip(("low", "high"), ends, strict=True)
    }


def cluster(encoder: "Encoder", corpus: Corpus, test: Embedded, settings: "Evaluation") -> JointClustering:
    """Cluster pictures of known classes together with class prompts, see `joint_clustering`."""
    pictures = corpus.clustered or corpus.classified
    prompts = torch.stack(
        [encoder.embed_texts([template.format(name) for template in pictures.templates]) for name in pictures.classes]
    )
    images = test.images if pictures.images is corpus.test.images else encoder.embed_images(pictures.images)
    return joint_clustering(images, pictures.labels, prompts, n_init=settings.kmeans_restarts)


class Captioner(NamedTuple):
    """A text-only decoder with what its remedies for the gap need.

    Args:
        decoder: trained on the text encoder's own caption embeddings.
        memory: (M, D) training caption embeddings, for DeCap's projection.
        image_mean: (D,) mean training picture embedding.
        text_mean: (D,) mean training caption embedding.
    """

    decoder: CaptionDecoder
    memory: Tensor
    image_mean: Tensor
    text_mean: Tensor

    def feeds(self, images: Tensor) -> dict[str, Tensor]:
        """Give pictures (N, D) in the three ways to feed the decoder: as they are, projected on the memory, centred."""
        return {
            "raw": images,
            "memory": project_to_memory(images, self.memory),
            "centred": F.normalize(images - self.image_mean + self.text_mean, dim=1),
        }


def train_captioner(encoder: "Encoder", corpus: Corpus, settings: "Evaluation", seed: int) -> Captioner:
    """Train a decoder on the training captions alone; the same budget for every model."""
    config = settings.decoder
    texts = [captions[i % len(captions)] for i, captions in enumerate(corpus.train.captions)]
    features = encoder.embed_texts(texts)
    decoder = train_decoder(features.to(encoder.device), texts, config, seed, progress=False)
    image_mean = encoder.embed_images(corpus.train.images).mean(0)
    return Captioner(decoder, caption_memory(features, config.memory_size, seed), image_mean, features.mean(0))


def caption_scores(
    encoder: "Encoder", corpus: Corpus, test: Embedded, settings: "Evaluation", seed: int
) -> dict[str, float]:
    """Caption the test pictures: all four scores raw-fed, CIDEr for each remedy and, as the upper bound, text-fed."""
    captioner, references = train_captioner(encoder, corpus, settings, seed), corpus.test.captions
    feeds = captioner.feeds(test.images) | {"text": test.first_captions}
    said = {name: captioner.decoder.generate(features) for name, features in feeds.items()}
    scores = score_captions(references, said.pop("raw"))
    ciders = {name: score_captions(references, captions, ["cider"])["cider"] for name, captions in said.items()}
    return scores | {f"cider_{name}": value for name, value in ciders.items()}
