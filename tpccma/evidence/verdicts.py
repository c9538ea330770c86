"""Effects, their intervals, and the rules that turn an interval into a verdict on a claim of the paper.

The rules were fixed before any result existed [ours]. With [low, high] the 95 % interval of an effect:

- gain (C1, C3, C4, C5), more is better: **reproduced** if low > 0 and high >= the paper's figure, so the interval holds
  that figure or lies beyond it; **direction only** if low > 0 and high < the paper's figure; **contradicted** if high <
  0; else **not reproduced**.
- cost (C2), less is better: **contradicted** if low > the paper's figure; **reproduced** if high <= that figure, or if
  the interval holds it and low > 0; else **not reproduced**, since the interval holds no cost and more than the
  paper's.
- statement (C8), which names no figure: "removes the centroid gap" is read as more than 90 % of it, "leaves the
  distribution gap" as more than half of it; **reproduced** if low > that bound, **contradicted** if high < the bound,
  else **not reproduced**.
- prediction (C6, C7), of the R² of a reading of the distribution gap minus that of the raw gap: **reproduced** if
  low > 0 and the interval of the claim's own R² holds the paper's figure or lies beyond it (above for C6, below for
  C7); **direction only** if just low > 0; **contradicted** if high < 0; else **not reproduced**.

**not run** stands where there is no interval: fewer than three seeds, or for a prediction
(`tpccma.evidence.prediction`) fewer than ten settings.

Legend: S seeds.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

VERDICTS = ("reproduced", "direction only", "not reproduced", "contradicted", "not run")
MIN_SEEDS, MIN_SETTINGS = 3, 10
NONE = float("nan")


class Estimate(NamedTuple):
    """An effect `ours`, the bounds `low` and `high` of its 95 % interval (or NaN), and `n`, what it rests on."""

    ours: float = NONE
    low: float = NONE
    high: float = NONE
    n: int = 0


def reduction(run: pd.Series, reference: pd.Series) -> pd.Series:
    """Return by how many per cent runs lie below their references, (S,) each; NaN where a reference is not positive."""
    return 100 * (1 - run / reference.where(reference > 0))


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


def judge(rule: str, found: Estimate, paper: float) -> str:
    """Apply the rule for gains, costs or statements, see the top of this module.

    Args:
        rule: "gain", "cost" or "statement".
        found: the effect.
        paper: the paper's effect; for a statement the bound that it is read as.

    Returns:
        One of `VERDICTS`.

    Raises:
        ValueError: if there is no such rule.
    """
    if rule not in ("gain", "cost", "statement"):
        raise ValueError(f"unknown rule {rule!r}: give one of gain, cost, statement")
    _, low, high, _ = found
    if np.isnan(low):
        return "not run"
    if rule == "gain" and low > 0:
        return "reproduced" if high >= paper else "direction only"
    if rule == "cost" and (high <= paper or 0 < low <= paper):
        return "reproduced"
    if rule == "statement" and low > paper:
        return "reproduced"
    opposite = {"gain": high < 0, "cost": low > paper, "statement": high < paper}[rule]
    return "contradicted" if opposite else "not reproduced"


def judge_prediction(contrast: Estimate, reached: bool) -> str:
    """Apply the rule for predictions, see the top of this module.

    Args:
        contrast: R² of a reading of the distribution gap minus that of the raw gap.
        reached: the interval of the claim's own R² holds the paper's figure or lies beyond it.

    Returns:
        One of `VERDICTS`.
    """
    if np.isnan(contrast.low):
        return "not run"
    if contrast.low > 0:
        return "reproduced" if reached else "direction only"
    return "contradicted" if contrast.high < 0 else "not reproduced"
