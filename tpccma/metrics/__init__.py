"""The modality gap and its relatives, measured on paired image and text embeddings::

    from tpccma.metrics import modality_gap
    gap = modality_gap(image_features, text_features)   # Gap(raw=..., centroid=..., distribution=...)

Row i of ``x`` and row i of ``y`` embed the same pair; the measures are computed in float64 from L2-normalised rows, and
refuse rows that are not. The gap is in ``metrics/gap.py``, its intervals in ``intervals.py``, measures of shape in
``geometry.py``, all of them at once in ``summary.py``; the gap of a stream in `tpccma.metrics.streaming`, readings of
the distribution gap that need no pairs in `tpccma.metrics.divergences`, and what is refused in
`tpccma.metrics.checks`.
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
    """Load `ModalityGap` when it is first asked for: torchmetrics takes as long to import as torch."""
    if name == "ModalityGap":
        from tpccma.metrics.streaming import ModalityGap

        return ModalityGap
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
