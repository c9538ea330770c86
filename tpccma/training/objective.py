"""The loss of a method, with what it asks for beside the embeddings: a frozen teacher, sentences, the epoch.

Legend: B batch size of a process, D embedding width, F width of a sentence embedding.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from open_clip.loss import ClipLoss
from torch import Tensor

from tpccma.curriculum import GradientReading
from tpccma.data import Corpus
from tpccma.loss import CMALoss
from tpccma.methods import Method, loss_columns
from tpccma.methods.curricula import Curriculum, as_first_read
from tpccma.methods.first_reading import FirstReadingLoss
from tpccma.methods.variance_floor import VarianceFloorLoss
from tpccma.models import Encoder
from tpccma.profiles import Profile
from tpccma.training.maps import base_variances


class Taken(NamedTuple):
    """The loss of a step, and what the log says of it; that is asked once the backward pass is under way.

    Args:
        total: scalar, with its gradient.
        log: waits for the device, and returns alpha, ``logit_scale``, ``loss``, its weighted terms and, where the
            curriculum asked for them, ``clip_norm``, ``cma_norm`` and ``cosine``.
    """

    total: Tensor
    log: Callable[[], dict[str, float]]


class Objective:
    """What a training minimises.

    Args:
        method: its loss replaces `~tpccma.loss.CMALoss`.
        profile: of the run.
        alpha: alpha_target.
        encoder: the model before the training, of which the teacher is a copy where one is asked for.
        accelerator: of the training.
    """

    def __init__(self, method: Method, profile: Profile, alpha: float, encoder: Encoder, accelerator: Accelerator):
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

    def measure_base(self, encoder: Encoder, corpus: Corpus, seed: int) -> None:
        """Tell the loss what it asks of the base model, before the first step: the variances that are its floors."""
        if isinstance(self.loss, VarianceFloorLoss):
            self.loss.floors = base_variances(encoder, corpus, seed)

    def take(self, x: Tensor, y: Tensor, scale: Tensor, curriculum: Curriculum, step: int, inputs: dict) -> Taken:
        """Compute the loss of a step; the host waits for the device once, here or in the log.

        Args:
            x: (B, D) image embeddings, rows of unit length.
            y: (B, D) text embeddings, likewise.
            scale: the inverse temperature.
            curriculum: says alpha; takes in the gradients' reading where it asks for one.
            step: of the training.
            inputs: see `inputs`.

        Raises:
            ValueError: if the loss has a term that it does not declare, for which the log has no column.
        """
        if curriculum.reads(step):
            return self._read(x, y, scale, curriculum, step)
        self.loss.alpha = alpha = curriculum.alpha(step)
        terms = self.loss(x, y, scale, output_dict=True, **inputs)
        for name in terms.keys() - set(self.columns):
            raise ValueError(f"{type(self.loss).__name__} returned {name!r}, which its term_names lack")
        numbers = torch.stack([term.detach().float() for term in (scale, *terms.values())])

        def log() -> dict[str, float]:
            logit_scale, *values = numbers.tolist()
            return _log(alpha, logit_scale, dict(zip(terms, values, strict=True)))

        return Taken(sum(terms.values()), log)

    def _read(self, x: Tensor, y: Tensor, scale: Tensor, curriculum: Curriculum, step: int) -> Taken:
        """Let the curriculum read the gradients of both parts of the loss before it says alpha."""
        read = self.loss.read(x, y, scale)
        *measured, logit_scale = torch.cat([read.numbers(), scale.detach().float().reshape(1)]).tolist()
        reading, values = GradientReading(*measured[:3]), dict(zip(self.loss.term_names, measured[3:], strict=True))
        alpha = curriculum.update(step, reading)
        terms = {name: share * values[name] for name, share in read.shares(alpha).items()}
        return Taken(sum(read.terms(alpha).values()), lambda: _log(alpha, logit_scale, terms) | vars(reading))

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
    if method.floor:
        return VarianceFloorLoss(alpha, floor_weight=_floor_weight(profile), **profile.loss.model_dump(), **shared)
    if method.first_reading:
        own = profile.first_reading.loss.model_dump() | {"projected": method.curriculum is not as_first_read}
        return FirstReadingLoss(alpha, **own, **shared)
    return CMALoss(alpha, **profile.loss.model_dump(), **shared)


def _floor_weight(profile: Profile) -> float:
    if profile.floor.weight is None:
        raise ValueError(
            f"profile {profile.name!r} has no floor.weight: `tpccma rates --floor --profile {profile.name}` chooses one"
        )
    return profile.floor.weight


def _log(alpha: float, logit_scale: float, terms: dict[str, float]) -> dict[str, float]:
    return {"alpha": alpha, "logit_scale": logit_scale, "loss": sum(terms.values()), **terms}
