"""The maps that post-processing puts behind the towers of a base model, taken from what fine-tuning would see."""

from itertools import islice

import torch
from torch import Tensor

from tpccma.data import Corpus
from tpccma.methods import Method
from tpccma.methods.post_processing import PostProcessed
from tpccma.models import Encoder

MAP_PAIRS = 20_000  # pairs of a stream from which the maps of a post-processing are taken [ours]


def add_maps(encoder: Encoder, how: Method, corpus: Corpus, seed: int) -> None:
    """Put a method's maps behind the towers of a model, in place.

    Args:
        encoder: of the base model.
        how: the method.
        corpus: the data of the profile.
        seed: of the run.
    """
    encoder.model = PostProcessed(encoder.model, *how.maps(*training_embeddings(encoder, corpus, seed)))


def training_embeddings(encoder: Encoder, corpus: Corpus, seed: int) -> tuple[Tensor, Tensor]:
    """Embed the pairs that fine-tuning would see, each picture with one caption; of a stream, the first `MAP_PAIRS`."""
    encoder.use_gpu()
    if corpus.stream is None:
        images = encoder.embed_images(corpus.train.images)
        return images, encoder.embed_texts([captions[0] for captions in corpus.train.captions])
    count, size = min(MAP_PAIRS, corpus.stream.pairs), min(250, corpus.stream.pairs)
    loader = corpus.stream.open(encoder.tokenizer, seed, 0, 1).batches(size, corpus.stream.workers)
    found = [encoder.embed_batch(images, tokens) for images, tokens in islice(loader, count // size)]
    images, texts = (torch.cat(part) for part in zip(*found, strict=True))
    return images, texts
