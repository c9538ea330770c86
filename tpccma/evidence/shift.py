"""Fine-tuned on a narrower, noisier world than the base model saw, and tested on the whole: where alignment may cost.

Profile ``demo-shift``; continued CLIP, alpha 0, pays for the narrowness as well, so that what alignment adds to the
price is taken against it.
"""

import pandas as pd

from tpccma.evidence.estimates import Setting, changes, levels
from tpccma.evidence.table import BASE, CONTINUED, SCALE_FREE
from tpccma.methods import FULL, PAIRED, SECOND_CURRICULUM
from tpccma.runs.jobs import SHIFT

REFERENCES = {BASE: Setting(SHIFT, BASE), CONTINUED: Setting(SHIFT, FULL)}
MODELS = {
    **REFERENCES,
    "alpha 0.05": Setting(SHIFT, FULL, 0.05),
    "alpha 0.5": Setting(SHIFT, FULL, 0.5),
    f"{PAIRED}, alpha 0.05": Setting(SHIFT, SECOND_CURRICULUM, 0.05),
    f"{PAIRED}, alpha 0.5": Setting(SHIFT, SECOND_CURRICULUM, 0.5),
    "modgap": Setting(SHIFT, "modgap"),
}
MEASURES = {
    "zeroshot_top1": "zero-shot accuracy",
    "zeroshot_top1_seen": "accuracy, classes trained on",
    "zeroshot_top1_unseen": "accuracy, classes left out",
    "clustering_ari": "joint clustering ARI",
    "raw_gap": "raw gap",
    SCALE_FREE: "distribution gap, scale-free",
    "cider": "CIDEr raw-fed",
    "cider_memory": "CIDEr memory",
}


def shift_levels(results: pd.DataFrame) -> pd.DataFrame:
    """Average the ``MEASURES`` over the seeds of each of ``MODELS``; tidy, see `tpccma.evidence.writing`.

    Args:
        results: from `tpccma.evidence.table.load_results`.
    """
    return levels(results, MODELS, MEASURES)


def shift_changes(results: pd.DataFrame, against: str) -> pd.DataFrame:
    """Take the changes of every model but the references, paired by seed; tidy.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        against: "base" or "continued CLIP".
    """
    pairs = {name: (setting, REFERENCES[against]) for name, setting in MODELS.items() if name not in REFERENCES}
    return changes(results, pairs, MEASURES)
