"""The optimiser and what it is given: parameter groups, learning rate by step, and the logit scale with its limit."""

import logging
import math

import torch

from tpccma.profiles import Training

logger = logging.getLogger(__name__)


def make_optimizer(model: torch.nn.Module, training: Training) -> torch.optim.AdamW:
    """Make AdamW for the parameters of a model that require a gradient."""
    groups = parameter_groups(model, training.weight_decay)
    return torch.optim.AdamW(groups, training.learning_rate, (0.9, training.beta2), fused=True)


def prepare_scale(model: torch.nn.Module, training: Training) -> None:
    """Set a model's logit scale where the training begins, and say whether it is learned."""
    if training.init_logit_scale is not None:
        model.logit_scale.data.fill_(math.log(training.init_logit_scale))
    model.logit_scale.requires_grad_(training.learn_logit_scale)
    if getattr(model, "logit_bias", None) is not None:  # SigLIP's; it adds nothing to a softmax
        model.logit_bias.requires_grad_(False)
    check_scale(model.logit_scale.exp().item(), training.max_logit_scale)


def check_scale(scale: float, limit: float) -> None:
    """Warn of a logit scale (inverse temperature) above its limit: the first step cuts it back."""
    if scale > limit * (1 + 1e-4):  # OpenAI's is 100, give or take rounding
        logger.warning(
            "the model starts with a logit scale of %.1f, above max_logit_scale %g, and is cut back at the first step; "
            "raise max_logit_scale if that is not meant",
            scale,
            limit,
        )


def warmup_cosine(step: int, total_steps: int, warmup: float) -> float:
    """Return the learning rate's factor at a step: linear warm-up, then cosine to 0.

    Args:
        step: from 0.
        total_steps: of the training.
        warmup: share of them, 0 to 1.

    Returns:
        A factor above 0 and up to 1.

    Source: open_clip's schedule, by shares instead of steps.
    """
    warmup_steps = max(1, round(warmup * total_steps))
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return (1 + math.cos(math.pi * (step - warmup_steps) / max(1, total_steps - warmup_steps))) / 2


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict]:
    """Split trainable parameters for AdamW: no weight decay for gains, biases and the logit scale.

    Args:
        model: whose parameters that require a gradient are taken.
        weight_decay: of those with two dimensions or more.

    Returns:
        Two parameter groups, those without weight decay first.

    Source: open_clip's training script.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
    ]
