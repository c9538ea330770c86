"""The claims as a reader sees them: the strip, the tables of primary and of all readings, and the README's block.

Everything takes the table that `tpccma.evidence.claims.claims_table` returns, the strip that of
`tpccma.evidence.claims.both_readings`.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from tpccma.evidence.paper import CLAIMS, SAYS
from tpccma.evidence.primary import HANGS_ON
from tpccma.evidence.table import BASE, CONTINUED, DIALS
from tpccma.evidence.verdicts import VERDICTS
from tpccma.evidence.writing import NOTHING, write_effect, write_paper, write_short, write_verdict
from tpccma.files import write_whole
from tpccma.runs.jobs import DIAL, WORLDS

BEGIN, END = "<!-- claims: begin, by tpccma claims --readme -->", "<!-- claims: end -->"
NO_BREAK = "\u00a0"  # between a mark and its number, in brackets
IN_ONE_ROW = (("C1",), ("C2",), ("C3",), ("C4",), ("C5",), ("C6", "C7"), ("C8",))


def primary_readings(table: pd.DataFrame) -> pd.DataFrame:
    """Pick the primary reading of each claim, against the base."""
    return table[table.primary & (table.against != CONTINUED)]


def lead(table: pd.DataFrame) -> str:
    """Say which reading of the method stands first: the second, ``tpc-cma``, once it was run."""
    run = table[table.against.isin([BASE, CONTINUED]) & table.claim.isin(["C1", "C3"]) & table.low.notna()].method
    return next((method for method in DIALS if method in set(run)), DIAL)


def strip(table: pd.DataFrame) -> pd.DataFrame:
    """Lay the primary readings out in short, C6 and C7 in one row.

    Args:
        table: the claims of both readings of the method.

    Returns:
        Strings, a row a claim; a mark, a verdict and a number for each of ``WORLDS``, those of the other reading of the
        method in brackets, where that was run.
    """
    first = lead(table)
    own, other = (primary_readings(table[(table.method == first) == same]) for same in (True, False))
    rows = {}
    for claims in IN_ONE_ROW:
        papers = own[own.claim.isin(claims)].drop_duplicates("claim")
        rows["/".join(claims)] = {
            "the paper says": "; ".join(SAYS[claim] for claim in claims),
            "paper": ", ".join(_paper_short(row) for row in papers.itertuples()),
            **{world: _cell(own, other, profile, claims) for profile, world in WORLDS.items()},
            "hangs on": HANGS_ON[claims[0]],
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("claim")


def _paper_short(row: pd.Series) -> str:
    return "stated" if np.isnan(row.paper) else f"{row.paper:.3g}{f' {row.unit}' * (row.unit in ('%', 'points'))}"


def _cell(own: pd.DataFrame, other: pd.DataFrame, profile: str, claims: tuple[str, ...]) -> str:
    said = []
    for claim in claims:
        row, second = (
            next(part[(part.profile == profile) & (part.claim == claim)].itertuples(), None) for part in (own, other)
        )
        said.append("not run" if row is None or row.verdict == "not run" else _short(row, row.verdict))
        if second is not None and second.verdict != "not run" and claim not in ("C6", "C7"):  # which both rest on
            said[-1] += f" ({_short(second).replace(' ', NO_BREAK)})"
    return "; ".join(said)


def _short(row: pd.Series, verdict: str = "") -> str:
    return " ".join(filter(None, (VERDICTS[row.verdict].mark, verdict, write_short(row))))


def describe_strip(table: pd.DataFrame) -> str:
    """Say in a sentence or two whose effects the strip shows, and what was not run."""
    first = lead(table)
    (second,) = set(DIALS) - {first}
    run = table[(table.method == second) & table.claim.isin(["C1", "C3"])].low.notna().any()
    other = f"in brackets those of `{second}`" if run else f"`{second}` has not been run"
    gained = "Of C2 a negative number is accuracy gained."
    return f"Effects of `{first}` against the base; {other}. {gained} The paper's own models and data: not run."


def describe_marks(table: pd.DataFrame) -> str:
    """Name the marks that the strip has, with the verdicts that they stand for there."""
    shown = primary_readings(table)
    given = set(shown.verdict[shown.profile.isin(WORLDS)]) - {"not run"}
    named: dict[str, list[str]] = {}
    for word in filter(given.__contains__, VERDICTS):
        named.setdefault(VERDICTS[word].mark, []).append(word)
    return "; ".join(f"{mark} {', '.join(words)}" for mark, words in named.items())


def primary_table(table: pd.DataFrame, profile: str) -> pd.DataFrame:
    """Lay out the primary reading of each claim on one profile.

    Args:
        table: the claims.
        profile: one that it holds.

    Returns:
        Strings, a row a claim: the paper's figure, ours with its interval and what that is over, verdict, p after
        Holm's correction for eight readings (what is below 0.05 survives it).
    """
    rows = {row.claim: _primary_row(row) for row in primary_readings(table[table.profile == profile]).itertuples()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("claim")


def _primary_row(row: pd.Series) -> dict[str, str]:
    return {
        "paper": write_paper(row),
        "ours": write_effect(row),
        "interval over": row.over or NOTHING,
        "verdict": write_verdict(row),
        "p, Holm": NOTHING if np.isnan(row.holm) else write_p(row.holm),
    }


def write_p(p: float) -> str:
    """Write a p value to three digits after the point."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def full_table(table: pd.DataFrame, profile: str) -> pd.DataFrame:
    """Lay out every reading of one profile, both references side by side.

    Args:
        table: the claims, or some of them.
        profile: one that it holds.

    Returns:
        Strings; one row a claim and reading, the primary one marked by a star. What is empty in all rows is left out,
        such as the second reference where no claim has one: "ours" and "verdict" then.
    """
    columns = ["paper", *(f"{kind} {name}" for name in (BASE, CONTINUED) for kind in ("against", "verdict,")), "note"]
    rows = {}
    for (claim, reading), part in table[table.profile == profile].groupby(["claim", "reading"], sort=False):
        row = {"paper": write_paper(part.iloc[0]), "note": part.iloc[0].note}
        for against, found in zip(part.against, part.itertuples(), strict=True):
            title = against or BASE
            row |= {f"against {title}": write_effect(found), f"verdict, {title}": write_verdict(found)}
        rows[claim, f"{reading}{' *' * int(part.primary.iloc[0])}"] = dict.fromkeys(columns, "") | row
    full = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    full = full.loc[:, [name for name in full if any(full[name])]].rename_axis(["claim", "reading"])
    if f"against {CONTINUED}" in full:
        return full
    return full.rename(columns={f"against {BASE}": "ours", f"verdict, {BASE}": "verdict"})


def describe(part: pd.DataFrame) -> str:
    """Say what came out of the primary reading of one claim on one profile.

    Args:
        part: the claim's rows of one profile.

    Returns:
        Text such as ``as large, 61.5 [61.4, 61.5] %, 0.92 times the paper's (against continued CLIP: as large)``.
    """
    (row,) = primary_readings(part).itertuples()
    if row.verdict == "not run":
        return write_verdict(row)
    ratio = "" if np.isnan(row.ratio) else f"{row.ratio:.2f}"
    said = f"{write_verdict(row)}, {write_effect(row)}" + f", {ratio} times the paper's" * bool(ratio)
    other = part[(part.reading == row.reading) & (part.against == CONTINUED) & part.low.notna()]
    return said + "".join(f" (against {CONTINUED}: {write_verdict(each)})" for each in other.itertuples())


def plain_text(table: pd.DataFrame) -> str:
    """Write the primary readings for a terminal, a paragraph a claim."""
    lines = []
    for claim, (statement, figure) in CLAIMS.items():
        lines.append(f"{claim}  {statement}: {figure}; hangs on {HANGS_ON[claim]}")
        own = table[(table.claim == claim)]
        for (profile, method), part in own.groupby(["profile", "method"], sort=False):
            lines.append(f"    {profile}, {method}: {describe(part)}")
    return "\n".join(lines)


def markdown_table(shown: pd.DataFrame) -> str:
    """Write a table of strings in Markdown."""
    lines = [["", *shown.columns], ["---"] * (len(shown.columns) + 1)]
    lines += [[index, *cells] for index, *cells in shown.itertuples()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def readme_block(table: pd.DataFrame) -> str:
    """Write what stands between the two markers of the README."""
    said = f"{describe_strip(table)} Marks: {describe_marks(table)}."
    return f"{BEGIN}\n{said}\n\n{markdown_table(strip(table))}\n{END}"


def write_block(table: pd.DataFrame, path: str | Path = "README.md") -> None:
    """Put the claims strip into README.md.

    Args:
        table: the claims of both readings of the method.
        path: of the file.

    Raises:
        ValueError: if the file lacks the markers.
    """
    text = Path(path).read_text()
    if not 0 <= text.find(BEGIN) < text.find(END):
        raise ValueError(f"{path} lacks the lines {BEGIN!r} and {END!r}: put them where the table belongs")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    write_whole(Path(path), before + readme_block(table) + after)
