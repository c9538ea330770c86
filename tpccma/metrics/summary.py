"""All measures of one pair of clouds at once.

Legend: `N` pairs, `D` width.
"""

import torch
from torch import Tensor

from tpccma.metrics import divergences
from tpccma.metrics.checks import Rows, check_pairs
from tpccma.metrics.divergences import centre
from tpccma.metrics.gap import gap_of, gap_sums, modality_gap
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


def measure_all(x: Rows, y: Rows, seed: int = 0) -> dict[str, float]:
    """Every measure of the gap, flat, as run records keep it.

    `_centred`: after subtracting each modality's mean; `_renormalised`: after subtracting it and scaling the rows back
    to length 1, as Mean-Centering does. `distribution_gap_renormalised` is the distribution gap of those rows.

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
        "distribution_gap_renormalised": gap_of(*gap_sums(*spheres), len(x)).distribution,
    }
