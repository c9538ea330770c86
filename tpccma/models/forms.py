"""Weights in the forms that trainings leave them in, brought into the one that a model takes.

open_clip does the same where it reads a file itself; it does not see to what the file carries, so the package reads the
file, see `tpccma.models.weight_files`, and only what is then done to the tensors is open_clip's.
"""

import logging
from pathlib import Path

import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed, resize_text_pos_embed
from torch import Tensor, nn

PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel, of torch.compile
POSITION_IDS = "text.transformer.embeddings.position_ids"  # 0, 1, 2 ...: transformers no longer stores it

logger = logging.getLogger(__name__)


def load_into(model: nn.Module, weights: dict[str, Tensor], path: str | Path, whose: str = "") -> None:
    """Load weights into a model, whichever of the forms that open_clip takes they have.

    Names may begin as ``PREFIXES`` do. For models of open_clip the text tower may be named as older versions named it,
    the weights of a model without a bias of the logits may meet one with it, which then is 0, and position embeddings
    of another size are resized, which is told of.

    Args:
        model: of open_clip, or any other.
        weights: from `tpccma.models.read_weights`.
        path: the file that they come from, for messages.
        whose: the model is, for messages, such as "of profile 'demo'".

    Raises:
        ValueError: if they do not fit; the message names the file.
    """
    weights = without_prefixes(weights)
    try:
        if hasattr(model, "visual") and hasattr(model, "logit_bias"):  # as all of open_clip's have it, None or not
            weights = _as_open_clip_takes_it(model, weights, path)
        model.load_state_dict(weights)
    except Exception as error:  # of tensors that are no weights, whatever their names and shapes lead to
        model_of = f"the model {whose}".strip()
        raise ValueError(f"{path} does not fit {model_of}: {str(error) or type(error).__name__}") from None


def without_prefixes(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off what wraps a model in training puts before every name."""
    while prefix := next((each for each in PREFIXES if weights and all(name.startswith(each) for name in weights)), ""):
        weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def _as_open_clip_takes_it(model: nn.Module, weights: dict[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    weights = dict(convert_state_dict(model, dict(weights)))
    if "positional_embedding" in weights and not hasattr(model, "positional_embedding"):
        weights = convert_to_custom_text_state_dict(weights)
    if model.logit_bias is not None:
        weights.setdefault("logit_bias", torch.zeros_like(model.logit_bias))
    for name in ("logit_scale", "logit_bias"):
        own = getattr(model, name)
        if own is not None and name in weights:
            weights[name] = weights[name].reshape(own.shape)
    if POSITION_IDS not in model.state_dict():
        weights.pop(POSITION_IDS, None)
    return _resized(model, weights, path)


def _resized(model: nn.Module, weights: dict[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    before = {name: value.shape for name, value in weights.items()}
    resize_pos_embed(weights, model)
    resize_text_pos_embed(weights, model)
    for name, value in weights.items():
        if value.shape != before[name]:
            told = "%s of %s has shape %s and is resized to the model's, %s"
            logger.warning(told, name, path, tuple(before[name]), tuple(value.shape))
    return weights
