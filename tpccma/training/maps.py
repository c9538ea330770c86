"""What is taken from a base model's embeddings of the training pairs: the maps of post-processing, and variances."""

from itertools import islice

import torch
from torch import Tensor

from tpccma.data import Corpus
from tpccma.methods import Method
from tpccma.methods.post_processing import PostProcessed
from tpccma.methods.variance_floor import variance
from tpccma.models import Encoder

MAP_PAIRS = 20_000  # pairs of a stream from which the maps of a post-processing are taken [ours]
FLOOR_PAIRS = 2_000  # from which the variances of a base model are taken [ours]


def add_maps(encoder: Encoder, how: Method, corpus: Corpus, seed: int) -> None:
    """Put a method's maps behind the towers of a model, in place.

    Args:
        encoder: of the base model.
        how: the method.
        corpus: the data of the profile.
        seed: of the run.
    """
    encoder.model = PostProcessed(encoder.model, *how.maps(*training_embeddings(encoder, corpus, seed)))


def base_variances(encoder: Encoder, corpus: Corpus, seed: int) -> tuple[float, float]:
    """Measure the variance of a model's image and of its text embeddings over `FLOOR_PAIRS` training pairs.

    Args:
        encoder: of the base model.
        corpus: the data of the profile.
        seed: of the run.
    """
    images, texts = training_embeddings(encoder, corpus, seed, FLOOR_PAIRS)
    return variance(images).item(), variance(texts).item()


def training_embeddings(encoder: Encoder, corpus: Corpus, seed: int, most: int | None = None) -> tuple[Tensor, Tensor]:
    """Embed the pairs that fine-tuning would see, each picture with one caption.

    Args:
        encoder: of the model.
        corpus: whose stream is read, or train split where there is none.
        seed: of the stream's order.
        most: how many pairs, spread evenly over the split; None takes all, and of a stream the first `MAP_PAIRS`.

    Returns:
        (N, D) image embeddings and (N, D) text embeddings.
    """
    encoder.use_gpu()
    if corpus.stream is None:
        train, count = corpus.train, len(corpus.train)
        rows = torch.linspace(0, count - 1, min(most or count, count)).long()
        images = train.images if len(rows) == count else train.images[rows]
        return encoder.embed_images(images), encoder.embed_texts([train.captions[row][0] for row in rows])
    count, size = min(most or MAP_PAIRS, corpus.stream.pairs), min(250, corpus.stream.pairs)
    loader = corpus.stream.open(encoder.tokenizer, seed, 0, 1).batches(size, corpus.stream.workers)
    found = [encoder.embed_batch(images, tokens) for images, tokens in islice(loader, count // size)]
    images, texts = (torch.cat(part) for part in zip(*found, strict=True))
    return images, texts
