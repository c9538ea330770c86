"""What the pass of `tpccma.closed_form` does with a block of logits, and with what it has summed up of all.

On a GPU each of these functions is compiled: of its operations each would read and write the block once more.

Legend: B pairs in the global batch, D embedding width, R rows at a time, s inverse temperature, P powers. What is said
of anchors comes as (2, B): the images, then the texts.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tpccma.compiled import compiled_on_gpu

NONE = -1e30  # the logit of what is no negative: an anchor's positive, and the anchor itself


class Weights(NamedTuple):
    """What makes up L_CMA: a weight for each term, and beta of the re-weighting, all >= 0."""

    reweighted: float
    geometry: float
    centroid: float
    paired: float
    hardness: float

    @property
    def within(self) -> bool:
        """Whether a term looks at the logits within the modalities."""
        return bool(self.reweighted or self.geometry)

    @property
    def powers(self) -> tuple[float, ...]:
        """The p for which the re-weighting asks the sum of ``exp(p z)``."""
        return tuple(p for p in (1 + self.hardness, self.hardness) if p) if self.reweighted else ()


class Gradients(NamedTuple):
    """Of a loss with respect to image embeddings (B, D), text embeddings (B, D) and the inverse temperature ()."""

    x: Tensor
    y: Tensor
    scale: Tensor


class Pushes(NamedTuple):
    """How the anchors act, (2, B) each: factors of the forces on their negatives, and the forces on their positives."""

    clip: Tensor
    clip_own: Tensor
    cma: Tensor | None = None
    cma_inner: Tensor | None = None
    cma_own: Tensor | None = None


@compiled_on_gpu(dynamic=True)
def sums_of_block(across: Tensor, x: Tensor | None = None, y: Tensor | None = None, *, weights: Weights) -> tuple:
    """Sum up the logits of some rows.

    Args:
        across: (R, B) logits of the images in these rows.
        x: (R, B) logits within the images, if needed.
        y: (R, B) logits within the texts.
        weights: of the terms.

    Returns:
        `log_sums` of the images, (1 + P, R), and of the texts, (1 + P, B); those of both within their modality, none if
        not needed; and the sum of the squared differences within, 0 if not needed.
    """
    powers = 1.0, *weights.powers
    inner = [log_sums(within, powers[1:], 1) for within in (x, y)] if weights.reweighted else []
    mismatch = (x - y).square_().sum() if weights.geometry else 0
    return log_sums(across, powers, 1), log_sums(across, powers, 0), inner, mismatch


def log_sums(logits: Tensor, powers: Sequence[float], dim: int) -> Tensor:
    """Return along ``dim`` the largest logit, then ``log sum of exp(p z)`` for each power: (1 + P, ...)."""
    top = logits.amax(dim)
    shares = (logits - top.unsqueeze(dim)).exp_()
    return torch.stack([top, *(_power(shares, p).sum(dim).log_() + p * top for p in powers)])


@compiled_on_gpu(dynamic=True)
def settle(
    x: Tensor, y: Tensor, scale: Tensor, across: Tensor, within: Tensor | None, mismatch: Tensor, weights: Weights
) -> tuple[Tensor, ...]:
    """Find the terms, (5,), and the `Pushes` of the anchors from what `sums_of_block` gave of all blocks."""
    positive, each = scale * (x * y).sum(1), 1 / (2 * len(x))
    top, total = across[:, 0], torch.logaddexp(across[:, 1], positive)
    pushes = [each * (top - total).exp(), each * torch.expm1(positive - total)]
    reweighted = torch.zeros_like(mismatch)
    if within is not None:
        losses, *strong = _reweight(positive, across, within, weights.hardness, each * weights.reweighted)
        reweighted, pushes = losses.mean(), pushes + strong
    difference = x - y
    distances = difference.mean(0).square().sum(), difference.square().sum(1).mean()
    geometry = mismatch / (len(x) * scale**2)
    return torch.stack([(total - positive).mean(), reweighted, geometry, *distances]), *pushes


def _reweight(positive: Tensor, across: Tensor, within: Tensor, beta: float, each: float) -> tuple[Tensor, ...]:
    """Return the re-weighted losses of the anchors, and the last three of their `Pushes`."""
    joint = torch.logaddexp(across[:, 2:], within[:, 1:])  # of the powers 1 + beta, and beta unless it is 0
    hard, count = joint[:, 0], math.log(2 * len(positive) - 2)
    excess = hard + (count - joint[:, 1] if beta else 0) - positive
    pushing = each * excess.sigmoid()
    tops = (1 + beta) * across[:, 0], (1 + beta) * within[:, 0]
    return -F.logsigmoid(-excess), *(pushing * (top - hard).exp() for top in tops), -pushing


@compiled_on_gpu(dynamic=True)
def forces_across(logits: Tensor, images: list, texts: list, beta: float) -> list[Tensor]:
    """Say how anchors act on negatives across, (R, B) a mix; sides as in ``Batch._sides``. Consumes the logits."""
    both = zip(_push(logits, *images, beta), _push(logits, *texts, beta), strict=True)
    *forces, last = [one.add_(other) for one, other in both]
    return [*forces, _instead(logits, last)]


def _push(logits: Tensor, top: Tensor, *factors_and_beta) -> list[Tensor]:
    *factors, beta = factors_and_beta
    shares, forces = (logits - top).exp_(), []
    for clip, cma in zip(factors[::2], factors[1::2], strict=True):
        if cma is None:
            forces.append(shares * clip)
            continue
        force = _power(shares, beta) * cma
        forces.append((force if clip is None else force.add_(clip)).mul_(shares))
    return forces


@compiled_on_gpu(dynamic=True)
def forces_within(
    x: Tensor, y: Tensor, images: list, texts: list, scale: Tensor, weights: Weights
) -> tuple[Tensor, Tensor]:
    """Say how L_CMA acts between the embeddings in some rows and all of their modality: (R, B) of images, of texts.

    Consumes the logits.
    """
    forces = [_inner_push(*pair, 1 + weights.hardness) for pair in ((x, *images), (y, *texts))] if images else []
    if weights.geometry:
        pulls = (x - y).mul_(_pull(x.shape[1], scale, weights))
        forces = [forces[0].add_(pulls), forces[1].sub_(pulls)] if forces else [pulls, -pulls]
    return _instead(x, forces[0]), _instead(y, forces[1])


def _instead(logits: Tensor, forces: Tensor) -> Tensor:
    """Put forces where the logits stood: on a GPU, where they are computed element by element, that takes no room."""
    return logits.copy_(forces) if logits.is_cuda else forces


def _inner_push(
    logits: Tensor, row_top: Tensor, row_factor: Tensor, top: Tensor, factor: Tensor, power: float
) -> Tensor:
    """Say how the re-weighted contrast acts on the embeddings in some rows, as anchors and as negatives: (R, B)."""
    as_anchors = _power((logits - row_top).exp_(), power).mul_(row_factor)
    return as_anchors.addcmul_(_power((logits - top).exp_(), power), factor)


@compiled_on_gpu(dynamic=True)
def add_own_forces(
    x: Tensor, y: Tensor, scale: Tensor, scaled: tuple[Tensor, Tensor], across_x: Tensor, across_y: Tensor, own: Tensor
) -> Gradients:
    """Add the forces on positives, (B, 1), to those across, (B, D), which it consumes, and differentiate both by s.

    ``scaled`` are x and y times s, which the pass has.
    """
    across_x, across_y = across_x.add_(own * scaled[1]), across_y.add_(own * scaled[0])
    return Gradients(across_x, across_y, (across_x * x).sum() / scale)


@compiled_on_gpu(dynamic=True)
def within_gradients(
    x: Tensor, y: Tensor, scale: Tensor, inner_x: Tensor, inner_y: Tensor, mismatch: Tensor, weights: Weights
) -> Gradients:
    """Add the distances' gradients to those within the modalities, (B, D), and differentiate these by s.

    Each force of the contrast counts for two, since both of its ends move; geometry's do not hang on s. Consumes those
    within.
    """
    both = (inner_x * x).sum() + (inner_y * y).sum()
    by_scale = (both - _pull(len(x), scale, weights) * mismatch) / (2 * scale)
    difference = x - y
    distances = weights.centroid * difference.mean(0)
    if weights.paired:
        distances = distances + weights.paired * difference
    distances = 2 / len(x) * distances
    return Gradients(inner_x.add_(distances), inner_y.sub_(distances), by_scale)


def _pull(count: int, scale: Tensor, weights: Weights) -> Tensor:
    """Compute what a difference between the logits within images and within texts counts for in geometry's forces."""
    return 4 * weights.geometry / (count * scale**2)


def _power(x: Tensor, exponent: float) -> Tensor:
    return x if exponent == 1 else x**exponent
