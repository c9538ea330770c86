"""How sure a measured gap is: bootstrap intervals over pairs.

Legend: `N` pairs, `D` width, `R` bootstrap resamples.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tpccma.metrics.checks import Rows, check_pairs, is_count
from tpccma.metrics.divergences import centre
from tpccma.metrics.gap import COLLAPSED


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class GapInterval(NamedTuple):
    """A confidence interval for each part of a Gap, and for ``scale_free_distribution_gap``."""

    raw: Interval
    centroid: Interval
    distribution: Interval
    scale_free: Interval


def gap_interval(
    x: Rows, y: Rows, n_resamples: int = 1000, level: float = 0.95, seed: int = 0, normalize: bool = False
) -> GapInterval:
    """Bootstrap intervals over pairs for the parts of the modality gap, in one matrix product.

    Resampling N pairs shifts the mean difference by a random vector of mean square distribution^2 / N, which would lift
    every resampled centroid gap, and lift small ones above the measured gap itself. That known amount is taken from
    centroid^2 and given back to distribution^2 in each resample, so that the split stays exact [ours].
    The variances that the scale-free gap divides by are corrected alike: a resample's falls short by var / N on
    average, which is added.

    Args:
        x: (N, D) image embeddings, L2-normalised.
        y: (N, D) text embeddings of the same pairs.
        n_resamples: R, at least 1.
        level: confidence, in (0, 1).
        seed: seed of the resampling.
        normalize: L2-normalise the rows first.

    Returns:
        GapInterval of four Interval(low, high); that of the scale-free gap is NaN where both clouds are single points.

    Raises:
        ValueError: as ``modality_gap``, and if ``n_resamples`` or ``level`` is out of range.
    """
    x, y = check_pairs(x, y, normalize)
    draws = _resamples(len(x), n_resamples, level, seed)
    counts = np.stack([np.bincount(rows, minlength=len(x)) for rows in draws])
    parts = _resampled(torch.as_tensor(counts / len(x), device=x.device), x, y)
    return GapInterval(*(_interval(part.sqrt().cpu().numpy(), level) for part in parts))


def _resampled(shares: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The squares of the four gaps in each resample, (R,) each, from the shares (R, N) that the pairs have in it."""
    offset = x.mean(dim=0) - y.mean(dim=0)
    x, y = centre(x), centre(y)
    squares = torch.stack([(x - y + offset).square().sum(dim=1), (x.square() + y.square()).sum(dim=1)], dim=1)
    noise, width = (x - y).square().sum() / len(x) ** 2, squares[:, 1].mean()
    means = shares @ torch.cat([x, x - y, squares], dim=1)
    mean_x, difference = means[:, :-2].chunk(2, dim=1)
    centroid = ((difference + offset).square().sum(dim=1) - noise).clamp(min=0)
    distribution = (means[:, -2] - centroid).clamp(min=0)
    widths = means[:, -1] - (mean_x.square() + (mean_x - difference).square()).sum(dim=1) + width / len(x)
    return means[:, -2], centroid, distribution, distribution / (widths if width > COLLAPSED else torch.nan)


def _resamples(n: int, n_resamples: int, level: float, seed: int) -> Iterator[np.ndarray]:
    """Checks what was asked for, and yields for each resample which n of the n pairs were drawn."""
    if not is_count(n_resamples):
        raise ValueError(f"n_resamples is {n_resamples}: pass 1 or more, usually 1000")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: pass a share between 0 and 1, such as 0.95")
    generator = np.random.default_rng(seed)
    return (generator.integers(n, size=n) for _ in range(n_resamples))


def _interval(values: np.ndarray, level: float) -> Interval:
    """The central share ``level`` of the values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
