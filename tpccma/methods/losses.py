"""What TPC-CMA is compared with: the paper's five baselines [digest] and relatives, all through one trainer.

Formulas are from the papers named beside each; where a paper leaves a choice open, ours is marked [ours].

Here are the losses, subclasses of `tpccma.methods.baseline.BaselineLoss`: `AlignCLIPLoss`, `M2MixLoss`,
`CLIPRefineLoss`, `CSAlignerLoss`, `FahimLoss`, `ModGapLoss`. Like `tpccma.loss.CMALoss` they take ``ClipLoss``'s
arguments and look at the whole global batch. What is done to a finished model is in `tpccma.methods.post_processing`.

`tpccma.methods` gives them the names that `tpccma.fine_tune` takes.

Settings are checked whenever they are set; embeddings as `tpccma.checks` says, not for their length. All terms are
computed in float32 at least.

Legend: B pairs in the global batch, N rows, D embedding width, F width of a sentence embedding, s logit scale.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from tpccma.checks import Checked, alike, check_above_0, check_scale, check_share
from tpccma.curriculum import check_number
from tpccma.loss import paired_distance
from tpccma.methods.baseline import BaselineLoss


class AlignCLIPLoss(BaselineLoss):
    """L_CLIP + weight * `intra_modal_separation`, the part of AlignCLIP that suits pre-trained two-tower models.

    Source: AlignCLIP, arXiv 2406.17639.
    """

    term_names = ("contrastive_loss", "separation_loss")
    inputs = ("sentences",)
    weight = Checked(check_number)

    def __init__(self, weight: float = 0.5, **clip_arguments):
        super().__init__(**clip_arguments)
        self.weight = weight

    def terms(self, x: Tensor, y: Tensor, scale: Tensor, sentences: Tensor) -> dict[str, Tensor]:
        """Return ``separation_loss``."""
        return {"separation_loss": self.weight * intra_modal_separation(x, y, scale, sentences)}


def intra_modal_separation(x: Tensor, y: Tensor, scale: Tensor, sentences: Tensor) -> Tensor:
    """Push images apart the more, the less their captions mean the same.

    Cross-entropy to the diagonal of ``s x_i.y_i`` on it and ``s x_i.x_j (1 - S_ij)`` off it, S the cosine similarity of
    the captions' sentence embeddings.

    Args:
        x: (B, D) image embeddings, rows of unit length.
        y: (B, D) text embeddings, rows of unit length.
        scale: scalar s.
        sentences: (B, F), rows of unit length.

    Returns:
        A scalar.

    Raises:
        ValueError: if shapes, types or devices do not match.
    """
    (x, y), (sentences,) = alike(torch.float32, x=x, y=y), alike(torch.float32, sentences=sentences)
    if len(sentences) != len(x):
        raise ValueError(f"there are {len(sentences)} sentences and {len(x)} pairs: pass one sentence a pair")
    distance = 1 - sentences @ sentences.T
    logits = check_scale(scale) * torch.where(_own(x), (x * y).sum(1)[:, None], x @ x.T * distance)
    return _diagonal_entropy(logits)


class M2MixLoss(BaselineLoss):
    """L_CLIP + weight / (epoch + 1) * `mixed_contrast`, lambda drawn from Beta(shape, shape) once a batch.

    Source: M^2-Mix, arXiv 2203.03897; of its weights 0.05, 0.01, 0.005 and 0.001 the largest is taken [ours].
    """

    term_names = ("contrastive_loss", "mix_loss")
    inputs = ("epoch",)
    weight = Checked(check_number)
    shape, temperature = Checked(check_above_0), Checked(check_above_0)

    def __init__(self, weight: float = 0.05, shape: float = 0.5, temperature: float = 0.07, **clip_arguments):
        super().__init__(**clip_arguments)
        self.weight, self.shape, self.temperature = weight, shape, temperature

    def terms(self, x: Tensor, y: Tensor, scale: Tensor, epoch: int) -> dict[str, Tensor]:
        """Return ``mix_loss``."""
        check_number("epoch", epoch)
        share = torch.distributions.Beta(self.shape, self.shape).sample().to(x.device)
        return {"mix_loss": self.weight / (epoch + 1) * mixed_contrast(x, y, share, self.temperature)}


def mixed_contrast(x: Tensor, y: Tensor, share: Tensor, temperature: float = 0.07) -> Tensor:
    """Contrast each pair with points on the arcs between the members of the other pairs.

    CE(A) + CE(A') to the diagonal, A having ``x_i.y_i`` on it and ``x_i.m_j`` off it, A' ``y_i.m_j`` off it, both over
    the temperature, with m_j = `slerp` of x_j and y_j.

    Args:
        x: (B, D) image embeddings, rows of unit length.
        y: (B, D) text embeddings, rows of unit length.
        share: scalar lambda in [0, 1], where on the arc m lies: 0 at x, 1 at y.
        temperature: of both cross-entropies.

    Returns:
        A scalar.
    """
    x, y = alike(torch.float32, x=x, y=y)
    check_above_0("temperature", temperature)
    mixed, positive = slerp(x, y, share), (x * y).sum(1)[:, None]
    return sum(_diagonal_entropy(torch.where(_own(x), positive, anchor @ mixed.T) / temperature) for anchor in (x, y))


def slerp(x: Tensor, y: Tensor, share: Tensor) -> Tensor:
    """Walk a share of the arc from each row of x to that of y, (N, D) of unit length each.

    The angle is kept 0.0014 away from 0 and from a half circle, where its sine would vanish. Of opposite rows, whose
    arc could lead anywhere, the part along x and y is returned, which is shorter.
    """
    x, y = alike(torch.float32, x=x, y=y)
    cosine = (x * y).sum(1, keepdim=True).clamp(-1 + 1e-6, 1 - 1e-6)
    angle = cosine.acos()
    sine = angle.sin()
    return ((1 - share) * angle).sin() / sine * x + (share * angle).sin() / sine * y


class CLIPRefineLoss(BaselineLoss):
    """`random_feature_alignment` + `hybrid_distillation`, without L_CLIP.

    Random features meet the embeddings before normalisation [ours]: on the unit sphere their pull averages to nothing.

    Source: CLIP-Refine, arXiv 2504.12717.
    """

    term_names = ("reference_loss", "distillation_loss")
    inputs = ("raw", "teacher")
    mixing = Checked(check_share)

    def __init__(self, mixing: float = 0.5, **clip_arguments):
        super().__init__(**clip_arguments)
        self.mixing = mixing

    def terms(self, x: Tensor, y: Tensor, scale: Tensor, raw: tuple, teacher: tuple) -> dict[str, Tensor]:
        """Return ``reference_loss`` and ``distillation_loss``."""
        return {
            "reference_loss": random_feature_alignment(*raw, torch.randn(raw[0].shape).to(raw[0])),
            "distillation_loss": hybrid_distillation(x, y, scale, *teacher, self.mixing),
        }


def random_feature_alignment(images: Tensor, texts: Tensor, reference: Tensor) -> Tensor:
    """Draw both members of a pair to one random point (RaFA): ``1/(2B) sum ||f_i - z_i||^2 + ||g_i - z_i||^2``.

    Args:
        images: (B, D) f, before normalisation.
        texts: (B, D) g, before normalisation.
        reference: (B, D) z, standard normal.

    Returns:
        A scalar.
    """
    images, texts, reference = alike(torch.float32, images=images, texts=texts, reference=reference)
    return ((images - reference).square().sum() + (texts - reference).square().sum()) / (2 * len(images))


def hybrid_distillation(
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    teacher_x: Tensor,
    teacher_y: Tensor,
    teacher_scale: Tensor,
    mixing: float = 0.5,
) -> Tensor:
    """Keep the model near the base model and near the truth (HyCD).

    Half the sum, over both directions, of KL(q || p): p the softmax of the model's logits, ``q = a I + (1 - a) q_T``
    with q_T the teacher's; the mean over the rows.

    Args:
        x: (B, D) image embeddings, rows of unit length.
        y: (B, D) text embeddings, rows of unit length.
        scale: scalar s.
        teacher_x: (B, D) the base model's x.
        teacher_y: (B, D) the base model's y.
        teacher_scale: its s.
        mixing: a in [0, 1].

    Returns:
        A scalar >= 0.
    """
    x, y, teacher_x, teacher_y = alike(torch.float32, x=x, y=y, teacher_x=teacher_x, teacher_y=teacher_y)
    check_share("mixing", mixing)
    student, teacher = check_scale(scale) * x @ y.T, check_scale(teacher_scale) * teacher_x @ teacher_y.T
    total = 0
    for logits, target in ((student, teacher), (student.T, teacher.T)):
        wanted = mixing * torch.eye(len(x), device=x.device) + (1 - mixing) * target.detach().softmax(1)
        total = total + F.kl_div(logits.log_softmax(1), wanted, reduction="batchmean")
    return total / 2


class CSAlignerLoss(BaselineLoss):
    """L_CLIP + weight * `cauchy_schwarz_divergence`. Weight 1 and the median width are [ours]: neither is published.

    Source: CS-Aligner, arXiv 2502.17028.
    """

    term_names = ("contrastive_loss", "divergence_loss")
    weight = Checked(check_number)

    def __init__(self, weight: float = 1.0, **clip_arguments):
        super().__init__(**clip_arguments)
        self.weight = weight

    def terms(self, x: Tensor, y: Tensor, scale: Tensor) -> dict[str, Tensor]:
        """Return ``divergence_loss``."""
        return {"divergence_loss": self.weight * cauchy_schwarz_divergence(x, y)}


def cauchy_schwarz_divergence(x: Tensor, y: Tensor, bandwidth: float | None = None) -> Tensor:
    """Measure how unlike two distributions are, differentiably, as `tpccma.metrics.divergences` does.

    ``log mean k(x_i, x_j) + log mean k(y_i, y_j) - 2 log mean k(x_i, y_j)``, ``k = exp(-d^2 / (2 width^2))``.

    Args:
        x: (N, D) image embeddings.
        y: (N, D) text embeddings.
        bandwidth: of the kernel, > 0; None takes the median distance between two rows of x and y together. So small
            that no row is near another, it gives infinity.

    Returns:
        A scalar >= 0.

    Raises:
        ValueError: if shapes, types or devices do not match, or the bandwidth is not above 0.
    """
    x, y = alike(torch.float32, x=x, y=y)
    if bandwidth is not None:
        check_above_0("bandwidth", bandwidth)
    squares = _squared_distances(torch.cat([x, y]))
    if bandwidth is None:
        rows, columns = torch.triu_indices(len(squares), len(squares), offset=1)
        bandwidth = squares.detach()[rows, columns].median().sqrt().clamp_min(1e-6)
    kernel, n = (-squares / (2 * bandwidth**2)).exp(), len(x)
    return kernel[:n, :n].mean().log() + kernel[n:, n:].mean().log() - 2 * kernel[:n, n:].mean().log()


class FahimLoss(BaselineLoss):
    """L_CLIP + mean `uniformity_potential` of the two modalities + mean squared distance of the pairs.

    Source: Fahim et al., arXiv 2405.18570; weights 1 [ours].
    """

    term_names = ("contrastive_loss", "uniformity_loss", "alignment_loss")

    def terms(self, x: Tensor, y: Tensor, scale: Tensor) -> dict[str, Tensor]:
        """Return ``uniformity_loss`` and ``alignment_loss``."""
        return {
            "uniformity_loss": (uniformity_potential(x) + uniformity_potential(y)) / 2,
            "alignment_loss": paired_distance(x, y),
        }


class ModGapLoss(BaselineLoss):
    """L_CLIP + mean squared distance of the pairs + `uniformity_potential` of the pairs' centroids.

    Source: Grassucci et al., arXiv 2601.18525; weights 1 [ours].
    """

    term_names = ("contrastive_loss", "uniformity_loss", "alignment_loss")

    def terms(self, x: Tensor, y: Tensor, scale: Tensor) -> dict[str, Tensor]:
        """Return ``uniformity_loss`` and ``alignment_loss``."""
        return {"uniformity_loss": uniformity_potential((x + y) / 2), "alignment_loss": paired_distance(x, y)}


def uniformity_potential(x: Tensor, rate: float = 2.0) -> Tensor:
    """Measure how unevenly points are spread: log of the mean of ``exp(-rate d^2)`` over pairs of distinct rows.

    Args:
        x: (N, D).
        rate: of the Gaussian potential, > 0.

    Returns:
        A scalar <= 0; smaller is more even. Of one row 0.

    Source: Wang and Isola, arXiv 2005.10242.
    """
    (x,) = alike(torch.float32, x=x)
    check_above_0("rate", rate)
    if len(x) < 2:
        return x.sum() * 0
    rows, columns = torch.triu_indices(len(x), len(x), offset=1)
    return (-rate * _squared_distances(x)[rows, columns]).exp().mean().log()


def _squared_distances(x: Tensor) -> Tensor:
    squares = x.square().sum(1)
    return (squares[:, None] + squares - 2 * x @ x.T).clamp_min(0)


def _own(x: Tensor) -> Tensor:
    return torch.eye(len(x), dtype=torch.bool, device=x.device)


def _diagonal_entropy(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))
