"""The figures of the chapter on what the decoder is fed.

Intervals are Student's 95 % over seeds, none with fewer than three.
"""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tpccma.evidence.compared import averages
from tpccma.evidence.feeds import BOUND, FEEDS
from tpccma.evidence.paper import CIDER_GAIN
from tpccma.figures.style import PALETTE, REFERENCES, TEXT, draw_estimates, label_alphas, legend_below, mark_style

FEED_STYLES = {  # column: label, shift, style
    "cider": ("raw-fed", -0.22, {"marker": "o", "color": PALETTE[0]}),
    "cider_centred": ("centred", 0.0, {"marker": "s", "color": PALETTE[1]}),
    "cider_memory": ("memory", 0.22, {"marker": "^", "color": PALETTE[2]}),
    BOUND: ("text-fed (bound)", 0.0, {"marker": "|", "color": "black", "markersize": 15, "markeredgewidth": 2}),
}


def plot_feeds(profiles: dict[str, pd.DataFrame]) -> Figure:
    """Draw the CIDEr of every model by the feed of its decoder.

    Args:
        profiles: name to its runs.

    Returns:
        One panel a profile, one line a model.
    """
    count = max(runs.model.nunique() for runs in profiles.values())
    size = (4.8 * len(profiles), 1.4 + 0.3 * count)
    figure, panels = plt.subplots(1, len(profiles), figsize=size, squeeze=False, layout="constrained")
    for ax, (profile, runs) in zip(panels[0], profiles.items(), strict=True):
        _draw_feeds(ax, runs)
        ax.set(title=profile, xlabel="CIDEr")
        ax.set_xlim(0)
    legend_below(figure, panels[0, 0], 4)
    return figure


def _draw_feeds(ax: Axes, runs: pd.DataFrame) -> None:
    models = runs.model.unique()
    table = averages(runs, [*FEEDS, BOUND]).set_index("model")
    for feed, (label, shift, style) in FEED_STYLES.items():
        part = table[table.measure == feed].reindex(models)
        draw_estimates(ax, np.arange(len(models)) + shift, part, sideways=True, label=label, linestyle="none", **style)
    for row in range(0, len(models), 2):
        ax.axhspan(row - 0.5, row + 0.5, color="0.95", zorder=0, linewidth=0)
    ax.set(yticks=range(len(models)), yticklabels=models)
    ax.tick_params(labelsize=9)
    ax.set_ylim(len(models) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)


def plot_feed_changes(profiles: dict[str, pd.DataFrame]) -> Figure:
    """Draw the change of CIDEr by alpha against both references, with the paper's figure of C5 as a line.

    Args:
        profiles: name to its table of `tpccma.evidence.feeds.feed_changes`.

    Returns:
        A row of panels a profile, a column a feed, each with a scale of its own.
    """
    size = (9.6, 0.8 + 2.9 * len(profiles))
    figure, panels = plt.subplots(len(profiles), len(FEEDS), figsize=size, squeeze=False, layout="constrained")
    for row, (profile, table) in zip(panels, profiles.items(), strict=True):
        table = table[table.model.str.startswith("alpha ")]
        for ax, feed in zip(row, FEEDS.values(), strict=True):
            _draw_feed_changes(ax, table[table.measure == feed], table.model.unique())
            ax.set_title(f"{profile}: {feed}")
        row[0].set_ylabel("change of CIDEr (%)")
    legend_below(figure, panels[0, 0], 3)
    return figure


def _draw_feed_changes(ax: Axes, table: pd.DataFrame, models: np.ndarray) -> None:
    for (against, style), line, shift in zip(REFERENCES.items(), ("-", "--"), (-0.1, 0.1), strict=True):
        own = table[table.against == against].set_index("model").reindex(models)
        style = {**mark_style(*style, size=5), "linestyle": line, "linewidth": 1}
        draw_estimates(ax, np.arange(len(models)) + shift, own, label=f"against {against}", **style)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.axhline(CIDER_GAIN, color=TEXT, linewidth=1.6, linestyle=":", label="the paper's C5, feed unknown")
    label_alphas(ax, models)
    ax.set_xlim(-0.5, max(len(models), 1) - 0.5)
