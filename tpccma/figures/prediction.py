"""The figures of the chapter on what predicts quality, drawn from what `tpccma.evidence.prediction` computes."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tpccma.evidence.paper import R_SQUARED
from tpccma.evidence.prediction import DISTRIBUTION, MEASURES, QUALITIES, RENORMALISED, within
from tpccma.evidence.table import DIALS, SCALE_FREE
from tpccma.evidence.verdicts import MIN_METHODS, MIN_SETTINGS
from tpccma.figures.style import PALETTE, mark_style
from tpccma.methods import FULL, METHODS, PAIRED
from tpccma.runs.jobs import DIAL

TOO_FEW = f"below {MIN_SETTINGS} settings, {MIN_METHODS} methods"
DPI = 80  # of large figures, three of which stand in one notebook
# Kind of measure: marker, face, edge.
KINDS = {
    "raw gap": ("D", "black", "black"),
    "centroid gap": ("s", "0.6", "black"),
    "distribution gap, any reading": ("o", PALETTE[1], "black"),
    "other measures": ("o", "white", "0.35"),
}
# Family of models: marker, face, edge.
FAMILIES = {
    f"{FULL}, by alpha": ("o", PALETTE[0], "black"),
    f"{PAIRED}, by alpha": ("o", "white", PALETTE[0]),
    "base": ("*", "black", "black"),
    "continued CLIP": ("P", "0.7", "black"),
    "post-processing": ("^", "white", PALETTE[1]),
    "other fine-tuning": ("s", "white", PALETTE[2]),
}
PAPER = {
    "paper: raw gap": (R_SQUARED["raw_gap"], ":"),
    "paper: distribution gap": (R_SQUARED["distribution_gap"], "--"),
}
GAPS = {"raw_gap": "raw gap", "centroid_gap": "centroid gap", "distribution_gap": "distribution gap, paired"}
DRAWN = {"clustering_ari": "joint clustering ARI", "cider": "CIDEr raw-fed"}


def kind_of(measure: str) -> str:
    """Say which of ``KINDS`` a measure is."""
    if measure in ("raw_gap", "centroid_gap"):
        return measure.replace("_", " ")
    readings = (*DISTRIBUTION, *RENORMALISED, SCALE_FREE)
    return "distribution gap, any reading" if measure in readings else "other measures"


def family_of(method: str) -> str:
    """Say which of ``FAMILIES`` a method is."""
    own = {**{name: f"{name}, by alpha" for name in DIALS}, "base": "base", "clip": "continued CLIP"}
    return own.get(method) or ("other fine-tuning" if METHODS[method].trained else "post-processing")


def plot_league(leagues: dict[tuple[str, str], pd.DataFrame]) -> Figure:
    """Draw the R² of every measure, for several profiles and tasks side by side.

    Args:
        leagues: (profile, quality column) to its `tpccma.evidence.league.league_table`.

    Returns:
        One panel a profile and task; measures from the best to the worst on average. A marker is R² over all models, a
        thin line its bootstrap interval, a grey bar the range over which it moves as one method is left out.
    """
    scores = pd.DataFrame({key: league.r_squared for key, league in leagues.items()})
    order = scores.mean(axis=1).sort_values(ascending=False, na_position="last").index
    size = (2.4 + 1.7 * len(leagues), 1.6 + 0.27 * len(order))
    grid = {"sharey": True, "squeeze": False, "layout": "constrained"}
    figure, panels = plt.subplots(1, len(leagues), figsize=size, dpi=DPI, **grid)
    for ax, ((profile, quality), league) in zip(panels[0], leagues.items(), strict=True):
        _draw_league(ax, league.reindex(order))
        ax.set_title(f"{profile}\n{QUALITIES[quality]}".replace("joint clustering ", ""), fontsize=10)
        ax.set(xlabel="R²", xlim=(-0.05, 1.05), xticks=[0, 0.5, 1], xticklabels=["0", "0.5", "1"])
        ax.tick_params(labelsize=9)
    panels[0, 0].set(yticks=range(len(order)), yticklabels=[MEASURES[measure] for measure in order])
    panels[0, 0].set_ylim(len(order) - 0.4, -0.6)
    figure.legend(handles=_league_handles(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _league_handles() -> list[Line2D]:
    kinds = [Line2D([], [], **mark_style(*style), label=kind) for kind, style in KINDS.items()]
    left_out = Line2D([], [], color="0.82", linewidth=6, label="one method left out")
    paper = [Line2D([], [], color="black", linestyle=style, label=name) for name, (_, style) in PAPER.items()]
    return [*kinds, left_out, *paper]


def _draw_league(ax: Axes, league: pd.DataFrame) -> None:
    if league.r_squared.isna().all():
        ax.text(0.5, 0.5, TOO_FEW.replace(", ", ",\n"), transform=ax.transAxes, ha="center", va="center")
        return
    places = np.arange(len(league))
    for value, style in PAPER.values():
        ax.axvline(value, color="black", linestyle=style, linewidth=1, zorder=0)
    ax.hlines(places, league.lowest, league.highest, color="0.82", linewidth=6, zorder=1)
    ax.hlines(places, league.low, league.high, color="0.35", linewidth=1.1, zorder=2)
    for place, row in zip(places, league.itertuples(), strict=True):
        ax.plot(row.r_squared, place, **mark_style(*KINDS[kind_of(row.Index)]), zorder=3)


def plot_prediction(runs: pd.DataFrame, league: dict[str, pd.DataFrame], profile: str) -> Figure:
    """Draw tasks over the three gaps, a mark a run, its form the family of its method.

    Args:
        runs: of one profile, such as `tpccma.evidence.prediction.main_models` keeps.
        league: quality column to its `tpccma.evidence.league.league_table`.
        profile: its name.

    Returns:
        A row of panels a task, a column a gap; R² over all models and within the dial's alphas above each. A line joins
        the means of the dial's alphas.
    """
    figure, panels = plt.subplots(
        len(DRAWN), len(GAPS), figsize=(9.2, 6.6), dpi=DPI, sharex="col", sharey="row", layout="constrained"
    )
    for row, (quality, task) in zip(panels, DRAWN.items(), strict=True):
        for ax, (gap, name) in zip(row, GAPS.items(), strict=True):
            _draw_runs(ax, runs, gap, quality)
            ax.set_title(_title(runs, league[quality], gap, quality), fontsize=10, fontweight="normal")
            ax.label_outer()
            if ax in panels[-1]:
                ax.set_xlabel(f"{name} (0 to 2)")
        row[0].set_ylabel(task)
    figure.suptitle(f"Quality over the three gaps: {profile}", fontsize=12, fontweight="bold")
    handles = _family_handles(panels)
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return figure


def _family_handles(panels: np.ndarray) -> list[Line2D]:
    """Take each family's mark from whatever panel has it."""
    handles = {}
    for ax in panels.flat:
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    return [handles[family] for family in FAMILIES if family in handles]


def _draw_runs(ax: Axes, runs: pd.DataFrame, gap: str, quality: str) -> None:
    known = runs.dropna(subset=[gap, quality])
    curve = known[known.method == DIAL].groupby("alpha")[[gap, quality]].mean()
    ax.plot(curve[gap], curve[quality], color=PALETTE[0], linewidth=1.0, zorder=1)
    families = known.groupby(known.method.map(family_of))
    for family, style in FAMILIES.items():
        if family in families.groups:
            part = families.get_group(family)
            size = 11 if family == "base" else 6
            ax.plot(part[gap], part[quality], **mark_style(*style, size), alpha=0.75, zorder=3, label=family)


def _title(runs: pd.DataFrame, league: pd.DataFrame, gap: str, quality: str) -> str:
    if gap not in league.index or np.isnan(league.r_squared[gap]):
        return TOO_FEW
    return f"R² {league.r_squared[gap]:.2f}, of {DIAL} alone {within(runs, gap, quality):.2f}"
