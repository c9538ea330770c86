"""What every task asks of embeddings and labels: shapes that match, rows of unit length, labels of known classes.

Embeddings may be of any real type, on one device; they are compared in float32 at least, in the widest type among them.
"""

import re
from functools import reduce

import torch
from torch import Tensor

from tpccma.metrics.checks import HALF_TOLERANCE, check_unit_length, real


def check_inputs(wanted: str, **given: Tensor) -> None:
    """Refuse tensors whose shapes do not match, that are empty, or that hold NaN, infinity or complex numbers.

    Args:
        wanted: their shapes, such as ``"(N, D), (C, D) and (N,)"``; a letter that comes again is the same size.
        given: the tensors, under the names that the messages are to call them.

    Raises:
        ValueError: naming the tensors and their shapes.
    """
    for name, tensor in given.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} is of type {type(tensor).__name__}: pass a tensor")
        real(tensor, name)
    *others, last = given
    shapes = tuple(tuple(tensor.shape) for tensor in given.values())
    found = f"shapes of {', '.join(others)} and {last} are {shapes}"
    if not _fit(wanted, shapes):
        raise ValueError(f"{found}: pass {wanted}")
    if any(0 in shape for shape in shapes):
        raise ValueError(f"{found}: none may be empty")
    check_one_device(**{name: tensor for name, tensor in given.items() if tensor.ndim > 1})
    for name, tensor in given.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds NaN or infinity: the model has diverged, or an image could not be read")


def _fit(wanted: str, shapes: tuple[tuple[int, ...], ...]) -> bool:
    letters = [re.findall(r"\w", shape) for shape in re.findall(r"\(.*?\)", wanted)]
    if [len(own) for own in letters] != [len(shape) for shape in shapes]:
        return False
    sizes = [pair for own, shape in zip(letters, shapes, strict=True) for pair in zip(own, shape, strict=True)]
    return len(set(sizes)) == len(dict(sizes))  # no letter stands for two sizes


def check_one_device(**features: Tensor) -> None:
    """Refuse embeddings on different devices.

    Raises:
        ValueError: naming the two and their devices.
    """
    (first, one), *others = features.items()
    for name, tensor in others:
        if tensor.device != one.device:
            raise ValueError(f"{first} is on {one.device} and {name} on {tensor.device}: move both to one device")


def comparable(**features: Tensor) -> list[Tensor]:
    """Check embeddings that are to be compared, and bring them to one type, the widest among them, float32 at least.

    Args:
        features: (..., D) finite tensors, rows of length 1 within 0.01, which half precision holds.

    Returns:
        The tensors in their order.

    Raises:
        ValueError: naming a row that is of another length.
    """
    wide = reduce(torch.promote_types, (tensor.dtype for tensor in features.values()), torch.float32)
    for name, tensor in features.items():
        check_unit_length(tensor.reshape(-1, tensor.shape[-1]).to(wide), name, HALF_TOLERANCE)
    return [tensor.to(wide) for tensor in features.values()]


def check_labels(labels: Tensor, classes: int) -> Tensor:
    """Refuse labels that are no integers from 0 to ``classes`` - 1.

    Returns:
        The labels as int64.

    Raises:
        ValueError: naming their type, or the least and the largest one.
    """
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"labels are of type {labels.dtype}: pass the number of each one's class, labels.long()")
    labels = labels.long()
    low, high = labels.min().item(), labels.max().item()
    if low < 0 or high >= classes:
        raise ValueError(f"labels run from {low} to {high}: with {classes} classes pass 0 to {classes - 1}")
    return labels
