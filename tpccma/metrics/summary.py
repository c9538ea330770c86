"""The measures of one pair of clouds together: the gap for a reader, all of them for a run record.

Legend: `N` pairs, `D` width.
"""

import numpy as np
import torch
from torch import Tensor

from tpccma.metrics import divergences
from tpccma.metrics.checks import Rows, check_pairs
from tpccma.metrics.divergences import centre
from tpccma.metrics.gap import gap_of, modality_gap, scale_free_distribution_gap
from tpccma.metrics.geometry import (
    alignment,
    cone_effect,
    effective_rank,
    linear_separability,
    modality_mixing,
    pair_cosine,
    relative_modality_gap,
    uniformity,
)
from tpccma.metrics.intervals import gap_interval
from tpccma.metrics.moments import exact_moments


def describe_gap(x: Rows, y: Rows, normalize: bool = False, n_resamples: int = 1000) -> dict[str, int | float | list]:
    """The gap of any paired embeddings with its 95 % intervals, flat and ready for JSON.

    Args:
        x: (N, D) image embeddings, L2-normalised, N at least 2.
        y: (N, D) text embeddings of the same pairs.
        normalize: L2-normalise the rows first, instead of refusing rows that are not of length 1.
        n_resamples: R of ``gap_interval``, at least 1.

    Returns:
        ``pairs`` (N) and ``width`` (D); ``raw``, ``centroid``, ``distribution`` and ``scale_free``; and for each of the
        four ``<name>_interval``, as [low, high].

    Raises:
        ValueError: as ``gap_interval``, and if both clouds are single points.
    """
    intervals = gap_interval(x, y, n_resamples, normalize=normalize)._asdict()
    return {
        "pairs": len(x),
        "width": np.shape(x)[1],
        **modality_gap(x, y, normalize)._asdict(),
        "scale_free": scale_free_distribution_gap(x, y, normalize),
        **{f"{name}_interval": list(interval) for name, interval in intervals.items()},
    }


def measure_all(x: Rows, y: Rows, seed: int = 0) -> dict[str, float]:
    """Every measure of the gap, flat, as run records keep it.

    ``_centred``: after subtracting each modality's mean; ``_renormalised``: after subtracting it and scaling the rows
    back to length 1, as Mean-Centering does. ``distribution_gap_renormalised`` is the distribution gap of those rows.

    Args:
        x: (N, D) image embeddings, L2-normalised, N at least 2.
        y: (N, D) text embeddings of the same pairs.
        seed: seed of the split of ``linear_separability`` and of the directions of ``sliced_wasserstein``.

    Returns:
        Measure name to value, all finite.

    Raises:
        ValueError: as ``modality_gap``, and if a modality has collapsed to a point.
    """
    x, y = check_pairs(x, y)
    gap = modality_gap(x, y)
    measures = {
        "raw_gap": gap.raw,
        "centroid_gap": gap.centroid,
        "distribution_gap": gap.distribution,
        "distribution_gap_scale_free": scale_free_distribution_gap(x, y),
        "linear_separability": linear_separability(x, y, seed),
        "modality_mixing": modality_mixing(x, y, k=min(10, 2 * len(x) - 2)),
        "effective_rank_image": effective_rank(x),
        "effective_rank_text": effective_rank(y),
        "effective_rank_joint": effective_rank(torch.cat([x, y])),
        "alignment": alignment(x, y),
        "uniformity_image": uniformity(x),
        "uniformity_text": uniformity(y),
        "rmg": relative_modality_gap(x, y),
        "cone_image": cone_effect(x),
        "cone_text": cone_effect(y),
        "pair_cosine": pair_cosine(x, y),
        "cka_distance": 1 - divergences.linear_cka(x, y),
        "trace_ratio": divergences.trace_ratio(x, y),
    }
    return measures | _centred_measures(x, y, seed)


def _centred_measures(x: Tensor, y: Tensor, seed: int) -> dict[str, float]:
    """Readings of the distribution gap once the centroids are aligned."""
    centred = centre(x), centre(y)
    spheres = centre(x, renormalise=True), centre(y, renormalise=True)
    return {
        "mmd_centred": divergences.mmd(*centred),
        "mmd_renormalised": divergences.mmd(*spheres),
        "sliced_wasserstein_centred": divergences.sliced_wasserstein(*centred, seed=seed),
        "sliced_wasserstein_renormalised": divergences.sliced_wasserstein(*spheres, seed=seed),
        "frechet_covariance": divergences.frechet(*centred).covariance,
        "frechet_covariance_renormalised": divergences.frechet(*spheres).covariance,
        "cauchy_schwarz_centred": divergences.cauchy_schwarz(*centred),
        "distribution_gap_renormalised": gap_of(exact_moments(*spheres)).distribution,
    }
