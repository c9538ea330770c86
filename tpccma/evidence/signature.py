"""How near a reading of the method comes to what the paper published of its own.

Fixed before the second round [ours]; no reading was or will be tuned to it. Seven components, each from 0, as in the
paper, to 1, nothing like it:

- C1 to C5, primary readings: how far the ratio of our effect to the paper's is from 1, at most 1; an effect of more
  than twice the paper's is as far off as none, or as one on the other side.
- **rank falls**, a limit that the authors name: 0 if at alpha 0.5 the effective rank of images or of texts falls
  against the base, with an interval that excludes 0; else 1.
- **accuracy falls under shift**, the other one: 0 if at alpha 0.5 zero-shot accuracy falls on ``demo-shift`` against
  continued CLIP, whose fine-tuning is as narrow; else 1.

The distance is the mean of those components that are known of every reading compared.
"""

import numpy as np
import pandas as pd

from tpccma.evidence.claims import claims_table
from tpccma.evidence.intervals import estimate_effect
from tpccma.evidence.readme import primary_readings
from tpccma.evidence.table import BASE, DIALS, pick, pick_references
from tpccma.evidence.verdicts import NONE, Estimate, points_lost, reduction
from tpccma.methods import FULL, PAIRED, SECOND_CURRICULUM
from tpccma.runs.jobs import SHIFT

RANKS = ("effective_rank_image", "effective_rank_text")
STRONG = 0.5
ON_SHIFT = {FULL: FULL, PAIRED: SECOND_CURRICULUM}  # what was planned there of each reading
ALIKE = 0.1  # distances that differ by less decide nothing
DECIDES = (
    "A distance says which reading looks more like the published figures on these small models and data, not which one "
    f"the authors used; two that differ by less than {ALIKE:g} decide nothing."
)


def signature(results: pd.DataFrame, profile: str, method: str) -> pd.Series:
    """Set a reading of the method against the paper's signature.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        profile: whose claims and ranks.
        method: "tpc-cma" or "tpc-cma-paired".

    Returns:
        Seven components from 0 to 1, NaN for what was not run.
    """
    claims = primary_readings(claims_table(results, (profile,), method)).set_index("claim")
    ratios = claims.ratio.where(claims.low.notna())["C1":"C5"]
    runs, shift = (results[results.profile == name] for name in (profile, SHIFT))
    named = {"rank falls": rank_falls(runs, method), "accuracy falls under shift": accuracy_falls(shift, method)}
    return pd.concat([(ratios - 1).abs().clip(upper=1), 1 - pd.Series(named, dtype=float)])


def rank_falls(runs: pd.DataFrame, method: str) -> float:
    """Say whether the effective rank falls, see the top of this module: 1, 0 or NaN. Args as in `signature`."""
    own = pick(runs, method, STRONG)
    parts = [own, pick_references(runs, BASE, own)]
    return _any_above_zero([estimate_effect(reduction, parts, (column,)).estimate for column in RANKS])


def accuracy_falls(runs: pd.DataFrame, method: str) -> float:
    """Say whether accuracy falls under shift, see the top of this module: 1, 0 or NaN; runs are of ``demo-shift``."""
    own = pick(runs, ON_SHIFT[method], STRONG)
    parts = [own, pick(runs, FULL, 0).reindex(own.index)]
    return _any_above_zero([estimate_effect(points_lost, parts, ("zeroshot_top1",)).estimate])


def _any_above_zero(found: list[Estimate]) -> float:
    lows = np.array([each.low for each in found])
    return NONE if np.isnan(lows).all() else float((lows > 0).any())


def signature_distance(components: pd.Series) -> float:
    """Average the known components of `signature`; NaN if there are none."""
    return float(components.mean())


def signature_table(results: pd.DataFrame, profile: str) -> pd.DataFrame:
    """Set the readings of the method side by side.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        profile: whose claims and ranks.

    Returns:
        A column a reading that was run; a row a component, and last the distance, over what is known of all of them.
    """
    found = pd.DataFrame({method: signature(results, profile, method) for method in DIALS})
    found = found.loc[:, found.loc["C1":"C5"].notna().any()]
    return pd.concat([found, found.dropna().apply(signature_distance).to_frame("distance").T])


def nearer(table: pd.DataFrame) -> str:
    """Say which reading is nearer to the paper's signature.

    Args:
        table: from `signature_table`.
    """
    distances = table.loc["distance"].sort_values() if len(table.columns) else pd.Series(dtype=float)
    if len(distances) < 2:
        return "one reading at most was run: nothing to compare yet"
    apart = distances.iloc[1] - distances.iloc[0]
    said = ", ".join(f"{method} {value:.2f}" for method, value in distances.items())
    return f"{'neither is nearer' if not apart >= ALIKE else f'{distances.index[0]} is nearer'} ({said})"
