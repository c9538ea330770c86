"""The loss of a method, with what it asks for beside the embeddings: a frozen teacher, sentences, the epoch.

Legend: B batch size of a process, D embedding width, F width of a sentence embedding.
"""

import copy

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from open_clip.loss import ClipLoss
from torch import Tensor

from tpccma.curriculum import GradientReading
from tpccma.loss import CMALoss
from tpccma.methods import Method, loss_columns
from tpccma.methods.first_reading import FirstReadingLoss
from tpccma.models import Encoder
from tpccma.profiles import Profile


class Objective:
    """What a training minimises.

    Args:
        method: its loss replaces `CMALoss`.
        profile: of the run.
        alpha: alpha_target.
        encoder: the model before the training, of which the teacher is a copy where one is asked for.
        accelerator: of the training.
    """

    def __init__(self, method: Method, profile: Profile, alpha: float, encoder: Encoder, accelerator: Accelerator):
        self.accelerator = accelerator
        shared = {
            "gather_with_grad": True,
            "rank": accelerator.process_index,
            "world_size": accelerator.num_processes,
        }
        self.columns = loss_columns(method)
        self.loss = _make_loss(method, profile, alpha, shared)
        self.needed = getattr(self.loss, "inputs", ())
        self.text_features_given = profile.model.kind == "heads"
        self.teacher = None
        if "teacher" in self.needed or ("sentences" in self.needed and not self.text_features_given):
            self.teacher = copy.deepcopy(encoder.model).eval().requires_grad_(False).to(accelerator.device)

    def terms(self, x: Tensor, y: Tensor, scale: Tensor, alpha: float, inputs: dict) -> dict[str, Tensor]:
        """Compute the weighted terms, which add up to the loss.

        Args:
            x: (B, D) image embeddings, rows of unit length.
            y: (B, D) text embeddings, likewise.
            scale: the inverse temperature.
            alpha: of this step.
            inputs: see `inputs`.

        Returns:
            Terms by name.

        Raises:
            ValueError: if the loss has a term that it does not declare, for which the log has no column.
        """
        self.loss.alpha = alpha
        losses = self.loss(x, y, scale, output_dict=True, **inputs)
        for name in losses.keys() - set(self.columns):
            raise ValueError(f"{type(self.loss).__name__} returned {name!r}, which its term_names lack")
        return losses

    def read_gradients(self, x: Tensor, y: Tensor, scale: Tensor) -> GradientReading:
        """Measure the gradients of both parts of `CMALoss` on the embeddings of all processes."""
        gradients = self.loss.embedding_gradients(x, y, scale)
        return GradientReading.of(*(self.accelerator.gather(g).flatten() for g in gradients))

    @torch.no_grad()
    def inputs(self, images: Tensor, tokens: Tensor, raw: tuple[Tensor, Tensor], epoch: int) -> dict:
        """Give a `tpccma.methods.baseline.BaselineLoss` what it names in its `inputs`."""
        provide = {
            "epoch": lambda: epoch,
            "raw": lambda: raw,
            "sentences": lambda: self.sentences(tokens),
            "teacher": lambda: (
                self.teacher.encode_image(images, normalize=True),
                self.teacher.encode_text(tokens, normalize=True),
                self.teacher.logit_scale.exp(),
            ),
        }
        return {name: provide[name]() for name in self.needed}

    def sentences(self, tokens: Tensor) -> Tensor:
        """Embed captions by meaning, (B, F): MiniLM where its features are the input, else the frozen base model."""
        if self.text_features_given:
            return F.normalize(tokens, dim=1)
        return self.teacher.encode_text(tokens, normalize=True)


def _make_loss(method: Method, profile: Profile, alpha: float, shared: dict) -> ClipLoss:
    if method.loss:
        return method.loss(**shared)
    if method.first_reading:
        return FirstReadingLoss(alpha, **profile.first_reading.loss.model_dump(), **shared)
    return CMALoss(alpha, **profile.loss.model_dump(), **shared)
