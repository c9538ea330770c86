"""Effects, and the rules that turn an interval into a verdict on a claim of the paper.

These rules, the primary readings (`tpccma.evidence.primary`) and the intervals (`tpccma.evidence.intervals`) were
fixed before the first record of the second round was made [ours]; chapter 05 says what had been seen by then. With
[low, high] the 95 % interval of an effect, and p what the paper states:

- size (all but C2 and C8's primary reading): **as large** as stated if 0.75 p <= low and high <= 1.25 p; **larger** if
  low > 1.25 p; **smaller** if low > 0 and high < 0.75 p; **opposite** if high < 0. Direction is said apart.
- bound (C2), where p is the most that may be lost: **no drop found** if low <= 0; **within the bound** if low > 0 and
  high <= p; **beyond it** if low > p.
- half (C8), of a share in per cent: **less than half** if high < 50, **more than half** if low > 50.

What meets none of these is **undecided**. **not run** stands where there is no interval: fewer than three seeds, or for
an R² (`tpccma.evidence.prediction`) fewer than ten settings or five methods.

Legend: S seeds.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit


class Verdict(NamedTuple):
    """What a verdict means: a ``mark`` for tables, and the ``rule`` that the interval meets."""

    mark: str
    rule: str


VERDICTS = {
    "as large": Verdict("●", "the interval lies between 0.75 and 1.25 times the paper's figure"),
    "larger": Verdict("▲", "it lies above 1.25 times the paper's figure"),
    "smaller": Verdict("▼", "it lies above 0 and below 0.75 times the paper's figure"),
    "opposite": Verdict("✕", "it lies below 0, on the other side from the paper's figure"),
    "no drop found": Verdict("●", "C2: the interval of the drop reaches 0 or below"),
    "within the bound": Verdict("●", "C2: it lies above 0 and up to the paper's figure"),
    "beyond it": Verdict("✕", "C2: it lies above the paper's figure"),
    "less than half": Verdict("●", "C8: of alpha 0.5's gain, the interval of centring's share lies below 50 %"),
    "more than half": Verdict("✕", "C8: it lies above 50 %"),
    "undecided": Verdict("○", "it meets none of these"),
    "not run": Verdict("–", "no interval: fewer than 3 seeds, or of an R² fewer than 10 settings or 5 methods"),
}
MARGIN = (0.75, 1.25)  # of the paper's figure: as large as stated
HALF = 50.0
MIN_SEEDS, MIN_SETTINGS, MIN_METHODS = 3, 10, 5
NONE = float("nan")


class Estimate(NamedTuple):
    """An effect ``ours``, the bounds ``low`` and ``high`` of its 95 % interval, or NaN, and ``n``, what it rests on."""

    ours: float = NONE
    low: float = NONE
    high: float = NONE
    n: int = 0


def reduction(run: pd.Series, reference: pd.Series) -> pd.Series:
    """Return by how many per cent runs lie below their references, (S,) each; NaN where a reference is not positive."""
    return 100 * (1 - run / np.where(np.asarray(reference) > 0, reference, NONE))


def squared_reduction(run: pd.Series, reference: pd.Series) -> pd.Series:
    """Return the `reduction` of the squares."""
    return reduction(run**2, reference**2)


def gain(run: pd.Series, reference: pd.Series) -> pd.Series:
    """Return the per cent by which runs lie above their references."""
    return -reduction(run, reference)


def difference(run: pd.Series, reference: pd.Series) -> pd.Series:
    """Return runs minus references."""
    return run - reference


def points_lost(run: pd.Series, reference: pd.Series) -> pd.Series:
    """Return by how many percentage points shares lie below their references."""
    return 100 * (reference - run)


def points_gained(run: pd.Series, reference: pd.Series) -> pd.Series:
    """Return by how many percentage points shares lie above their references."""
    return 100 * (run - reference)


def share_left(run: pd.Series, reference: pd.Series) -> pd.Series:
    """Return how many per cent of the references are left."""
    return 100 - reduction(run, reference)


def share_of_gain(run: pd.Series, reference: pd.Series, whole: pd.Series) -> pd.Series:
    """Return how many per cent of the gain of ``whole`` over references runs have; NaN where there is no such gain."""
    gained = np.asarray(whole - reference)
    return 100 * (run - reference) / np.where(gained > 0, gained, NONE)


def best_gain(*scores: pd.Series) -> pd.Series:
    """Return the `gain` of the best of some scores: first those of the runs, then as many of their references."""
    half = len(scores) // 2
    return gain(np.maximum.reduce(scores[:half]), np.maximum.reduce(scores[half:]))


def seed_interval(values: pd.Series) -> Estimate:
    """Average an effect over seeds, with Student's t interval where there are three seeds or more.

    Args:
        values: (S,) effect of each seed; NaN is left out.

    Returns:
        The `Estimate`, n its seeds.
    """
    values = values.dropna()
    n, mean = len(values), float(values.mean())
    if n < MIN_SEEDS:
        return Estimate(mean, n=n)
    half = float(stdtrit(n - 1, 0.975) * values.std() / np.sqrt(n))  # t of 97.5 %
    return Estimate(mean, mean - half, mean + half, n)


def judge(rule: str, found: Estimate, paper: float = NONE) -> str:
    """Apply one of the rules at the top of this module.

    Args:
        rule: "size", "bound" or "half".
        found: the effect.
        paper: the paper's effect, positive; "half" needs none.

    Returns:
        One of ``VERDICTS``.

    Raises:
        ValueError: if there is no such rule.
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}: give one of {', '.join(RULES)}")
    return "not run" if np.isnan(found.low) else RULES[rule](found.low, found.high, paper)


def _judge_size(low: float, high: float, paper: float) -> str:
    least, most = (factor * paper for factor in MARGIN)
    if least <= low and high <= most:
        return "as large"
    if low > most:
        return "larger"
    if high < 0:
        return "opposite"
    return "smaller" if low > 0 and high < least else "undecided"


def _judge_bound(low: float, high: float, paper: float) -> str:
    if low <= 0:
        return "no drop found"
    if high <= paper:
        return "within the bound"
    return "beyond it" if low > paper else "undecided"


def _judge_half(low: float, high: float, paper: float) -> str:
    if high < HALF:
        return "less than half"
    return "more than half" if low > HALF else "undecided"


RULES = {"size": _judge_size, "bound": _judge_bound, "half": _judge_half}


def direction(found: Estimate) -> str:
    """Say on which side of 0 the whole interval lies: "same direction" as the paper's figure, "other direction", or "no
    direction" where it holds 0; nothing where there is no interval."""
    if np.isnan(found.low):
        return ""
    return "same direction" if found.low > 0 else "other direction" if found.high < 0 else "no direction"


def rules_table() -> pd.DataFrame:
    """Lay the verdicts out for a reader: a row a word, with its mark and its rule in a sentence."""
    return pd.DataFrame.from_dict(VERDICTS, orient="index", columns=Verdict._fields).rename_axis("verdict")
