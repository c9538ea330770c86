"""Whether a cloud must shrink to be aligned: ranks that are kept, and ``tpc-cma-floor`` beside the dial.

The goal was set before the second round [ours]: at least 98 % of the base's effective rank is kept, in either modality.
"""

import pandas as pd

from tpccma.evidence.compared import effects
from tpccma.evidence.price import RANKS
from tpccma.evidence.table import BASE
from tpccma.evidence.verdicts import gain
from tpccma.methods import FLOOR, FULL
from tpccma.runs.jobs import ENDS

GOAL = -2.0  # per cent of the base's effective rank


def floored_runs(results: pd.DataFrame, profile: str) -> pd.DataFrame:
    """Pick a profile's runs of the base, of the dial and of the dial with a floor, which are named by method and alpha.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        profile: as in the results.
    """
    runs = results[(results.profile == profile) & results.method.isin([BASE, FULL, FLOOR])]
    floored = runs.method + ", alpha " + runs.alpha.map("{:g}".format)
    return runs.assign(model=floored.where(runs.method == FLOOR, runs.model))


def rank_changes(runs: pd.DataFrame) -> pd.DataFrame:
    """Take the changes of both effective ranks against the base, in per cent, with and without the floor.

    Args:
        runs: of `floored_runs`.

    Returns:
        A tidy table, see `tpccma.evidence.writing`, of the alphas at which there is a floor.
    """
    return effects(runs[(runs.method == BASE) | runs.alpha.isin(ENDS)], RANKS, BASE, gain)


def keep_their_rank(changes: pd.DataFrame) -> pd.Series:
    """Say of each model whether its ranks are kept as far as ``GOAL``.

    Args:
        changes: of `rank_changes`.

    Returns:
        "kept" where the intervals of both modalities lie above it, "lost" where one lies below, else "undecided".
    """
    lost = (changes.high < GOAL).groupby(changes.model, sort=False).any()
    kept = (changes.low > GOAL).groupby(changes.model, sort=False).all()
    return pd.Series("undecided", kept.index).mask(kept, "kept").mask(lost, "lost")
