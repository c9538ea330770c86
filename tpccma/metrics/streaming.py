"""The modality gap of more pairs than fit into memory, batch by batch and over many processes.

Legend: ``B`` pairs of one batch, ``D`` width.
"""

import torch
from torch import Tensor
from torchmetrics import Metric

from tpccma.metrics.checks import Rows
from tpccma.metrics.gap import Gap, gap_of, scale_free_of
from tpccma.metrics.moments import moments_of, pooled, tally


class ModalityGap(Metric):
    """Streaming ``modality_gap``: sums, means and mean squares alone are kept, whatever the batches and the processes.

    Args:
        normalize: L2-normalise the rows first, instead of refusing rows that are not of length 1.
        width: D; needed only where a process may take part in the reduction without having seen a batch.
        kwargs: arguments of ``torchmetrics.Metric``.

    Raises:
        ValueError: if ``width`` is below 1.

    Source: as ``modality_gap``, [ours].
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    sums: Tensor
    moments: Tensor
    _read = staticmethod(gap_of)

    def __init__(self, normalize: bool = False, width: int = 1, **kwargs) -> None:
        super().__init__(**kwargs)
        if width < 1:
            raise ValueError(f"width is {width}: pass that of the embeddings, 1 or more")
        self.normalize = normalize
        self.add_state("sums", torch.zeros(3 + 2 * width, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("moments", torch.zeros(3 + 2 * width, dtype=torch.float64), dist_reduce_fx=pooled)

    def update(self, x: Rows, y: Rows) -> None:
        """Adds a batch.

        Args:
            x: (B, D) image embeddings, B at least 1.
            y: (B, D) text embeddings of the same pairs.

        Raises:
            ValueError: as ``modality_gap``, and if D differs from that of the batches before.
        """
        sums, others = self._batch = tally(x, y, self.normalize, minimum=1)
        width, earlier = ((len(state) - 3) // 2 for state in (sums, self.sums))
        if earlier not in (1, width) or (earlier < width and self._count()):
            raise ValueError(f"this batch has width {width}, earlier ones {earlier}: reset() first")
        if earlier < width:
            self.sums = self.moments = torch.zeros_like(sums, device=self.sums.device)
        self.sums = self.sums + sums.to(self.sums.device)
        if others is not None:
            self.moments = pooled(torch.stack([self.moments, others.to(self.moments.device)]))

    def _count(self) -> float:
        return (self.sums[0] + self.moments[0]).item()

    def forward(self, x: Rows, y: Rows) -> Gap | float:
        """Adds a batch, as `update` does, and returns what `compute` would for this process's batch alone.

        One pair is its own mean: the gap of a batch of one is all centroid. What was counted stays whatever the batch.
        """
        self.update(x, y)
        self._forward_cache = self._read(moments_of(*self._batch))  # where loggers find it
        return self._forward_cache

    def compute(self) -> Gap | float:
        """Returns the Gap of all pairs seen; raises ValueError if they are fewer than 2."""
        if self._count() < 2:
            raise ValueError(f"only {self._count():.0f} pairs were seen: update with 2 or more before compute")
        return self._read(moments_of(self.sums, self.moments))


class ScaleFreeDistributionGap(ModalityGap):
    """Streaming ``scale_free_distribution_gap``, a number; NaN where both clouds are single points. Source: [ours]."""

    _read = staticmethod(scale_free_of)
