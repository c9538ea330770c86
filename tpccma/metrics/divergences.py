"""How far two clouds of embeddings are from each other: readings of the "distribution gap" that ask for no pairs.

The paper's Distribution Gap is "the structural discrepancy that remains once the centroids are aligned" [digest]; which
discrepancy is meant is not known. Besides the paired reading of ``tpccma.metrics.modality_gap`` [ours], these are the
candidates [ours]; to leave the centroids out, centre both clouds first: ``mmd(centre(x), centre(y))``. All of them are
computed in float64, and none but ``linear_cka`` depends on which row of x stands beside which row of y.

Legend: ``N``, ``M`` rows of the two clouds, ``D`` width.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tpccma.metrics.checks import LARGEST, SMALLEST, Rows, as_rows, check_same_device, check_shape, is_count, two_clouds


class Frechet(NamedTuple):
    """The two parts of the Frechet distance, unsquared: ``mean**2 + covariance**2`` is the squared distance."""

    mean: float
    covariance: float


def centre(x: Rows, renormalise: bool = False) -> Tensor:
    """Moves a cloud's mean to the origin; optionally scales the rows back to length 1, as Mean-Centering does.

    Args:
        x: (N, D) embeddings.
        renormalise: whether to L2-normalise the centred rows; a row that lies on the mean stays zero.

    Returns:
        (N, D) float64 tensor.

    Raises:
        ValueError: if ``x`` is not a finite (N, D) matrix.
    """
    rows = as_rows(x)
    rows = rows - rows.mean(dim=0)
    return F.normalize(rows, dim=1) if renormalise else rows


def centre_spread(x: Rows, name: str = "x") -> Tensor:
    """Centres a cloud for a measure that is undefined for a single point.

    Args:
        x: (N, D) embeddings.
        name: what the messages call it.

    Returns:
        (N, D) float64 tensor, at least one row clear of the origin.

    Raises:
        ValueError: if ``x`` is not a finite (N, D) matrix, N below 2, or all its rows coincide up to rounding.
    """
    rows = as_rows(x, name)
    check_shape(rows, name, minimum=2)
    centred = rows - rows.mean(dim=0)
    if centred.norm(dim=1).max() <= 1e-12 * rows.norm(dim=1).max():
        raise ValueError(f"the rows of {name} all coincide, the embeddings have collapsed: train with a smaller alpha")
    return centred


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """All squared Euclidean distances between the rows of x (N, D) and of y (M, D), as an (N, M) tensor."""
    distances = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1)[None, :]
    return distances.addmm_(x, y.T, alpha=-2).clamp_(min=0)


def mean_kernel(x: Tensor, y: Tensor, rate: float) -> float:
    """Mean of exp(-rate d^2) over every row of x (N, D) with every row of y (M, D), in slices of 1,024 rows of x."""
    return sum(squared_distances(part, y).mul_(-rate).exp_().sum().item() for part in x.split(1024)) / (len(x) * len(y))


def median_bandwidth(x: Rows, y: Rows, max_rows: int = 2000) -> float:
    """Median distance between two distinct rows of the pooled clouds: the usual width of a Gaussian kernel.

    Args:
        x: (N, D) embeddings.
        y: (M, D) embeddings.
        max_rows: from a larger pool only so many rows are taken, evenly spaced, which saves minutes and gigabytes; at
            least 2.

    Returns:
        The bandwidth, above 0.

    Raises:
        ValueError: if the input is malformed, ``max_rows`` is below 2, or half of the pairs of rows coincide.
    """
    if not max_rows >= 2:
        raise ValueError(f"max_rows is {max_rows}: pass 2 or more, usually 2000")
    pooled = torch.cat(two_clouds(x, y))
    if len(pooled) > max_rows:
        pooled = pooled[torch.linspace(0, len(pooled) - 1, max_rows, device=pooled.device).round().long()]
    n, pairs = len(pooled), len(pooled) * (len(pooled) - 1) // 2
    # In the full matrix the n zeros of the diagonal come first, then every pair twice.
    middle = n + 2 * ((pairs + 1) // 2)
    distances = squared_distances(pooled, pooled).fill_diagonal_(0)
    median = distances.flatten().kthvalue(middle).values.sqrt().item()
    if median <= 1e-7 * pooled.norm(dim=1).max().item():
        raise ValueError("the median distance is 0, half of the rows coincide: pass a bandwidth above 0")
    return median


def mmd(x: Rows, y: Rows, bandwidth: float | None = None) -> float:
    """Maximum mean discrepancy with the Gaussian kernel exp(-d^2 / (2 bandwidth^2)), unsquared.

    The V-statistic, mean k(x, x) + mean k(y, y) - 2 mean k(x, y) over all pairs of rows with themselves included, which
    is a distance between the two sets of rows: never negative, 0 only for equal sets. Two samples of one and the same
    distribution are therefore not at 0 but at about (2 / N)^0.5 or less.

    Args:
        x: (N, D) embeddings.
        y: (M, D) embeddings.
        bandwidth: kernel width, above 0; the median heuristic if None.

    Returns:
        MMD, in [0, 2^0.5].

    Raises:
        ValueError: if the input is malformed or the bandwidth is not in 1e-75 to 1e75.

    Source: Gretton et al. 2012, JMLR 13, eq. 5 (biased estimate).
    """
    kxx, kyy, kxy = _kernel_means(x, y, bandwidth)
    return max(kxx + kyy - 2 * kxy, 0.0) ** 0.5


def cauchy_schwarz(x: Rows, y: Rows, bandwidth: float | None = None) -> float:
    """Cauchy-Schwarz divergence, log mean k(x, x) + log mean k(y, y) - 2 log mean k(x, y), k Gaussian.

    Args:
        x: (N, D) embeddings.
        y: (M, D) embeddings.
        bandwidth: kernel width, above 0; the median heuristic if None.

    Returns:
        The divergence in nats, at least 0; 0 for equal sets.

    Raises:
        ValueError: if the input is malformed, the bandwidth is not in 1e-75 to 1e75, or is so small that no x is near
            any y.

    Source: Principe et al. 2000; used for this purpose by CS-Aligner, with an unpublished width.
    """
    kxx, kyy, kxy = _kernel_means(x, y, bandwidth)
    if kxy == 0:
        raise ValueError(f"the kernel of bandwidth {bandwidth} is 0 between all rows of x and y: pass a wider one")
    return max(float(np.log(kxx) + np.log(kyy) - 2 * np.log(kxy)), 0.0)


def sliced_wasserstein(x: Rows, y: Rows, n_projections: int = 256, seed: int = 0) -> float:
    """Sliced 2-Wasserstein distance: root mean square, over random directions, of the distance in one dimension.

    Args:
        x: (N, D) embeddings.
        y: (N, D) embeddings.
        n_projections: number of directions, drawn uniformly from the sphere.
        seed: seed of the directions; the same seed gives every model of one width the same directions.

    Returns:
        The distance, at least 0; at most the root mean square distance of any pairing of the rows.

    Raises:
        ValueError: if the input is malformed, the clouds differ in size, or ``n_projections`` is below 1.

    Source: Bonneel et al. 2015.
    """
    x, y = two_clouds(x, y)
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} rows and y has {len(y)}: draw as many rows from the larger cloud")
    if not is_count(n_projections):
        raise ValueError(f"n_projections is {n_projections}: pass 1 or more")
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(x.shape[1], n_projections, generator=generator, dtype=torch.float64)
    directions = F.normalize(directions, dim=0).to(x.device)
    difference = (x @ directions).sort(dim=0).values - (y @ directions).sort(dim=0).values
    return difference.square().mean().sqrt().item()


def frechet(x: Rows, y: Rows) -> Frechet:
    """Frechet distance between Gaussians fitted to the clouds, split into the part of the means and of the covariances.

    mean = ||mu_x - mu_y||, the centroid gap; covariance = tr(S_x + S_y - 2 (S_x S_y)^(1/2))^(1/2), S with divisor N. No
    pairing of the rows has a smaller distribution gap than ``covariance``.

    Args:
        x: (N, D) embeddings.
        y: (M, D) embeddings.

    Returns:
        Frechet(mean, covariance), both distances, not squared.

    Raises:
        ValueError: if the input is malformed.

    Source: Dowson and Landau 1982.
    """
    x, y = two_clouds(x, y)
    # S^(1/2) = V diag(s) V^T, so tr (S_x S_y)^(1/2) is the sum of the singular values of diag(s_x) V_x^T V_y diag(s_y).
    _, scale_x, basis_x = torch.linalg.svd(centre(x) / len(x) ** 0.5, full_matrices=False)
    _, scale_y, basis_y = torch.linalg.svd(centre(y) / len(y) ** 0.5, full_matrices=False)
    cross = torch.linalg.svdvals(scale_x[:, None] * (basis_x @ basis_y.T) * scale_y).sum()
    squared = scale_x.square().sum() + scale_y.square().sum() - 2 * cross
    return Frechet((x.mean(dim=0) - y.mean(dim=0)).norm().item(), squared.clamp(min=0).sqrt().item())


def linear_cka(x: Rows, y: Rows) -> float:
    """Linear centred kernel alignment: do the two modalities place the same pairs near each other?

    Needs the pairs, row i of x with row i of y, but no common space: rotating or scaling either cloud changes nothing.

    Args:
        x: (N, D) embeddings.
        y: (N, D') embeddings of the same N items.

    Returns:
        ||Y^T X||_F^2 / (||X^T X||_F ||Y^T Y||_F) of the centred matrices, in [0, 1]; 1 means the same geometry.

    Raises:
        ValueError: if the input is malformed, the clouds differ in size, or one of them is a single point.

    Source: Kornblith et al. 2019, arXiv 1905.00414.
    """
    check_same_device(x, y)
    x, y = as_rows(x, "x"), as_rows(y, "y")
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} rows and y has {len(y)}: linear CKA needs pairs")
    x, y = centre_spread(x, "x"), centre_spread(y, "y")
    return ((y.T @ x).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm())).item()


def trace_ratio(x: Rows, y: Rows) -> float:
    """Total variance of x over total variance of y, tr S_x / tr S_y; 1 when the clouds are equally wide.

    Args:
        x: (N, D) embeddings.
        y: (M, D) embeddings.

    Returns:
        The ratio, at least 0.

    Raises:
        ValueError: if the input is malformed or y is a single point.

    Source: the square of ReAlign's scale, arXiv 2602.07026.
    """
    x, y = two_clouds(x, y)
    return (centre(x).square().sum(dim=1).mean() / centre_spread(y, "y").square().sum(dim=1).mean()).item()


def _kernel_means(x: Rows, y: Rows, bandwidth: float | None) -> tuple[float, float, float]:
    """Mean Gaussian kernel within x, within y and between them."""
    x, y = two_clouds(x, y)
    width = median_bandwidth(x, y) if bandwidth is None else bandwidth
    if not SMALLEST <= width <= LARGEST:
        wanted = f"pass a number above 0, {SMALLEST:g} to {LARGEST:g}, or None for the median heuristic"
        raise ValueError(f"bandwidth is {width}: {wanted}")
    rate = 1 / (2 * width**2)
    return mean_kernel(x, x, rate), mean_kernel(y, y, rate), mean_kernel(x, y, rate)
