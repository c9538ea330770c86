"""How sure a measured gap is: bootstrap intervals over pairs.

Legend: `N` pairs, `D` width, `R` bootstrap resamples.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from tpccma.metrics.checks import Rows, check_pairs
from tpccma.metrics.gap import gap_of, gap_sums


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class GapInterval(NamedTuple):
    """A confidence interval for each part of a Gap."""

    raw: Interval
    centroid: Interval
    distribution: Interval


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
    noise = gap_of(*gap_sums(x, y), n).distribution ** 2 / n
    centroid = ((weights @ difference).square().sum(dim=1) - noise).clamp(min=0)
    parts = (raw, centroid, (raw - centroid).clamp(min=0))
    return GapInterval(*(_interval(part.sqrt().cpu().numpy(), level) for part in parts))


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
