"""The loss of TPC-CMA: ``L = (1 - alpha) * L_CLIP + alpha * L_CMA``.

L_CMA is a weighted sum of four terms. The paper's digest names two mechanisms, negative-sample re-weighting and
intra-modal geometry matching [digest]; their formulas are not public, so every formula of this module is ours [ours].
The functions below are the text of the method. `CMALoss` computes the same in one pass, see `tpccma.fused`.

Legend: B pairs in the global batch, D embedding width. In all functions x is (B, D), image embeddings with rows of unit
length, and y (B, D), the text embeddings of the same pairs.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss, gather_features
from torch import Tensor

from tpccma.closed_form import HELD, Mix, Weights
from tpccma.curriculum import check_alpha
from tpccma.fused import TERM_NAMES, OnePass


def reweighted_contrast(x: Tensor, y: Tensor, logit_scale: Tensor, hardness: float = 1.0) -> Tensor:
    """Contrast each embedding's positive with the negatives of both modalities, hard ones weighing more.

    For the anchor x_i: ``-log(p / (p + sum_j w_j n_j))`` with p = exp(s x_i.y_i), n_j = exp(s x_i.z_j), z_j every text
    and image but its own, and w_j proportional to n_j^beta, with mean 1 and constant in the backward pass; likewise for
    the anchor y_i.

    Args:
        x: image embeddings.
        y: text embeddings.
        logit_scale: scalar s.
        hardness: beta >= 0; 0 weighs all negatives alike. It stands on the logit, as in the published form: a beta on
            the bare cosine weighs nothing beside s = 100.

    Returns:
        A scalar, the mean over the 2 B anchors; 0 for a batch of one pair.

    Source: arXiv 2604.00279 [digest: negative-sample re-weighting]; the formula [ours] after Robinson et al., arXiv
    2010.04592, eq. 3-4.
    """
    if len(x) < 2:
        return x.sum() * 0
    losses = [_anchor_losses(x, y, logit_scale, hardness), _anchor_losses(y, x, logit_scale, hardness)]
    return torch.cat(losses).mean()


def _anchor_losses(anchors: Tensor, partners: Tensor, logit_scale: Tensor, hardness: float) -> Tensor:
    logits = logit_scale * anchors @ torch.cat([partners, anchors]).T
    own = torch.eye(len(anchors), dtype=torch.bool, device=anchors.device).repeat(1, 2)  # no negatives
    log_weights = (hardness * logits.detach()).masked_fill(own, -torch.inf).log_softmax(dim=1)
    negatives = torch.logsumexp(logits + log_weights + math.log(2 * len(anchors) - 2), dim=1)
    return -F.logsigmoid(logits.diagonal() - negatives)


def geometry_mismatch(x: Tensor, y: Tensor) -> Tensor:
    """Compare the two intra-modal similarity matrices: squared differences, summed over a row's B - 1 others.

    Args:
        x: image embeddings.
        y: text embeddings.

    Returns:
        A scalar, the mean over the B rows, which is the mean over pairs times B - 1; 0 for a batch of one pair.

    Source: arXiv 2604.00279 [digest: intra-modal geometry matching]; the formula [ours] after CyCLIP, arXiv
    2205.14459, whose mean over pairs is multiplied by the batch size too.
    """
    difference = x @ x.T - y @ y.T
    own = torch.eye(len(x), dtype=torch.bool, device=x.device)
    return difference.masked_fill(own, 0).square().sum(1).mean()


def centroid_distance(x: Tensor, y: Tensor) -> Tensor:
    """Measure the squared centroid gap: ``||mean x - mean y||^2``, a scalar in [0, 4]. [ours]

    Args:
        x: image embeddings.
        y: text embeddings.
    """
    return (x.mean(0) - y.mean(0)).square().sum()


def paired_distance(x: Tensor, y: Tensor) -> Tensor:
    """Measure the squared raw gap: mean of ``||x_i - y_i||^2``, a scalar in [0, 4]. Not in the digest. [ours]

    Args:
        x: image embeddings.
        y: text embeddings.
    """
    return F.mse_loss(x, y, reduction="none").sum(1).mean()


class CMALoss(ClipLoss):
    """Contrastive loss with cross-modal alignment, a drop-in for open_clip's `ClipLoss`.

    >>> loss = CMALoss(alpha=0.5)
    >>> losses = loss(image_features, text_features, logit_scale, output_dict=True)
    >>> sum(losses.values())  # the total, as open_clip's training loop adds it up

    Loss and gradients come out of one pass, in float32 at least, whose memory grows with B and not with its square.

    Args:
        alpha: share of L_CMA, 0 to 1; 0 is `ClipLoss`. May be changed between steps.
        reweighted_weight: weight of `reweighted_contrast`, >= 0.
        geometry_weight: weight of `geometry_mismatch`, >= 0; CyCLIP's.
        centroid_weight: weight of `centroid_distance`, >= 0.
        paired_weight: weight of `paired_distance`, >= 0.
        hardness: beta of the negative re-weighting, >= 0.
        **clip_arguments: `ClipLoss`'s own: local_loss, gather_with_grad, cache_labels, rank, world_size, use_horovod.
            L_CMA always looks at the whole global batch.

    Raises:
        ValueError: if alpha, a weight or hardness is out of range.

    Source: arXiv 2604.00279; the terms and their weights [ours].
    """

    term_names = TERM_NAMES

    def __init__(
        self,
        alpha: float = 0.5,
        *,
        reweighted_weight: float = 1.0,
        geometry_weight: float = 0.25,
        centroid_weight: float = 1.0,
        paired_weight: float = 0.0,
        hardness: float = 1.0,
        **clip_arguments,
    ):
        super().__init__(**clip_arguments)
        self.alpha = check_alpha(alpha)
        self.weights = Weights(reweighted_weight, geometry_weight, centroid_weight, paired_weight, hardness)
        for name, value in self.weights._asdict().items():
            if not 0 <= value < math.inf:
                label = name if name == "hardness" else f"{name}_weight"
                raise ValueError(f"{label} must be finite and >= 0, got {value!r}")

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
            logit_bias: scalar added to the contrastive logits, where the model has one; a softmax does not see it.
            output_dict: return the weighted terms instead of their sum.

        Returns:
            The scalar total, or the terms that add up to it: of `term_names` the first, and for alpha > 0 the others
            whose weights are not 0.
        """
        given = image_features, text_features, logit_scale, logit_bias
        small = len(image_features) * self.world_size <= HELD
        if self.local_loss or (self.alpha == 0 and small):  # there bit for bit ClipLoss
            losses = self.plain(*given)
        else:
            weights = self.weights if self.alpha > 0 else Weights(0.0, 0.0, 0.0, 0.0, 0.0)
            losses = self._pass(given, weights, [Mix(1 - self.alpha, self.alpha)]).terms(self.alpha)
        return losses if output_dict else sum(losses.values())

    def plain(
        self, image_features: Tensor, text_features: Tensor, logit_scale: Tensor, logit_bias: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute the terms one by one, as written above, with matrices of B x B. Args and Returns as in `forward`."""
        clip = super().forward(image_features, text_features, logit_scale, logit_bias)
        if self.alpha == 0:
            return {"contrastive_loss": clip}
        x, y = gather_pair(self, image_features, text_features)
        terms = {
            "reweighted_loss": lambda: reweighted_contrast(x, y, logit_scale, self.weights.hardness),
            "geometry_loss": lambda: geometry_mismatch(x, y),
            "centroid_loss": lambda: centroid_distance(x, y),
            "paired_loss": lambda: paired_distance(x, y),
        }
        weights = {name: self.alpha * weight for name, weight in zip(terms, self.weights[:4], strict=True)}
        losses = {name: weight * terms[name]() for name, weight in weights.items() if weight > 0}
        return {"contrastive_loss": (1 - self.alpha) * clip} | losses

    def read(
        self, image_features: Tensor, text_features: Tensor, logit_scale: Tensor, logit_bias: Tensor | None = None
    ) -> OnePass:
        """Make the pass before alpha is known, for a curriculum that asks the gradients.

        >>> read = loss.read(image_features, text_features, logit_scale)
        >>> alpha = curriculum.update(step, read.reading())
        >>> sum(read.terms(alpha).values()).backward()

        Args as in `forward`.
        """
        features = image_features, text_features, logit_scale, logit_bias
        return self._pass(features, self.weights, [Mix(1, 0), Mix(0, 1)])

    def _pass(self, features: tuple, weights: Weights, mixes: list[Mix]) -> OnePass:
        x, y = gather_pair(self, *features[:2])
        return OnePass((x, y, *features[2:]), weights, mixes, self._alone)

    def _alone(self, alpha: float) -> Callable[..., dict[str, Tensor]]:
        """Give the plain form in one process that holds the whole batch."""
        loss = CMALoss(alpha)
        loss.weights = self.weights
        return loss.plain


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
