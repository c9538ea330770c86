"""The plane in which clouds of embeddings are drawn, so that the gap is seen. Needs no torch."""

import numpy as np


def gap_plane(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Find two directions that show the gap, the same for both modalities.

    Args:
        images: (N, D) embeddings of N pictures.
        texts: (N, D) embeddings of their texts.

    Returns:
        (D, 2), orthonormal: right, the largest principal component of what is left; and up, from the images' mean to
        the texts'.
    """
    from sklearn.decomposition import PCA  # takes a second to load, and only clouds need it

    up = texts.mean(0) - images.mean(0)
    up = up / np.linalg.norm(up)
    rest = np.concatenate([part - part.mean(0) for part in (images, texts)])
    right = PCA(1, random_state=0).fit(rest - np.outer(rest @ up, up)).components_[0]
    return np.stack([right, up], axis=1)
