"""The modality gap and its relatives, measured on paired image and text embeddings::

    from tpccma.metrics import modality_gap
    gap = modality_gap(image_features, text_features)   # Gap(raw=..., centroid=..., distribution=...)

Row i of ``x`` and row i of ``y`` embed the same pair; the measures are computed in float64 from L2-normalised rows, and
refuse rows that are not. The gap and its intervals are in `tpccma.metrics.gap`, measures of shape in
`tpccma.metrics.geometry`, readings of the distribution gap that need no pairs in `tpccma.metrics.divergences`.
"""

from tpccma.metrics.gap import (
    Gap,
    GapInterval,
    Interval,
    ModalityGap,
    bootstrap_interval,
    gap_interval,
    measure_all,
    modality_gap,
)
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

__all__ = [
    "Gap",
    "GapInterval",
    "Interval",
    "ModalityGap",
    "alignment",
    "bootstrap_interval",
    "cone_effect",
    "effective_rank",
    "gap_interval",
    "linear_separability",
    "measure_all",
    "modality_gap",
    "modality_mixing",
    "pair_cosine",
    "relative_modality_gap",
    "uniformity",
]
