"""Checks of what a loss is given: embeddings, the inverse temperature, settings.

Only what the host knows is looked at, so that no step waits for the device: shapes, types, devices and plain numbers.
What tensors hold is not: rows of another length than 1 give the formula's value, NaN and infinity show in the loss.

Legend: B pairs, D embedding width.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from tpccma.curriculum import check_number


def alike(least: torch.dtype | None = None, **features: Tensor) -> list[Tensor]:
    """Check tensors whose rows belong together, and bring them to one type, the widest among them.

    Args:
        least: the type is at least as wide.
        **features: (B, D) each, under the names that the messages are to call them.

    Returns:
        The tensors in their order; unchanged where the types are the same.

    Raises:
        ValueError: if one is no floating point matrix, is empty, or has another shape or device than the first.
    """
    (first, one), *_ = features.items()
    for name, rows in features.items():
        if not isinstance(rows, Tensor) or not rows.is_floating_point():
            raise ValueError(f"{name} is of type {_kind(rows)}: pass a floating point tensor, one embedding a row")
        if rows.ndim != 2 or 0 in rows.shape:
            raise ValueError(f"{name} has shape {tuple(rows.shape)}: pass (B, D), at least one embedding, one a row")
        if rows.shape != one.shape:
            found = f"{first} has shape {tuple(one.shape)} and {name} {tuple(rows.shape)}"
            raise ValueError(f"{found}: pass pairs, row i of one with row i of the other")
        if rows.device != one.device:
            raise ValueError(f"{first} is on {one.device} and {name} on {rows.device}: move both to one device")
    wide = reduce(torch.promote_types, (rows.dtype for rows in features.values()), least or one.dtype)
    return [rows.to(wide) for rows in features.values()]


def check_scale(logit_scale: Tensor | float) -> Tensor | float:
    """Return the inverse temperature if it is a tensor of one number, whose value is not read, or a number above 0.

    Raises:
        ValueError: naming it otherwise.
    """
    if isinstance(logit_scale, Tensor):
        return _one_number("logit_scale", logit_scale)
    return _in_float32("logit_scale", float(check_number("logit_scale", logit_scale, above=True)))


def check_bias(logit_bias: Tensor | float | None) -> Tensor | float | None:
    """Return the logit bias if it is None, a tensor of one number, whose value is not read, or a finite number.

    Raises:
        ValueError: naming it otherwise.
    """
    if isinstance(logit_bias, Tensor):
        return _one_number("logit_bias", logit_bias)
    if logit_bias is None:
        return None
    return _in_float32("logit_bias", float(check_number("logit_bias", logit_bias, low=None)))


def scalar_beside(features: Tensor, value: Tensor | float | None) -> Tensor | None:
    """Give a checked number as a tensor () on the device of the features; a plain one in float32 at least."""
    if value is None:
        return None
    if isinstance(value, Tensor):
        return value.to(features.device).reshape(())
    dtype = torch.promote_types(features.dtype, torch.float32)
    return torch.full((), value, dtype=dtype, device=features.device)


def check_above_0(name: str, value: float) -> float:
    """Return a value if it is a finite number above 0, else raise a ValueError that names it."""
    return check_number(name, value, above=True)


def check_share(name: str, value: float) -> float:
    """Return a value if it is a number from 0 to 1, else raise a ValueError that names it."""
    return check_number(name, value, high=1.0)


class Checked:
    """A setting of a loss that is checked whenever it is set.

    >>> weight = Checked(check_number)  # in the body of a class

    Args:
        check: takes the setting's name and value, returns what is kept, or raises a ValueError.
    """

    def __init__(self, check: Callable[[str, Any], Any]):
        self.check = check

    def __set_name__(self, owner: type, name: str):
        self.name = name

    def __set__(self, loss: object, value: Any):
        vars(loss)[self.name] = self.check(self.name, value)


def _in_float32(name: str, value: float) -> float:
    held = torch.finfo(torch.float32)
    if value and not held.tiny <= abs(value) <= held.max:
        sizes = f"from {held.tiny:.2g} to {held.max:.2g} in size"
        raise ValueError(f"{name} must be a number that float32 holds, {sizes}, got {value!r}")
    return value


def _one_number(name: str, value: Tensor) -> Tensor:
    if value.numel() != 1 or value.ndim > 1 or value.is_complex() or value.dtype == torch.bool:
        found = f"{name} is a tensor of shape {tuple(value.shape)} and type {value.dtype}"
        raise ValueError(f"{found}: pass one number, shape () or (1,)")
    return value


def _kind(value: object) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
