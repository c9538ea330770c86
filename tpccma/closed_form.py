"""The terms of `tpccma.loss` and their gradients in one pass over the batch, some rows at a time.

Every gradient with respect to the embeddings is known in closed form. So no matrix of B x B has to be kept: the logits
of some rows are computed and summed up, and once all sums are known computed again for the gradients; up to ``HELD``
pairs they are kept in between. What is done with the logits of some rows stands in `tpccma.blocks`. All is written
plainly in `tpccma.loss`, and tests hold the two equal.

An anchor is one embedding, its positive the partner, its negatives all others: across, of the other modality, and
within its own. With z a logit, s times a cosine, and beta the hardness, a negative is pushed off with the force

- ``exp(z) / sum of exp(z)`` by L_CLIP, if it is across; the sum is over all across, the positive too;
- ``sigmoid(log n - positive) exp((1 + beta) z) / sum of exp((1 + beta) z)`` by the re-weighted contrast, where n is
  the weighted sum of the negatives.

Legend: B pairs in the global batch, D embedding width, R rows at a time, s inverse temperature, P powers.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tpccma.blocks import (
    NONE,
    Gradients,
    Pushes,
    Weights,
    add_own_forces,
    forces_across,
    forces_within,
    settle,
    sums_of_block,
    within_gradients,
)
from tpccma.compiled import compiled_on_gpu

ROWS = 256  # R on a CPU: enough for fast products, few enough for its cache
DEVICE_ROWS = 1_024  # R elsewhere, where each operation costs its launch; all where the logits are kept
HELD = 2_048  # pairs up to which the logits are kept: three matrices of 16 MiB
DEVICE_HELD = 4_096  # likewise elsewhere, in one piece: three of 64 MiB, no more than ClipLoss takes


class Mix(NamedTuple):
    """A loss of which the gradients are wanted: ``clip * L_CLIP + cma * L_CMA``; None in the pass for what is 0."""

    clip: float | Tensor | None
    cma: float | Tensor | None


@torch.no_grad()
def one_pass(
    x: Tensor, y: Tensor, scale: Tensor, weights: Weights, mixes: Sequence[Mix]
) -> tuple[Tensor, list[Gradients]]:
    """Compute all terms of a global batch, and the gradients of some mixes of L_CLIP and L_CMA.

    Args:
        x: (B, D) image embeddings, float32 or float64.
        y: (B, D) text embeddings, likewise.
        scale: scalar, the inverse temperature, likewise.
        weights: of the terms of L_CMA; re-weighted contrast and geometry are 0 where their weight is.
        mixes: one for each set of gradients.

    Returns:
        The terms, (5,), without their weights: L_CLIP, re-weighted contrast, geometry, centroid, paired. And the
        gradients of each mix.
    """
    if len(x) < 2:  # no negatives
        weights = weights._replace(reweighted=0.0, geometry=0.0)
    # Tensors, lest the pass be compiled anew for each alpha.
    mixes = [Mix(*(torch.full_like(scale, c) if c else None for c in mix)) for mix in mixes]
    if len(x) <= HELD:
        return take_small(x, y, scale, weights, mixes)
    return take_blocks(x, y, scale, weights, mixes, hold=x.device.type != "cpu" and len(x) <= DEVICE_HELD)


def take_blocks(
    x: Tensor, y: Tensor, scale: Tensor, weights: Weights, mixes: Sequence[Mix], hold: bool = False
) -> tuple[Tensor, list[Gradients]]:
    """Make the pass; with ``hold`` the logits are kept until the gradients are known."""
    batch = Batch(x, y, scale, weights, hold)
    return batch.sum_up(), batch.gradients(mixes)


@compiled_on_gpu(dynamic=False)
def take_small(
    x: Tensor, y: Tensor, scale: Tensor, weights: Weights, mixes: Sequence[Mix]
) -> tuple[Tensor, list[Gradients]]:
    """Make the pass over a batch whose logits are kept."""
    return take_blocks(x, y, scale, weights, mixes, hold=True)


class Batch:
    """A batch on its way through the pass: `sum_up` first. Args as in `take_blocks`."""

    def __init__(self, x: Tensor, y: Tensor, scale: Tensor, weights: Weights, hold: bool):
        self.x, self.y, self.scale, self.weights = x, y, scale, weights
        self.scaled_x, self.scaled_y = scale * x, scale * y
        self.across = torch.full((2, 2 + len(weights.powers), len(x)), NONE, dtype=x.dtype, device=x.device)
        self.within = torch.empty_like(self.across[:, 1:]) if weights.reweighted else None
        self.mismatch = torch.zeros_like(scale)
        self.held: dict[int, list[Tensor]] | None = {} if hold else None

    def sum_up(self) -> Tensor:
        """Take in all logits, then find what the anchors push with; return the terms as `one_pass` does."""
        for rows, *logits in self._logits():
            of_images, of_texts, within, mismatch = sums_of_block(*logits, weights=self.weights)
            self.across[0, :, rows] = of_images
            _pool(self.across[1], of_texts)
            for side, found in enumerate(within):
                self.within[side, :, rows] = found
            self.mismatch += mismatch
        terms, *pushes = settle(self.x, self.y, self.scale, self.across, self.within, self.mismatch, self.weights)
        self.pushes = Pushes(*pushes)
        return terms

    def gradients(self, mixes: Sequence[Mix]) -> list[Gradients]:
        """Return the gradients of each mix."""
        across = [(torch.empty_like(self.x), torch.zeros_like(self.y)) for _ in mixes]
        inner = torch.zeros_like(self.x), torch.zeros_like(self.y)
        factors = [self._factors(mix) for mix in mixes]
        for rows, logits, *within in self._logits():
            if within and any(mix.cma is not None for mix in mixes):
                of_images, of_texts = forces_within(*within, *self._inner_sides(rows), self.scale, self.weights)
                inner[0][rows] = of_images @ self.scaled_x
                inner[1][rows] = of_texts @ self.scaled_y
                del within, of_images, of_texts  # their memory is wanted across
            forces = forces_across(logits, *self._sides(rows, factors), beta=self.weights.hardness)
            for one, (x, y) in zip(forces, across, strict=True):
                x[rows] = one @ self.scaled_y
                y.addmm_(one.T, self.scaled_x[rows])
        given = self.x, self.y, self.scale, *inner, self.mismatch, self.weights
        cma = within_gradients(*given) if any(mix.cma is not None for mix in mixes) else None
        return [self._join(mix, *parts, cma) for mix, parts in zip(mixes, across, strict=True)]

    def _logits(self) -> Iterator[tuple]:
        """Yield rows and their logits, (R, B): across, and if needed within the images and within the texts."""
        step = ROWS if self.x.device.type == "cpu" else DEVICE_ROWS if self.held is None else len(self.x)
        for start in range(0, len(self.x), step):
            rows = slice(start, min(start + step, len(self.x)))
            yield rows, *(self._compute(rows) if self.held is None else self._keep(start, rows))

    def _keep(self, start: int, rows: slice) -> list[Tensor]:
        """Compute logits and keep them until they are asked for again."""
        if start in self.held:
            return self.held.pop(start)
        self.held[start] = self._compute(rows)
        return self.held[start]

    def _compute(self, rows: slice) -> list[Tensor]:
        logits = [self.scaled_x[rows] @ self.y.T]
        if self.weights.within:
            logits += [self.scaled_x[rows] @ self.x.T, self.scaled_y[rows] @ self.y.T]
        for part in logits:
            part.diagonal(rows.start).fill_(NONE)
        return logits

    def _factors(self, mix: Mix) -> tuple[Tensor | None, Tensor | None]:
        """Weigh the factors of the forces across, (2, B): of L_CLIP, and of the re-weighted contrast."""
        clip = None if mix.clip is None else mix.clip * self.pushes.clip
        if self.weights.reweighted and mix.cma is not None:
            return clip, mix.cma * self.pushes.cma
        return torch.zeros_like(self.pushes.clip) if clip is None else clip, None

    def _sides(self, rows: slice, factors: list) -> list[list]:
        """Give, of the images in `rows` and of all texts, the largest logit and the factors, to stand by (R, B)."""
        needed = [self.across[:, 0], *(one for pair in factors for one in pair)]
        return [
            [None if one is None else one[0, rows, None] for one in needed],
            [None if one is None else one[1] for one in needed],
        ]

    def _inner_sides(self, rows: slice) -> list[list]:
        """Give, of the images and of the texts, largest logits and factors of those in `rows` and of all."""
        if not self.weights.reweighted:
            return [[], []]
        needed = self.within[:, 0], self.pushes.cma_inner
        return [[*(one[side, rows, None] for one in needed), *(one[side] for one in needed)] for side in (0, 1)]

    def _join(self, mix: Mix, x: Tensor, y: Tensor, within: Gradients | None) -> Gradients:
        """Add up a mix's gradients: of the negatives across, of the positives, and what L_CMA has `within`."""
        pushes = (mix.clip, self.pushes.clip_own), (mix.cma, self.pushes.cma_own)
        own = [share * push for share, push in pushes if share is not None and push is not None]
        own = sum(own, torch.zeros_like(self.pushes.clip_own)).sum(0)[:, None]
        x, y, scale = add_own_forces(self.x, self.y, self.scale, (self.scaled_x, self.scaled_y), x, y, own)
        if mix.cma is not None:
            parts = zip((x, y, scale), within, strict=True)
            x, y, scale = (whole.addcmul_(part, mix.cma) for whole, part in parts)
        return Gradients(x, y, scale)


def _pool(known: Tensor, found: Tensor) -> None:
    """Take what `log_sums` found of more logits into what is known."""
    known[0] = torch.maximum(known[0], found[0])
    known[1:] = torch.logaddexp(known[1:], found[1:])
