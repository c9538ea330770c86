"""The figure of the claims, and the README's block, which shows it."""

from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tpccma.evidence.readme import write_block
from tpccma.evidence.writing import PERCENTAGES
from tpccma.figures.style import REFERENCES, legend_below, use_style

FIGURE = Path("book/_static/claims.png")


def write_readme(table: pd.DataFrame, root: str | Path = ".") -> None:
    """Put the claims table into README.md and draw the figure that it shows.

    Args:
        table: the claims, from `tpccma.evidence.claims.claims_table`.
        root: where README.md lies.

    Raises:
        ValueError: if the README lacks the markers.
    """
    write_block(table, Path(root) / "README.md")
    use_style()
    figure = plot_claims(table)
    (Path(root) / FIGURE).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(Path(root) / FIGURE, dpi=90, metadata={"Software": None})
    plt.close(figure)


def plot_claims(table: pd.DataFrame) -> Figure:
    """Draw the paper's figure of every claim in per cent against ours with its interval.

    Args:
        table: the claims; profiles without a run are left out.

    Returns:
        One panel a profile: a diamond for the paper, a filled dot for ours against the base, an open square against
        continued plain CLIP.

    Raises:
        ValueError: if nothing was run.
    """
    drawn = table[table.unit.isin(PERCENTAGES) & table.paper.notna()]
    profiles = [profile for profile, part in drawn.groupby("profile", sort=False) if part.ours.notna().any()]
    if not profiles:
        raise ValueError("no claim has a run: there is nothing to draw; record runs first")
    size = (1.6 + 4.6 * len(profiles), 5.6)
    figure, panels = plt.subplots(1, len(profiles), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for ax, profile in zip(panels[0], profiles, strict=True):
        _plot_profile(ax, drawn[drawn.profile == profile])
        ax.set(title=profile, xlabel="effect in per cent (C2 absolute: points)")
    panels[0, 0].invert_yaxis()
    legend_below(figure, panels[0, 0], 3, fontsize=9, frameon=None)
    return figure


def _plot_profile(ax: Axes, rows: pd.DataFrame) -> None:
    rows = rows.assign(label=rows.claim + " " + rows.reading)
    paper = rows.drop_duplicates("label")
    places = dict(zip(paper.label, range(len(paper)), strict=True))
    ax.axvline(0, color="black", linewidth=0.8)
    for (against, part), shift in zip(rows.groupby("against", sort=False), (-0.16, 0.16), strict=False):
        marker, face, edge = REFERENCES[against]
        heights = part.label.map(places) + shift
        errors = [part.ours - part.low, part.high - part.ours]
        ax.errorbar(part.ours, heights, xerr=errors, fmt="none", color=edge, capsize=3, linewidth=1.2, zorder=2)
        style = {"marker": marker, "color": face, "edgecolor": edge, "s": 30}
        ax.scatter(part.ours, heights, **style, zorder=3, label=f"ours, against {against}")
    diamond = {"marker": "D", "color": "white", "edgecolor": "black", "s": 46}
    ax.scatter(paper.paper, range(len(paper)), **diamond, zorder=1, label="paper")
    ax.set(yticks=range(len(places)), yticklabels=list(places))
