"""The shape of paired embeddings: closeness of the pairs, spread, mixing and separability of the two modalities.

Row i of ``x`` and row i of ``y`` embed the same pair. The measures are computed in float64 from L2-normalised rows, and
refuse rows that are not. All names are also found in ``tpccma.metrics``.

Legend: `N` pairs, `D` width.
"""

import numpy as np
import torch

from tpccma.metrics.checks import Rows, check_pairs, is_count, unit_rows
from tpccma.metrics.divergences import centre_spread, mean_kernel


def pair_cosine(x: Rows, y: Rows) -> float:
    """Mean cosine similarity of the pairs.

    Args:
        x: (N, D) image embeddings, L2-normalised.
        y: (N, D) text embeddings of the same pairs.

    Returns:
        In [-1, 1]; equals 1 - raw_gap^2 / 2.

    Raises:
        ValueError: as ``modality_gap``.
    """
    x, y = check_pairs(x, y)
    return (x * y).sum(dim=1).mean().item()


def alignment(x: Rows, y: Rows) -> float:
    """Mean squared distance of the pairs: the square of the raw gap, under the name it has elsewhere.

    Args:
        x: (N, D) image embeddings, L2-normalised.
        y: (N, D) text embeddings of the same pairs.

    Returns:
        In [0, 4]; 0 is perfect.

    Raises:
        ValueError: as ``modality_gap``.

    Source: Wang and Isola 2020, arXiv 2005.10242, alpha = 2.
    """
    x, y = check_pairs(x, y)
    return (x - y).square().sum(dim=1).mean().item()


def uniformity(x: Rows) -> float:
    """How evenly one modality covers the sphere: log mean exp(-2 d^2) over its distinct pairs of rows.

    Args:
        x: (N, D) embeddings of one modality, L2-normalised, N at least 2.

    Returns:
        In [-8, 0], or past an end by as little as lengths are off 1; lower is more even, 0 is collapse.

    Raises:
        ValueError: if ``x`` is malformed or its rows are not of length 1.

    Source: Wang and Isola 2020, arXiv 2005.10242, t = 2.
    """
    x = unit_rows(x, "x")
    n = len(x)
    return float(np.log((n * mean_kernel(x, x, rate=2.0) - 1) / (n - 1)))  # without each row paired with itself


def cone_effect(x: Rows) -> float:
    """Mean cosine similarity within one modality, each row with every other: how narrow a cone the modality lives in.

    Args:
        x: (N, D) embeddings of one modality, L2-normalised, N at least 2.

    Returns:
        In [-1 / (N - 1), 1]; 0 fills the sphere, 1 is collapse.

    Raises:
        ValueError: if ``x`` is malformed or its rows are not of length 1.

    Source: Liang et al. 2022, arXiv 2203.02053.
    """
    x = unit_rows(x, "x")
    return ((x.sum(dim=0).square().sum() - x.square().sum()) / (len(x) * (len(x) - 1))).item()


def relative_modality_gap(x: Rows, y: Rows) -> float:
    """Relative modality gap: the distance of the pairs, relative to the distances within the modalities.

    RMG = p / (p + w), with the cosine distance d = 1 - cos, p = mean d(x_i, y_i), and w the mean of d(x_i, x_j) and
    d(y_i, y_j) over all i != j, both modalities together. A constant factor in d, as in (1 - cos) / 2, cancels.

    Args:
        x: (N, D) image embeddings, L2-normalised.
        y: (N, D) text embeddings of the same pairs.

    Returns:
        In [0, 1]; 0 is no gap, 0.5 means pairs as far apart as strangers of one modality.

    Raises:
        ValueError: as ``modality_gap``, and if all rows of both modalities coincide.

    Source: Schrodi et al. 2024, arXiv 2404.07983 (the formula as we know it, not checked against the text).
    """
    pairs = 1 - pair_cosine(x, y)
    total = pairs + 1 - (cone_effect(x) + cone_effect(y)) / 2
    if total <= 1e-12:
        raise ValueError("all rows of x and y coincide, the embeddings have collapsed: train with a smaller alpha")
    return max(pairs / total, 0.0)


def effective_rank(x: Rows) -> float:
    """Effective rank: exp of the entropy of the singular values of the centred matrix, normalised to sum to 1.

    Args:
        x: (N, D) embeddings, of any length, N at least 2, at least two of them different.

    Returns:
        Between 1 (all on a line) and min(N - 1, D) (equally wide in all directions).

    Raises:
        ValueError: if ``x`` is malformed or all its rows coincide.

    Source: Roy and Vetterli 2007, EUSIPCO. The paper's "effective dimension" [digest] is read so [ours].
    """
    singular = torch.linalg.svdvals(centre_spread(x))
    return torch.special.entr(singular / singular.sum()).sum().exp().item()


def modality_mixing(x: Rows, y: Rows, k: int = 10) -> float:
    """Share of the k nearest neighbours, among both modalities together, that belong to the other modality.

    Args:
        x: (N, D) image embeddings, L2-normalised.
        y: (N, D) text embeddings of the same pairs.
        k: neighbours of each row, itself not among them; from 1 to 2N - 2, since among all the other 2N - 1 rows the
            share is the same for every model.

    Returns:
        In [0, 1]: 0 apart, 0.5 ideally mixed.

    Raises:
        ValueError: as ``modality_gap``, and if k is out of range.

    Source: the "modality-mixing score" of arXiv 2604.00279 [digest], read so [ours].
    """
    x, y = check_pairs(x, y)
    n = len(x)
    if not is_count(k) or k > 2 * n - 2:
        raise ValueError(f"k is {k}: with {n} pairs pass 1 to {2 * n - 2}")
    pooled = torch.cat([x, y])
    rows = torch.arange(2 * n, device=x.device)
    other = 0
    for chunk in rows.split(1024):
        similarity = pooled[chunk] @ pooled.T
        similarity[torch.arange(len(chunk)), chunk] = -torch.inf
        neighbours = similarity.topk(k, dim=1).indices
        other += ((neighbours < n) != (chunk < n)[:, None]).sum().item()
    return other / (2 * n * k)


def linear_separability(x: Rows, y: Rows, seed: int = 0) -> float:
    """Held-out accuracy of telling images from texts by logistic regression on the standardised embeddings.

    Half of the pairs train the classifier, the other half test it; a pair never stands on both sides.

    Args:
        x: (N, D) image embeddings, L2-normalised.
        y: (N, D) text embeddings of the same pairs.
        seed: seed of the split.

    Returns:
        In [0, 1]: 1 linearly separable, 0.5 mixed.

    Raises:
        ValueError: as ``modality_gap``.
    """
    from sklearn.linear_model import LogisticRegression  # loaded when asked for: it takes as long as torch
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = check_pairs(x, y)
    train, test = np.array_split(np.random.default_rng(seed).permutation(len(x)), 2)

    def stack(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return torch.cat([x[pairs], y[pairs]]).cpu().numpy(), np.repeat([0, 1], len(pairs))

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
    return float(classifier.fit(*stack(train)).score(*stack(test)))
