"""What the losses that TPC-CMA is compared with have in common.

Legend: B pairs in the global batch, D embedding width, F width of a sentence embedding.
"""

from open_clip.loss import ClipLoss
from torch import Tensor

from tpccma.checks import alike, check_scale
from tpccma.loss import gather_pair


class BaselineLoss(ClipLoss):
    """L_CLIP, unless ``term_names`` leaves it out, plus weighted terms over the global batch.

    A subclass names in ``term_names`` all that it returns, so that the log has a column for each, and in ``inputs``
    what its `terms` need beyond the embeddings; the trainer provides

    - ``sentences``: (B, F) sentence embeddings of the captions, rows of unit length
    - ``epoch``: passes over the data that are complete
    - ``raw``: image and text embeddings before normalisation, (B, D) each
    - ``teacher``: image and text embeddings of the frozen base model, (B, D) each, rows of unit length, and its scale

    Args:
        **clip_arguments: ``ClipLoss``'s own: gather_with_grad, rank, world_size ...
    """

    term_names: tuple[str, ...] = ("contrastive_loss",)
    inputs: tuple[str, ...] = ()

    def forward(
        self, image_features: Tensor, text_features: Tensor, logit_scale: Tensor, output_dict: bool = False, **inputs
    ) -> Tensor | dict[str, Tensor]:
        """Compute the loss of this process's share of the batch; terms beside L_CLIP in float32 at least.

        Args:
            image_features: (B / world_size, D), rows of unit length, which is not checked, see `tpccma.checks`.
            text_features: (B / world_size, D), rows of unit length; row i describes image i.
            logit_scale: scalar or (1,), the inverse temperature (not its logarithm); a number, > 0.
            output_dict: return the weighted terms instead of their sum.
            **inputs: what ``inputs`` names, of this process's share.

        Returns:
            The scalar total, or the terms that add up to it.

        Raises:
            ValueError: if shapes, types or devices do not match, or a number is out of range; and if `terms` returned
                one that ``term_names`` does not name, which no log would show.
        """
        losses, scale = {}, check_scale(logit_scale)
        pair = alike(image_features=image_features, text_features=text_features)
        if "contrastive_loss" in self.term_names:
            losses["contrastive_loss"] = super().forward(*pair, scale)
        x, y = gather_pair(self, *pair)
        losses |= self.terms(x, y, scale, **{name: self._gathered(value) for name, value in inputs.items()})
        unnamed = sorted(losses.keys() - set(self.term_names))
        if unnamed:
            raise ValueError(f"{type(self).__name__}.term_names lacks {unnamed}: name every term that it returns")
        return losses if output_dict else sum(losses.values())

    def terms(self, x: Tensor, y: Tensor, scale: Tensor, **inputs) -> dict[str, Tensor]:
        """Compute the weighted terms beside L_CLIP from the global batch."""
        raise NotImplementedError

    def _gathered(self, value):
        if isinstance(value, tuple):
            return (*gather_pair(self, *value[:2]), *value[2:])
        return gather_pair(self, value, value)[0] if isinstance(value, Tensor) else value
