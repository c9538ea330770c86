"""How steady a training was, read from its log: the paper claims of its curriculum that it makes training stable.

What counts as a spike is [ours]. The whole loss would not do: it changes its meaning as alpha rises. L_CLIP is part of
every step, and `loss_spike` looks at it without its share.
"""

from typing import TYPE_CHECKING

import pandas as pd

from tpccma.methods import METHODS
from tpccma.methods.curricula import dose

if TYPE_CHECKING:
    from tpccma.training.run import Run

WINDOW = 10  # steps over which the loss is averaged: a single wild batch is no spike


def stability(run: "Run") -> dict[str, float]:
    """Say how steady a run was, of a method that is watched, see `tpccma.methods.Method`; {} of others.

    Args:
        run: a training, or as much of it as there is.

    Returns:
        ``dose``, see `tpccma.methods.curricula.dose`; ``loss_spike``; and ``worst_val_zeroshot``, the lowest zero-shot
        accuracy on validation pictures that was seen on the way. What the log does not say is left out.
    """
    how, steps = METHODS.get(run.method), run.steps
    if not (how and how.watched) or steps.empty:
        return {}
    seen = steps.get("val_zeroshot", pd.Series(dtype=float)).dropna()
    found = {"dose": dose(steps.alpha, steps.learning_rate), "loss_spike": loss_spike(steps)}
    return found | ({"worst_val_zeroshot": float(seen.min())} if len(seen) else {})


def loss_spike(steps: pd.DataFrame, window: int = WINDOW) -> float:
    """Measure the largest rise of the smoothed loss above its lowest value so far, as a share of that value.

    >>> loss_spike(pd.DataFrame({"alpha": 0.0, "contrastive_loss": [4.0, 2.0, 2.0, 4.0, 2.0]}), window=2)
    0.5

    Args:
        steps: a run's log; L_CLIP is its ``contrastive_loss`` over 1 - alpha. Steps at alpha 1 do not tell it.
        window: how many steps before and with each one are averaged; fewer at the beginning.

    Returns:
        A number >= 0: 0 if the loss only fell, 1 if it came to stand at double its lowest.
    """
    told = steps[steps.alpha < 1]
    clip = told.contrastive_loss / (1 - told.alpha)
    smooth = clip.rolling(min(window, max(len(clip), 1))).mean().dropna()
    return float((smooth / smooth.cummin() - 1).max()) if len(smooth) else 0.0
