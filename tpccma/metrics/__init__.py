"""The modality gap and its relatives, measured on paired image and text embeddings::

    from tpccma.metrics import modality_gap
    gap = modality_gap(image_features, text_features)   # Gap(raw=..., centroid=..., distribution=...)

Row i of ``x`` and row i of ``y`` embed the same pair; rows that are not L2-normalised are refused. The gap is measured
in one pass over the rows in their own precision, right to 1e-6 (``gap.py``, ``moments.py``), and so is that of a stream
(`tpccma.metrics.streaming`); all else is computed in float64: intervals in ``intervals.py``, measures of shape in
``geometry.py``, all of them at once in ``summary.py``, and readings of the distribution gap that need no pairs in
`tpccma.metrics.divergences`. What is refused is in `tpccma.metrics.checks`.
"""

from tpccma.metrics.gap import Gap, modality_gap, scale_free_distribution_gap
from tpccma.metrics.geometry import (
    alignment,
    cone_effect,
    effective_rank,
    linear_separability,
    modality_mixing,
    pair_cosine,
    relative_modality_gap,
    uniformity,
)
from tpccma.metrics.intervals import GapInterval, Interval, gap_interval
from tpccma.metrics.summary import describe_gap, measure_all

__all__ = [
    "Gap",
    "GapInterval",
    "Interval",
    "ModalityGap",
    "ScaleFreeDistributionGap",
    "alignment",
    "cone_effect",
    "describe_gap",
    "effective_rank",
    "gap_interval",
    "linear_separability",
    "measure_all",
    "modality_gap",
    "modality_mixing",
    "pair_cosine",
    "relative_modality_gap",
    "scale_free_distribution_gap",
    "uniformity",
]


def __getattr__(name: str):
    """Load the streaming metrics when they are first asked for: torchmetrics takes as long to import as torch."""
    if name in ("ModalityGap", "ScaleFreeDistributionGap"):
        from tpccma.metrics import streaming

        return getattr(streaming, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
