"""The terms of `tpccma.loss` and their gradients in one pass over the batch, some rows at a time.

Every gradient with respect to the embeddings is known in closed form. So no matrix of B x B has to be kept: the logits
of some rows are computed and summed up, and once all sums are known computed again for the gradients; up to `HELD`
pairs they are kept in between. What is computed here is written plainly in `tpccma.loss`, and tests hold the two equal.

An anchor is one embedding, its positive the partner, its negatives all others: across, of the other modality, and
within its own. With z a logit, s times a cosine, and beta the hardness, a negative is pushed off with the force

- ``exp(z) / sum of exp(z)`` by L_CLIP, if it is across; the sum is over all across, the positive too;
- ``sigmoid(log n - positive) exp((1 + beta) z) / sum of exp((1 + beta) z)`` by the re-weighted contrast, where n is
  the weighted sum of the negatives.

Legend: B pairs in the global batch, D embedding width, R rows at a time, s inverse temperature.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS = 256  # R on a CPU: enough for fast products, few enough for its cache
DEVICE_ROWS = 1_024  # R elsewhere, where each operation costs its launch
HELD = 2_048  # pairs up to which the logits are kept: three matrices of 16 MiB
LOWEST = -1e30  # the largest of no logits at all


class Weights(NamedTuple):
    """What makes up L_CMA: a weight for each term, and beta of the re-weighting, all >= 0."""

    reweighted: float
    geometry: float
    centroid: float
    paired: float
    hardness: float


class Mix(NamedTuple):
    """A loss of which the gradients are wanted: ``clip * L_CLIP + cma * L_CMA``."""

    clip: float
    cma: float


class Gradients(NamedTuple):
    """Of a loss with respect to image embeddings (B, D), text embeddings (B, D) and the inverse temperature ()."""

    x: Tensor
    y: Tensor
    scale: Tensor


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
    batch = Batch(x, y, scale, weights)
    batch.sum_up()
    return batch.terms(), batch.gradients(mixes)


class Batch:
    """A batch on its way through the pass: `sum_up` first. Args as in `one_pass`."""

    def __init__(self, x: Tensor, y: Tensor, scale: Tensor, weights: Weights):
        self.x, self.y, self.scale, self.weights = x, y, scale, weights
        self.scaled_x, self.scaled_y = scale * x, scale * y
        positive = (self.scaled_x * y).sum(1)
        self.images, self.texts = Anchors(positive, weights), Anchors(positive, weights)
        self.mismatch = torch.zeros_like(scale)
        self.held: dict[int, list[Tensor]] = {}

    def sum_up(self) -> None:
        """Take in all logits, then find the losses of the anchors and what they push with."""
        for rows, across, *within in self._logits():
            self.images.across.add(rows, across, dim=1)
            self.texts.across.add(slice(None), across, dim=0)
            if self.weights.reweighted:
                self.images.within.add(rows, within[0], dim=1)
                self.texts.within.add(rows, within[1], dim=1)
            if self.weights.geometry:
                self.mismatch += _off_diagonal_difference(*within, rows).square_().sum()
        self.images.settle()
        self.texts.settle()

    def terms(self) -> Tensor:
        """Return the terms as `one_pass` does."""
        clip = (self.images.clip_losses + self.texts.clip_losses).mean() / 2
        reweighted = (self.images.reweighted_losses + self.texts.reweighted_losses).mean() / 2
        geometry = self.mismatch / (len(self.x) * self.scale**2)
        centroid = (self.x.mean(0) - self.y.mean(0)).square().sum()
        return torch.stack([clip, reweighted, geometry, centroid, (self.x - self.y).square().sum(1).mean()])

    def gradients(self, mixes: Sequence[Mix]) -> list[Gradients]:
        """Return the gradients of each mix."""
        across = [(torch.empty_like(self.x), torch.zeros_like(self.y)) for _ in mixes]
        inner = torch.zeros_like(self.x), torch.zeros_like(self.y)
        for rows, logits, *within in self._logits():
            image_shares = self.images.across.shares(logits, rows, dim=1)
            text_shares = self.texts.across.shares(logits, slice(None), dim=0)
            for mix, (x, y) in zip(mixes, across, strict=True):
                forces = self.images.forces(image_shares, mix, rows, dim=1)
                forces += self.texts.forces(text_shares, mix, slice(None), dim=0)
                torch.mm(forces, self.scaled_y, out=x[rows])
                y.addmm_(forces.T, self.scaled_x[rows])
            if within and any(mix.cma for mix in mixes):
                of_images, of_texts = self._inner_forces(rows, *within)
                torch.mm(of_images, self.scaled_x, out=inner[0][rows])
                torch.mm(of_texts, self.scaled_y, out=inner[1][rows])
        return [self._join(mix, *parts, *inner) for mix, parts in zip(mixes, across, strict=True)]

    def _logits(self) -> Iterator[tuple]:
        """Yield rows and their logits, (R, B): across, and if needed within the images and within the texts.

        Diagonals are -inf, since an anchor's positive and the anchor itself are no negatives.
        """
        step = ROWS if self.x.device.type == "cpu" else DEVICE_ROWS
        for start in range(0, len(self.x), step):
            rows = slice(start, min(start + step, len(self.x)))
            logits = self.held.get(start) or self._compute(rows)
            if len(self.x) <= HELD:
                self.held[start] = logits
            yield rows, *logits

    def _compute(self, rows: slice) -> list[Tensor]:
        logits = [self.scaled_x[rows] @ self.y.T]
        if self.weights.reweighted or self.weights.geometry:
            logits += [self.scaled_x[rows] @ self.x.T, self.scaled_y[rows] @ self.y.T]
        for part in logits:
            part.diagonal(rows.start).fill_(-torch.inf)
        return logits

    def _inner_forces(self, rows: slice, *within: Tensor) -> list[Tensor]:
        """Say how L_CMA acts between embeddings of one modality: (R, B) of images, and of texts."""
        forces = [torch.zeros_like(logits) for logits in within]
        if self.weights.reweighted:
            forces = [a.inner_forces(z, rows) for a, z in zip((self.images, self.texts), within, strict=True)]
        if self.weights.geometry:
            pull = _off_diagonal_difference(*within, rows).mul_(
                4 * self.weights.geometry / (len(self.x) * self.scale**2)
            )
            forces[0] += pull
            forces[1] -= pull
        return forces

    def _join(self, mix: Mix, x: Tensor, y: Tensor, inner_x: Tensor, inner_y: Tensor) -> Gradients:
        """Add up a mix's gradients: of the negatives across and within, of the positives, and of the distances."""
        own = (self.images.own_force(mix) + self.texts.own_force(mix))[:, None]
        x, y = x + own * self.scaled_y, y + own * self.scaled_x
        scale = (x * self.x).sum() / self.scale
        if mix.cma:
            scale = scale + mix.cma * self._inner_scale(inner_x, inner_y)
            distances = self._distances()
            x, y = x + mix.cma * (inner_x + distances), y + mix.cma * (inner_y - distances)
        return Gradients(x, y, scale)

    def _inner_scale(self, inner_x: Tensor, inner_y: Tensor) -> Tensor:
        """Differentiate the contrast within modalities by s: each force counts for two, geometry's not at all."""
        both = (inner_x * self.x).sum() + (inner_y * self.y).sum()
        return (both - 4 * self.weights.geometry * self.mismatch / (len(self.x) * self.scale**2)) / (2 * self.scale)

    def _distances(self) -> Tensor:
        """Differentiate centroid and paired distance by x; by y it is the opposite."""
        offset = self.x.mean(0) - self.y.mean(0)
        return 2 / len(self.x) * (self.weights.centroid * offset + self.weights.paired * (self.x - self.y))


class Anchors:
    """The B anchors of one modality.

    Args:
        positive: (B,) logits of their positives.
        weights: see `one_pass`.
    """

    def __init__(self, positive: Tensor, weights: Weights):
        self.positive, self.weights = positive, weights
        self.beta = weights.hardness
        powers = {self.beta, 1 + self.beta} - {0.0} if weights.reweighted else set()
        self.across, self.within = Sums(positive, {1.0} | powers), Sums(positive, powers)

    def settle(self) -> None:
        """Find the losses (B,) of the anchors, and the factors (B,) of their forces."""
        each = 1 / (2 * len(self.positive))
        total = torch.logaddexp(self.across.logs[1.0], self.positive)
        self.clip_losses = total - self.positive
        self.clip_force = each * (self.across.top - total).exp()
        self.clip_own = each * torch.expm1(self.positive - total)
        self.reweighted_losses = torch.zeros_like(total)
        if self.weights.reweighted:
            self._settle_reweighted(each * self.weights.reweighted)

    def _settle_reweighted(self, each: float) -> None:
        hard, count = self._joint(1 + self.beta), math.log(2 * len(self.positive) - 2)
        negatives = hard + (count - self._joint(self.beta) if self.beta else 0)
        excess = negatives - self.positive
        self.reweighted_losses = -F.logsigmoid(-excess)
        pushing = each * excess.sigmoid()
        power = 1 + self.beta
        self.cma_force = pushing * (power * self.across.top - hard).exp()
        self.cma_inner_force = pushing * (power * self.within.top - hard).exp()
        self.cma_own = -pushing

    def _joint(self, power: float) -> Tensor:
        return torch.logaddexp(self.across.logs[power], self.within.logs[power])

    def forces(self, shares: Tensor, mix: Mix, rows: slice, dim: int) -> Tensor:
        """Say how these anchors act on negatives across, from their shares as `Sums.shares` gives them."""
        if not (mix.cma and self.weights.reweighted):
            return shares * (mix.clip * self.clip_force[rows]).unsqueeze(dim)
        forces = _power(shares, self.beta) * (mix.cma * self.cma_force[rows]).unsqueeze(dim)
        if mix.clip:
            forces += (mix.clip * self.clip_force[rows]).unsqueeze(dim)
        return forces.mul_(shares)

    def own_force(self, mix: Mix) -> Tensor:
        """Say how these anchors act on their positives, (B,)."""
        own = mix.clip * self.clip_own
        return own + mix.cma * self.cma_own if self.weights.reweighted else own

    def inner_forces(self, logits: Tensor, rows: slice) -> Tensor:
        """Say how the re-weighted contrast acts on the embeddings in `rows`, as anchors and as negatives: (R, B)."""
        as_anchors = _power(self.within.shares(logits, rows, dim=1), 1 + self.beta) * self.cma_inner_force[rows, None]
        as_negatives = _power(self.within.shares(logits, slice(None), dim=0), 1 + self.beta)
        return as_anchors.addcmul_(as_negatives, self.cma_inner_force)


class Sums:
    """The largest of each anchor's logits, and ``log sum of exp(p z)`` over them.

    Args:
        like: (B,), whose device and precision are taken.
        powers: the p that are wanted.
    """

    def __init__(self, like: Tensor, powers: set[float]):
        self.top = torch.full_like(like, LOWEST)
        self.logs = {power: torch.full_like(like, -torch.inf) for power in powers}

    def add(self, rows: slice, logits: Tensor, dim: int) -> None:
        """Take in logits of the anchors in `rows`; their negatives lie along `dim`."""
        top = logits.amax(dim).clamp_min_(LOWEST)
        shares = (logits - top.unsqueeze(dim)).exp_()
        for power, log in self.logs.items():
            log[rows] = torch.logaddexp(log[rows], _power(shares, power).sum(dim).log_() + power * top)
        self.top[rows] = torch.maximum(self.top[rows], top)

    def shares(self, logits: Tensor, rows: slice, dim: int) -> Tensor:
        """Return ``exp(z)``, as a share of that of the anchor's largest logit."""
        return (logits - self.top[rows].unsqueeze(dim)).exp_()


def _power(x: Tensor, exponent: float) -> Tensor:
    return x if exponent == 1 else x**exponent


def _off_diagonal_difference(first: Tensor, second: Tensor, rows: slice) -> Tensor:
    difference = first - second
    difference.diagonal(rows.start).zero_()
    return difference
