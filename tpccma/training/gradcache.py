"""Both towers on a whole batch, or in micro-batches where its activations do not fit into memory.

GradCache, arXiv 2101.06983: embed all micro-batches without keeping anything, take the loss of the whole batch, and
take its gradients through the towers in a second pass. The gradient is that of the whole batch.

Legend: B batch size of a process, D embedding width.
"""

import torch
from accelerate import Accelerator
from torch import Tensor, nn

Embedded = tuple[tuple[Tensor, Tensor], Tensor]  # (B, D) embeddings before normalisation, and the inverse temperature


class WholeBatch:
    """The towers on all pairs of a process at a time.

    Args:
        towers: see `tpccma.models.towers.Towers`.
    """

    def __init__(self, towers: nn.Module):
        self.towers = towers

    def embed(self, images: Tensor, tokens: Tensor) -> Embedded:
        """Embed a batch: image and text embeddings before normalisation, float32, and the inverse temperature."""
        x, y, scale = self.towers(images, tokens)
        return (x.float(), y.float()), scale

    def backward(self, images: Tensor, tokens: Tensor, embedded: Embedded) -> None:
        """Do nothing: the loss has its gradients through the towers already."""


class MicroBatches:
    """The towers on some pairs at a time.

    Args:
        towers: see `tpccma.models.towers.Towers`.
        size: pairs at a time.
        accelerator: of the training.
    """

    def __init__(self, towers: nn.Module, size: int, accelerator: Accelerator):
        self.towers, self.size, self.accelerator = towers, size, accelerator

    def embed(self, images: Tensor, tokens: Tensor) -> Embedded:
        """Embed a batch as `WholeBatch` does, but as leaves that hold the loss's gradients afterwards."""
        with torch.no_grad():
            parts = [self.towers(*part) for part in self._parts(images, tokens)]
        x, y = (torch.cat([part[i].float() for part in parts]).requires_grad_() for i in (0, 1))
        return (x, y), parts[0][2].detach().requires_grad_()

    def backward(self, images: Tensor, tokens: Tensor, embedded: Embedded) -> None:
        """Take the loss's gradients through the towers; processes add theirs up with the last part."""
        (x, y), scale = embedded
        *others, last = self._parts(images, tokens, x.grad, y.grad)
        for part in others:
            with self.accelerator.no_sync(self.towers):
                self._take_through(*part, torch.zeros_like(scale))
        self._take_through(*last, scale.grad)

    def _take_through(self, images: Tensor, tokens: Tensor, *gradients: Tensor) -> None:
        outputs = self.towers(images, tokens)
        pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if o.requires_grad and g is not None]
        torch.autograd.backward([o for o, _ in pairs], [g.to(o.dtype) for o, g in pairs])

    def _parts(self, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
        return list(zip(*(tensor.split(self.size) for tensor in tensors), strict=True))
