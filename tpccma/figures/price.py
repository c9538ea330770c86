"""The figures of the chapter on what alignment may cost.

Intervals are Student's 95 % over seeds, none with fewer than three.
"""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tpccma.evidence.compared import averages
from tpccma.evidence.writing import mark
from tpccma.figures.style import IMAGE, NEUTRAL, TEXT, draw_estimates, label_alphas
from tpccma.runs.jobs import DIAL

DPI = 85  # large figures, two of which stand in one notebook
BASE_PLACE = -1.3  # along the axis of alphas
IMAGES = ("o", IMAGE, IMAGE, "images")
TEXTS = ("^", TEXT, "white", "texts")
PRICES = {
    "effective rank (directions)": {
        "effective_rank_image": IMAGES,
        "effective_rank_text": TEXTS,
        "effective_rank_joint": ("s", NEUTRAL, NEUTRAL, "both together"),
    },
    "uniformity (0: collapse)": {"uniformity_image": IMAGES, "uniformity_text": TEXTS},
    "cone effect (1: collapse)": {"cone_image": IMAGES, "cone_text": TEXTS},
    "zero-shot (top-1 accuracy)": {"zeroshot_top1": ("D", "black", "black", "")},
    "recall@1": {
        "i2t_recall_at_1": ("o", IMAGE, IMAGE, "image to text"),
        "t2i_recall_at_1": ("^", TEXT, "white", "text to image"),
    },
}


def plot_price(profiles: dict[str, pd.DataFrame]) -> Figure:
    """Draw what alignment may cost, by alpha: dimensions, spread over the sphere, accuracy and recall.

    Args:
        profiles: name to its runs.

    Returns:
        A column of panels a profile, a row a measure; the base stands apart on the left.
    """
    size, shape = (4.6 * len(profiles), 1.8 * len(PRICES) + 0.4), (len(PRICES), len(profiles))
    figure, panels = plt.subplots(*shape, figsize=size, dpi=DPI, sharex="col", squeeze=False, layout="constrained")
    for column, (profile, runs) in zip(panels.T, profiles.items(), strict=True):
        runs = runs[runs.method.isin(["base", DIAL])]
        models = [name for name in runs.model.unique() if name != "base"]
        for ax, (title, measures) in zip(column, PRICES.items(), strict=True):
            _draw_prices(ax, averages(runs, measures).set_index("model"), measures, models)
            ax.set_ylabel(title.replace(" (", "\n("), fontsize=10)
        label_alphas(column[-1], models)
        column[-1].set_xticks([BASE_PLACE, *range(len(models))], ["base", *column[-1].get_xticklabels()])
        column[0].set_title(profile)
    return figure


def _draw_prices(ax: Axes, table: pd.DataFrame, measures: dict[str, tuple], models: list[str]) -> None:
    for measure, (marker, colour, fill, label) in measures.items():
        own = table[table.measure == measure]
        style = {"marker": marker, "color": colour, "markerfacecolor": fill}
        draw_estimates(ax, np.arange(len(models)), own.reindex(models), label=label, **style)
        draw_estimates(ax, np.array([BASE_PLACE]), own.reindex(["base"]), **style)
    ax.axvline(BASE_PLACE / 2, color="0.6", linewidth=0.8, linestyle=":")
    if len(measures) > 1:
        low, high = ax.get_ylim()
        ax.set_ylim(top=high + 0.25 * (high - low))
        ax.legend(fontsize=8, framealpha=0.9, loc="upper center", ncol=len(measures))


def plot_class_changes(profiles: dict[str, pd.DataFrame]) -> Figure:
    """Draw each class's change of accuracy by alpha as a heat map; a star where its interval does not hold 0.

    Args:
        profiles: name to its table of `tpccma.evidence.price.class_changes`.

    Returns:
        One panel a profile, in points, red for losses, each with a scale of its own.
    """
    count = max(table.measure.nunique() for table in profiles.values())
    size = (4.6 * len(profiles), 1.2 + 0.28 * count)
    figure, panels = plt.subplots(1, len(profiles), figsize=size, dpi=DPI, squeeze=False, layout="constrained")
    for ax, (profile, table) in zip(panels[0], profiles.items(), strict=True):
        ax.set_title(profile if len(table) else f"{profile}: no runs")
        if len(table):
            _draw_classes(ax, table)
    return figure


def _draw_classes(ax: Axes, table: pd.DataFrame) -> None:
    table = table.assign(text=[mark(change, 1) for change in table.itertuples()])
    wide = table.pivot(index="measure", columns="model", values=["ours", "text"])
    wide = wide.reindex(index=table.measure.unique(), columns=table.model.unique(), level="model")
    limit = np.nanmax([1.0, *table.ours.abs()])
    colours = {"cmap": "RdBu", "vmin": -limit, "vmax": limit, "cbar": False}
    style = {"annot": wide["text"], "fmt": "", "annot_kws": {"fontsize": 7.5}, "linewidths": 0.5}
    sns.heatmap(wide["ours"].astype(float), ax=ax, **style, **colours)
    ax.set(xlabel="alpha", ylabel="", xticklabels=[name.removeprefix("alpha ") for name in wide["ours"]])
    ax.tick_params(rotation=0)
