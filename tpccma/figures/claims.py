"""The figure of the claims, and the README's block, which shows it."""

from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tpccma.evidence.paper import SAYS
from tpccma.evidence.readme import WORLDS, lead, write_block
from tpccma.evidence.verdicts import MARGIN
from tpccma.figures.style import REFERENCES, legend_below, use_style

FIGURE = Path("book/_static/claims.png")


def write_readme(table: pd.DataFrame, root: str | Path = ".") -> None:
    """Put the claims strip into README.md and draw the figure that it shows.

    Args:
        table: the claims, from `tpccma.evidence.claims.both_readings`.
        root: where README.md lies.

    Raises:
        ValueError: if the README lacks the markers.
    """
    write_block(table, Path(root) / "README.md")
    use_style()
    figure = plot_claims(table[table.method == lead(table)])
    (Path(root) / FIGURE).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(Path(root) / FIGURE, dpi=90, metadata={"Software": None})
    plt.close(figure)


def plot_claims(table: pd.DataFrame) -> Figure:
    """Draw each claim's effect here, as a multiple of the paper's, with its interval: a row a claim.

    Args:
        table: the claims of one reading of the method; their primary readings are drawn where the paper names a figure.

    Returns:
        One panel a profile that has a run: a filled dot against the base, an open square against continued plain CLIP;
        the grey band is as large as stated, the black line none.

    Raises:
        ValueError: if nothing was run.
    """
    drawn = table[table.primary & table.paper.notna()]
    profiles = [profile for profile, part in drawn.groupby("profile", sort=False) if part.ours.notna().any()]
    if not profiles:
        raise ValueError("no claim has a run: there is nothing to draw; record runs first")
    size = (2.4 + 3.4 * len(profiles), 3.9)
    figure, panels = plt.subplots(1, len(profiles), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for ax, profile in zip(panels[0], profiles, strict=True):
        _plot_profile(ax, drawn[drawn.profile == profile])
        ax.set(title=WORLDS.get(profile, profile), xlabel="ours / the paper's")
    panels[0, 0].invert_yaxis()
    legend_below(figure, panels[0, 0], 3, fontsize=9, frameon=None)
    return figure


def _plot_profile(ax: Axes, rows: pd.DataFrame) -> None:
    claims = list(rows.claim.unique())
    ax.axvspan(*MARGIN, color="0.88", zorder=0, label="as large as stated")
    ax.axvline(0, color="black", linewidth=0.8)
    for against, shift in zip(REFERENCES, (-0.14, 0.14), strict=True):
        part = rows[rows.against.isin([against, ""] if shift < 0 else [against])]  # an R² has no reference
        marker, face, edge = REFERENCES[against]
        heights = part.claim.map(claims.index) + shift
        errors = [(part.ours - part.low) / part.paper, (part.high - part.ours) / part.paper]
        ax.errorbar(part.ratio, heights, xerr=errors, fmt="none", color=edge, capsize=3, linewidth=1.2, zorder=2)
        style = {"marker": marker, "color": face, "edgecolor": edge, "s": 30}
        ax.scatter(part.ratio, heights, **style, zorder=3, label=f"ours, against {against}")
    labels = [f"{claim} {SAYS[claim]}" for claim in claims]
    ax.set(yticks=range(len(claims)), yticklabels=labels)
