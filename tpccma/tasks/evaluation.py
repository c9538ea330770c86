"""Evaluate a model on four tasks and the geometry of its embeddings: one dictionary of numbers, alike for all models.

Legend: N test pairs, K captions a picture, C classes, T templates, M training captions, D embedding width.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from tpccma.data import Corpus, Labelled, Pairs, load_corpus
from tpccma.metrics import gap_interval, measure_all
from tpccma.models import Encoder
from tpccma.models.transforms import prepare_by
from tpccma.profiles import Evaluation
from tpccma.tasks.caption_scores import METRICS, score_all, start_meteor
from tpccma.tasks.clustering import JointClustering, joint_clustering
from tpccma.tasks.decoder import CaptionDecoder, caption_memory, project_to_memory, train_decoder
from tpccma.tasks.retrieval import retrieval_recall
from tpccma.tasks.zeroshot import accuracy_by_group, fill_templates, zero_shot_accuracy, zero_shot_classifier

if TYPE_CHECKING:
    from tpccma.training.run import Run

TASKS = ("gap", "zeroshot", "retrieval", "clustering", "captioning")  #: What can be measured.
MOST_CLASSES = 100  # accuracy by class is reported up to here


class Embedded(NamedTuple):
    """One split as unit-length embeddings: `images` (N, D) and `captions` (N, K, D)."""

    images: Tensor
    captions: Tensor

    @property
    def first_captions(self) -> Tensor:
        """(N, D), the caption that each picture is paired with where one is needed."""
        return self.captions[:, 0]


def evaluate(
    what: "Run | Encoder | nn.Module",
    corpus: Corpus | None = None,
    tasks: Sequence[str] = TASKS,
    *,
    tokenizer: Callable[[list[str]], Tensor] | None = None,
    transform: Callable[[Image.Image], Tensor] | None = None,
    settings: Evaluation | None = None,
    seed: int = 0,
    said: dict[str, list[str]] | None = None,
) -> dict[str, float]:
    """Measure the gap of a model and what it does on the test split.

        >>> model, _, transform = open_clip.create_model_and_transforms("ViT-B-32", pretrained="openai")
        >>> evaluate(model, corpus, tokenizer=open_clip.get_tokenizer("ViT-B-32"), transform=transform)

    Args:
        what: what `tpccma.fine_tune` or `tpccma.training.run.base_run` returned, a `tpccma.models.Encoder`, or any
            model of open_clip. The model of a run is moved to the GPU, if there is one; others stay where they lie.
        corpus: what to measure it on; of a run, the profile's data where it is left out. Captioning learns from the
            captions and the mean picture of ``train``; ``val`` is not looked at.
        tasks: which of `TASKS`; zeroshot and clustering are left out where the data have no classes.
        tokenizer: of a model of open_clip, such as ``open_clip.get_tokenizer`` gives.
        transform: of a model of open_clip: prepares pictures that are uint8 pixels. Float tensors and
            `tpccma.data.pictures.Pictures` are taken as prepared.
        settings: how much evaluation is done; left out, the profile's of a run, else the defaults, the demo's.
        seed: of the caption decoder; a run has its own.
        said: is filled with the captions that were generated, one a test picture, by the way the decoder was fed.

    Returns:
        A flat dictionary of floats, with the names of the results schema.

    Raises:
        ValueError: if there is no such task, `what` is none of these, a model lacks its tokenizer or a corpus, its
            pictures are pixels and there is no transform, or the test pictures do not have one number of captions.
    """
    if unknown := sorted(set(tasks) - set(TASKS)):
        raise ValueError(f"unknown task {unknown[0]!r}: give some of {', '.join(TASKS)}")
    run = what if hasattr(what, "profile") else None
    encoder = _encoder_of(run.encoder if run else what, tokenizer, transform)
    if run:
        corpus, settings, seed = corpus or load_corpus(run.profile), settings or run.profile.evaluation, run.seed
        encoder.use_gpu()
    if corpus is None:
        raise ValueError("say what to measure the model on: evaluate(model, corpus), with a tpccma.data.Corpus")
    return _measure(encoder, corpus, tasks, settings or Evaluation(), seed, {} if said is None else said)


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
    encoder: Encoder, corpus: Corpus, tasks: Sequence[str], settings: Evaluation, seed: int, said: dict
) -> dict[str, float]:
    test = embed(encoder, corpus.test)

    def captioning() -> dict[str, float]:
        start_meteor()
        said.update(caption_pictures(encoder, corpus, test, settings, seed))
        return caption_scores(corpus.test.captions, said)

    measures = {
        "gap": lambda: measure_all(test.images, test.first_captions) | gap_bounds(test, settings.bootstrap_resamples),
        "zeroshot": lambda: classify_all(encoder, corpus, test),
        "retrieval": lambda: retrieval_recall(test.images, test.captions),
        "clustering": lambda: cluster(encoder, corpus, test, settings).metrics(),
        "captioning": captioning,
    }
    if corpus.classified is None:
        del measures["zeroshot"], measures["clustering"]
    return {name: value for task in measures if task in tasks for name, value in measures[task]().items()}


def classify(encoder: Encoder, pictures: Labelled, images: Tensor) -> tuple[dict[str, float], dict[str, float]]:
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


def classify_all(encoder: Encoder, corpus: Corpus, test: Embedded) -> dict[str, float]:
    """Classify the pictures of known classes, and those of the small sets; names as in the results schema."""
    images = test.images if corpus.labelled is None else encoder.embed_images(corpus.labelled.images)
    results, per_class = classify(encoder, corpus.classified, images)
    if len(per_class) <= MOST_CLASSES:
        results |= {f"zeroshot_top1_{name}": value for name, value in per_class.items()}
    if corpus.held_back:
        counts = Counter(corpus.classes[label] for label in corpus.classified.labels.tolist())
        results |= accuracy_by_group(per_class, counts, corpus.held_back)
    for name, pictures in corpus.small_sets.items():
        accuracy, per_class = classify(encoder, pictures, encoder.embed_images(pictures.images))
        results[f"zeroshot_{name}_top1"] = accuracy["zeroshot_top1"]
        results[f"zeroshot_{name}_mean_per_class"] = sum(per_class.values()) / len(per_class)
    return results


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


def cluster(encoder: Encoder, corpus: Corpus, test: Embedded, settings: Evaluation) -> JointClustering:
    """Cluster pictures of known classes together with class prompts, see `joint_clustering`."""
    pictures = corpus.clustered or corpus.classified
    prompts = torch.stack([encoder.embed_texts(fill_templates(name, pictures.templates)) for name in pictures.classes])
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


def train_captioner(encoder: Encoder, corpus: Corpus, settings: Evaluation, seed: int) -> Captioner:
    """Train a decoder on the training captions alone; the same budget for every model."""
    if not len(corpus.train):
        raise ValueError("corpus.train is empty, and captioning learns from it: pass pairs, or leave captioning out")
    config = settings.decoder
    texts = [captions[i % len(captions)] for i, captions in enumerate(corpus.train.captions)]
    distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}  # a quarter of the demo's repeat another
    features = encoder.embed_texts(list(distinct))[[distinct[text] for text in texts]]
    decoder = train_decoder(features.to(encoder.device), texts, config, seed, progress=False)
    image_mean = encoder.embed_images(corpus.train.images).mean(0)
    return Captioner(decoder, caption_memory(features, config.memory_size, seed), image_mean, features.mean(0))


def caption_pictures(
    encoder: Encoder, corpus: Corpus, test: Embedded, settings: Evaluation, seed: int
) -> dict[str, list[str]]:
    """Caption the test pictures by a decoder trained for this model, fed in each way, text being the upper bound."""
    captioner = train_captioner(encoder, corpus, settings, seed)
    feeds = captioner.feeds(test.images) | {"text": test.first_captions}
    return {name: captioner.decoder.generate(features) for name, features in feeds.items()}


def caption_scores(references: list[list[str]], said: dict[str, list[str]]) -> dict[str, float]:
    """Score what `caption_pictures` gave: all four scores of the raw feed, CIDEr of every other."""
    scores = score_all(references, said, dict.fromkeys(said, ("cider",)) | {"raw": METRICS})
    return scores.pop("raw") | {f"cider_{name}": score["cider"] for name, score in scores.items()}
