"""What a caption decoder gains by alignment, by what it is fed: the readings of C5, and their bound.

The bound is the CIDEr of the same decoder fed the text's own embedding. Gains and shares are ratios of means over
seeds, see `tpccma.evidence.intervals`. Legend as in `tpccma.evidence.compared`.
"""

from collections.abc import Iterator

import pandas as pd

from tpccma.evidence.intervals import estimate_effect
from tpccma.evidence.paper import CIDER_GAIN
from tpccma.evidence.primary import FEEDS
from tpccma.evidence.table import BASE, CONTINUED, pick_references
from tpccma.evidence.verdicts import Estimate, best_gain, gain, judge, share_left
from tpccma.evidence.writing import NOTHING, tidy, write_half
from tpccma.runs.jobs import DIAL

BOUND = "cider_text"
BEST = "best feed"


def feed_changes(runs: pd.DataFrame) -> pd.DataFrame:
    """Take the change of CIDEr in per cent by feed and of each model's best feed.

    Returns:
        A tidy table of every model but the references, with a column ``against``, both references.
    """
    parts = [tidy(_changes(runs, against)).assign(against=against) for against in (BASE, CONTINUED)]
    return pd.concat(parts).reset_index(drop=True)


def _changes(runs: pd.DataFrame, against: str) -> Iterator[tuple]:
    reference = (runs.method == BASE) if against == BASE else (runs.method == DIAL) & (runs.alpha == 0)
    for model, part in runs[~reference].groupby("model", sort=False):
        own = part.set_index("seed")
        parts = [own, pick_references(runs, against, own)]
        for column, feed in FEEDS.items():
            yield model, feed, estimate_effect(gain, parts, (column,)).estimate
        yield model, BEST, estimate_effect(best_gain, parts, tuple(FEEDS)).estimate


def feed_verdicts(table: pd.DataFrame, model: str = "alpha 0.5") -> pd.DataFrame:
    """Judge C5 by `tpccma.evidence.verdicts.judge`: a row a feed, with effect and verdict by reference.

    Args:
        table: from `feed_changes`.
        model: whose gain.
    """
    shown = pd.DataFrame(index=pd.Index([*FEEDS.values(), BEST], name="feed"))
    for against in (BASE, CONTINUED):
        own = table[(table.model == model) & (table.against == against)].set_index("measure")
        found = {feed: Estimate(*row) for feed, *row in own[list(Estimate._fields)].itertuples()}
        written = {feed: write_half(own, 1, sign=True) for feed, own in found.items()}
        shown[f"against {against}, %"] = pd.Series(written)
        shown[f"verdict, {against}"] = pd.Series({feed: judge("size", own, CIDER_GAIN) for feed, own in found.items()})
    return shown.fillna(NOTHING)


def bound_shares(runs: pd.DataFrame) -> pd.DataFrame:
    """Return by feed what share of the text-fed CIDEr of its runs each model reaches, in per cent; tidy."""
    return tidy(
        (model, name, estimate_effect(share_left, [part], (feed, BOUND)).estimate)
        for model, part in runs.groupby("model", sort=False)
        for feed, name in FEEDS.items()
        if {feed, BOUND} <= set(runs)
    )
