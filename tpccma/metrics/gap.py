"""The modality gap, its two parts, and the second of them relative to the width of the clouds.

One pass over the rows, in their own precision with sums in float64, see `tpccma.metrics.moments`.

Legend: `N` pairs, `D` width.
"""

import math
from typing import NamedTuple

from torch import Tensor

from tpccma.metrics.checks import Rows
from tpccma.metrics.moments import moments

COLLAPSED = 1e-24  # a variance of unit rows that is rounding alone


class Gap(NamedTuple):
    """The modality gap and its two parts, Euclidean distances, not squared: raw**2 = centroid**2 + distribution**2."""

    raw: float
    centroid: float
    distribution: float


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
    return gap_of(moments(x, y, normalize))


def scale_free_distribution_gap(x: Rows, y: Rows, normalize: bool = False) -> float:
    """Distribution gap relative to the width of the clouds: distribution / sqrt(var_x + var_y).

    var_x = mean ||x_i - mu_x||^2, which for rows of length 1 is 1 - ||mu_x||^2. A cloud that only shrinks makes its
    distribution gap smaller without being better matched; this number stays. With the covariance of the pairs, cov =
    mean (x_i - mu_x).(y_i - mu_y), its square is 1 - 2 cov / (var_x + var_y), where 2 cov lies between plus and minus
    var_x + var_y.

    Args:
        x: (N, D) image embeddings, L2-normalised, N at least 2.
        y: (N, D) text embeddings of the same pairs, L2-normalised.
        normalize: L2-normalise the rows first, instead of refusing rows that are not of length 1.

    Returns:
        In [0, 2^0.5]: 0 matched but for the means, 1 unrelated (also: one cloud is a point), 2^0.5 each the other's
        mirror image.

    Raises:
        ValueError: as ``modality_gap``, and if both clouds are single points, which leaves nothing to match.

    Source: [ours].
    """
    found = scale_free_of(moments(x, y, normalize))
    if math.isnan(found):
        raise ValueError("x is a single point and so is y, the embeddings have collapsed: train with a smaller alpha")
    return found


def gap_of(found: Tensor) -> Gap:
    """The Gap of pairs of these moments."""
    x, y = found[3:].chunk(2)
    centroid, distribution = (x - y).norm(), found[2].clamp(min=0).sqrt()
    return Gap(*(part.item() for part in (centroid.hypot(distribution), centroid, distribution)))


def scale_free_of(found: Tensor) -> float:
    """The scale-free distribution gap of pairs of these moments; NaN where both clouds are single points."""
    width, distribution = found[1:3].tolist()
    return math.sqrt(max(distribution, 0) / width) if width > COLLAPSED else math.nan
