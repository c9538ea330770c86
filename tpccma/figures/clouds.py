"""The figures of the book: readable in grey, by the colour-blind, and without the text around them.

Images are always drawn with filled circles in blue, texts with open triangles in orange.

Legend: N pairs, D embedding width, C clusters.
"""

import textwrap

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from torch import Tensor

from tpccma.evidence.verdicts import MIN_SEEDS, seed_interval

IMAGE, TEXT, NEUTRAL = sns.color_palette("colorblind")[0], sns.color_palette("colorblind")[1], "0.35"
PHASE_SHADES = {"anchor": "0.92", "ramp": "0.80", "stabilize": "0.96"}
TASK_LABELS = {
    "zeroshot_top1": "zero-shot\ntop-1 accuracy",
    "i2t_recall_at_1": "image-to-text\nrecall@1",
    "t2i_recall_at_1": "text-to-image\nrecall@1",
    "clustering_ari": "joint clustering\nARI",
    "cider": "captioning, fed\nthe raw image\nCIDEr",
    "cider_memory": "captioning, fed\nthe memory\nCIDEr",
}


def use_style() -> None:
    """Set the style of every figure: seaborn's white grid, the colour-blind palette, sizes for a page."""
    sns.set_theme(
        style="whitegrid",
        palette="colorblind",
        rc={"figure.dpi": 110, "axes.titlesize": 11, "axes.titleweight": "bold"},
    )


def plot_clouds(clouds: dict[str, tuple[Tensor, Tensor]], pairs_drawn: int = 25) -> Figure:
    """Draw images and texts in a plane that shows the gap, with their centroids and some pairs.

    Up is the direction from the first panel's image centroid to its text centroid; right is the largest principal
    component of what is left. All panels share these axes, so they can be compared.

    Args:
        clouds: title to (images, texts), each (N, D).
        pairs_drawn: pairs joined by a line.

    Returns:
        One panel a title.
    """
    axes = _gap_plane(*(np.asarray(part) for part in next(iter(clouds.values()))))
    figure, panels = plt.subplots(
        1, len(clouds), figsize=(5.2 * len(clouds), 4.0), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for ax, (title, (images, texts)) in zip(panels[0], clouds.items(), strict=True):
        x, y = np.asarray(images) @ axes, np.asarray(texts) @ axes
        ax.plot(*np.stack([x[:pairs_drawn], y[:pairs_drawn]]).transpose(2, 0, 1), color="0.6", linewidth=0.6, zorder=1)
        _scatter_modalities(ax, x, y)
        for points, colour, marker in ((x, IMAGE, "o"), (y, TEXT, "^")):
            ax.scatter(*points.mean(0), s=150, color=colour, marker=marker, edgecolor="black", linewidth=1.5, zorder=4)
        ax.set(title=title, xlabel="largest principal component of the rest")
    panels[0, 0].set_ylabel("from image centroid\nto text centroid")
    panels[0, 0].legend(loc="center left", framealpha=0.9)
    return figure


def _gap_plane(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Return two orthonormal directions (D, 2): the rest's largest principal component, and between the centroids."""
    up = texts.mean(0) - images.mean(0)
    up = up / np.linalg.norm(up)
    rest = np.concatenate([part - part.mean(0) for part in (images, texts)])
    right = PCA(1, random_state=0).fit(rest - np.outer(rest @ up, up)).components_[0]
    return np.stack([right, up], axis=1)


def _scatter_modalities(ax: Axes, images: np.ndarray, texts: np.ndarray) -> None:
    ax.scatter(*images.T, s=9, color=IMAGE, alpha=0.6, linewidth=0, label="images", zorder=2)
    ax.scatter(
        *texts.T, s=13, facecolor="none", edgecolor=TEXT, marker="^", linewidth=0.6, alpha=0.8, label="texts", zorder=3
    )


def plot_gap_split(gaps: pd.DataFrame) -> Figure:
    """Draw the squared raw gap as a bar of two parts, the squared centroid and distribution gaps.

    Args:
        gaps: one row a model, indexed by its name, with raw_gap, centroid_gap and distribution_gap, and where there
            are any the bounds raw_gap_low and raw_gap_high of a 95 % interval.

    Returns:
        One bar a model, from top to bottom; the interval of the raw gap as a whisker.
    """
    figure, ax = plt.subplots(figsize=(8.0, 1.7 + 0.5 * len(gaps)), layout="constrained")
    rows = np.arange(len(gaps))
    centroid, distribution = gaps.centroid_gap**2, gaps.distribution_gap**2
    ax.barh(rows, centroid, color=NEUTRAL, label="centroid gap²", height=0.6)
    ax.barh(
        rows,
        distribution,
        left=centroid,
        color="0.8",
        edgecolor=NEUTRAL,
        hatch="///",
        label="distribution gap²",
        height=0.6,
    )
    if "raw_gap_low" in gaps:
        total = gaps.raw_gap**2
        ax.errorbar(
            total,
            rows,
            xerr=[total - gaps.raw_gap_low**2, gaps.raw_gap_high**2 - total],
            fmt="none",
            color="black",
            capsize=4,
        )
    for row, gap in zip(rows, gaps.itertuples(), strict=True):
        ax.annotate(
            f"{gap.raw_gap:.2f}² = {gap.centroid_gap:.2f}² + {gap.distribution_gap:.2f}²",
            (gap.raw_gap**2, row),
            (8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    ax.set(
        yticks=rows,
        yticklabels=gaps.index,
        xlabel="squared distance of the two members of a pair (unit embeddings: 0 to 4)",
        title="The raw gap, split",
    )
    ax.set_xlim(0, 1.55 * float((gaps.raw_gap**2).max()))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    figure.legend(loc="outside lower center", ncol=2, frameon=False)
    return figure


def plot_training(steps: pd.DataFrame) -> Figure:
    """Draw what happened during a run: alpha, the two gradients, the angle between them, and the loss's terms.

    Args:
        steps: the run's log, `Run.steps`.

    Returns:
        Four panels over the steps, the three phases shaded.
    """
    figure, panels = plt.subplots(2, 2, figsize=(10.5, 6.4), sharex=True, layout="constrained")
    (dial, norms), (angle, terms) = panels
    dial.plot(steps.step, steps.alpha, color="black")
    dial.set(title="The dial", ylabel="alpha", ylim=(-0.03, max(0.1, 1.2 * steps.alpha.max())))
    _plot_smoothed(norms, steps, {"clip_norm": "‖g_clip‖", "cma_norm": "‖g_cma‖"})
    norms.set(title="Gradients at the embeddings", ylabel="norm")
    norms.set_ylim(0)
    _plot_smoothed(angle, steps, {"cosine": "cos(g_clip, g_cma)"})
    angle.axhline(0, color="black", linewidth=0.8)
    angle.set(title="Do the two losses agree?", ylabel="cosine (−1 to 1)", xlabel="step")
    losses = [column for column in steps if column.endswith("_loss") and steps[column].notna().any()]
    _plot_smoothed(terms, steps, {name: name.removesuffix("_loss") for name in losses})
    terms.set(title="Terms of the loss, weighted", ylabel="nats, or squared distance", xlabel="step")
    terms.set_ylim(top=1.4 * terms.get_ylim()[1])
    terms.legend(loc="upper right", ncol=3, fontsize=8)
    for ax in panels.flat:
        _shade_phases(ax, steps)
    _name_phases(dial, steps)
    return figure


def _plot_smoothed(ax: Axes, steps: pd.DataFrame, columns: dict[str, str], window: int = 7) -> None:
    for (column, label), style in zip(columns.items(), ("-", "--", ":", "-.", (0, (1, 3))), strict=False):
        if steps[column].notna().any():
            ax.plot(steps.step, steps[column].rolling(window, min_periods=1).mean(), linestyle=style, label=label)
    if ax.lines:
        ax.legend(fontsize=9)


def _shade_phases(ax: Axes, steps: pd.DataFrame) -> None:
    for phase, part in steps.groupby("phase", sort=False):
        ax.axvspan(part.step.min() - 0.5, part.step.max() + 0.5, color=PHASE_SHADES[phase], zorder=0, linewidth=0)


def _name_phases(ax: Axes, steps: pd.DataFrame) -> None:
    for phase, step in steps.groupby("phase", sort=False).step.mean().items():
        ax.annotate(phase, (step, 0.93), xycoords=("data", "axes fraction"), ha="center", fontsize=9)


def plot_tasks(table: pd.DataFrame, labels: dict[str, str] = TASK_LABELS) -> Figure:
    """Draw each task's score by model: one dot a run, a bar for the mean over seeds with its 95 % interval.

    Args:
        table: one row a run, with a column ``model`` and the columns that labels names.
        labels: column to panel title; its last line is the unit.

    Returns:
        One panel a task.
    """
    table = table.assign(model=table.model.str.replace("alpha ", "α "))
    figure, panels = plt.subplots(2, 3, figsize=(10.5, 6.6), layout="constrained")
    for ax, (column, label) in zip(panels.flat, labels.items(), strict=True):
        sns.barplot(
            table,
            x="model",
            y=column,
            hue="model",
            ax=ax,
            palette=sns.light_palette("0.6", table.model.nunique()),
            edgecolor="black",
            errorbar=_seed_bounds,
            capsize=0.3,
            legend=False,
        )
        sns.stripplot(table, x="model", y=column, ax=ax, color="black", size=4, jitter=False)
        for patch, value in zip(ax.patches, table.groupby("model", sort=False)[column].mean(), strict=False):
            ax.annotate(
                f"{value:.2f}",
                (patch.get_x() + patch.get_width() / 2, 0),
                (0, 4),
                textcoords="offset points",
                ha="center",
                fontsize=9,
                bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"},
            )
        *title, unit = label.split("\n")
        ax.set(title=" ".join(title), ylabel=unit, xlabel="", ylim=(0, 1.15 * table[column].max()))
        ax.tick_params(axis="x", labelsize=9)
    return figure


def _seed_bounds(values: pd.Series) -> tuple[float, float]:
    """Bound the mean over seeds by Student's 95 % interval; of fewer than three seeds, draw none."""
    found = seed_interval(values)
    return (found.low, found.high) if found.n >= MIN_SEEDS else (found.ours, found.ours)


def plot_scenes(images: Tensor, captions: dict[str, list[str]], columns: int = 4) -> Figure:
    """Draw pictures with the captions that several models say of them.

    Args:
        images: (N, 3, H, W) uint8 pixels.
        captions: model name to N captions.
        columns: pictures a row.

    Returns:
        One panel a picture.
    """
    rows = -(-len(images) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(2.1 * columns, (1.95 + 0.7 * len(captions)) * rows), squeeze=False, layout="constrained"
    )
    for ax in panels.flat:
        ax.axis("off")
    for i, ax in zip(range(len(images)), panels.flat, strict=False):
        ax.imshow(images[i].permute(1, 2, 0).numpy())
        lines = ["\n".join(textwrap.wrap(f"{name}: {said[i]}", 25)) for name, said in captions.items()]
        ax.text(0.5, -0.05, "\n".join(lines), transform=ax.transAxes, ha="center", va="top", fontsize=9.5)
    return figure


def plot_joint_clusters(models: dict[str, Tensor]) -> Figure:
    """Draw what joint clusters consist of: images and texts, cluster by cluster.

    Args:
        models: title to the (2 N,) assignments of `JointClustering`, images first.

    Returns:
        One panel a model; a bar a cluster, ordered by its share of texts. Where the modalities stay apart, bars are of
        one shade.
    """
    figure, panels = plt.subplots(
        1, len(models), figsize=(5.2 * len(models), 3.4), sharey=True, squeeze=False, layout="constrained"
    )
    for ax, (title, assignments) in zip(panels[0], models.items(), strict=True):
        half = len(assignments) // 2
        images, texts = (
            np.bincount(part, minlength=int(assignments.max()) + 1) for part in (assignments[:half], assignments[half:])
        )
        order = np.argsort(texts / np.maximum(images + texts, 1), kind="stable")
        ranks = np.arange(len(order))
        ax.bar(ranks, images[order], color=IMAGE, label="images")
        ax.bar(ranks, texts[order], bottom=images[order], color="white", edgecolor=TEXT, hatch="///", label="texts")
        ax.set(title=title, xlabel="cluster, ordered by its share of texts", xticks=[])
    panels[0, 0].set_ylabel("members")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure
