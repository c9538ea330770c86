"""Maps behind the towers of a finished model: what can be done about the gap without training the towers.

- Nothing trained: `mean_centering`, `mind_the_gap_shift`, `realign`.
- `i0t_async`: batch normalisation on top of the frozen model, trained with plain CLIP.

Each makes two maps from training embeddings; `PostProcessed` is the model with them.

Legend: N rows, D embedding width.
"""

from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather


class Recentre(nn.Module):
    """``norm(gain (x - mean) + target)``, rows scaled to length 1. Its vectors are saved with the model.

    Args:
        mean: (D,) taken off.
        target: (D,) put on; zeros where None.
        gain: scalar.
    """

    def __init__(self, mean: Tensor, target: Tensor | None = None, gain: float | Tensor = 1.0):
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("target", torch.zeros_like(mean) if target is None else target.clone())
        self.register_buffer("gain", torch.as_tensor(gain, dtype=mean.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, D) to (N, D) rows of unit length."""
        return F.normalize(self.gain * (x - self.mean) + self.target, dim=1)


class PostProcessed(nn.Module):
    """A frozen model with a map behind each tower, and the methods of an open_clip model.

    Args:
        model: an open_clip model or `tpccma.models.towers.Heads`; it stays in evaluation mode and takes no gradient.
        images: maps (N, D) unit-length image embeddings.
        texts: the same for texts.
    """

    def __init__(self, model: nn.Module, images: nn.Module, texts: nn.Module):
        super().__init__()
        self.model, self.images, self.texts = model.requires_grad_(False), images, texts
        self.logit_scale = nn.Parameter(model.logit_scale.detach().clone())

    def train(self, mode: bool = True) -> "PostProcessed":
        """Switch the maps' mode; the frozen model stays in evaluation mode."""
        super().train(mode)
        self.model.eval()
        return self

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Embed N pictures: (N, D)."""
        features = self.images(self.model.encode_image(image, normalize=True))
        return F.normalize(features, dim=-1) if normalize else features

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Embed N tokenised texts: (N, D)."""
        features = self.texts(self.model.encode_text(text, normalize=True))
        return F.normalize(features, dim=-1) if normalize else features


Maps = Callable[[Tensor, Tensor], tuple[nn.Module, nn.Module]]


def mean_centering(images: Tensor, texts: Tensor) -> tuple[nn.Module, nn.Module]:
    """Take each modality's mean off: ``x' = norm(x - mu_x)``, ``y' = norm(y - mu_y)``.

    Args:
        images: (N, D) embeddings of the training pictures, rows of unit length.
        texts: (N, D) embeddings of their first captions, rows of unit length.

    Returns:
        The maps of images and of texts.

    Source: named as a baseline in arXiv 2604.00279 [digest]. I0T's post-hoc variant (arXiv 2412.14384) is the same
    formula, and no method of its own here.
    """
    return Recentre(images.mean(0)), Recentre(texts.mean(0))


def mind_the_gap_shift(images: Tensor, texts: Tensor, share: float = 1.0) -> tuple[nn.Module, nn.Module]:
    """Move both modalities towards each other along the line between their means, then scale to length 1.

    ``x' = norm(x - delta g / 2)``, ``y' = norm(y + delta g / 2)``, g the unit vector from mu_y to mu_x. Args and
    Returns as in `mean_centering`; ``share`` is delta over the distance of the means, 1 to make them meet [ours].

    Source: Liang et al., arXiv 2203.02053.
    """
    half = share * (images.mean(0) - texts.mean(0)) / 2
    return Recentre(half), Recentre(-half)


def realign(images: Tensor, texts: Tensor) -> tuple[nn.Module, nn.Module]:
    """Give the texts the images' mean and total variance; the images stay.

    ``y' = mu_x + r (y - mu_y)`` with ``r = sqrt(tr Sigma_x / tr Sigma_y)``, scaled to length 1; then the new mean is
    taken off and mu_x put on, and rows are scaled to length 1 once more [ours], since every task here takes unit
    vectors. Args and Returns as in `mean_centering`.

    Source: ReAlign's anchor, trace and centroid steps, arXiv 2602.07026.
    """
    x, y = images.mean(0), texts.mean(0)
    gain = ((images - x).square().sum() / (texts - y).square().sum()).sqrt()
    first = Recentre(y, x, gain)
    return nn.Identity(), nn.Sequential(first, Recentre(first(texts).mean(0), x))


def i0t_async(images: Tensor, texts: Tensor) -> tuple[nn.Module, nn.Module]:
    """Batch-normalise each modality on top of the frozen model; the two layers are trained with L_CLIP afterwards.

    Args and Returns as in `mean_centering`.

    Source: I0T, arXiv 2412.14384.
    """
    return tuple(GlobalBatchNorm1d(part.shape[1]) for part in (images, texts))


class GlobalBatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation over the batch of all processes, on any backend; torch's own needs GPUs for that."""

    def forward(self, x: Tensor) -> Tensor:
        """Map this process's (N, D) rows to (N, D)."""
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        whole = super().forward(torch.cat(all_gather(x)))
        return whole[len(x) * dist.get_rank() :][: len(x)]
