"""What a caption decoder gains by alignment, by what it is fed: the readings of C5, and their bound.

The bound is the CIDEr of the same decoder fed the text's own embedding. Legend as in `tpccma.evidence.compared`.
"""

import pandas as pd

from tpccma.evidence.compared import averages, effects
from tpccma.evidence.paper import CIDER_GAIN
from tpccma.evidence.table import BASE, CONTINUED
from tpccma.evidence.verdicts import Estimate, gain, judge
from tpccma.evidence.writing import NOTHING, write_half

FEEDS = {"cider": "raw-fed", "cider_centred": "centred", "cider_memory": "memory"}
BOUND = "cider_text"


def feed_changes(runs: pd.DataFrame) -> pd.DataFrame:
    """Take the change of CIDEr in per cent by feed, see `FEEDS`: tidy, with a column ``against``, both references."""
    parts = [effects(runs, FEEDS, against, gain).assign(against=against) for against in (BASE, CONTINUED)]
    return pd.concat(parts).replace({"measure": FEEDS}).reset_index(drop=True)


def feed_verdicts(table: pd.DataFrame, model: str = "alpha 0.5") -> pd.DataFrame:
    """Judge C5 by `tpccma.evidence.verdicts.judge`: a row a feed, with effect and verdict by reference.

    Args:
        table: from `feed_changes`.
        model: whose gain.
    """
    shown = pd.DataFrame(index=pd.Index(FEEDS.values(), name="feed"))
    for against in (BASE, CONTINUED):
        own = table[(table.model == model) & (table.against == against)].set_index("measure")
        found = {feed: Estimate(*row) for feed, *row in own[list(Estimate._fields)].itertuples()}
        written = {feed: write_half(own, 1, sign=True) for feed, own in found.items()}
        shown[f"against {against}, %"] = pd.Series(written)
        shown[f"verdict, {against}"] = pd.Series({feed: judge("gain", own, CIDER_GAIN) for feed, own in found.items()})
    return shown.fillna(NOTHING)


def bound_shares(runs: pd.DataFrame) -> pd.DataFrame:
    """Return by feed what share of the same run's text-fed CIDEr each model reaches, in per cent; tidy."""
    shares = {feed: 100 * runs[feed] / runs[BOUND] for feed in FEEDS if {feed, BOUND} <= set(runs)}
    return averages(runs.assign(**shares), shares).replace({"measure": FEEDS})
