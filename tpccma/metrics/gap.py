"""The modality gap, its two parts and their intervals.

Legend: `N` pairs, `B` pairs of one batch, `D` width, `R` bootstrap resamples.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from tpccma.metrics import divergences
from tpccma.metrics.divergences import Rows, centre
from tpccma.metrics.geometry import (
    alignment,
    check_pairs,
    cone_effect,
    effective_rank,
    linear_separability,
    modality_mixing,
    pair_cosine,
    relative_modality_gap,
    uniformity,
)


class Gap(NamedTuple):
    """The modality gap and its two parts, Euclidean distances, not squared: raw**2 = centroid**2 + distribution**2."""

    raw: float
    centroid: float
    distribution: float


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class GapInterval(NamedTuple):
    """A confidence interval for each part of a Gap."""

    raw: Interval
    centroid: Interval
    distribution: Interval


def modality_gap(x: Rows, y: Rows, normalize: bool = False) -> Gap:
    """Splits the distance between the two members of a pair into a centroid part and a distribution part.

    raw^2 = mean ||x_i - y_i||^2, centroid = ||mu_x - mu_y||, distribution^2 = mean ||(x_i - mu_x) - (y_i - mu_y)||^2.
    The split is exact, by the law of total variance.

    Args:
        x: (N, D) image embeddings, L2-normalised, N at least 2.
        y: (N, D) text embeddings of the same pairs, L2-normalised.
        normalize: L2-normalise the rows first, instead of refusing rows that are not of length 1.

    Returns:
        Gap(raw, centroid, distribution), each in [0, 2].

    Raises:
        ValueError: if the shapes differ, N < 2, a value is NaN or infinite, or a row's length is not 1 within 1e-3.

    Source: arXiv 2604.00279 splits the gap into a Centroid and a Distribution Gap [paper]; the centroid part is the
    distance of the means [digest]; the paired reading of the distribution part is [ours].
    """
    x, y = check_pairs(x, y, normalize)
    return _gap(*_gap_sums(x, y), len(x))


class ModalityGap(Metric):
    """Streaming ``modality_gap``: its state is sums only, so the result depends neither on batches nor on processes.

    Args:
        normalize: L2-normalise the rows first, instead of refusing rows that are not of length 1.
        width: D; needed only where a process may take part in the reduction without having seen a batch.
        kwargs: arguments of ``torchmetrics.Metric``.

    Source: as ``modality_gap``, [ours].
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    difference: Tensor
    squared: Tensor
    count: Tensor

    def __init__(self, normalize: bool = False, width: int = 1, **kwargs) -> None:
        super().__init__(**kwargs)
        self.normalize = normalize
        self.add_state("difference", torch.zeros(width, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("squared", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, x: Rows, y: Rows) -> None:
        """Adds a batch.

        Args:
            x: (B, D) image embeddings, B at least 1.
            y: (B, D) text embeddings of the same pairs.

        Raises:
            ValueError: as ``modality_gap``, and if D differs from that of the batches before.
        """
        x, y = check_pairs(x, y, self.normalize, minimum=1)
        if len(self.difference) not in (1, x.shape[1]):
            raise ValueError(f"this batch has width {x.shape[1]}, earlier ones {len(self.difference)}: reset() first")
        difference, squared = _gap_sums(x, y)
        self.difference = self.difference + difference
        self.squared = self.squared + squared
        self.count = self.count + len(x)

    def compute(self) -> Gap:
        """Returns the Gap of all pairs seen; raises ValueError if they are fewer than 2."""
        if self.count < 2:
            raise ValueError(f"only {self.count.item()} pairs were seen: update with 2 or more before compute")
        return _gap(self.difference, self.squared, self.count.item())


def bootstrap_interval(
    statistic: Callable[[Tensor, Tensor], float],
    x: Rows,
    y: Rows,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of any paired statistic; pairs are resampled, never rows of one modality alone.

    Right for means over pairs. Measures of neighbours or of distinct rows suffer from the copies in a resample, and
    distances near 0 are pushed up by it: for the gap, ``gap_interval`` avoids that.

    Args:
        statistic: function of (N, D) images and (N, D) texts.
        x: (N, D) image embeddings, L2-normalised.
        y: (N, D) text embeddings of the same pairs.
        n_resamples: R, at least 1.
        level: confidence, in (0, 1).
        seed: seed of the resampling.

    Returns:
        Interval(low, high).

    Raises:
        ValueError: as ``modality_gap``, and if ``n_resamples`` or ``level`` is out of range.
    """
    x, y = check_pairs(x, y)
    values = [float(statistic(x[rows], y[rows])) for rows in _resamples(len(x), n_resamples, level, seed)]
    return _interval(np.array(values), level)


def gap_interval(
    x: Rows, y: Rows, n_resamples: int = 1000, level: float = 0.95, seed: int = 0, normalize: bool = False
) -> GapInterval:
    """Bootstrap intervals over pairs for the three parts of the modality gap, in one matrix product.

    Resampling N pairs shifts the mean difference by a random vector of mean square distribution^2 / N, which would lift
    every resampled centroid gap, and lift small ones above the measured gap itself. That known amount is taken from
    centroid^2 and given back to distribution^2 in each resample, so that the split stays exact [ours].

    Args:
        x: (N, D) image embeddings, L2-normalised.
        y: (N, D) text embeddings of the same pairs.
        n_resamples: R, at least 1.
        level: confidence, in (0, 1).
        seed: seed of the resampling.
        normalize: L2-normalise the rows first.

    Returns:
        GapInterval of three Interval(low, high).

    Raises:
        ValueError: as ``modality_gap``, and if ``n_resamples`` or ``level`` is out of range.
    """
    x, y = check_pairs(x, y, normalize)
    n, difference = len(x), x - y
    draws = _resamples(n, n_resamples, level, seed)
    counts = np.stack([np.bincount(rows, minlength=n) for rows in draws])
    weights = torch.as_tensor(counts / n, device=x.device)
    raw = weights @ difference.square().sum(dim=1)
    noise = _gap(*_gap_sums(x, y), n).distribution ** 2 / n
    centroid = ((weights @ difference).square().sum(dim=1) - noise).clamp(min=0)
    parts = (raw, centroid, (raw - centroid).clamp(min=0))
    return GapInterval(*(_interval(part.sqrt().cpu().numpy(), level) for part in parts))


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
        "distribution_gap_renormalised": _gap(*_gap_sums(*spheres), len(x)).distribution,
    }


def _gap_sums(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the differences of the pairs (D,), and of their squared lengths ()."""
    difference = x - y
    return difference.sum(dim=0), difference.square().sum()


def _gap(difference: Tensor, squared: Tensor, count: int) -> Gap:
    """The Gap from its sums."""
    raw, centroid = squared / count, (difference / count).square().sum()
    return Gap(*(part.clamp(min=0).sqrt().item() for part in (raw, centroid, raw - centroid)))


def _resamples(n: int, n_resamples: int, level: float, seed: int) -> Iterator[np.ndarray]:
    """Checks what was asked for, and yields for each resample which n of the n pairs were drawn."""
    if n_resamples < 1:
        raise ValueError(f"n_resamples is {n_resamples}: pass 1 or more, usually 1000")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: pass a share between 0 and 1, such as 0.95")
    generator = np.random.default_rng(seed)
    return (generator.integers(n, size=n) for _ in range(n_resamples))


def _interval(values: np.ndarray, level: float) -> Interval:
    """The central share ``level`` of the values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
