"""Figures of effects paired by seed, and of what the base's logit scale decides, from tidy tables.

Intervals are Student's 95 % over seeds; with fewer than three seeds there is none.
"""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tpccma.evidence.estimates import OUTCOMES

PALETTE = sns.color_palette("colorblind")
# Marker, face, colour: filled against open, so that they differ in grey as well.
PROFILE_STYLES = (("o", PALETTE[0], PALETTE[0]), ("s", "white", PALETTE[1]))
MODEL_STYLES = {
    "base": ("*", "black", "black", "-"),
    "continued CLIP": ("s", "white", "0.45", "--"),
    "alpha 0.05": ("^", "white", PALETTE[1], "-."),
    "alpha 0.5": ("o", PALETTE[0], PALETTE[0], "-"),
}
VERDICT_STYLES = {
    "reproduced": ("o", PALETTE[0], PALETTE[0]),
    "direction only": ("^", "white", PALETTE[0]),
    "not reproduced": ("_", "0.4", "0.4"),
    "contradicted": ("X", PALETTE[3], PALETTE[3]),
    "not run": (".", "0.8", "0.8"),
}


def plot_changes(table: pd.DataFrame, title: str, columns: dict[str, str] = OUTCOMES) -> Figure:
    """Draw changes as a forest: a panel a measure, a line a row, a mark a profile.

    Args:
        table: tidy, of one or two profiles.
        title: what the changes are taken against.
        columns: measures, to their labels.

    Returns:
        Panels three to a row; a mark is the mean over seeds, a whisker its interval, the black line no change.
    """
    profiles, rows = table.profile.unique(), table.row.unique()
    size = (9.2, 1.2 + -(-len(columns) // 3) * (0.9 + 0.27 * len(rows)))
    figure, panels = plt.subplots(-(-len(columns) // 3), 3, figsize=size, sharey=True, layout="constrained")
    for ax, (column, label) in zip(panels.flat, columns.items(), strict=False):
        ax.axvline(0, color="black", linewidth=0.9, zorder=1)
        for place, (profile, style) in enumerate(zip(profiles, PROFILE_STYLES, strict=False)):
            part = table[(table.profile == profile) & (table.column == column)].set_index("row").reindex(rows)
            shift = 0.17 * (2 * place - 1) if len(profiles) > 1 else 0
            _draw_estimates(ax, part, np.arange(len(rows)) + shift, *style, label=profile)
        ax.set_title(label, fontsize=10)
        ax.tick_params(labelsize=9)
        ax.locator_params(axis="x", nbins=4)
    panels.flat[0].set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.5))
    for ax in panels.flat[len(columns) :]:
        ax.axis("off")
    figure.suptitle(title, fontsize=12, fontweight="bold")
    figure.legend(*panels.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def _draw_estimates(
    ax: Axes,
    part: pd.DataFrame,
    places: np.ndarray,
    marker: str,
    face,
    colour,
    label: str,
    upright: bool = False,
    **more,
) -> None:
    """Draw means with whiskers, sideways or upright; what was not run is left out."""
    error = np.nan_to_num([part.ours - part.low, part.high - part.ours])
    points = {"x": places, "y": part.ours, "yerr": error} if upright else {"x": part.ours, "y": places, "xerr": error}
    style = {"linestyle": "none", "elinewidth": 1.2, "capsize": 2, "markersize": 5, **more}
    ax.errorbar(**points, marker=marker, markerfacecolor=face, color=colour, label=label, zorder=3, **style)


def plot_scales(levels: dict[str, pd.DataFrame], columns: dict[str, str]) -> Figure:
    """Draw measures over the logit scale of the base, a line a model.

    Args:
        levels: family to its table from `tpccma.evidence.base_scale.scale_levels`.
        columns: measures, to their labels.

    Returns:
        A column of panels a family, a row a measure.
    """
    size = (0.8 + 4.0 * len(levels), 1.0 + 2.0 * len(columns))
    figure, panels = plt.subplots(
        len(columns), len(levels), figsize=size, sharex=True, squeeze=False, layout="constrained"
    )
    for row, (column, label) in zip(panels, columns.items(), strict=True):
        for ax, (family, table) in zip(row, levels.items(), strict=True):
            _draw_scales(ax, table[table.column == column])
            if ax in panels[0]:
                ax.set_title(f"{family}: bases by logit scale")
            if ax in panels[-1]:
                ax.set_xlabel("logit scale (inverse temperature)")
        row[0].set_ylabel(label)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def _draw_scales(ax: Axes, table: pd.DataFrame) -> None:
    scales = list(table.scale.unique())
    for place, (model, (*style, line)) in enumerate(MODEL_STYLES.items()):
        part = table[table.row == model].set_index("scale").reindex(scales)
        shifted = np.arange(len(scales)) + 0.07 * (place - 1.5)
        size = 9 if model == "base" else 5.5
        _draw_estimates(ax, part, shifted, *style, label=model, upright=True, markersize=size)
        fixed = np.array(scales) != "learned"  # no scale of its own on the axis: no line to it
        ax.plot(shifted[fixed], part.ours[fixed], linestyle=line, linewidth=1.1, color=style[-1], zorder=2)
    ax.set(xticks=range(len(scales)), xticklabels=scales, xlim=(-0.4, len(scales) - 0.6))
    ax.tick_params(labelsize=9)
    ax.margins(y=0.1)


def plot_verdicts(verdicts: dict[str, pd.DataFrame]) -> Figure:
    """Draw the verdict on every reading at every scale of the base, a sign a verdict.

    Args:
        verdicts: family to its table from `tpccma.evidence.base_scale.verdicts_by_scale`.

    Returns:
        A panel a family and reference; a line a reading, a column a scale.
    """
    panels_of = {
        (family, against): part.droplevel("against")
        for family, table in verdicts.items()
        for against, part in table.groupby(level="against", sort=False)
    }
    rows = next(iter(panels_of.values())).index
    size = (1.4 + 1.95 * len(panels_of), 1.4 + 0.29 * len(rows))
    figure, panels = plt.subplots(1, len(panels_of), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for ax, ((family, against), part) in zip(panels[0], panels_of.items(), strict=True):
        signs = part.reset_index(drop=True).stack().rename_axis(["place", "scale"]).reset_index(name="verdict")
        signs["x"] = signs.scale.map(list(part.columns).index)
        for verdict, (marker, face, edge) in VERDICT_STYLES.items():
            own = signs[signs.verdict == verdict]
            style = {"markersize": 8, "markerfacecolor": face, "markeredgecolor": edge, "markeredgewidth": 1.6}
            ax.plot(own.x, own.place, marker, **style, label=verdict)
        ax.set_title(f"{family},\nagainst {against}", fontsize=10)
        ax.set(xticks=range(len(part.columns)), xticklabels=part.columns, xlim=(-0.6, len(part.columns) - 0.4))
        ax.tick_params(labelsize=9)
        ax.set_xlabel("base's logit scale", fontsize=9)
    labels = [f"{claim} {reading}" for claim, reading in rows]
    panels[0, 0].set(yticks=range(len(rows)), yticklabels=labels, ylim=(len(rows) - 0.4, -0.6))
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return figure
