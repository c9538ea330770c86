"""What all figures of the book share: readable in grey, by the colour-blind, and without the text around them.

Images are always drawn with filled circles in blue, texts with open triangles in orange.
"""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tpccma.evidence.table import BASE, CONTINUED

PALETTE = sns.color_palette("colorblind")
IMAGE, TEXT, NEUTRAL = PALETTE[0], PALETTE[1], "0.35"
# Marker, face, edge: filled against open, so that they differ in grey as well.
REFERENCES = {BASE: ("o", "black", "black"), CONTINUED: ("s", "white", "0.45")}


def use_style() -> None:
    """Set the style of every figure: seaborn's white grid, the colour-blind palette, sizes for a page."""
    sns.set_theme(
        style="whitegrid",
        palette="colorblind",
        rc={"figure.dpi": 110, "axes.titlesize": 11, "axes.titleweight": "bold"},
    )


def mark_style(marker: str, face, edge, size: float = 6) -> dict:
    """Style marks that no line joins, for matplotlib's ``plot`` and ``errorbar``."""
    style = {"marker": marker, "markerfacecolor": face, "markeredgecolor": edge, "markersize": size}
    return style | {"linestyle": "none", "color": edge}


def draw_estimates(ax: Axes, places: np.ndarray, table: pd.DataFrame, sideways: bool = False, **style) -> None:
    """Draw means with whiskers where there are intervals; what was not run is left out.

    Args:
        ax: where.
        places: of the rows, along the other axis.
        table: a row an estimate.
        sideways: estimates lie along the x axis.
        **style: as ``errorbar`` takes it.
    """
    errors = np.nan_to_num([table.ours - table.low, table.high - table.ours])
    x, y = (table.ours, places) if sideways else (places, table.ours)
    ax.errorbar(x, y, **{"xerr" if sideways else "yerr": errors, "elinewidth": 1, "capsize": 2, **style})


def draw_both_ways(ax: Axes, means: pd.DataFrame, x: str, y: str, **style) -> None:
    """Draw means of two measures against each other, with whiskers both ways where there are intervals.

    Args:
        ax: where.
        means: a row a mark; columns (field of the estimate, measure).
        x: the measure across.
        y: the measure upwards.
        **style: as ``errorbar`` takes it.
    """
    ours, low, high = (means[field] for field in ("ours", "low", "high"))
    errors = {f"{axis}err": np.nan_to_num([ours[m] - low[m], high[m] - ours[m]]) for axis, m in (("x", x), ("y", y))}
    ax.errorbar(ours[x], ours[y], **errors, **{"elinewidth": 0.9, "ecolor": NEUTRAL, "capsize": 2, **style})


def legend_below(figure: Figure, ax: Axes, columns: int, **style) -> None:
    """Put the legend of one panel below all of them."""
    handles = ax.get_legend_handles_labels()
    figure.legend(*handles, **{"loc": "outside lower center", "ncols": columns, "frameon": False, **style})


def label_alphas(ax: Axes, models: list[str]) -> None:
    """Name the points of the dial along the x axis."""
    ax.set_xticks(range(len(models)), [name.removeprefix("alpha ") for name in models], fontsize=8)
    ax.set_xlabel("alpha")
