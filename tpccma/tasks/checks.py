"""What every task asks of embeddings and labels: shapes that match, finite numbers, labels of known classes."""

import re

import torch
from torch import Tensor


def check_inputs(wanted: str, **given: Tensor) -> None:
    """Refuse tensors whose shapes do not match, that are empty, or that hold NaN or infinity.

    Args:
        wanted: their shapes, such as ``"(N, D), (C, D) and (N,)"``; a letter that comes again is the same size.
        given: the tensors, under the names that the messages are to call them.

    Raises:
        ValueError: naming the tensors and their shapes.
    """
    *others, last = given
    shapes = tuple(tuple(tensor.shape) for tensor in given.values())
    found = f"shapes of {', '.join(others)} and {last} are {shapes}"
    if not _fit(wanted, shapes):
        raise ValueError(f"{found}: pass {wanted}")
    if any(0 in shape for shape in shapes):
        raise ValueError(f"{found}: none may be empty")
    for name, tensor in given.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds NaN or infinity: the model has diverged, or an image could not be read")


def _fit(wanted: str, shapes: tuple[tuple[int, ...], ...]) -> bool:
    letters = [re.findall(r"\w", shape) for shape in re.findall(r"\(.*?\)", wanted)]
    if [len(own) for own in letters] != [len(shape) for shape in shapes]:
        return False
    sizes = [pair for own, shape in zip(letters, shapes, strict=True) for pair in zip(own, shape, strict=True)]
    return len(set(sizes)) == len(dict(sizes))  # no letter stands for two sizes


def check_labels(labels: Tensor, classes: int) -> None:
    """Refuse labels that are none of 0 to `classes` - 1.

    Raises:
        ValueError: naming the least and the largest one.
    """
    low, high = labels.min().item(), labels.max().item()
    if low < 0 or high >= classes:
        raise ValueError(f"labels run from {low} to {high}: with {classes} classes pass 0 to {classes - 1}")
