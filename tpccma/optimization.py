"""What the optimiser is given: parameter groups, learning rate by step, and the limit of the logit scale."""

import logging
import math

import torch

logger = logging.getLogger(__name__)


def check_scale(scale: float, limit: float) -> None:
    """Warn of a logit scale above its limit: the first step would cut it back."""
    if scale > limit * (1 + 1e-4):  # OpenAI's is 100, give or take rounding
        logger.warning(
            "the model starts with a logit scale of %.1f, above max_logit_scale %g, and is cut back at the first step; "
            "raise max_logit_scale if that is not meant",
            scale,
            limit,
        )


def warmup_cosine(step: int, total_steps: int, warmup: float) -> float:
    """Return the learning rate's factor at a step: linear warm-up over a share of the steps, then cosine to 0."""
    warmup_steps = max(1, round(warmup * total_steps))
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return (1 + math.cos(math.pi * (step - warmup_steps) / max(1, total_steps - warmup_steps))) / 2


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict]:
    """Split trainable parameters as open_clip does: no weight decay for gains, biases and the logit scale."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
    ]
