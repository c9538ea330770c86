"""Retrieval between images and captions, with the protocol for several captions an image.

Image to text: the query is an image, and any of its K captions among the k best of all N * K counts. Text to image:
each of the N * K captions is a query with one right image. Recall is the share of queries that find theirs, as in
CLIP_benchmark and the papers on COCO, not the share of an image's captions that are found.

Legend: ``N`` images, ``K`` captions an image, ``D`` width, ``k`` cut-off.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tpccma.metrics.checks import is_count
from tpccma.tasks.checks import check_inputs, comparable


def retrieval_recall(
    image_features: Tensor, text_features: Tensor, ks: Sequence[int] = (1, 5), chunk_size: int = 256
) -> dict[str, float]:
    """Recall at k in both directions, the means of `retrieval_hits`.

    Args:
        image_features: (N, D) image embeddings, L2-normalised, on one device with the captions'; compared in float32 at
            least.
        text_features: (N, K, D) caption embeddings, L2-normalised; row i describes image i.
        ks: the cut-offs, each at least 1.
        chunk_size: queries scored at a time; memory is chunk_size * N * K scores.

    Returns:
        ``i2t_recall_at_k`` and ``t2i_recall_at_k`` for every k, shares in [0, 1].

    Raises:
        ValueError: if shapes do not match, there are no pairs, features are not finite or not of length 1 within 0.01,
            or a cut-off or the chunk is no whole number of at least 1.
    """
    hits = retrieval_hits(image_features, text_features, ks, chunk_size)
    return {name: each.mean().item() for name, each in hits.items()}


def retrieval_hits(
    image_features: Tensor, text_features: Tensor, ks: Sequence[int] = (1, 5), chunk_size: int = 256
) -> dict[str, Tensor]:
    """What each query adds to `retrieval_recall`.

    Candidates with exactly the same score share their places, so a query's hit is its chance when ties are broken at
    random: a model that embeds everything in one point scores by chance, not 0 or 1.

    Args and raises as `retrieval_recall`.

    Returns:
        By the names of the recalls shares in [0, 1], float64: (N,) of the images, (N, K) of the captions.
    """
    given = {"image_features": image_features, "text_features": text_features}
    check_inputs("(N, D) and (N, K, D)", **given)
    if not isinstance(ks, Sequence) or not ks or not all(map(is_count, ks)):
        raise ValueError(f"ks is {ks!r}: pass cut-offs of 1 or more")
    if not is_count(chunk_size):
        raise ValueError(f"chunk_size is {chunk_size}: pass 1 or more, usually 256")
    image_features, text_features = comparable(**given)
    captions = text_features.flatten(0, 1)
    i2t = [
        _rank_captions(rows, image_features, captions) for rows in torch.arange(len(image_features)).split(chunk_size)
    ]
    t2i = [_rank_images(rows, image_features, captions) for rows in torch.arange(len(captions)).split(chunk_size)]
    hits = {}
    for direction, ranks, shape in (("i2t", i2t, (-1,)), ("t2i", t2i, text_features.shape[:2])):
        better, tied = (torch.cat(counts).double() for counts in zip(*ranks, strict=True))
        for k in ks:
            hits[f"{direction}_recall_at_{k}"] = ((k - better) / (tied + 1)).clamp(0, 1).view(shape)
    return hits


def _rank_captions(rows: Tensor, images: Tensor, captions: Tensor) -> tuple[Tensor, Tensor]:
    """How many captions of other images score above each image's best own caption, and how many tie with it."""
    scores = images[rows] @ captions.T
    own = scores.unflatten(1, (len(images), -1))[torch.arange(len(rows)), rows]  # (rows, K)
    best = own.amax(dim=1, keepdim=True)
    tied = (scores == best).count_nonzero(dim=1) - (own == best).count_nonzero(dim=1)
    return (scores > best).count_nonzero(dim=1), tied


def _rank_images(rows: Tensor, images: Tensor, captions: Tensor) -> tuple[Tensor, Tensor]:
    """How many other images score above each caption's own image, and how many tie with it."""
    scores = captions[rows] @ images.T
    own = scores[torch.arange(len(rows)), rows // (len(captions) // len(images)), None]
    return (scores > own).count_nonzero(dim=1), (scores == own).count_nonzero(dim=1) - 1
