"""What the figures of embeddings draw, from torch tensors as from arrays."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt

from tpccma.figures.clouds import plot_clouds, plot_gap_split, plot_joint_clusters, plot_scenes


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def test_clouds_stand_apart_by_the_gap_of_their_centroids():
    spread = torch.tensor([[0.0, 0, 1], [0, 0, -1], [0, 0, 2], [0, 0, -2]])
    images, texts = spread + torch.tensor([1.0, 0, 0]), spread + torch.tensor([0.0, 1, 0])
    figure = plot_clouds({"apart": (images, texts), "together": (images, images)}, pairs_drawn=2)
    apart, together = figure.axes
    assert (apart.get_title(), together.get_title()) == ("apart", "together")
    x, y = (apart.collections[i].get_offsets() for i in (2, 3))  # after the points: the centroids
    assert np.linalg.norm(y - x) == pytest.approx(2**0.5)  # from (1, 0, 0) to (0, 1, 0), straight up
    assert y[0][0] == pytest.approx(x[0][0], abs=1e-6)
    assert [len(line.get_xdata()) for line in apart.lines] == [2, 2]
    assert [text.get_text() for text in apart.get_legend().get_texts()] == ["images", "texts"]


def test_split_gap_is_a_bar_of_two_squares_with_its_sum():
    gaps = pd.DataFrame({"raw_gap": [1.0], "centroid_gap": [0.6], "distribution_gap": [0.8]}, index=["base"])
    ax = plot_gap_split(gaps).axes[0]
    assert [patch.get_width() for patch in ax.patches] == pytest.approx([0.36, 0.64])
    assert [text.get_text() for text in ax.texts] == ["1.000² = 0.600² + 0.800²"]
    assert not ax.containers[2:]  # no whisker without bounds
    ax = plot_gap_split(gaps.assign(raw_gap_low=0.9, raw_gap_high=1.1)).axes[0]
    (whisker,) = ax.containers[2][2][0].get_segments()
    assert whisker[:, 0].tolist() == pytest.approx([0.81, 1.21])


def test_scenes_have_a_panel_each_with_what_every_model_says():
    images = torch.arange(3 * 3 * 4 * 5, dtype=torch.uint8).reshape(3, 3, 4, 5)
    figure = plot_scenes(images, {"base": ["a", "b", "c"], "aligned": ["d", "e", "f"]}, columns=2)
    assert len(figure.axes) == 4  # the last is empty
    assert [ax.texts[0].get_text() for ax in figure.axes[:3]] == [
        f"base: {a}\naligned: {b}" for a, b in ("ad", "be", "cf")
    ]
    assert np.array_equal(figure.axes[1].images[0].get_array(), images[1].permute(1, 2, 0))


def test_clusters_are_ordered_by_their_share_of_texts():
    # images in clusters 1, 0, 0, texts in 2, 0, 1: the share of texts is 1/3, 1/2 and 1
    ax = plot_joint_clusters({"base": torch.tensor([1, 0, 0, 2, 0, 1])}).axes[0]
    assert [patch.get_height() for patch in ax.patches] == [2, 1, 0, 1, 1, 1]  # images, then texts
