"""The dial without retraining: interpolated models beside retrained ones, task by task."""

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tpccma.evidence.compared import GAP
from tpccma.evidence.dial import TASKS
from tpccma.figures.style import PALETTE, legend_below
from tpccma.methods import FULL
from tpccma.runs.jobs import BASE

COLUMNS = 3
CURVES = {
    "retrained, by alpha": {"color": "black", "marker": "o", "markersize": 4},
    "interpolated, by t": {"color": PALETTE[1], "marker": "s", "markersize": 5, "markerfacecolor": "white"},
}


def plot_dial(worlds: dict[str, pd.DataFrame], method: str = FULL) -> Figure:
    """Draw each task over the raw gap: interpolated models and retrained ones as a curve each, the base as a star.

    Args:
        worlds: name to its runs, from `tpccma.evidence.dial.with_fronts`.
        method: the dial that was retrained.

    Returns:
        Two rows of panels a world; means over seeds.
    """
    rows = -(-len(TASKS) // COLUMNS)
    size = (9.4, 0.6 + 2.4 * rows * len(worlds))
    figure, panels = plt.subplots(rows * len(worlds), COLUMNS, figsize=size, layout="constrained")
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
    parts = runs[runs.method == method], runs[runs.model.str.startswith("t = ")]
    for (label, style), part in zip(CURVES.items(), parts, strict=True):
        curve = part.groupby("alpha")[[GAP, task]].mean()
        ax.plot(curve[GAP], curve[task], linewidth=1.2, label=label, **style)
    base = runs[runs.method == BASE][[GAP, task]].mean()
    ax.plot(base[GAP], base[task], "*", color="black", markersize=9, linestyle="none", label=BASE)
