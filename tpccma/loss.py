"""The loss of TPC-CMA: ``L = (1 - alpha) * L_CLIP + alpha * L_CMA``.

L_CMA is a weighted sum of four terms. The paper's digest names two mechanisms, negative-sample re-weighting and
intra-modal geometry matching [digest]; their formulas could not be read, so all of this module are ours
[ours]. The functions below are the text of the method. `CMALoss` computes the same in one pass, see `tpccma.fused`.

Legend: B pairs in the global batch, D embedding width. In all functions x is (B, D), image embeddings with rows of unit
length, which is not checked, and y (B, D), the text embeddings of the same pairs; the terms are computed in float32
at least. What is refused, by a ValueError, and what is not is said in `tpccma.checks`.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss, gather_features
from torch import Tensor

from tpccma.checks import Checked, alike, check_bias, check_scale, scalar_beside
from tpccma.closed_form import HELD, Mix, Weights
from tpccma.curriculum import check_alpha, check_number
from tpccma.fused import TERM_NAMES, OnePass

MOST_HARDNESS = 100.0  # from there on the hardest negative counts alone, and float32 would run out of digits


def reweighted_contrast(x: Tensor, y: Tensor, logit_scale: Tensor, hardness: float = 1.0) -> Tensor:
    """Contrast each embedding's positive with the negatives of both modalities, hard ones weighing more.

    For the anchor x_i: ``-log(p / (p + sum_j w_j n_j))`` with p = exp(s x_i.y_i), n_j = exp(s x_i.z_j), z_j every text
    and image but its own, and w_j proportional to n_j^beta, with mean 1 and constant in the backward pass; likewise for
    the anchor y_i.

    Args:
        x: image embeddings.
        y: text embeddings.
        logit_scale: scalar s > 0.
        hardness: beta, 0 to 100; 0 weighs all negatives alike. It stands on the logit, as in the published form: a beta
            on the bare cosine weighs nothing beside s = 100.

    Returns:
        A scalar, the mean over the 2 B anchors; 0 for a batch of one pair.

    Source: arXiv 2604.00279 [digest: negative-sample re-weighting]; the formula [ours] after Robinson et al., arXiv
    2010.04592, eq. 3-4.
    """
    x, y = alike(torch.float32, x=x, y=y)
    logit_scale, hardness = check_scale(logit_scale), check_number("hardness", hardness, high=MOST_HARDNESS)
    if len(x) < 2:
        return (x.sum() + y.sum()) * 0
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
    x, y = alike(torch.float32, x=x, y=y)
    difference = x @ x.T - y @ y.T
    own = torch.eye(len(x), dtype=torch.bool, device=x.device)
    return difference.masked_fill(own, 0).square().sum(1).mean()


def centroid_distance(x: Tensor, y: Tensor) -> Tensor:
    """Measure the squared centroid gap: ``||mean x - mean y||^2``, a scalar in [0, 4]. [ours]

    Args:
        x: image embeddings.
        y: text embeddings.
    """
    x, y = alike(torch.float32, x=x, y=y)
    return (x.mean(0) - y.mean(0)).square().sum()


def paired_distance(x: Tensor, y: Tensor) -> Tensor:
    """Measure the squared raw gap: mean of ``||x_i - y_i||^2``, a scalar in [0, 4]. Not in the digest. [ours]

    Args:
        x: image embeddings.
        y: text embeddings.
    """
    x, y = alike(torch.float32, x=x, y=y)
    return F.mse_loss(x, y, reduction="none").sum(1).mean()


def check_weights(name: str, weights: Weights) -> Weights:
    """Return the weights of L_CMA's terms, and beta, if each is in its range.

    Raises:
        ValueError: naming the first that is not.
    """
    if not isinstance(weights, Weights):
        raise ValueError(f"{name} must be a tpccma.closed_form.Weights, got {weights!r}")
    for term, weight in zip(Weights._fields[:4], weights, strict=False):
        check_number(f"{term}_weight", weight)
    check_number("hardness", weights.hardness, high=MOST_HARDNESS)
    return weights


class CMALoss(ClipLoss):
    """Contrastive loss with cross-modal alignment, a drop-in for open_clip's ``ClipLoss``.

    >>> loss = CMALoss(alpha=0.5)
    >>> losses = loss(image_features, text_features, logit_scale, output_dict=True)
    >>> sum(losses.values())  # the total, as open_clip's training loop adds it up

    Loss and gradients come out of one pass, in float32 at least, whose memory grows with B and not with its square.
    Its settings are checked whenever they are set.

    Args:
        alpha: share of L_CMA, 0 to 1; 0 is ``ClipLoss``. May be changed between steps.
        reweighted_weight: weight of `reweighted_contrast`, >= 0.
        geometry_weight: weight of `geometry_mismatch`, >= 0; CyCLIP's.
        centroid_weight: weight of `centroid_distance`, >= 0.
        paired_weight: weight of `paired_distance`, >= 0.
        hardness: beta of the negative re-weighting, 0 to 100.
        **clip_arguments: ``ClipLoss``'s own: local_loss, gather_with_grad, cache_labels, rank, world_size, use_horovod.
            L_CMA always looks at the whole global batch.

    Raises:
        ValueError: if alpha, a weight or hardness is out of range.

    Source: arXiv 2604.00279; the terms and their weights [ours].
    """

    term_names = TERM_NAMES
    alpha = Checked(lambda name, value: check_alpha(value))
    weights = Checked(check_weights)

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
        self.alpha = alpha
        self.weights = Weights(reweighted_weight, geometry_weight, centroid_weight, paired_weight, hardness)

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
            image_features: (B / world_size, D), rows of unit length, B >= 1.
            text_features: (B / world_size, D), rows of unit length; row i describes image i.
            logit_scale: scalar or (1,), the inverse temperature (not its logarithm); a number, > 0. A tensor that holds
                0, infinity or NaN makes the loss or its gradient NaN.
            logit_bias: scalar added to the contrastive logits, where the model has one; a softmax does not see it.
            output_dict: return the weighted terms instead of their sum.

        Returns:
            The scalar total, or the terms that add up to it: of ``term_names`` the first, and for alpha > 0 the others
            whose weights are not 0. Of one pair the contrasts and the geometry are 0.

        Raises:
            ValueError: if shapes or devices do not match, there is no pair, features are no floating point tensors, or
                a number is out of range.
        """
        given = _given(image_features, text_features, logit_scale, logit_bias)
        small = len(given[0]) * self.world_size <= HELD
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
        *local, logit_scale, logit_bias = _given(image_features, text_features, logit_scale, logit_bias)
        clip = super().forward(*local, logit_scale, logit_bias)
        if self.alpha == 0:
            return {"contrastive_loss": clip}
        x, y = gather_pair(self, *local)
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
        given = _given(image_features, text_features, logit_scale, logit_bias)
        return self._pass(given, self.weights, [Mix(1, 0), Mix(0, 1)])

    def _pass(self, given: tuple, weights: Weights, mixes: list[Mix]) -> OnePass:
        x, y = gather_pair(self, *given[:2])
        scalars = (scalar_beside(x, value) for value in given[2:])
        return OnePass((x, y, *scalars), weights, mixes, self._alone)

    def _alone(self, alpha: float) -> Callable[..., dict[str, Tensor]]:
        """Give the plain form in one process that holds the whole batch."""
        alpha, weights = check_alpha(alpha), self.weights

        def plain(*inputs: Tensor | None) -> dict[str, Tensor]:
            loss = CMALoss(alpha)
            loss.weights = weights
            return loss.plain(*inputs)

        return plain


def _given(image_features: Tensor, text_features: Tensor, logit_scale: Tensor, logit_bias: Tensor | None) -> tuple:
    pair = alike(image_features=image_features, text_features=text_features)
    return *pair, check_scale(logit_scale), check_bias(logit_bias)


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
