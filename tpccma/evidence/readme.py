"""The claims as a reader sees them: short and full tables, sentences, and the README's block.

Everything takes the table that `tpccma.evidence.claims.claims_table` returns.
"""

from pathlib import Path

import pandas as pd

from tpccma.evidence.paper import CLAIMS
from tpccma.evidence.table import BASE, CONTINUED
from tpccma.evidence.verdicts import VERDICTS
from tpccma.evidence.writing import write_effect, write_paper
from tpccma.files import write_whole

BEGIN, END = "<!-- claims: begin, by tpccma claims --readme -->", "<!-- claims: end -->"


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
        row = {"paper": write_paper(part.iloc[0]), "note": part.iloc[0].note}
        for against, found in zip(part.against, part.itertuples(), strict=True):
            title = against or BASE
            row |= {f"against {title}": write_effect(found), f"verdict, {title}": found.verdict}
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
    return f"{row.reading} {write_effect(row)}" + (f" ({'; '.join(notes)})" if notes else "")


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


def write_block(table: pd.DataFrame, path: str | Path = "README.md") -> None:
    """Put the claims table into README.md.

    Args:
        table: the claims.
        path: of the file.

    Raises:
        ValueError: if the file lacks the markers.
    """
    text = Path(path).read_text()
    if not 0 <= text.find(BEGIN) < text.find(END):
        raise ValueError(f"{path} lacks the lines {BEGIN!r} and {END!r}: put them where the table belongs")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    write_whole(Path(path), before + readme_block(table) + after)
