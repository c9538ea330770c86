"""The Pareto figure: every task's score over the raw gap, the dial as a curve among the other methods.

Intervals are Student's 95 % over seeds, none with fewer than three.
"""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tpccma.evidence.compared import GAP, ORDER, averages
from tpccma.evidence.table import DIALS
from tpccma.figures.style import PALETTE, draw_both_ways, legend_below
from tpccma.methods import FULL, METHODS, PAIRED
from tpccma.runs.jobs import DIAL

DIAL_COLOURS = {PAIRED: "0.55", FULL: "black"}
DPI = 85  # two of these stand in one notebook
PARETO_LABELS = {
    "zeroshot_top1": ("Zero-shot classification", "top-1 accuracy (0 to 1)"),
    "recall_at_1": ("Retrieval", "recall@1, mean of both directions"),
    "clustering_ari": ("Joint clustering", "ARI"),
    "cider": ("Captioning, fed the raw image", "CIDEr"),
}
OTHERS = [name for name in ORDER if name not in DIALS]
MARKERS = dict(zip(OTHERS, "*Ps^Dv<>Xphd8H", strict=False))
COLOURS = dict(zip(OTHERS, [*PALETTE, *PALETTE], strict=False))


def plot_pareto(runs: pd.DataFrame) -> Figure:
    """Draw every task's score over the raw gap: the dial as a curve labelled by alpha, other methods as markers.

    Args:
        runs: from `tpccma.evidence.compared.compared_runs`, of one profile.

    Returns:
        Four panels; a faint dot is a run, a marker the mean over seeds with intervals both ways.
    """
    figure, panels = plt.subplots(2, 2, figsize=(9.2, 8.8), dpi=DPI, sharex=True, layout="constrained")
    for ax, (task, (title, unit)) in zip(panels.flat, PARETO_LABELS.items(), strict=True):
        ax.set_title(title, pad=22)
        ax.set(ylabel=unit)
        ax.margins(0.06)
        _draw_task(ax, runs, task)
    for ax in panels[1]:
        ax.set_xlabel("raw gap (RMS distance within a pair, 0 to 2)")
    legend_below(figure, panels[0, 0], 5)
    return figure


def _draw_task(ax: Axes, runs: pd.DataFrame, task: str) -> None:
    ax.scatter(runs[GAP], runs[task], s=5, color="0.6", linewidth=0, zorder=1)
    means = averages(runs, [GAP, task]).pivot(index="model", columns="measure").reindex(runs.model.unique())
    for model, method in runs.groupby("model", sort=False).method.first().items():
        if method not in DIALS:
            _mark_method(ax, means.loc[[model]], task, method)
    for dial, colour in DIAL_COLOURS.items():
        alphas = runs[runs.method == dial].groupby("model", sort=False).alpha.first()
        if len(alphas):
            _draw_dial(ax, means.loc[alphas.index], task, dial, colour)
            if dial == DIAL:
                _label_alphas(ax, means.loc[alphas.index], task, alphas)


def _mark_method(ax: Axes, means: pd.DataFrame, task: str, method: str) -> None:
    """Draw one mark; hollow where nothing was trained."""
    hollow = method in METHODS and not METHODS[method].trained
    style = {"marker": MARKERS[method], "markersize": 10 if method == "base" else 7, "zorder": 4}
    style |= {"markerfacecolor": "white" if hollow else COLOURS[method], "markeredgecolor": "black"}
    draw_both_ways(ax, means, GAP, task, label=method, linestyle="none", **style)


def _draw_dial(ax: Axes, means: pd.DataFrame, task: str, dial: str, colour) -> None:
    style = {"color": colour, "marker": "o", "markersize": 4.5, "linewidth": 1.2, "zorder": 3}
    draw_both_ways(ax, means, GAP, task, label=f"{dial}, by α", **style)


def _label_alphas(ax: Axes, means: pd.DataFrame, task: str, alphas: pd.Series) -> None:
    ax.autoscale_view()
    left, right = ax.get_xlim()
    groups = _group((means["ours", GAP] - left) / (right - left), alphas)
    places = _spread_labels(np.array([means.loc[models, ("ours", GAP)].mean() - left for models in groups.values()])
                            / (right - left), least=0.15)  # fmt: skip
    line = {"arrowstyle": "-", "color": "0.75", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2}
    above = {"textcoords": "axes fraction", "ha": "center", "va": "bottom", "fontsize": 8, "arrowprops": line}
    for (said, models), place in zip(groups.items(), places, strict=True):
        ax.annotate(said, means.loc[models, "ours"][[GAP, task]].mean().tolist(), (place, 1.02), **above)
    ax.text(-0.01, 1.02, "α =", transform=ax.transAxes, ha="right", va="bottom", fontsize=8)


def _group(places: pd.Series, alphas: pd.Series, near: float = 0.02) -> dict[str, list[str]]:
    """Put alphas together whose points lie near each other on a line, from 0 to 1: what is said of them, to models."""
    ordered = places.sort_values()
    found = {}
    for _, part in ordered.groupby((ordered.diff() > near).cumsum()):
        own = alphas[part.index].sort_values()
        between = ((alphas > own.iloc[0]) & (alphas < own.iloc[-1])).sum() == len(own) - 2
        said = (
            f"{own.iloc[0]:g} to {own.iloc[-1]:g}" if len(own) > 1 and between else ", ".join(map("{:g}".format, own))
        )
        found[own.iloc[0], said] = list(own.index)
    return {said: found[least, said] for least, said in sorted(found)}


def _spread_labels(places: np.ndarray, least: float = 0.09) -> np.ndarray:
    """Move places on a line apart, as little as possible (least squares), then into 0 to 1 if they fit."""
    from scipy.optimize import isotonic_regression  # half a second, for this alone

    order, steps = np.argsort(places), least * np.arange(len(places))
    spread = isotonic_regression(places[order] - steps).x.clip(0, max(0.0, 1 - steps[-1])) + steps
    return spread[np.argsort(order)]
