"""The figures of the chapters that set methods side by side, drawn from what `tpccma.evidence.frontier` computes.

Intervals are Student's 95 % over seeds, none with fewer than three. `profiles` maps a profile's name to its runs, or to
a table of them, in the order of the panels.
"""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.isotonic import isotonic_regression

from tpccma.evidence.claims import BASE, CONTINUED
from tpccma.evidence.frontier import BOUND, DIAL, FEEDS, GAP, ORDER, PAPER_GAIN, intervals
from tpccma.figures.clouds import IMAGE, NEUTRAL, TEXT
from tpccma.methods import METHODS

DPI = 85  # of the large figures, two of which stand in one notebook
PALETTE = sns.color_palette("colorblind")
PARETO_LABELS = {
    "zeroshot_top1": ("Zero-shot classification", "top-1 accuracy (0 to 1)"),
    "recall_at_1": ("Retrieval", "recall@1, mean of both directions"),
    "clustering_ari": ("Joint clustering", "ARI"),
    "cider": ("Captioning, fed the raw image", "CIDEr"),
}
OTHERS = [name for name in ORDER if name != DIAL]
MARKERS = dict(zip(OTHERS, "*Ps^Dv<>Xphd8H", strict=False))
COLOURS = dict(zip(OTHERS, [*PALETTE, *PALETTE], strict=False))
FEED_STYLES = {  # column: label, shift, style
    "cider": ("raw-fed", -0.22, {"marker": "o", "color": PALETTE[0]}),
    "cider_centred": ("centred", 0.0, {"marker": "s", "color": PALETTE[1]}),
    "cider_memory": ("memory", 0.22, {"marker": "^", "color": PALETTE[2]}),
    BOUND: ("text-fed (bound)", 0.0, {"marker": "|", "color": "black", "markersize": 15, "markeredgewidth": 2}),
}
REFERENCE_STYLES = {  # as in the figure of the claims
    BASE: {"marker": "o", "color": "black", "markersize": 5},
    CONTINUED: {"marker": "s", "color": "0.45", "markerfacecolor": "white", "markersize": 5, "linestyle": "--"},
}
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


def plot_pareto(runs: pd.DataFrame) -> Figure:
    """Draw every task's score over the raw gap: the dial as a curve labelled by alpha, other methods as markers.

    Args:
        runs: from `tpccma.evidence.frontier.compared_runs`, of one profile.

    Returns:
        Four panels; a faint dot is a run, a marker the mean over seeds with intervals both ways.
    """
    figure, panels = plt.subplots(2, 2, figsize=(9.2, 8.8), dpi=DPI, sharex=True, layout="constrained")
    for ax, (task, (title, unit)) in zip(panels.flat, PARETO_LABELS.items(), strict=True):
        ax.scatter(runs[GAP], runs[task], s=5, color="0.6", linewidth=0, zorder=1)
        means = intervals(runs, [GAP, task]).pivot(index="model", columns="measure").reindex(runs.model.unique())
        for model, method in runs.groupby("model", sort=False).method.first().items():
            if method != DIAL:
                _mark_method(ax, means.loc[[model]], task, method)
        ax.set_title(title, pad=22)
        ax.set(ylabel=unit)
        ax.margins(0.06)
        alphas = runs[runs.method == DIAL].groupby("model", sort=False).alpha.first()
        if len(alphas):
            _draw_dial(ax, means.loc[alphas.index], task, alphas)
    for ax in panels[1]:
        ax.set_xlabel("raw gap (RMS distance within a pair, 0 to 2)")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncol=5, frameon=False)
    return figure


def _mark_method(ax: Axes, means: pd.DataFrame, task: str, method: str) -> None:
    """Draw one mark; hollow where nothing was trained."""
    hollow = method in METHODS and not METHODS[method].trained
    style = {"marker": MARKERS[method], "markersize": 10 if method == "base" else 7, "zorder": 4}
    style |= {"markerfacecolor": "white" if hollow else COLOURS[method], "markeredgecolor": "black"}
    _draw_intervals(ax, means["ours"], means, GAP, task, label=method, linestyle="none", **style)


def _draw_dial(ax: Axes, means: pd.DataFrame, task: str, alphas: pd.Series) -> None:
    style = {"color": "black", "marker": "o", "markersize": 4.5, "linewidth": 1.2, "zorder": 3}
    _draw_intervals(ax, means["ours"], means, GAP, task, label="tpc-cma, by α", **style)
    ax.autoscale_view()
    gaps = means["ours", GAP]
    left, right = ax.get_xlim()
    places = _spread_labels((gaps.to_numpy() - left) / (right - left))
    for model, place in zip(means.index, places, strict=True):
        ax.annotate(
            f"{alphas[model]:g}",
            (gaps[model], means.loc[model, ("ours", task)]),
            (place, 1.02),
            textcoords="axes fraction",
            ha="center",
            va="bottom",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": "0.75", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2},
        )
    ax.text(min(places) - 0.05, 1.02, "α =", transform=ax.transAxes, ha="right", va="bottom", fontsize=8)


def _spread_labels(places: np.ndarray, least: float = 0.075) -> np.ndarray:
    """Move places on a line apart, as little as possible (least squares), then into 0 to 1 if they fit."""
    order, steps = np.argsort(places), least * np.arange(len(places))
    spread = isotonic_regression(places[order] - steps) + steps
    spread -= max(0.0, spread[-1] - 1)
    spread += max(0.0, -spread[0])
    return spread[np.argsort(order)]


def _draw_intervals(ax: Axes, ours: pd.DataFrame, bounds: pd.DataFrame, x: str, y: str, **style) -> None:
    """Draw means with whiskers both ways, where there are intervals."""
    errors = {
        f"{axis}err": np.nan_to_num([ours[name] - bounds["low", name], bounds["high", name] - ours[name]])
        for axis, name in (("x", x), ("y", y))
    }
    ax.errorbar(ours[x], ours[y], **errors, elinewidth=0.9, ecolor=NEUTRAL, capsize=2, **style)


def plot_feeds(profiles: dict[str, pd.DataFrame]) -> Figure:
    """Draw the CIDEr of every model by the feed of its decoder.

    Args:
        profiles: runs.

    Returns:
        One panel a profile, one line a model.
    """
    count = max(runs.model.nunique() for runs in profiles.values())
    size = (4.8 * len(profiles), 1.4 + 0.3 * count)
    figure, panels = plt.subplots(1, len(profiles), figsize=size, squeeze=False, layout="constrained")
    for ax, (profile, runs) in zip(panels[0], profiles.items(), strict=True):
        names = runs.model.unique()
        table = intervals(runs, [*FEEDS, BOUND]).set_index("model")
        for feed, (label, shift, style) in FEED_STYLES.items():
            part, rows = table[table.measure == feed].reindex(names), np.arange(len(names)) + shift
            _draw_line(ax, rows, part, horizontal=True, label=label, linestyle="none", **style)
        for row in range(0, len(names), 2):
            ax.axhspan(row - 0.5, row + 0.5, color="0.95", zorder=0, linewidth=0)
        ax.set(title=profile, xlabel="CIDEr", yticks=range(len(names)), yticklabels=_name_models(names))
        ax.set_xlim(0)
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.grid(axis="y", visible=False)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncol=4, frameon=False)
    return figure


def _name_models(names: list[str]) -> list[str]:
    return [name.replace("alpha ", "tpc-cma, α ") for name in names]


def _draw_line(ax: Axes, places: np.ndarray, part: pd.DataFrame, horizontal: bool = False, **style) -> None:
    """Draw a tidy table's means at places, with whiskers where there are intervals."""
    errors = np.nan_to_num([part.ours - part.low, part.high - part.ours])
    points = (part.ours, places) if horizontal else (places, part.ours)
    ax.errorbar(*points, **{"xerr" if horizontal else "yerr": errors}, elinewidth=1, capsize=2, **style)


def plot_feed_changes(profiles: dict[str, pd.DataFrame]) -> Figure:
    """Draw the change of CIDEr by alpha against both references, with the paper's figure of C5 as a line.

    Args:
        profiles: tables of `tpccma.evidence.frontier.feed_changes`.

    Returns:
        A row of panels a profile, a column a feed, each with a scale of its own.
    """
    size = (9.6, 0.8 + 2.9 * len(profiles))
    figure, panels = plt.subplots(len(profiles), len(FEEDS), figsize=size, squeeze=False, layout="constrained")
    for row, (profile, table) in zip(panels, profiles.items(), strict=True):
        table = table[table.model.str.startswith("alpha ")]
        names = list(table.model.unique())
        for ax, feed in zip(row, FEEDS.values(), strict=True):
            for (against, style), shift in zip(REFERENCE_STYLES.items(), (-0.1, 0.1), strict=True):
                own = table[(table.against == against) & (table.measure == feed)].set_index("model").reindex(names)
                _draw_line(ax, np.arange(len(names)) + shift, own, label=f"against {against}", linewidth=1, **style)
            ax.axhline(0, color="black", linewidth=0.8)
            ax.axhline(PAPER_GAIN, color=TEXT, linewidth=1.6, linestyle=":", label="the paper's C5, feed unknown")
            _label_alphas(ax, names)
            ax.set(title=f"{profile}: {feed}", xlim=(-0.5, max(len(names), 1) - 0.5))
        row[0].set_ylabel("change of CIDEr (%)")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncol=3, frameon=False)
    return figure


def _label_alphas(ax: Axes, names: list[str]) -> None:
    ax.set_xticks(range(len(names)), [name.removeprefix("alpha ") for name in names], fontsize=8)
    ax.set_xlabel("alpha")


def plot_price(profiles: dict[str, pd.DataFrame]) -> Figure:
    """Draw what alignment may cost, by alpha: dimensions, spread over the sphere, accuracy and recall.

    Args:
        profiles: runs.

    Returns:
        A column of panels a profile, a row a measure; the base stands apart on the left.
    """
    size = (4.6 * len(profiles), 1.8 * len(PRICES) + 0.4)
    figure, panels = plt.subplots(
        len(PRICES), len(profiles), figsize=size, dpi=DPI, sharex="col", squeeze=False, layout="constrained"
    )
    for column, (profile, runs) in zip(panels.T, profiles.items(), strict=True):
        runs = runs[runs.method.isin(["base", DIAL])]
        names = [name for name in runs.model.unique() if name != "base"]
        for ax, (title, measures) in zip(column, PRICES.items(), strict=True):
            _draw_prices(ax, intervals(runs, measures).set_index("model"), measures, names)
            ax.set_ylabel(title.replace(" (", "\n("), fontsize=10)
        _label_alphas(column[-1], names)
        column[-1].set_xticks([-1.3, *range(len(names))], ["base", *column[-1].get_xticklabels()])
        column[0].set_title(profile)
    return figure


def _draw_prices(ax: Axes, table: pd.DataFrame, measures: dict[str, tuple], names: list[str]) -> None:
    for measure, (marker, colour, fill, label) in measures.items():
        own = table[table.measure == measure]
        style = {"marker": marker, "color": colour, "markerfacecolor": fill}
        _draw_line(ax, np.arange(len(names)), own.reindex(names), label=label, **style)
        _draw_line(ax, np.array([-1.3]), own.reindex(["base"]), **style)
    ax.axvline(-0.65, color="0.6", linewidth=0.8, linestyle=":")
    if len(measures) > 1:
        low, high = ax.get_ylim()
        ax.set_ylim(top=high + 0.25 * (high - low))
        ax.legend(fontsize=8, framealpha=0.9, loc="upper center", ncol=len(measures))


def plot_class_changes(profiles: dict[str, pd.DataFrame]) -> Figure:
    """Draw each class's change of accuracy by alpha as a heat map; a star where its interval does not hold 0.

    Args:
        profiles: tables of `tpccma.evidence.frontier.class_changes`.

    Returns:
        One panel a profile, in points, red for losses, each with a scale of its own.
    """
    count = max(table.measure.nunique() for table in profiles.values())
    size = (4.6 * len(profiles), 1.2 + 0.28 * count)
    figure, panels = plt.subplots(1, len(profiles), figsize=size, dpi=DPI, squeeze=False, layout="constrained")
    for ax, (profile, table) in zip(panels[0], profiles.items(), strict=True):
        ax.set_title(profile if len(table) else f"{profile}: no runs")
        if table.empty:
            continue
        apart = (table.low > 0) | (table.high < 0)
        table = table.assign(text=table.ours.map("{:+.1f}".format) + apart.map({True: "*", False: ""}))
        wide = table.pivot(index="measure", columns="model", values=["ours", "text"])
        wide = wide.reindex(index=table.measure.unique())
        names = list(table.model.unique())
        values = wide["ours"][names].astype(float)
        limit = np.nanmax([1.0, *table.ours.abs()])
        colours = {"cmap": "RdBu", "vmin": -limit, "vmax": limit, "cbar": False}
        style = {"annot": wide["text"][names], "fmt": "", "annot_kws": {"fontsize": 7.5}, "linewidths": 0.5}
        sns.heatmap(values, ax=ax, **style, **colours)
        ax.set(xlabel="alpha", ylabel="", xticklabels=[name.removeprefix("alpha ") for name in names])
        ax.tick_params(rotation=0)
    return figure
