"""The readings of claims C1 to C5 and C8, and which one of each claim is its primary reading.

The paper leaves open what some of its figures measure. One reading a claim was declared primary before the second round
was run [ours]; it alone is counted. The others fold under it. C6 and C7, about R², are in
`tpccma.evidence.prediction`, their primary readings below.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tpccma.evidence.paper import ACCURACY_DROP, ARI, CIDER_GAIN, GAP_REDUCTION
from tpccma.evidence.table import BASE, CONTINUED, SCALE_FREE
from tpccma.evidence.verdicts import (
    HALF,
    NONE,
    best_gain,
    difference,
    gain,
    points_lost,
    reduction,
    share_left,
    share_of_gain,
    squared_reduction,
)

PRIMARY = {
    "C1": "raw",
    "C2": "absolute",
    "C3": "raw",
    "C4": "absolute",
    "C5": "raw-fed",
    "C6": "ARI by paired",
    "C7": "ARI",
    "C8": "bought, CIDEr raw-fed",
}
HANGS_ON = {
    "C1": "which gap counts",
    "C2": "the test data",
    "C3": "which gap counts",
    "C4": "the class words",
    "C5": "the decoder's feed",
    "C6": "which models count",
    "C7": "which models count",
    "C8": "which task counts",
}
FEEDS = {"cider": "raw-fed", "cider_centred": "centred", "cider_memory": "memory"}
CENTRING = "mean-centering"


@dataclass(frozen=True)
class Reading:
    """One way to read a claim.

    Args:
        claim: key of the claims in `tpccma.evidence.paper`.
        name: of the reading.
        alpha: of the runs it is about.
        columns: of the results, of runs, then of references, then of ``whole``.
        effect: computed from means of those columns.
        paper: the paper's effect.
        unit: of the effect.
        rule: "size", "bound" or "half", see `tpccma.evidence.verdicts`.
        method: of the runs it is about; None for the dial that is judged.
        whole: alpha of the dial, if the effect is a share of what that gains.
        stated: the paper gives a figure; else ``paper`` is what its words are read as [ours].
    """

    claim: str
    name: str
    alpha: float
    columns: tuple[str, ...]
    effect: Callable
    paper: float
    unit: str = "%"
    rule: str = "size"
    method: str | None = None
    whole: float | None = None
    stated: bool = True

    @property
    def primary(self) -> bool:
        """Whether it is the claim's primary reading."""
        return PRIMARY[self.claim] == self.name

    @property
    def references(self) -> tuple[str, ...]:
        """What the effect is taken against."""
        return (BASE,) if self.method else (BASE, CONTINUED)

    @property
    def null(self) -> float:
        """Return the effect that its p value is about, 0, the most that C2 may lose, or half for a share."""
        return {"size": 0.0, "bound": self.paper, "half": HALF}[self.rule]


def _gap_readings(claim: str, alpha: float) -> tuple[Reading, ...]:
    paper = GAP_REDUCTION[alpha]
    named = {"raw": "raw_gap", "centroid": "centroid_gap", "distribution": "distribution_gap"}
    named |= {"distribution, scale-free": SCALE_FREE}
    plain = [Reading(claim, name, alpha, (column,), reduction, paper) for name, column in named.items()]
    return plain[0], Reading(claim, "raw squared", alpha, ("raw_gap",), squared_reduction, paper), *plain[1:]


def _bought(task: str, column: str) -> Reading:
    more = {"rule": "half", "method": CENTRING, "whole": 0.5, "stated": False}
    return Reading("C8", f"bought, {task}", 0, (column,), share_of_gain, NONE, **more)


def _centred(name: str, column: str, effect: Callable) -> Reading:
    return Reading("C8", name, 0, (column,), effect, 100.0, method=CENTRING, stated=False)


READINGS = (
    *_gap_readings("C1", 0.05),
    Reading("C2", "absolute", 0.05, ("zeroshot_top1",), points_lost, ACCURACY_DROP, "points", "bound"),
    Reading("C2", "relative", 0.05, ("zeroshot_top1",), reduction, ACCURACY_DROP, "%", "bound"),
    *_gap_readings("C3", 0.5),
    Reading("C4", "absolute", 0.5, ("clustering_ari",), difference, ARI[1] - ARI[0], "ARI"),
    Reading("C4", "relative", 0.5, ("clustering_ari",), gain, 100 * (ARI[1] / ARI[0] - 1)),
    *(Reading("C5", name, 0.5, (column,), gain, CIDER_GAIN) for column, name in FEEDS.items()),
    Reading("C5", "best feed", 0.5, tuple(FEEDS), best_gain, CIDER_GAIN),
    _bought("CIDEr raw-fed", "cider"),
    _bought("ARI", "clustering_ari"),
    _centred("centroid removed", "centroid_gap", reduction),
    _centred("distribution left", "distribution_gap", share_left),
    _centred("distribution left, scale-free", SCALE_FREE, share_left),
)
