"""Captioning the test pictures by a decoder that saw training captions alone, fed in several ways, and scoring it.

Legend: N test pictures, M training captions, D embedding width.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from tpccma.data import Corpus
from tpccma.models import Encoder
from tpccma.profiles import Evaluation
from tpccma.tasks.caption_scores import METRICS, score_all
from tpccma.tasks.decoder import CaptionDecoder, caption_memory, project_to_memory, train_decoder

if TYPE_CHECKING:
    from tpccma.tasks.evaluation import Embedded


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
    features = encoder.embed_texts(texts)
    decoder = train_decoder(features.to(encoder.device), texts, config, seed, progress=False)
    image_mean = encoder.embed_images(corpus.train.images).mean(0)
    return Captioner(decoder, caption_memory(features, config.memory_size, seed), image_mean, features.mean(0))


def caption_pictures(
    encoder: Encoder, corpus: Corpus, test: "Embedded", settings: Evaluation, seed: int
) -> dict[str, list[str]]:
    """Caption the test pictures by a decoder trained for this model, fed in each way, text being the upper bound."""
    captioner = train_captioner(encoder, corpus, settings, seed)
    feeds = captioner.feeds(test.images) | {"text": test.first_captions}
    return {name: captioner.decoder.generate(features) for name, features in feeds.items()}


def caption_scores(
    references: list[list[str]], said: dict[str, list[str]]
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Score what `caption_pictures` gave.

    Args:
        references: the captions of each picture.
        said: N captions by the way the decoder was fed.

    Returns:
        All four scores of the raw feed and CIDEr of every other; and the CIDEr of each picture, (N,) by the same names.
    """
    scores = score_all(references, said, dict.fromkeys(said, ("cider",)) | {"raw": METRICS})
    names = {feed: "cider" if feed == "raw" else f"cider_{feed}" for feed in said}
    totals = scores["raw"].totals | {name: scores[feed].totals["cider"] for feed, name in names.items()}
    return totals, {name: scores[feed].cider for feed, name in names.items()}
