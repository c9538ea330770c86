"""The dial without retraining: models interpolated between a base and an aligned run, against runs trained at an alpha.

The models stand in ``results/fronts``, see `tpccma.runs.fronts`. They are set against the retrained ones at equal raw
gap, seed by seed, by the rule of `tpccma.evidence.frontier`: **above** the retrained curve, **below** it, or **not told
apart**. Where none is below, one training gives the whole dial.
"""

from collections.abc import Sequence

import pandas as pd

from tpccma.evidence.compared import GAP
from tpccma.evidence.frontier import standing_table
from tpccma.methods import FULL
from tpccma.runs.jobs import BASE

TASKS = {
    "zeroshot_top1": "zero-shot accuracy",
    "clustering_ari": "joint clustering ARI",
    "cider": "CIDEr raw-fed",
    "cider_memory": "CIDEr memory",
    "effective_rank_image": "effective rank, images",
    "effective_rank_text": "effective rank, texts",
}
RANKS = tuple(name for name in TASKS if name.startswith("effective_rank"))
SCORES = tuple(name for name in TASKS if name not in RANKS)


def with_fronts(results: pd.DataFrame, fronts: pd.DataFrame, profile: str, method: str = FULL) -> pd.DataFrame:
    """Put the interpolated models of a profile beside its retrained ones.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        fronts: the same of ``results/fronts``.
        profile: of both.
        method: the dial that was retrained.

    Returns:
        Rows of the base, the dial and the interpolated models but t = 0; of these the model is such as "t = 0.3".
    """
    kept = results[(results.profile == profile) & results.method.isin([method, BASE])]
    points = fronts[(fronts.profile == profile) & fronts.method.str.startswith(f"interpolated-{method}-a")]
    points = points.assign(model="t = " + points.alpha.map("{:g}".format)).sort_values(["alpha", "seed"])
    return pd.concat([kept, points[points.alpha > 0]], ignore_index=True)


def retrained_table(runs: pd.DataFrame, tasks: Sequence[str] = SCORES, method: str = FULL) -> pd.DataFrame:
    """Lay out `~tpccma.evidence.frontier.standing_table` of all interpolated models of `with_fronts`, a row a t."""
    points = runs.model.str.startswith("t = ")
    shown = standing_table(runs[points | (runs.method == method)], tasks, dial=method)
    return shown.loc[runs.model[points].unique()].rename(columns=TASKS | {GAP: "raw gap"})
