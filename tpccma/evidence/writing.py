"""Estimates for a reader: how one is written, and how a table of them is laid out.

A tidy table has a row a model and measure: ``model``, whose it is; ``measure``, a column of the results or its name;
the fields of `tpccma.evidence.verdicts.Estimate`; and ``profile`` where it holds several.
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from tpccma.evidence.verdicts import Estimate

NOTHING = "–"
PERCENTAGES = ("%", "points")


def write(found: Estimate, digits: int = 3, sign: bool = False, unit: str = "") -> str:
    """Write an estimate such as ``0.516 [0.502, 0.530]``, without brackets where there is no interval; a dash for none.

    Where a bound would round to 0 all have a digit more, so that it is seen on which side of 0 it lies.

    Args:
        found: an `~tpccma.evidence.verdicts.Estimate`, or a row of a table that has its fields.
        digits: after the point.
        sign: write a plus as well.
        unit: put after it.
    """
    if math.isnan(found.ours):
        return NOTHING
    digits += any(bound != 0 == round(bound, digits) for bound in (found.low, found.high) if not math.isnan(bound))

    def form(value: float) -> str:
        plus = "+" if sign and round(value, digits) else ""
        return f"{value:{plus}z.{digits}f}"

    interval = "" if math.isnan(found.low) else f" [{form(found.low)}, {form(found.high)}]"
    return f"{form(found.ours)}{interval}{' ' * bool(unit)}{unit}"


def write_half(found: Estimate, digits: int = 2, sign: bool = False) -> str:
    """Write an estimate such as ``0.52 ± 0.02``, half its interval. Args as in `write`."""
    half = "" if math.isnan(found.high) else f" ± {found.high - found.ours:.{digits}f}"
    return write(Estimate(found.ours), digits, sign) + half


def mark(found: Estimate, digits: int = 3) -> str:
    """Write an estimate of a change in short, such as ``+0.014*``; the star says that its interval excludes 0.

    A change that would round to 0 is written with its first digit, such as ``-0.0002*``.
    """
    star = "*" * excludes_zero(found)
    if star and round(found.ours, digits) == 0:
        return np.format_float_positional(found.ours, precision=1, fractional=False, sign=True, trim="-") + star
    return write(Estimate(found.ours), digits, sign=True) + star


def excludes_zero(found: Estimate) -> bool:
    """Say whether an estimate has an interval that lies wholly above or below 0."""
    return bool(found.low > 0 or found.high < 0)


def write_effect(row: pd.Series) -> str:
    """Write the effect of a row of the claims, such as ``56.9 [55.7, 58.1] %``."""
    return write(row, 1 if row.unit in PERCENTAGES else 3, unit=row.unit)


def write_paper(row: pd.Series) -> str:
    """Write the paper's effect in a row of the claims; "stated" where it names no figure."""
    if math.isnan(row.paper):
        return "stated"
    return f"{row.paper:{'.3g' if row.unit in PERCENTAGES else '.3f'}} {row.unit}"


def write_verdict(row: pd.Series) -> str:
    """Write a verdict; of one that is undecided the direction as well, and "not run" with what lacks."""
    if row.verdict == "undecided" and row.direction:
        return f"undecided, {row.direction}"
    return f"not run: {row.note}" if row.verdict == "not run" and row.note not in ("", "no runs") else row.verdict


def write_short(row: pd.Series) -> str:
    """Write the effect of a row of the claims in few digits, without interval, such as ``61 %``; a dash for none."""
    digits = {"%": 0, "points": 1}.get(row.unit, 2)
    return write(Estimate(row.ours), digits, unit="" if row.unit in ("R²", "ARI") else row.unit)


def write_revision(revision: str | None) -> str:
    """Write a commit in 12 digits, and whether the code differed from it."""
    commit, _, changed = (revision or "of no known commit").partition("-")
    return f"{commit[:12] if revision else commit}{', changed' * bool(changed)}"


def tidy(rows: Iterable[tuple], keys: tuple[str, ...] = ("model", "measure")) -> pd.DataFrame:
    """Make a tidy table.

    Args:
        rows: keys, then an `~tpccma.evidence.verdicts.Estimate`, each.
        keys: names of the first columns.
    """
    return pd.DataFrame([(*key, *found) for *key, found in rows], columns=[*keys, *Estimate._fields])


def spread(
    table: pd.DataFrame, writer: Callable[..., str] = write, labels: dict[str, str] | None = None, **form
) -> pd.DataFrame:
    """Lay a tidy table of one profile out.

    Args:
        table: the tidy table.
        writer: `write`, `write_half` or `mark`.
        labels: of measures, where they are to have others.
        **form: digits and sign, as the writer takes them.

    Returns:
        Strings; a row a model, a column a measure, both in the order of the table.
    """
    cells = [writer(found, **form) for found in table.itertuples()]
    return lay_out(table.assign(cell=cells)).rename(columns=labels or {})


def lay_out(table: pd.DataFrame) -> pd.DataFrame:
    """Lay the column ``cell`` of a tidy table out as `spread` does."""
    wide = table.pivot(index="model", columns="measure", values="cell").fillna(NOTHING)
    wide = wide.reindex(index=table.model.unique(), columns=table.measure.unique())
    return wide.rename_axis(index=None, columns=None)
