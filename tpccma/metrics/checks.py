"""Checks of embeddings, for all that measures them: matrices of finite numbers, of unit rows, in pairs.

Legend: ``N``, ``M`` rows, ``D`` width.
"""

from numbers import Integral

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Rows = Tensor | np.ndarray

UNIT_TOLERANCE = 1e-3  # of a row's length, for measures whose third digit counts
SAFE = 1e-15  # the square of a length between this and its inverse neither vanishes in float32 nor overflows
SMALLEST, LARGEST = 1e-75, 1e75  # numbers whose fourth power neither vanishes in float64 nor overflows
HALF_TOLERANCE = 1e-2  # for what may come in half precision: bfloat16 keeps 8 bits, so a length may be off by 2**-8


def as_rows(x: Rows, name: str = "x", first: int = 0) -> Tensor:
    """Checks a cloud of embeddings and returns it as float64, on the device it is on, without gradient.

    Args:
        x: (N, D) tensor or array of real numbers, N and D at least 1; integers, True and False are numbers too.
        name: what the messages call it.
        first: the number that the messages give its first row.

    Returns:
        (N, D) float64 tensor.

    Raises:
        ValueError: if ``x`` is not two-dimensional, is empty, or holds NaN or infinity (names the first such row), or
            numbers whose powers are lost: above 1e75, or none but 0 above 1e-75.
    """
    rows = real(x, name).detach().to(torch.float64)
    check_shape(rows, name)
    bad = (~rows.isfinite().all(dim=1)).nonzero()
    if len(bad):
        found = f"in row {first + bad[0].item()} ({len(bad)} such row{'s' * (len(bad) > 1)})"
        raise ValueError(f"{name} holds NaN or infinity {found}: drop them")
    largest = max(abs(end.item()) for end in rows.aminmax())
    if largest and not SMALLEST <= largest <= LARGEST:
        found = f"the largest number of {name} is {largest:.6g} in size"
        raise ValueError(f"{found}: divide by it, outside {SMALLEST:g} to {LARGEST:g} squares are lost")
    return rows


def real(x: Rows, name: str) -> Tensor:
    """Gives a tensor of real numbers, which shares their memory where torch can: not of a file opened for reading."""
    try:
        rows = x if isinstance(x, Tensor) else torch.as_tensor(np.require(array(x, name), requirements=["C", "W"]))
    except TypeError as error:
        raise ValueError(f"{name} is of type {array(x, name).dtype}: pass real numbers, (N, D)") from error
    if rows.is_complex():
        raise ValueError(f"{name} is of type {rows.dtype}: pass real numbers, (N, D)")
    return rows


def array(x: Rows, name: str) -> Rows:
    """Leaves a tensor as it is and makes an array of all else; refuses what makes none."""
    try:
        return x if isinstance(x, Tensor) else np.asarray(x)
    except ValueError as error:
        raise ValueError(
            f"{name}, of type {type(x).__name__}, makes no matrix ({error}): pass rows of one width"
        ) from error


def check_shape(x: Rows, name: str, minimum: int = 1) -> None:
    """Refuses what is no (N, D) matrix, is empty, or has fewer rows than ``minimum``."""
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"{name} has shape {tuple(x.shape)}: pass one embedding a row, shape (N, D)")
    if len(x) < minimum:
        raise ValueError(f"{name} has {len(x)} row(s): at least {minimum} are needed")


def check_unit_length(
    rows: Tensor,
    name: str,
    tolerance: float = UNIT_TOLERANCE,
    remedy: str = "L2-normalise the rows first",
    first: int = 0,
) -> None:
    """Refuses rows that are not of length 1; NaN is no length.

    Args:
        rows: (N, D) embeddings.
        name: what the message calls them.
        tolerance: by how much a length may differ from 1.
        remedy: what the message tells to do.
        first: the number that the message gives the first row.

    Raises:
        ValueError: naming the first such row and its length.
    """
    lengths = rows.norm(dim=1)
    wrong = (~((lengths - 1).abs() <= tolerance)).nonzero()
    if len(wrong):
        row = wrong[0].item()
        raise ValueError(f"row {first + row} of {name} has length {lengths[row].item():.6g}, not 1: {remedy}")


def unit_rows(x: Rows, name: str, normalize: bool = False, minimum: int = 2, first: int = 0) -> Tensor:
    """Checks the embeddings of one modality and returns them as float64.

    Args:
        x: (N, D) embeddings.
        name: what the messages call it.
        normalize: L2-normalise the rows, instead of refusing rows that are not of length 1.
        minimum: the least N.
        first: the number that the messages give the first row.

    Returns:
        (N, D) float64 tensor with rows of length 1.

    Raises:
        ValueError: if ``x`` is not a finite (N, D) matrix, has too few rows, or a row's length is not 1 within 1e-3
            (with ``normalize``: is below 1e-75).
    """
    rows = as_rows(x, name, first)
    check_shape(rows, name, minimum)
    if normalize:
        lengths = rows.norm(dim=1)
        zero = (lengths < SMALLEST).nonzero()
        if len(zero):
            row = zero[0].item()
            raise ValueError(f"row {first + row} of {name} has length {lengths[row].item():.6g}, not 1: drop it")
        return F.normalize(rows, dim=1, eps=0)
    remedy = "L2-normalise the rows first (normalize=True does, --normalize of `tpccma gap`)"
    check_unit_length(rows, name, UNIT_TOLERANCE, remedy, first)
    return rows


def check_pairs(x: Rows, y: Rows, normalize: bool = False, minimum: int = 2) -> tuple[Tensor, Tensor]:
    """Checks both modalities, as ``unit_rows`` does, and that they have the same shape.

    Returns:
        x and y as float64 tensors, (N, D) each.

    Raises:
        ValueError: as ``unit_rows``, and if the shapes differ.
    """
    check_same_device(x, y)
    x, y = unit_rows(x, "x", normalize, minimum), unit_rows(y, "y", normalize, minimum)
    check_same_shape(x, y)
    return x, y


def check_same_shape(x: Rows, y: Rows) -> None:
    """Refuses two modalities that are no pairs, row by row, or lie on two devices."""
    if x.shape != y.shape:
        raise ValueError(f"x has shape {tuple(x.shape)} and y {tuple(y.shape)}: pass pairs, row i of x with row i of y")
    check_same_device(x, y)


def check_same_device(x: Rows, y: Rows) -> None:
    """Refuses two modalities on two devices; arrays are on the CPU."""
    one, other = (torch.device(getattr(rows, "device", "cpu")) for rows in (x, y))
    if one != other:
        raise ValueError(f"x is on {one} and y on {other}: move both to one device")


def two_clouds(x: Rows, y: Rows) -> tuple[Tensor, Tensor]:
    """Checks two clouds, as ``as_rows`` does, and that they live in one space; they may differ in size.

    Returns:
        x and y as float64 tensors, (N, D) and (M, D).

    Raises:
        ValueError: as ``as_rows``, and if the widths differ.
    """
    check_same_device(x, y)
    x, y = as_rows(x, "x"), as_rows(y, "y")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x has width {x.shape[1]} and y has width {y.shape[1]}: embed both in one space")
    return x, y


def is_count(value: object) -> bool:
    """Say whether a value is a whole number of at least 1; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= 1
