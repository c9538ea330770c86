"""What TPC-CMA is compared with. So far the post-processing that the paper names, mean-centring.

Legend: N rows, D embedding width.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from tpccma.data import Corpus
    from tpccma.models import Encoder
    from tpccma.train import Run


@dataclass(frozen=True)
class MeanCentering:
    """An encoder with each modality's mean taken off: ``x' = norm(x - mu_x)``, ``y' = norm(y - mu_y)``.

    Args:
        encoder: the model as it was.
        image_mean: (D,) mean image embedding of the training data.
        text_mean: (D,) mean text embedding of the training data.

    Source: named as a baseline in arXiv 2604.00279 [digest]; the shift between the means is from Liang et al., arXiv
        2203.02053.
    """

    encoder: "Encoder"
    image_mean: Tensor
    text_mean: Tensor

    def embed_images(self, images: Tensor) -> Tensor:
        """Embed pictures as `Encoder.embed_images` does, centre them and scale them back to length 1: (N, D)."""
        return F.normalize(self.encoder.embed_images(images) - self.image_mean, dim=1)

    def embed_texts(self, texts: list[str]) -> Tensor:
        """Embed texts as `Encoder.embed_texts` does, centre them and scale them back to length 1: (N, D)."""
        return F.normalize(self.encoder.embed_texts(texts) - self.text_mean, dim=1)


def mean_centering(run: "Run", corpus: "Corpus") -> "Run":
    """Post-process a run by mean-centring; nothing is trained.

    Args:
        run: whose embeddings are centred, as a rule the base model's.
        corpus: its train split gives the means, from every picture and its first caption.

    Returns:
        A run of method "mean-centering" that `tpccma.evaluate` takes like any other.
    """
    images = run.encoder.embed_images(corpus.train.images)
    texts = run.encoder.embed_texts([captions[0] for captions in corpus.train.captions])
    encoder = MeanCentering(run.encoder, images.mean(0), texts.mean(0))
    folder = run.folder.with_name(run.folder.name.replace(run.method, "mean-centering", 1))
    return replace(run, method="mean-centering", alpha=0.0, folder=folder, encoder=encoder)
