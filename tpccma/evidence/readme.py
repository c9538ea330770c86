"""The claims as a reader sees them: short and full tables, sentences, the README's block and its figure.

Everything takes the table that `tpccma.evidence.claims.claims_table` returns.
"""

import math
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tpccma.evidence.claims import BASE, CLAIMS, CONTINUED
from tpccma.evidence.verdicts import VERDICTS
from tpccma.figures.clouds import use_style
from tpccma.files import write_whole

BEGIN, END = "<!-- claims: begin, by python -m tpccma.claims --readme -->", "<!-- claims: end -->"
FIGURE = Path("book/_static/claims.png")
MARKERS = {BASE: ("o", "black", "black"), CONTINUED: ("s", "white", "0.45")}


def format_effect(row: pd.Series) -> str:
    """Write an effect with its interval and unit, such as ``56.9 [55.7, 58.1] %``; a dash where there is none."""
    if math.isnan(row.ours):
        return "–"
    digits = 1 if row.unit in ("%", "points") else 3
    interval = "" if math.isnan(row.low) else f" [{row.low:.{digits}f}, {row.high:.{digits}f}]"
    return f"{row.ours:.{digits}f}{interval} {row.unit}"


def format_paper(row: pd.Series) -> str:
    """Write the paper's effect with its unit; "stated" where it names no figure."""
    if math.isnan(row.paper):
        return "stated"
    return f"{row.paper:.3f} {row.unit}" if row.unit in ("ARI", "R²") else f"{row.paper:.3g} {row.unit}"


def full_table(table: pd.DataFrame, profile: str) -> pd.DataFrame:
    """Lay out every reading of one profile, both references side by side.

    Args:
        table: the claims, or some of them.
        profile: one that it holds.

    Returns:
        Strings; one row a claim and reading. What is empty in all rows is left out, such as the second reference where
        no claim has one: "ours" and "verdict" then.
    """
    columns = ["paper", *(f"{kind} {name}" for name in (BASE, CONTINUED) for kind in ("against", "verdict,")), "note"]
    rows = {}
    for (claim, reading), part in table[table.profile == profile].groupby(["claim", "reading"], sort=False):
        row = {"paper": format_paper(part.iloc[0]), "note": part.iloc[0].note}
        for against, found in zip(part.against, part.itertuples(), strict=True):
            title = against or BASE
            row |= {f"against {title}": format_effect(found), f"verdict, {title}": found.verdict}
        rows[claim, reading] = dict.fromkeys(columns, "") | row
    full = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    full = full.loc[:, [name for name in full if any(full[name])]].rename_axis(["claim", "reading"])
    if f"against {CONTINUED}" in full:
        return full
    return full.rename(columns={f"against {BASE}": "ours", f"verdict, {BASE}": "verdict"})


def describe(part: pd.DataFrame) -> list[str]:
    """Say what came out of one claim on one profile, a line a verdict.

    Args:
        part: the claim's rows of one profile.

    Returns:
        Lines such as ``reproduced: raw squared 81.2 [79.9, 82.5] %``. Figures are against the base; a verdict that is
        another one against continued plain CLIP is named with the reading.
    """
    other = part[part.against == CONTINUED].set_index("reading").verdict
    main = part[part.against != CONTINUED]
    if main.ours.isna().all():
        notes = [note for note in main.note.unique() if note and note != "no runs"]
        return ["; ".join(["not run", *notes])]
    lines = []
    for verdict in VERDICTS:
        shown = [_reading_text(row, other) for row in main[main.verdict == verdict].itertuples()]
        if shown:
            lines.append(f"{verdict}: {', '.join(shown)}")
    return lines


def _reading_text(row: pd.Series, other: pd.Series) -> str:
    """Write a reading with its effect; of C6's many readings the paired ones only, the others by name."""
    if row.claim == "C6" and not row.reading.endswith("paired"):
        return row.reading
    notes = [row.note] if row.note else []
    second = other.get(row.reading, row.verdict)
    if second not in (row.verdict, "not run"):
        notes.append(f"against {CONTINUED}: {second}")
    return f"{row.reading} {format_effect(row)}" + (f" ({'; '.join(notes)})" if notes else "")


def summary_table(table: pd.DataFrame) -> pd.DataFrame:
    """Lay out the claims in short, a row a claim and a column a profile.

    Args:
        table: the claims.

    Returns:
        Strings with the columns claim, paper's figure and one a profile; the lines of a cell are parted by line breaks.
    """
    rows = {}
    for claim, (statement, figure) in CLAIMS.items():
        own = table[table.claim == claim]
        cells = {
            f"profile {profile}": "\n".join(describe(part)) for profile, part in own.groupby("profile", sort=False)
        }
        rows[claim] = {"claim": statement, "the paper's figure": figure, **cells}
    return pd.DataFrame.from_dict(rows, orient="index")


def plain_text(summary: pd.DataFrame) -> str:
    """Write the short table for a terminal, a paragraph a claim."""
    lines = []
    for claim, (statement, figure, *cells) in zip(summary.index, summary.itertuples(index=False), strict=True):
        lines.append(f"{claim}  {statement}: {figure}")
        for profile, cell in zip(summary.columns[2:], cells, strict=True):
            lines += [f"    {profile}", *(f"        {line}" for line in cell.splitlines())]
    return "\n".join(lines)


def markdown_table(summary: pd.DataFrame) -> str:
    """Write the short table in Markdown."""
    lines = [["", *summary.columns], ["---"] * (len(summary.columns) + 1)]
    lines += [[claim, *(cell.replace("\n", "<br>") for cell in row)] for claim, *row in summary.itertuples()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def readme_block(table: pd.DataFrame) -> str:
    """Write what stands between the two markers of the README."""
    return f"{BEGIN}\n{markdown_table(summary_table(table))}\n{END}"


def write_readme(table: pd.DataFrame, root: str | Path = ".") -> None:
    """Put the claims table into README.md and draw the figure that it shows.

    Args:
        table: the claims.
        root: where README.md lies.

    Raises:
        ValueError: if the README lacks the markers.
    """
    path = Path(root) / "README.md"
    text = path.read_text()
    if not 0 <= text.find(BEGIN) < text.find(END):
        raise ValueError(f"{path} lacks the lines {BEGIN!r} and {END!r}: put them where the table belongs")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    write_whole(path, before + readme_block(table) + after)
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
    drawn = table[table.unit.isin(["%", "points"]) & table.paper.notna()]
    profiles = [profile for profile, part in drawn.groupby("profile", sort=False) if part.ours.notna().any()]
    if not profiles:
        raise ValueError("no claim has a run: there is nothing to draw; record runs first")
    size = (1.6 + 4.6 * len(profiles), 5.6)
    figure, panels = plt.subplots(1, len(profiles), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for ax, profile in zip(panels[0], profiles, strict=True):
        _plot_profile(ax, drawn[drawn.profile == profile])
        ax.set(title=profile, xlabel="effect in per cent (C2 absolute: points)")
    panels[0, 0].invert_yaxis()
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return figure


def _plot_profile(ax: Axes, rows: pd.DataFrame) -> None:
    labels = [f"{claim} {reading}" for claim, reading in rows[["claim", "reading"]].drop_duplicates().itertuples(False)]
    places = {label: place for place, label in enumerate(labels)}
    ax.axvline(0, color="black", linewidth=0.8)
    for (against, part), shift in zip(rows.groupby("against", sort=False), (-0.16, 0.16), strict=False):
        marker, face, edge = MARKERS[against]
        heights = [places[f"{row.claim} {row.reading}"] + shift for row in part.itertuples()]
        spread = [part.ours - part.low, part.high - part.ours]
        ax.errorbar(part.ours, heights, xerr=spread, fmt="none", color=edge, capsize=3, linewidth=1.2, zorder=2)
        ax.scatter(
            part.ours,
            heights,
            marker=marker,
            color=face,
            edgecolor=edge,
            s=30,
            zorder=3,
            label=f"ours, against {against}",
        )
    paper = rows.drop_duplicates(["claim", "reading"])
    ax.scatter(
        paper.paper, range(len(paper)), marker="D", color="white", edgecolor="black", s=46, zorder=1, label="paper"
    )
    ax.set(yticks=range(len(labels)), yticklabels=labels)
