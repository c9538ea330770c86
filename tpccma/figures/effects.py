"""Figures of effects paired by seed, and of what the base's logit scale decides, from tidy tables.

Intervals are Student's 95 % over seeds; with fewer than three seeds there is none.
"""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tpccma.evidence.estimates import OUTCOMES
from tpccma.evidence.table import BASE, CONTINUED
from tpccma.evidence.verdicts import VERDICTS
from tpccma.figures.style import PALETTE, REFERENCES, draw_estimates, legend_below, mark_style

# Marker, face, colour: filled against open, so that they differ in grey as well.
PROFILE_STYLES = (("o", PALETTE[0], PALETTE[0]), ("s", "white", PALETTE[1]))
MODEL_STYLES = {
    BASE: ("*", "black", "black", "-"),
    CONTINUED: (*REFERENCES[CONTINUED], "--"),
    "alpha 0.05": ("^", "white", PALETTE[1], "-."),
    "alpha 0.5": ("o", PALETTE[0], PALETTE[0], "-"),
}
SHAPES = {"●": "o", "▲": "^", "▼": "v", "✕": "X", "○": "o", "–": "."}  # of the marks that tables have
COLOURS = dict.fromkeys(("no drop found", "within the bound", "beyond it"), PALETTE[2]) | {
    "opposite": PALETTE[3],
    "less than half": PALETTE[1],
    "more than half": PALETTE[1],
    "undecided": "0.4",
    "not run": "0.7",
}


def verdict_style(verdict: str) -> dict:
    """Style the mark of a verdict as ``VERDICTS`` of `tpccma.evidence.verdicts` has it, for matplotlib's ``plot``."""
    mark, colour = VERDICTS[verdict].mark, COLOURS.get(verdict, PALETTE[0])
    return mark_style(SHAPES[mark], "white" if mark == "○" else colour, colour, size=8)


# Nine of the outcomes, three rows of panels: retrieval goes the same way in both directions.
DRAWN = {measure: label for measure, label in OUTCOMES.items() if measure != "i2t_recall_at_1"}


def plot_changes(table: pd.DataFrame, title: str, measures: dict[str, str] = DRAWN) -> Figure:
    """Draw changes as a forest: a panel a measure, a line a row, a mark a profile.

    Args:
        table: tidy, of one or two profiles.
        title: what the changes are taken against.
        measures: columns of the results, to their labels.

    Returns:
        Panels three to a row; a mark is the mean over seeds, a whisker its interval, the black line no change. Pale is
        what may be no change: its interval holds 0, or there is none.
    """
    models, rows = table.model.unique(), -(-len(measures) // 3)
    size = (9.2, 1.2 + rows * (0.9 + 0.27 * len(models)))
    figure, panels = plt.subplots(rows, 3, figsize=size, sharey=True, layout="constrained")
    figure.get_layout_engine().set(hspace=0.04, wspace=0.07)
    for ax, (measure, label) in zip(panels.flat, measures.items(), strict=False):
        _draw_changes(ax, table[table.measure == measure], models, table.profile.unique())
        ax.set_title(label, fontsize=10)
        ax.tick_params(labelsize=9)
        ax.tick_params(axis="x", labelsize=8)
        ax.locator_params(axis="x", nbins=4)
    panels.flat[0].set(yticks=range(len(models)), yticklabels=models, ylim=(len(models) - 0.5, -0.5))
    for ax in panels.flat[len(measures) :]:
        ax.axis("off")
    figure.suptitle(title, fontsize=12, fontweight="bold")
    if table.profile.nunique() > 1:
        legend_below(figure, panels.flat[0], 2)
    return figure


def _draw_changes(ax: Axes, table: pd.DataFrame, models: np.ndarray, profiles: np.ndarray) -> None:
    ax.axvline(0, color="black", linewidth=0.9, zorder=1)
    for place, (profile, style) in enumerate(zip(profiles, PROFILE_STYLES, strict=False)):
        part = table[table.profile == profile].set_index("model")[["ours", "low", "high"]].reindex(models)
        shift = 0.17 * (2 * place - 1) if len(profiles) > 1 else 0
        style = {**mark_style(*style, size=5), "elinewidth": 1.2, "zorder": 3}
        sure = (part.low > 0) | (part.high < 0)
        for shown, look in ((sure, {"label": profile}), (~sure, {"alpha": 0.5})):
            draw_estimates(ax, np.arange(len(models)) + shift, part.where(shown), sideways=True, **style, **look)


def plot_scales(levels: dict[str, pd.DataFrame], measures: dict[str, str]) -> Figure:
    """Draw measures over the logit scale of the base, a line a model.

    Args:
        levels: family to its table from `tpccma.evidence.base_scale.scale_levels`.
        measures: columns of the results, to their labels.

    Returns:
        A column of panels a family, a row a measure.
    """
    size, grid = (0.8 + 4.0 * len(levels), 1.0 + 2.0 * len(measures)), (len(measures), len(levels))
    figure, panels = plt.subplots(*grid, figsize=size, sharex=True, squeeze=False, layout="constrained")
    for row, (measure, label) in zip(panels, measures.items(), strict=True):
        for ax, table in zip(row, levels.values(), strict=True):
            _draw_scales(ax, table[table.measure == measure])
        row[0].set_ylabel(label)
    for top, bottom, family in zip(panels[0], panels[-1], levels, strict=True):
        top.set_title(f"{family}: bases by logit scale")
        bottom.set_xlabel("logit scale (inverse temperature)")
    legend_below(figure, panels[0, 0], 4)
    return figure


def _draw_scales(ax: Axes, table: pd.DataFrame) -> None:
    scales = list(table.scale.unique())
    for place, (model, (*style, line)) in enumerate(MODEL_STYLES.items()):
        part = table[table.model == model].set_index("scale").reindex(scales)
        shifted = np.arange(len(scales)) + 0.05 * (place - 1.5)
        marks = {**mark_style(*style, size=9 if model == BASE else 5.5), "elinewidth": 1.2, "zorder": 3}
        draw_estimates(ax, shifted, part, label=model, **marks)
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
    rows, given = next(iter(panels_of.values())).index, set(pd.concat(verdicts.values()).to_numpy().ravel())
    found = [verdict for verdict in VERDICTS if verdict in given]
    size = (1.4 + 1.95 * len(panels_of), 1.4 + 0.29 * len(rows))
    figure, panels = plt.subplots(1, len(panels_of), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for ax, ((family, against), part) in zip(panels[0], panels_of.items(), strict=True):
        _draw_verdicts(ax, part, found)
        ax.set_title(f"{family},\nagainst {against}", fontsize=9)
    labels = [f"{claim} {reading}" for claim, reading in rows]
    panels[0, 0].set(yticks=range(len(rows)), yticklabels=labels, ylim=(len(rows) - 0.4, -0.6))
    legend_below(figure, panels[0, 0], 5)
    return figure


def _draw_verdicts(ax: Axes, verdicts: pd.DataFrame, found: list[str]) -> None:
    signs = verdicts.reset_index(drop=True).stack().rename_axis(["place", "scale"]).reset_index(name="verdict")
    scales = list(verdicts.columns)
    places = [place + 0.35 * (scale == "learned") for place, scale in enumerate(scales)]  # apart, as on no scale
    signs["x"] = signs.scale.map(dict(zip(scales, places, strict=True)))
    for verdict in found:
        own = signs[signs.verdict == verdict]
        ax.plot(own.x, own.place, **verdict_style(verdict), markeredgewidth=1.6, label=verdict)
    ax.set(xticks=places, xticklabels=scales, xlim=(-0.6, places[-1] + 0.75))
    ax.tick_params(labelsize=9)
    ax.tick_params(axis="x", labelsize=8)
    ax.set_xlabel("base's logit scale", fontsize=9)
