"""What alignment may cost: dimensions of the embeddings, and zero-shot accuracy, of all classes and of each.

The rules were fixed before any result of the sweep existed [ours]:

- **collapse** is found at an alpha if the 95 % interval of the relative change of the effective rank, paired by seed
  and against continued CLIP, lies wholly below -10 % in either modality.
- **accuracy cost** is found if the interval of the change of zero-shot accuracy, paired likewise, lies wholly below 0.

Legend as in `tpccma.evidence.compared`.
"""

import pandas as pd

from tpccma.evidence.compared import effects
from tpccma.evidence.table import CONTINUED
from tpccma.evidence.verdicts import gain, points_gained
from tpccma.evidence.writing import spread, write_half
from tpccma.runs.jobs import DIAL

RANKS = {"effective_rank_image": "image rank, %", "effective_rank_text": "text rank, %"}
ACCURACY = {"zeroshot_top1": "zero-shot, points"}
PER_CLASS = "zeroshot_top1_"
COLLAPSE = -10.0  # per cent of the effective rank


def price_of_alignment(runs: pd.DataFrame) -> pd.DataFrame:
    """Apply the rules for collapse and accuracy cost, see the top of this module.

    Returns:
        A row an alpha: changes of both effective ranks in per cent and of zero-shot accuracy in points, against
        continued CLIP, and both verdicts: found, not found, not run.
    """
    dial = runs[runs.method == DIAL]
    ranks, accuracy = effects(dial, RANKS, CONTINUED, gain), effects(dial, ACCURACY, CONTINUED, points_gained)
    shown = spread(pd.concat([ranks, accuracy]), write_half, RANKS | ACCURACY, digits=1, sign=True)
    shown["collapse"] = [_find(ranks[ranks.model == model], COLLAPSE) for model in shown.index]
    shown["accuracy cost"] = [_find(accuracy[accuracy.model == model], 0) for model in shown.index]
    return shown


def _find(table: pd.DataFrame, bound: float) -> str:
    if (table.high < bound).any():
        return "found"
    return "not run" if table.high.isna().any() or table.empty else "not found"


def class_changes(runs: pd.DataFrame) -> pd.DataFrame:
    """Take each class's change of zero-shot accuracy in points by alpha, against continued CLIP; tidy, losers first."""
    names = [name for name in runs if name.startswith(PER_CLASS) and runs[name].notna().any()]
    table = effects(runs[runs.method == DIAL], names, CONTINUED, points_gained)
    order = table.groupby("measure").ours.mean().sort_values().index
    table = table.sort_values("measure", key=lambda names: names.map(order.get_loc), kind="stable")
    return table.assign(measure=table.measure.str.removeprefix(PER_CLASS)).reset_index(drop=True)
