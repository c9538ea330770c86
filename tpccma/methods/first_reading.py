"""The objective as it was first read: the loss of ``tpc-cma-paired`` and its ablations. All of it is ours [ours].

All runs of the dial in the first round were made with it, then named tpc-cma. They showed why it is not the digest's:
re-weighting by the bare cosine weighs next to nothing beside a logit scale of 100, geometry as a plain mean changes
nothing when it is taken away, the centroid term repeats what the paired term holds, and that term, which no source
names, does the work: plain CLIP plus a mean squared error. So the name tpc-cma has gone to the second reading,
`tpccma.loss`, and this one stays for what was recorded and for the comparison of the two. Its curriculum is
`tpccma.methods.first_curriculum`.

Legend: B pairs in the global batch, D embedding width.
"""

import math
from functools import partial

import torch
from open_clip.loss import ClipLoss
from torch import Tensor

from tpccma.checks import Checked, alike, check_scale, scalar_beside
from tpccma.curriculum import check_alpha, check_number
from tpccma.fused import TERM_NAMES, shares
from tpccma.loss import MOST_HARDNESS, centroid_distance, gather_pair, paired_distance


def check_weights(name: str, weights: dict[str, float]) -> dict[str, float]:
    """Return the weights of the terms if all are finite and >= 0.

    Raises:
        ValueError: naming the first that is not.
    """
    for term, weight in weights.items():
        check_number(f"{term}_weight", weight)
    return dict(weights)


class FirstReadingLoss(ClipLoss):
    """``(1 - alpha) * L_CLIP + alpha * L_CMA`` with L_CMA as it was first read.

    Args:
        alpha: share of L_CMA, 0 to 1. 0 is exactly ``ClipLoss``. May be changed between steps.
        reweighted_weight: weight of `reweighted_by_cosine`, >= 0.
        geometry_weight: weight of `mean_geometry_mismatch`, >= 0.
        centroid_weight: weight of `tpccma.loss.centroid_distance`, >= 0.
        paired_weight: weight of `tpccma.loss.paired_distance`, >= 0.
        hardness: beta of the negative re-weighting, 0 to 100; 0 weighs all negatives alike.
        projected: whether `read` projects the gradients on the tangent planes of the sphere, as the second reading's
            curriculum takes them.
        **clip_arguments: ``ClipLoss``'s own: gather_with_grad, rank, world_size ...

    Raises:
        ValueError: if alpha, a weight or hardness is out of range.

    Source: the first reading [ours] of arXiv 2604.00279.
    """

    term_names = TERM_NAMES
    alpha = Checked(lambda name, value: check_alpha(value))
    hardness = Checked(partial(check_number, high=MOST_HARDNESS))
    weights = Checked(check_weights)

    def __init__(
        self,
        alpha: float = 0.5,
        *,
        reweighted_weight: float = 1.0,
        geometry_weight: float = 10.0,
        centroid_weight: float = 1.0,
        paired_weight: float = 10.0,
        hardness: float = 1.0,
        projected: bool = False,
        **clip_arguments,
    ):
        super().__init__(**clip_arguments)
        self.alpha, self.hardness, self.projected = alpha, hardness, projected
        self.weights = {
            "reweighted": reweighted_weight,
            "geometry": geometry_weight,
            "centroid": centroid_weight,
            "paired": paired_weight,
        }

    def forward(
        self, image_features: Tensor, text_features: Tensor, logit_scale: Tensor, output_dict: bool = False
    ) -> Tensor | dict[str, Tensor]:
        """Compute the loss of this process's share of the batch.

        Args:
            image_features: (B / world_size, D), rows of unit length, which is not checked, see `tpccma.checks`.
            text_features: (B / world_size, D), rows of unit length; row i describes image i.
            logit_scale: scalar or (1,), the inverse temperature (not its logarithm); a number, > 0.
            output_dict: return the weighted terms instead of their sum.

        Returns:
            The scalar total, or the terms that add up to it: of ``term_names`` the first, and for alpha > 0 the others
            whose weights are not 0.

        Raises:
            ValueError: if shapes, types or devices do not match, or a number is out of range.
        """
        local, logit_scale = alike(image_features=image_features, text_features=text_features), check_scale(logit_scale)
        clip = super().forward(*local, logit_scale)
        losses = {"contrastive_loss": clip}
        if self.alpha > 0:
            losses["contrastive_loss"] = (1 - self.alpha) * clip
            x, y = gather_pair(self, *local)
            for name, term in self.terms_of(x, y, logit_scale).items():
                losses[f"{name}_loss"] = self.alpha * self.weights[name] * term
        return losses if output_dict else sum(losses.values())

    def terms_of(self, x: Tensor, y: Tensor, logit_scale: Tensor) -> dict[str, Tensor]:
        """Compute the terms of L_CMA over the global batch whose weights are not 0, each without its weight.

        Args:
            x: (B, D) image embeddings.
            y: (B, D) text embeddings.
            logit_scale: as in `forward`.
        """
        compute = {
            "reweighted": lambda: reweighted_by_cosine(x, y, logit_scale, self.hardness),
            "geometry": lambda: mean_geometry_mismatch(x, y),
            "centroid": lambda: centroid_distance(x, y),
            "paired": lambda: paired_distance(x, y),
        }
        return {name: term() for name, term in compute.items() if self.weights[name] > 0}

    def read(self, image_features: Tensor, text_features: Tensor, logit_scale: Tensor) -> "FirstReadingRead":
        """Take the gradients before alpha is known, as `tpccma.loss.CMALoss.read` does. Args as in `forward`."""
        local = alike(image_features=image_features, text_features=text_features)
        return FirstReadingRead(self, *local, scalar_beside(local[0], check_scale(logit_scale)))


class FirstReadingRead:
    """What `tpccma.fused.OnePass` is to the second reading, by autograd.

    Args:
        loss: whose terms are taken.
        features: this process's image embeddings, text embeddings, and the inverse temperature.
    """

    def __init__(self, loss: FirstReadingLoss, *features: Tensor):
        self.loss, self.features = loss, features
        x, y = gather_pair(loss, *(rows.detach().float() for rows in features[:2]))
        leaves, scale = (x.requires_grad_(), y.requires_grad_()), features[2].detach()
        clip, terms = ClipLoss()(*leaves, scale), loss.terms_of(*leaves, scale)
        cma = sum((loss.weights[name] * term for name, term in terms.items()), start=0 * (x + y).sum())
        gradients = [torch.cat(torch.autograd.grad(part, leaves)) for part in (clip, cma)]
        embeddings = torch.cat([x, y]).detach()
        self.gradients = [(tangent(g, embeddings) if loss.projected else g).flatten() for g in gradients]
        self.values = [clip, *(terms.get(name, torch.zeros_like(clip)) for name in loss.weights)]

    @torch.no_grad()
    def numbers(self) -> Tensor:
        """Return (8,): the norms of both gradients, the cosine between them, and the terms without their shares."""
        clip, cma = self.gradients
        norms = clip.norm(), cma.norm()
        cosine = clip @ cma / (norms[0] * norms[1]).clamp_min(1e-30)
        return torch.stack([*norms, cosine, *self.values])

    def shares(self, alpha: float) -> dict[str, float]:
        """Say what each term counts for in the loss."""
        return shares(alpha, self.loss.weights.values())

    def terms(self, alpha: float) -> dict[str, Tensor]:
        """Weigh the terms with alpha, as the loss returns them."""
        self.loss.alpha = alpha
        return self.loss(*self.features, output_dict=True)


def tangent(gradients: Tensor, embeddings: Tensor) -> Tensor:
    """Project gradients (N, D) on the tangent planes of the sphere at embeddings (N, D) of unit length."""
    return gradients - (gradients * embeddings).sum(1, keepdim=True) * embeddings


def reweighted_by_cosine(x: Tensor, y: Tensor, logit_scale: Tensor, hardness: float = 1.0) -> Tensor:
    """Contrast each embedding's positive with the negatives of both modalities, weighed by their bare cosine.

    For the anchor x_i: ``-log(p / (p + sum_j w_j n_j))`` with p = exp(s x_i.y_i), n = exp(s x_i.z_j), z_j every text
    and image but its own, w_j proportional to exp(hardness * x_i.z_j) with mean 1 and constant in the backward pass;
    likewise for the anchor y_i.

    Args:
        x: (B, D) image embeddings, rows of unit length.
        y: (B, D) text embeddings, rows of unit length.
        logit_scale: scalar s.
        hardness: beta, 0 to 100.

    Returns:
        A scalar, the mean over the 2 B anchors; 0 for a batch of one pair.

    Source: the first reading [ours], after Robinson et al., arXiv 2010.04592, where the weight is a power of the logit.
    """
    x, y = alike(torch.float32, x=x, y=y)
    logit_scale, hardness = check_scale(logit_scale), check_number("hardness", hardness, high=MOST_HARDNESS)
    if len(x) < 2:
        return (x.sum() + y.sum()) * 0
    return (_anchor_losses(x, y, logit_scale, hardness).mean() + _anchor_losses(y, x, logit_scale, hardness).mean()) / 2


def _anchor_losses(anchor: Tensor, other: Tensor, scale: Tensor, hardness: float) -> Tensor:
    """Compute the loss of each anchor, (B,): the formula of `reweighted_by_cosine`, in logarithms."""
    count = len(anchor)
    cosine = anchor @ torch.cat([other, anchor]).T  # to all of the other modality, then of the same
    own = torch.zeros_like(cosine, dtype=torch.bool)  # the partner and the anchor itself, which are no negatives
    for column in (0, count):
        own.diagonal(column).fill_(True)
    positive = scale * cosine.diagonal()
    weighed = (hardness * cosine.detach()).masked_fill(own, -torch.inf)
    log_weight = weighed.log_softmax(dim=1) + math.log(2 * count - 2)
    negative = torch.logsumexp(scale * cosine + log_weight, dim=1)
    return torch.logaddexp(positive, negative) - positive


def mean_geometry_mismatch(x: Tensor, y: Tensor) -> Tensor:
    """Compare the two intra-modal similarity matrices: mean squared difference off the diagonal, in [0, 4].

    Args as in `reweighted_by_cosine`. Returns a scalar, 0 for a batch of one pair. CyCLIP, arXiv 2205.14459, multiplies
    the mean by the batch size; the first reading [ours] did not.
    """
    x, y = alike(torch.float32, x=x, y=y)
    count = len(x)
    difference = x @ x.T - y @ y.T
    difference.diagonal().zero_()
    return difference.square().sum() / max(count * (count - 1), 1)
