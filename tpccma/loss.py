"""The loss of TPC-CMA: ``L = (1 - alpha) * L_CLIP + alpha * L_CMA``.

The paper names two mechanisms, negative re-weighting and intra-modal geometry matching [digest]; its formulas are not
public. Every formula of this module is our reading [ours]; each term has its own weight and can be switched off with 0.

Legend: B pairs in the global batch, D embedding width.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss, gather_features
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tpccma.curriculum import check_alpha


class CMALoss(ClipLoss):
    """Contrastive loss with cross-modal alignment, a drop-in for open_clip's `ClipLoss`.

    >>> loss = CMALoss(alpha=0.5)
    >>> losses = loss(image_features, text_features, logit_scale, output_dict=True)
    >>> sum(losses.values())  # the total, as open_clip's training loop adds it up

    Args:
        alpha: share of L_CMA, 0 to 1. 0 is exactly `ClipLoss`. May be changed between steps.
        reweighted_weight: weight of `reweighted_contrast`, >= 0.
        geometry_weight: weight of `geometry_mismatch`, >= 0.
        centroid_weight: weight of `centroid_distance`, >= 0.
        paired_weight: weight of `paired_distance`, >= 0.
        hardness: beta of the negative re-weighting, >= 0; 0 weighs all negatives alike.
        false_negative_rate: assumed share of negatives that are in truth positives, 0 <= rate < 1; 0 switches the
            correction off.
        chunk_size: rows of the similarity matrices held at a time, >= 1, for batches whose matrices do not fit into
            memory; they are computed a second time in the backward pass. Value and gradient stay the same. None holds
            them whole.
        **clip_arguments: `ClipLoss`'s own: local_loss, gather_with_grad, cache_labels, rank, world_size, use_horovod.
            The CMA terms always look at the whole global batch.

    Raises:
        ValueError: if alpha, a weight, hardness, false_negative_rate or chunk_size is out of range, or chunk_size is
            combined with local_loss.

    Source: arXiv 2604.00279; re-weighting after Robinson et al., arXiv 2010.04592; geometry after CyCLIP, arXiv
        2205.14459. [ours]
    """

    term_names = ("contrastive_loss", "reweighted_loss", "geometry_loss", "centroid_loss", "paired_loss")

    def __init__(
        self,
        alpha: float = 0.5,
        *,
        reweighted_weight: float = 1.0,
        geometry_weight: float = 10.0,
        centroid_weight: float = 1.0,
        paired_weight: float = 10.0,
        hardness: float = 1.0,
        false_negative_rate: float = 0.0,
        chunk_size: int | None = None,
        **clip_arguments,
    ):
        super().__init__(**clip_arguments)
        self.alpha = check_alpha(alpha)
        self.weights = {
            "reweighted": reweighted_weight,
            "geometry": geometry_weight,
            "centroid": centroid_weight,
            "paired": paired_weight,
        }
        for name, value in {**{f"{name}_weight": w for name, w in self.weights.items()}, "hardness": hardness}.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be finite and >= 0, got {value!r}")
        if not 0 <= false_negative_rate < 1:
            raise ValueError(f"false_negative_rate must be in [0, 1), got {false_negative_rate!r}")
        if chunk_size is not None and (chunk_size < 1 or self.local_loss):
            raise ValueError(f"chunk_size must be at least 1 and goes without local_loss, got {chunk_size!r}")
        self.hardness = hardness
        self.false_negative_rate = false_negative_rate
        self.chunk_size = chunk_size

    def forward(
        self,
        image_features: Tensor,
        text_features: Tensor,
        logit_scale: Tensor,
        logit_bias: Tensor | None = None,
        output_dict: bool = False,
    ) -> Tensor | dict[str, Tensor]:
        """Compute the loss of this process's share of the batch.

        Args:
            image_features: (B / world_size, D), rows of unit length.
            text_features: (B / world_size, D), rows of unit length; row i describes image i.
            logit_scale: scalar, the inverse temperature (not its logarithm).
            logit_bias: scalar added to the contrastive logits, where the model has one.
            output_dict: return the weighted terms instead of their sum.

        Returns:
            The scalar total, or the terms that add up to it: of `term_names` the first, and for alpha > 0 the others
            whose weights are not 0.
        """
        clip = self.contrastive_term(image_features, text_features, logit_scale, logit_bias)
        losses = {"contrastive_loss": clip}
        if self.alpha > 0:
            losses["contrastive_loss"] = (1 - self.alpha) * clip
            for name, term in self.alignment_terms(image_features, text_features, logit_scale).items():
                losses[f"{name}_loss"] = self.alpha * self.weights[name] * term
        return losses if output_dict else sum(losses.values())

    def contrastive_term(
        self, image_features: Tensor, text_features: Tensor, logit_scale: Tensor, logit_bias: Tensor | None = None
    ) -> Tensor:
        """Compute L_CLIP, a scalar: `ClipLoss`'s own, or the same in chunks of rows. Args as in `forward`."""
        if self.chunk_size is None:
            return super().forward(image_features, text_features, logit_scale, logit_bias)
        x, y = gather_pair(self, image_features, text_features)
        bias = 0 if logit_bias is None else logit_bias

        own = torch.arange(len(x), device=x.device)

        def term(rows: slice) -> Tensor:
            forth, back = logit_scale * x[rows] @ y.T + bias, logit_scale * y[rows] @ x.T + bias
            return sum(F.cross_entropy(logits, own[rows], reduction="sum") for logits in (forth, back))

        return sum(_by_rows(term, len(x), self.chunk_size)) / (2 * len(x))

    def alignment_terms(self, image_features: Tensor, text_features: Tensor, logit_scale: Tensor) -> dict[str, Tensor]:
        """Compute the terms of L_CMA over the global batch, each without its weight.

        Args:
            image_features: (B / world_size, D), rows of unit length.
            text_features: (B / world_size, D), rows of unit length.
            logit_scale: scalar, the inverse temperature.

        Returns:
            A scalar for every term whose weight is not 0.
        """
        x, y = gather_pair(self, image_features, text_features)
        weighing, chunk_size = (self.hardness, self.false_negative_rate), self.chunk_size
        compute = {
            "reweighted": lambda: reweighted_contrast(x, y, logit_scale, *weighing, chunk_size),
            "geometry": lambda: geometry_mismatch(x, y, chunk_size),
            "centroid": lambda: centroid_distance(x, y),
            "paired": lambda: paired_distance(x, y),
        }
        return {name: term() for name, term in compute.items() if self.weights[name] > 0}

    def embedding_gradients(
        self, image_features: Tensor, text_features: Tensor, logit_scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Differentiate L_CLIP and L_CMA with respect to the embeddings, at no pass through the encoders.

        Args:
            image_features: (B / world_size, D), rows of unit length.
            text_features: (B / world_size, D), rows of unit length.
            logit_scale: scalar, the inverse temperature.

        Returns:
            Two flat gradients, of L_CLIP and of L_CMA, each of 2 * B / world_size * D numbers: this process's rows of
            the gradients of the whole batch.
        """
        leaves = [features.detach().float().requires_grad_() for features in (image_features, text_features)]
        scale = logit_scale.detach()
        clip = self.contrastive_term(*leaves, scale)
        terms = self.alignment_terms(*leaves, scale)
        cma = sum((self.weights[name] * term for name, term in terms.items()), start=0 * (leaves[0] + leaves[1]).sum())
        flat = [torch.cat([g.flatten() for g in torch.autograd.grad(loss, leaves)]) for loss in (clip, cma)]
        # every process has the whole loss, and gathering sends the gradients of all of them back
        copies = self.world_size if self.gather_with_grad else 1
        return flat[0] / copies, flat[1] / copies


def gather_pair(loss: ClipLoss, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Join the parts of two tensors that the processes of a loss hold, in the order of the ranks.

    Args:
        loss: says rank, world_size and whether gradients flow back to every process.
        first: (B / world_size, ...) of this process.
        second: another one.

    Returns:
        Both, (B, ...) each.
    """
    if loss.world_size == 1:
        return first, second
    return gather_features(first, second, False, loss.gather_with_grad, loss.rank, loss.world_size, loss.use_horovod)


def reweighted_contrast(
    x: Tensor,
    y: Tensor,
    logit_scale: Tensor,
    hardness: float = 1.0,
    false_negative_rate: float = 0.0,
    chunk_size: int | None = None,
) -> Tensor:
    """Contrast each embedding's positive with the negatives of both modalities, hard ones weighing more.

    For the anchor x_i: ``-log(p / (p + sum_j w_j n_j))`` with p = exp(s x_i.y_i), n = exp(s x_i.z_j), z_j every text
    and image but its own, w_j proportional to exp(hardness * x_i.z_j) with mean 1 and constant in the backward pass;
    likewise for the anchor y_i.

    Args:
        x: (B, D) image embeddings, rows of unit length.
        y: (B, D) text embeddings, rows of unit length.
        logit_scale: scalar s.
        hardness: beta >= 0.
        false_negative_rate: tau in [0, 1): takes tau * (number of negatives) * p off the weighted sum and divides by 1
            - tau.
        chunk_size: anchors whose similarities are held at a time; None for all.

    Returns:
        A scalar, the mean over the 2 B anchors; 0 for a batch of one pair.

    Source: arXiv 2604.00279 [digest: negative-sample re-weighting]; the formula [ours] after Robinson et al., arXiv
        2010.04592, eq. 3-4.
    """
    if len(x) < 2:
        return x.sum() * 0

    def losses(anchor: Tensor, other: Tensor) -> Tensor:
        settings = (logit_scale, hardness, false_negative_rate)
        return torch.cat(_by_rows(lambda rows: _anchor_losses(rows, anchor, other, *settings), len(x), chunk_size))

    return (losses(x, y).mean() + losses(y, x).mean()) / 2


def _anchor_losses(
    rows: slice, anchor: Tensor, other: Tensor, scale: Tensor, hardness: float, false_negative_rate: float
) -> Tensor:
    """Compute the loss of each anchor in some rows: the formula of `reweighted_contrast`, in logarithms."""
    count = len(anchor)
    negatives = 2 * count - 2
    cosine = _take(anchor, rows) @ torch.cat([other, anchor]).T  # to all of the other modality, then of the same
    own = torch.zeros_like(cosine, dtype=torch.bool)  # the partner and the anchor itself, which are no negatives
    for column in (rows.start, rows.start + count):
        own.diagonal(column).fill_(True)
    positive = scale * cosine.diagonal(rows.start)
    log_weight = (hardness * cosine.detach()).masked_fill(own, -torch.inf).log_softmax(dim=1) + math.log(negatives)
    negative = torch.logsumexp(scale * cosine + log_weight, dim=1)
    if false_negative_rate > 0:
        negative = _corrected(negative, positive, negatives, false_negative_rate, scale)
    return torch.logaddexp(positive, negative) - positive


def _corrected(negative: Tensor, positive: Tensor, count: int, rate: float, scale: Tensor) -> Tensor:
    """Take the expected false negatives off a log-sum of negatives, down to its least value ``count * exp(-s)``."""
    top = torch.maximum(negative, positive).detach()
    left = ((negative - top).exp() - rate * count * (positive - top).exp()) / (1 - rate)
    return torch.maximum(left.clamp_min(1e-30).log() + top, math.log(count) - scale)


def _by_rows(term: Callable[[slice], Tensor], count: int, chunk_size: int | None) -> list[Tensor]:
    """Compute a term for all rows at once, or chunk by chunk and once more in the backward pass."""
    if chunk_size is None:
        return [term(slice(0, count))]
    parts = [slice(start, min(start + chunk_size, count)) for start in range(0, count, chunk_size)]
    return [checkpoint(term, rows, use_reentrant=False, preserve_rng_state=False) for rows in parts]


def _take(x: Tensor, rows: slice) -> Tensor:
    """Take rows of x; all of them are x itself, whose gradient then adds up in the same order as ever."""
    return x if rows == slice(0, len(x)) else x[rows]


def geometry_mismatch(x: Tensor, y: Tensor, chunk_size: int | None = None) -> Tensor:
    """Compare the two intra-modal similarity matrices: mean squared difference off the diagonal.

    Args:
        x: (B, D) image embeddings, rows of unit length.
        y: (B, D) text embeddings, rows of unit length.
        chunk_size: rows of the matrices held at a time; None for all.

    Returns:
        A scalar in [0, 4]; 0 for a batch of one pair.

    Source: arXiv 2604.00279 [digest: intra-modal geometry matching]; the formula [ours] after CyCLIP, arXiv 2205.14459.
    """
    count = len(x)

    def term(rows: slice) -> Tensor:
        difference = _take(x, rows) @ x.T - _take(y, rows) @ y.T
        difference.diagonal(rows.start).zero_()
        return difference.square().sum()

    return sum(_by_rows(term, count, chunk_size)) / max(count * (count - 1), 1)


def centroid_distance(x: Tensor, y: Tensor) -> Tensor:
    """Measure the squared centroid gap: ``||mean x - mean y||^2``, a scalar. Args as in `geometry_mismatch`. [ours]"""
    return (x.mean(0) - y.mean(0)).square().sum()


def paired_distance(x: Tensor, y: Tensor) -> Tensor:
    """Measure the squared raw gap: mean of ``||x_i - y_i||^2``, a scalar. Args as in `geometry_mismatch`. [ours]"""
    return F.mse_loss(x, y, reduction="none").sum(1).mean()
