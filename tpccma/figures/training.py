"""Figures of a run: what happened while it was trained, and how its tasks came out beside other runs."""

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tpccma.evidence.verdicts import MIN_SEEDS, seed_interval

LINES = ("-", "--", ":", "-.", (0, (1, 3)))
PHASE_SHADES = {"anchor": "0.92", "ramp": "0.80", "stabilize": "0.96"}
# Title, the last line its unit.
TASK_LABELS = {
    "zeroshot_top1": "zero-shot\ntop-1 accuracy",
    "i2t_recall_at_1": "image-to-text\nrecall@1",
    "t2i_recall_at_1": "text-to-image\nrecall@1",
    "clustering_ari": "joint clustering\nARI",
    "cider": "captioning, fed\nthe raw image\nCIDEr",
    "cider_memory": "captioning, fed\nthe memory\nCIDEr",
}


def plot_training(steps: pd.DataFrame) -> Figure:
    """Draw what happened during a run: alpha, the two gradients, the angle between them, and the loss's terms.

    Args:
        steps: the run's log, ``Run.steps``.

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
    _plot_terms(terms, steps)
    for ax in panels.flat:
        _shade_phases(ax, steps)
    _name_phases(dial, steps)
    return figure


def plot_schedules(courses: dict[str, list[float]]) -> Figure:
    """Draw courses of alpha over the steps of a training.

    Args:
        courses: label to alpha at each step.

    Returns:
        One panel, a line a course.
    """
    figure, ax = plt.subplots(figsize=(8.5, 3.6), layout="constrained")
    for (label, alphas), style in zip(courses.items(), LINES, strict=False):
        ax.plot(alphas, linestyle=style, label=label)
    ax.set(xlabel="step", ylabel="alpha")
    ax.legend(loc="lower right", fontsize=9)
    return figure


def _plot_terms(ax: Axes, steps: pd.DataFrame) -> None:
    losses = [column for column in steps if column.endswith("_loss") and steps[column].notna().any()]
    _plot_smoothed(ax, steps, {name: name.removesuffix("_loss") for name in losses})
    ax.set(title="Terms of the loss, weighted", ylabel="nats, or squared distance", xlabel="step")
    ax.set_ylim(top=1.4 * ax.get_ylim()[1])
    ax.legend(loc="upper right", ncol=3, fontsize=8)


def _plot_smoothed(ax: Axes, steps: pd.DataFrame, columns: dict[str, str], window: int = 7) -> None:
    for (column, label), style in zip(columns.items(), LINES, strict=False):
        known = steps[steps[column].notna()]
        if len(known):
            smooth = known[column].rolling(window, min_periods=1).mean()
            ax.plot(known.step, smooth, linestyle=style, label=label)
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
        _plot_scores(ax, table, column)
        *title, unit = label.split("\n")
        ax.set(title=" ".join(title), ylabel=unit, xlabel="", ylim=(0, 1.15 * table[column].max()))
        ax.tick_params(axis="x", labelsize=9)
    return figure


def _plot_scores(ax: Axes, table: pd.DataFrame, column: str) -> None:
    """Draw a bar a model, its height written at its foot, and a dot a run."""
    grey = {"palette": sns.light_palette("0.6", table.model.nunique()), "edgecolor": "black", "legend": False}
    whiskers = {"errorbar": _seed_bounds, "capsize": 0.3}
    sns.barplot(table, x="model", y=column, hue="model", ax=ax, **grey, **whiskers)
    sns.stripplot(table, x="model", y=column, ax=ax, color="black", size=4, jitter=False)
    plate = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
    text = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center", "fontsize": 9, "bbox": plate}
    for patch, value in zip(ax.patches, table.groupby("model", sort=False)[column].mean(), strict=False):
        ax.annotate(f"{value:.2f}", (patch.get_x() + patch.get_width() / 2, 0), **text)


def _seed_bounds(values: pd.Series) -> tuple[float, float]:
    """Bound the mean over seeds by Student's 95 % interval; of fewer than three seeds, draw none."""
    found = seed_interval(values)
    return (found.low, found.high) if found.n >= MIN_SEEDS else (found.ours, found.ours)
