"""The figures of the chapter on real models. Whiskers are 95 % intervals, see `tpccma.runs.real_models`."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tpccma.evidence.real_models import RECALL_NAMES
from tpccma.figures.style import IMAGE, TEXT, draw_estimates, legend_below, mark_style

FIRST = ("first modality", -0.14, mark_style("o", IMAGE, IMAGE))
TEXTS = ("texts", 0.14, mark_style("^", "white", TEXT))
SHAPES = {"mean cosine within a modality": "cone", "effective rank (directions)": "effective_rank"}
BEFORE = ("as it is", -0.14, mark_style("o", IMAGE, IMAGE))
AFTER = ("mean-centred", 0.14, mark_style("s", "white", TEXT))


def plot_shape(table: pd.DataFrame) -> Figure:
    """Draw the cone and the effective rank of both modalities of each model.

    Args:
        table: of `tpccma.evidence.real_models.estimates`.

    Returns:
        Two panels, a row a model; a stroke at the largest rank that its number of pairs allows.
    """
    raw = table[table.state == "raw"]
    labels = list(table.label.unique())
    figure, panels = _panels(1, labels)
    for ax, (title, measure) in zip(panels[0], SHAPES.items(), strict=True):
        for side, (name, shift, style) in (("image", FIRST), ("text", TEXTS)):
            _draw(ax, raw[raw.measure == f"{measure}_{side}"], labels, shift, label=name, **style)
        ax.set(xlabel=title)
    pairs = raw.groupby("label", sort=False).n.first().reindex(labels)
    panels[0, 1].plot(pairs - 1, range(len(labels)), label="most possible", **_stroke())
    for ax in panels[0]:
        ax.set_xlim(left=0)
    legend_below(figure, panels[0, 1], 3)
    return figure


def plot_centring(table: pd.DataFrame) -> Figure:
    """Draw the recalls of each model as it is and mean-centred, both ways.

    Args:
        table: of `tpccma.evidence.real_models.estimates`.

    Returns:
        A panel a recall, a row a model; a stroke at what guessing gives.
    """
    labels = list(table.label.unique())
    figure, panels = _panels(2, labels)
    pairs = table.groupby("label", sort=False).n.first().reindex(labels)
    for ax, (measure, title) in zip(panels.T.flat, RECALL_NAMES.items(), strict=True):
        own = table[table.measure == measure]
        for state, (name, shift, style) in (("raw", BEFORE), ("centred", AFTER)):
            _draw(ax, own[own.state == state], labels, shift, label=name, **style)
        ax.plot(int(measure[-1]) / pairs, range(len(labels)), label="guessing", **_stroke())
        ax.set(xlabel=f"recall: {title}", xlim=(-0.02, 1))
    legend_below(figure, panels[0, 0], 3)
    return figure


def _panels(rows: int, labels: list[str]) -> tuple[Figure, np.ndarray]:
    size = (9.2, rows * (0.7 + 0.33 * len(labels)) + 0.4)
    figure, panels = plt.subplots(rows, 2, figsize=size, sharey=True, squeeze=False, layout="constrained")
    for ax in panels.flat:
        for row in range(0, len(labels), 2):
            ax.axhspan(row - 0.5, row + 0.5, color="0.95", zorder=0, linewidth=0)
        ax.grid(axis="y", visible=False)
    panels[0, 0].set(yticks=range(len(labels)), yticklabels=labels, ylim=(len(labels) - 0.5, -0.5))
    return figure, panels


def _draw(ax: Axes, part: pd.DataFrame, labels: list[str], shift: float, **style) -> None:
    own = part.set_index("label").reindex(labels)
    draw_estimates(ax, np.arange(len(labels)) + shift, own, sideways=True, **style)


def _stroke() -> dict:
    return {"marker": "|", "color": "black", "markersize": 11, "markeredgewidth": 1.5, "linestyle": "none"}
