"""The dial without retraining: interpolated models beside retrained ones, task by task."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from tpccma.evidence.compared import GAP, averages
from tpccma.evidence.dial import TASKS
from tpccma.figures.style import PALETTE, draw_both_ways, legend_below
from tpccma.methods import FULL
from tpccma.runs.jobs import BASE

COLUMNS = 3
LABELLED = (0.1, 0.3, 0.5)  # of t; beyond these the points lie close
CURVES = {
    "retrained, by alpha": {"color": "black", "ecolor": "0.6", "marker": "o", "markersize": 4},
    "interpolated, by t": {"color": PALETTE[1], "ecolor": (PALETTE[1], 0.6), "marker": "s", "markersize": 5}
    | {"markerfacecolor": "white"},
    BASE: {"color": "black", "ecolor": "0.6", "marker": "*", "markersize": 9, "linestyle": "none"},
}
BESIDE = {"textcoords": "offset points", "fontsize": 8, "ha": "center", "va": "center", "zorder": 6}
HALO = withStroke(linewidth=2.5, foreground="white")


def plot_dial(worlds: dict[str, pd.DataFrame], method: str = FULL) -> Figure:
    """Draw each task over the raw gap: interpolated models and retrained ones as a curve each, the base as a star.

    Args:
        worlds: name to its runs, from `tpccma.evidence.dial.with_fronts`.
        method: the dial that was retrained.

    Returns:
        Two rows of panels a world; means over seeds with 95 % intervals both ways, a few points labelled by t.
    """
    rows = -(-len(TASKS) // COLUMNS)
    size = (9.4, 0.6 + 2.6 * rows * len(worlds))
    figure, panels = plt.subplots(rows * len(worlds), COLUMNS, figsize=size, layout="constrained")
    figure.get_layout_engine().set(hspace=0.04, wspace=0.03)
    places = iter(panels.flat)
    for world, runs in worlds.items():
        for task, label in TASKS.items():
            ax = next(places)
            _draw_curves(ax, runs, task, method)
            ax.set_title(f"{world}: {label}", fontsize=9)
            ax.tick_params(labelsize=8)
    for ax in panels[-1]:
        ax.set_xlabel("raw gap", fontsize=9)
    legend_below(figure, panels.flat[0], 3)
    return figure


def _draw_curves(ax: Axes, runs: pd.DataFrame, task: str, method: str) -> None:
    parts = runs[runs.method == method], runs[runs.model.str.startswith("t = ")], runs[runs.method == BASE]
    retrained, mixed, base = (_means(part, task) for part in parts)
    for (label, style), means in zip(CURVES.items(), (retrained, mixed, base), strict=True):
        draw_both_ways(ax, means, GAP, task, linewidth=1.2, label=label, **style)
    _label_points(ax, mixed["ours"], retrained["ours"].sort_values(GAP), task)


def _means(runs: pd.DataFrame, task: str) -> pd.DataFrame:
    """Average gap and task over the seeds of each alpha, or t: columns (field of the estimate, measure)."""
    means = averages(runs.assign(model=runs.alpha), [GAP, task])
    return means.pivot(index="model", columns="measure").sort_index()


def _label_points(ax: Axes, points: pd.DataFrame, curve: pd.DataFrame, task: str) -> None:
    """Write t beside a point, where neither the retrained curve is nor its own, which rises or falls."""
    rise = np.sign(points[GAP].corr(points[task]))
    for t, point in points[points.index.isin(LABELLED)].iterrows():
        side = 1 if point[task] >= np.interp(point[GAP], curve[GAP], curve[task]) else -1
        ax.annotate(f"{t:g}", (point[GAP], point[task]), (-9 * side * rise, 7 * side), path_effects=[HALO], **BESIDE)
