"""The modality gap of more pairs than fit into memory, batch by batch and over many processes.

Legend: `B` pairs of one batch, `D` width.
"""

import torch
from torch import Tensor
from torchmetrics import Metric

from tpccma.metrics.checks import Rows, check_pairs
from tpccma.metrics.gap import Gap, gap_of, gap_sums


class ModalityGap(Metric):
    """Streaming ``modality_gap``: its state is sums only, so the result depends neither on batches nor on processes.

    Args:
        normalize: L2-normalise the rows first, instead of refusing rows that are not of length 1.
        width: D; needed only where a process may take part in the reduction without having seen a batch.
        kwargs: arguments of ``torchmetrics.Metric``.

    Source: as ``modality_gap``, [ours].
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    difference: Tensor
    squared: Tensor
    count: Tensor

    def __init__(self, normalize: bool = False, width: int = 1, **kwargs) -> None:
        super().__init__(**kwargs)
        self.normalize = normalize
        self.add_state("difference", torch.zeros(width, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("squared", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, x: Rows, y: Rows) -> None:
        """Adds a batch.

        Args:
            x: (B, D) image embeddings, B at least 1.
            y: (B, D) text embeddings of the same pairs.

        Raises:
            ValueError: as ``modality_gap``, and if D differs from that of the batches before.
        """
        x, y = check_pairs(x, y, self.normalize, minimum=1)
        if len(self.difference) not in (1, x.shape[1]):
            raise ValueError(f"this batch has width {x.shape[1]}, earlier ones {len(self.difference)}: reset() first")
        difference, squared = gap_sums(x, y)
        self.difference = self.difference + difference
        self.squared = self.squared + squared
        self.count = self.count + len(x)

    def forward(self, x: Rows, y: Rows) -> Gap:
        """Adds a batch, as `update` does, and returns the Gap of this process's batch alone.

        One pair is its own mean: the gap of a batch of one is all centroid. What was counted stays whatever the batch.
        """
        self.update(x, y)
        x, y = check_pairs(x, y, self.normalize, minimum=1)
        self._forward_cache = gap_of(*gap_sums(x, y), len(x))  # where loggers find it
        return self._forward_cache

    def compute(self) -> Gap:
        """Returns the Gap of all pairs seen; raises ValueError if they are fewer than 2."""
        if self.count < 2:
            raise ValueError(f"only {self.count.item()} pairs were seen: update with 2 or more before compute")
        return gap_of(self.difference, self.squared, self.count.item())
