"""How sure an effect is: its 95 % interval and p value over seeds and, where records hold them, over test pictures.

An effect is one of means over seeds, such as the mean CIDEr of the runs over that of their references: a ratio of
means, not a mean of ratios. Its standard error comes in one of two ways [ours]:

- **seeds**: jackknife over seeds; of an effect that is a difference of means it is that of the seeds' mean.
- **seeds and pictures**: bootstrap. A resample draws seeds and test pictures, both with replacement; the pictures are
  the same for every seed, for runs and for references, since all were tested on one test set. The spread of the
  resamples is taken times sqrt(S / (S - 1)), since so few draws of S seeds vary by too little.

The interval is the effect, and the error times Student's t with S - 1 degrees of freedom, on either side: where
pictures add nothing, both ways give Student's interval over seeds. The p value, two-sided, is of the same t.

Legend: S seeds, P parts of an effect (runs, references), R resamples.
"""

import gc
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from tpccma.evidence.outcomes import RESAMPLES, SEED, holds, read_items, resampled, same_pictures
from tpccma.evidence.verdicts import MIN_SEEDS, NONE, Estimate

SEEDS, PICTURES = "seeds", "seeds and pictures"


class Tested(NamedTuple):
    """An ``estimate``, the two-sided ``p`` of its being the null, and what its interval is ``over``."""

    estimate: Estimate = Estimate()
    p: float = NONE
    over: str = ""


def estimate_effect(effect: Callable, parts: list[pd.DataFrame], columns: tuple[str, ...], null: float = 0) -> Tested:
    """Estimate an effect of means over seeds, and over test pictures where all records of it hold them.

    Args:
        effect: of arrays of means, a part's columns after another's.
        parts: rows of the results, such as runs and their references, of the same S seeds in the same order.
        columns: of the results, wanted of each part.
        null: the effect that ``p`` is about.

    Returns:
        The effect with its interval, without one with fewer than three seeds; nothing where a measure is not recorded.
    """
    if not all(set(columns) <= set(part) for part in parts):
        return Tested()
    values = np.array([part[column] for part in parts for column in columns], dtype=float)
    known = ~np.isnan(values).any(0)
    values, seeds = values[:, known], int(known.sum())
    ours = float(effect(*values.mean(1))) if seeds else NONE
    if seeds < MIN_SEEDS or np.isnan(ours):
        return Tested(Estimate(ours, n=seeds))
    items = [_items_of(part[known]) for part in parts for _ in columns]
    if _have_pictures(columns * len(parts), items):
        return _student(ours, bootstrap_error(effect, columns * len(parts), items), seeds, null, PICTURES)
    return _student(ours, jackknife_error(effect, values), seeds, null, SEEDS)


def _items_of(runs: pd.DataFrame) -> list[dict | None]:
    """Read what the records of some runs hold of each test picture; None where there is no record, or nothing of it."""
    return [read_items(path) if path else None for path in runs.get("record", pd.Series("", runs.index))]


def _have_pictures(columns: tuple[str, ...], items: list[list]) -> bool:
    known = all(holds(each, column) for column, part in zip(columns, items, strict=True) for each in part)
    return known and same_pictures([each for part in items for each in part])


def _student(ours: float, error: float, seeds: int, null: float, over: str) -> Tested:
    half = float(stdtrit(seeds - 1, 0.975)) * error
    p = 2 * float(stdtr(seeds - 1, -abs(ours - null) / error)) if error > 0 else float(ours == null)
    return Tested(Estimate(ours, ours - half, ours + half, seeds), p, over)


def jackknife_error(effect: Callable, values: np.ndarray) -> float:
    """Return the standard error of an effect of means by leaving out each seed in turn.

    Args:
        effect: of P arrays of means.
        values: (P, S) what was recorded of each part and seed.
    """
    seeds = values.shape[1]
    left_out = effect(*((values.sum(1, keepdims=True) - values) / (seeds - 1)))
    return float(np.sqrt((seeds - 1) * np.var(left_out)))


def bootstrap_error(effect: Callable, columns: tuple[str, ...], items: list[list]) -> float:
    """Return the standard error of an effect of means over seeds and test pictures, see the top of this module.

    Args:
        effect: of P arrays of means.
        columns: P columns of the results.
        items: P lists of the items of S runs, see `tpccma.evidence.outcomes`.
    """
    seeds = len(items[0])
    draws = np.random.default_rng(SEED).multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES).T / seeds  # (S, R)
    parts = zip(columns, items, strict=True)
    means = [(draws * [resampled(each, column) for each in part]).sum(0) for column, part in parts]
    return float(np.nanstd(effect(*means)) * np.sqrt(seeds / (seeds - 1)))


def holm(p: pd.Series) -> pd.Series:
    """Adjust p values for their number, so that the chance of a single false one stays at its level.

    Args:
        p: of all readings that are judged together; NaN, for what was not run, counts as 1.

    Returns:
        Adjusted p values, NaN where there was none. Source: Holm (1979).
    """
    from statsmodels.stats.multitest import multipletests  # takes a second, and most chapters correct nothing

    if p.isna().all():
        return p
    gc.freeze()  # it collects garbage, which takes a second where much is loaded: there shall be nothing to look at
    try:
        adjusted = multipletests(p.fillna(1), method="holm")[1]
    finally:
        gc.unfreeze()
    return pd.Series(adjusted, p.index).where(p.notna())
