"""Figures of embeddings and of what is embedded: clouds, the gap's two parts, pictures with captions, joint clusters.

Legend: N pairs, D embedding width, C clusters. Arrays may be torch tensors.
"""

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from tpccma.figures.style import IMAGE, NEUTRAL, TEXT, legend_below, use_style
from tpccma.files import whole_file
from tpccma.runs.plane import gap_plane


def plot_clouds(clouds: dict[str, tuple[ArrayLike, ArrayLike]], pairs_drawn: int = 25) -> Figure:
    """Draw images and texts in a plane that shows the gap, with their centroids and some pairs.

    Up is the direction from the first panel's image centroid to its text centroid; right is the largest principal
    component of what is left. All panels share these axes, so they can be compared.

    Args:
        clouds: title to (images, texts), each (N, D).
        pairs_drawn: pairs joined by a line.

    Returns:
        One panel a title.
    """
    axes = gap_plane(*(np.asarray(part) for part in next(iter(clouds.values()))))
    figure, panels = plt.subplots(
        1, len(clouds), figsize=(5.2 * len(clouds), 4.0), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for ax, (title, parts) in zip(panels[0], clouds.items(), strict=True):
        _draw_clouds(ax, *(np.asarray(part) @ axes for part in parts), pairs_drawn)
        ax.set(title=title, xlabel="largest principal component of the rest")
    panels[0, 0].set_ylabel("from image centroid\nto text centroid")
    panels[0, 0].legend(loc="center left", framealpha=0.9)
    return figure


def _draw_clouds(ax: Axes, images: np.ndarray, texts: np.ndarray, pairs_drawn: int) -> None:
    pairs = np.stack([images[:pairs_drawn], texts[:pairs_drawn]]).transpose(2, 0, 1)
    ax.plot(*pairs, color="0.6", linewidth=0.6, zorder=1)
    ax.scatter(*images.T, s=9, color=IMAGE, alpha=0.6, linewidth=0, label="images", zorder=2)
    hollow = {"facecolor": "none", "edgecolor": TEXT, "marker": "^", "linewidth": 0.6}
    ax.scatter(*texts.T, s=13, alpha=0.8, label="texts", zorder=3, **hollow)
    for points, colour, marker in ((images, IMAGE, "o"), (texts, TEXT, "^")):
        ax.scatter(*points.mean(0), s=150, color=colour, marker=marker, edgecolor="black", linewidth=1.5, zorder=4)


def plot_gap_split(gaps: pd.DataFrame) -> Figure:
    """Draw the squared raw gap as a bar of two parts, the squared centroid and distribution gaps.

    Args:
        gaps: one row a model, indexed by its name, with raw_gap, centroid_gap and distribution_gap, and where there
            are any the bounds raw_gap_low and raw_gap_high of a 95 % interval.

    Returns:
        One bar a model, from top to bottom; the interval of the raw gap as a whisker.
    """
    figure, ax = plt.subplots(figsize=(8.0, 1.7 + 0.5 * len(gaps)), layout="constrained")
    rows, centroid = np.arange(len(gaps)), gaps.centroid_gap**2
    ax.barh(rows, centroid, color=NEUTRAL, label="centroid gap²", height=0.6)
    light = {"color": "0.8", "edgecolor": NEUTRAL, "hatch": "///"}
    ax.barh(rows, gaps.distribution_gap**2, left=centroid, label="distribution gap²", height=0.6, **light)
    if "raw_gap_low" in gaps:
        total = gaps.raw_gap**2
        errors = [total - gaps.raw_gap_low**2, gaps.raw_gap_high**2 - total]
        ax.errorbar(total, rows, xerr=errors, fmt="none", color="black", capsize=4)
    _write_sums(ax, gaps)
    ax.set(yticks=rows, yticklabels=gaps.index, title="The raw gap, split")
    ax.set(xlabel="squared distance of the two members of a pair (unit embeddings: 0 to 4)")
    ax.set_xlim(0, 1.55 * float((gaps.raw_gap**2).max()))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    legend_below(figure, ax, 2)
    return figure


def _write_sums(ax: Axes, gaps: pd.DataFrame) -> None:
    """Write behind each bar what it is the sum of."""
    for row, gap in enumerate(gaps.itertuples()):
        text = f"{gap.raw_gap:.3f}² = {gap.centroid_gap:.3f}² + {gap.distribution_gap:.3f}²"
        offset = {"xytext": (8, 0), "textcoords": "offset points"}
        end = np.nanmax([gap.raw_gap, getattr(gap, "raw_gap_high", np.nan)])
        ax.annotate(text, (end**2, row), va="center", fontsize=9, **offset)


def plot_scenes(images: ArrayLike, captions: dict[str, list[str]], columns: int = 4) -> Figure:
    """Draw pictures with the captions that several models say of them.

    Args:
        images: (N, 3, H, W) uint8 pixels.
        captions: model name to N captions.
        columns: pictures a row.

    Returns:
        One panel a picture.
    """
    pictures = np.moveaxis(np.asarray(images), 1, -1)
    rows = -(-len(pictures) // columns)
    size = (2.1 * columns, (1.95 + 0.7 * len(captions)) * rows)
    figure, panels = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for ax in panels.flat:
        ax.axis("off")
    for i, (ax, picture) in enumerate(zip(panels.flat, pictures, strict=False)):
        ax.imshow(picture)
        lines = ["\n".join(textwrap.wrap(f"{name}: {said[i]}", 25)) for name, said in captions.items()]
        ax.text(0.5, -0.05, "\n".join(lines), transform=ax.transAxes, ha="center", va="top", fontsize=9.5)
    return figure


def plot_joint_clusters(models: dict[str, ArrayLike]) -> Figure:
    """Draw what joint clusters consist of: images and texts, cluster by cluster.

    Args:
        models: title to the (2 N,) assignments of `~tpccma.tasks.clustering.JointClustering`, images first.

    Returns:
        One panel a model; a bar a cluster, ordered by its share of texts. Where the modalities stay apart, bars are of
        one shade.
    """
    size = (5.2 * len(models), 3.4)
    figure, panels = plt.subplots(1, len(models), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for ax, (title, assignments) in zip(panels[0], models.items(), strict=True):
        _draw_clusters(ax, np.asarray(assignments))
        ax.set(title=title, xlabel="cluster, ordered by its share of texts", xticks=[])
    panels[0, 0].set_ylabel("members")
    legend_below(figure, panels[0, 0], 2)
    return figure


def _draw_clusters(ax: Axes, assignments: np.ndarray) -> None:
    halves = np.split(assignments, [len(assignments) // 2])
    images, texts = (np.bincount(half, minlength=assignments.max() + 1) for half in halves)
    order = np.argsort(texts / np.maximum(images + texts, 1), kind="stable")
    ranks = np.arange(len(order))
    ax.bar(ranks, images[order], color=IMAGE, label="images")
    ax.bar(ranks, texts[order], bottom=images[order], color="white", edgecolor=TEXT, hatch="///", label="texts")


def save_gap(found: dict, path: str | Path) -> None:
    """Draw the gap's two parts, as they are and after centring, into a file.

    Args:
        found: from `tpccma.practice.gap.describe`.
        path: of a png, svg or pdf.

    Raises:
        ValueError: if matplotlib writes no such file.
    """
    states = {"as they are": found, "centred": found["centred"]}
    rows = {title: _gaps(state) for title, state in states.items() if state}
    use_style()
    figure = plot_gap_split(pd.DataFrame.from_dict(rows, orient="index"))
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=150, format=Path(path).suffix.removeprefix(".") or None)
    plt.close(figure)


def _gaps(state: dict) -> dict[str, float]:
    values = {f"{name}_gap": state[name] for name in ("raw", "centroid", "distribution")}
    return values | dict(zip(("raw_gap_low", "raw_gap_high"), state["raw_interval"], strict=True))
