"""Joint clustering: do images and texts of one class fall into one cluster, or into a cluster for each modality?

Every image is joined by one prompt of its class, so that both modalities weigh the same, and k-means with one cluster a
class runs on the 2N points together [ours]; the paper clusters images and texts of 200 ImageNet classes [digest].

Legend: ``N`` images, ``C`` classes, ``T`` prompts a class, ``D`` width.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor

from tpccma.metrics.checks import is_count
from tpccma.tasks.checks import check_inputs, check_labels, comparable

CHANCE_DRAWS = 20


@dataclass(frozen=True)
class JointClustering:
    """Agreement of the joint clusters with the classes.

    Attributes:
        ari: adjusted Rand index, at most 1; 0 is chance.
        nmi: normalised mutual information (arithmetic mean), in [0, 1]; the V-measure, which older records have too.
        chance_ari: mean ARI of random clusters of the same sizes.
        text_only_ari: ARI of k-means on the N joined prompts alone.
        image_only_ari: ARI of k-means on the N images alone.
        assignments: (2N,) cluster of each image, then of each joined prompt.
    """

    ari: float
    nmi: float
    chance_ari: float
    text_only_ari: float
    image_only_ari: float
    assignments: Tensor

    def metrics(self) -> dict[str, float]:
        """Returns the figures as ``clustering_ari``, ``clustering_nmi`` and so on, for the run record."""
        return {f"clustering_{f.name}": getattr(self, f.name) for f in fields(self) if f.name != "assignments"}


def joint_clustering(
    image_features: Tensor, labels: Tensor, prompt_features: Tensor, n_init: int = 10, seed: int = 0
) -> JointClustering:
    """Clusters the images and one prompt for each of them into C clusters.

    Image i is joined by ``prompt_features[labels[i], i % T]``.

    Args:
        image_features: (N, D) image embeddings, L2-normalised.
        labels: (N,) integers of any width, each in [0, C).
        prompt_features: (C, T, D) embeddings of the T prompts of each class, L2-normalised.
        n_init: restarts of k-means, the best of which counts.
        seed: seed of k-means and of the chance reference.

    Returns:
        The clusters and their agreement with the classes.

    Raises:
        ValueError: if shapes do not match, there are no images, features are not finite or not of length 1 within 0.01,
            labels are no integers or out of range, or ``n_init`` is below 1.

    Source: task of arXiv 2604.00279 [digest]; this protocol is [ours].
    """
    given = {"image_features": image_features, "labels": labels, "prompt_features": prompt_features}
    check_inputs("(N, D), (N,) and (C, T, D)", **given)
    if not is_count(n_init):
        raise ValueError(f"n_init is {n_init}: pass 1 or more, usually 10")
    labels = check_labels(labels, len(prompt_features))
    image_features, prompt_features = comparable(image_features=image_features, prompt_features=prompt_features)
    classes, templates, _ = prompt_features.shape
    texts = prompt_features[labels, torch.arange(len(labels), device=labels.device) % templates]
    images, texts = (features.detach().cpu().double().numpy() for features in (image_features, texts))
    truth = labels.cpu().numpy()
    both = np.tile(truth, 2)
    clusters = _k_means(np.concatenate([images, texts]), classes, n_init, seed)
    draws = np.random.default_rng(seed)
    chance = [adjusted_rand_score(both, draws.permutation(clusters)) for _ in range(CHANCE_DRAWS)]
    return JointClustering(
        ari=float(adjusted_rand_score(both, clusters)),
        nmi=float(normalized_mutual_info_score(both, clusters)),
        chance_ari=float(np.mean(chance)),
        text_only_ari=float(adjusted_rand_score(truth, _k_means(texts, classes, n_init, seed))),
        image_only_ari=float(adjusted_rand_score(truth, _k_means(images, classes, n_init, seed))),
        assignments=torch.as_tensor(clusters, dtype=torch.int64),
    )


def _k_means(points: np.ndarray, k: int, n_init: int, seed: int) -> np.ndarray:
    """Cluster of each point; with fewer distinct points than k, as many clusters as there are of those."""
    points = points.round(6)  # points that differ by rounding alone are one point
    distinct = len(np.unique(points, axis=0))
    return KMeans(min(k, distinct), n_init=n_init, random_state=seed).fit_predict(points)
