"""What every reading of the gap rests on: the means and mean squares of paired rows, from one pass over them.

Means and mean squares about the means, rather than sums: those of two parts give those of the whole without a loss of
digits, however narrow the clouds are and however far from the origin.

Legend: `N` pairs, `D` width, `P` parts. Moments: (3 + 2 D,) float64, that is N, var_x + var_y, distribution^2 (mean
squared length of x_i - y_i about its mean), then the mean of x and the mean of y.
"""

import torch
from torch import Tensor

from tpccma.metrics.checks import SAFE, UNIT_TOLERANCE, Rows, array, check_same_shape, check_shape, real, unit_rows

SPAN = 2**20  # rows that are summed before anything is decided
BLOCK = 2**18  # numbers of one modality taken at a time on a CPU: what stays in a core's cache
DEVICE_BLOCK = 2**26  # on a GPU, where each operation costs its launch: 256 MiB
LOST = 0.1  # share of a mean square that must be left about the mean: with less, float32 has too few digits for 1e-6


@torch.no_grad()
def moments(x: Rows, y: Rows, normalize: bool = False, minimum: int = 2) -> Tensor:
    """Checks paired rows and takes their moments, from plain sums unless that loses digits, else about the means.

    Args:
        x: (N, D) embeddings, L2-normalised; a memory-mapped array is read once and never held whole.
        y: (N, D) embeddings of the same pairs.
        normalize: L2-normalise the rows, instead of refusing rows that are not of length 1.
        minimum: the least N.

    Returns:
        Moments, on the device of the rows.

    Raises:
        ValueError: as ``check_pairs``.
    """
    x, y = array(x, "x"), array(y, "y")
    for rows, name in ((x, "x"), (y, "y")):
        check_shape(rows, name, minimum)
        real(rows[:1], name)
    check_same_shape(x, y)
    whole = None
    for first in range(0, len(x), SPAN):
        span = x[first : first + SPAN], y[first : first + SPAN]
        found = _quick(*span, normalize)
        found = _checked(*span, normalize, first) if found is None else found
        whole = found if whole is None else pooled(torch.stack([whole, found]))
    return whole


def pooled(parts: Tensor) -> Tensor:
    """The moments of all pairs, from those of P parts, (P, 3 + 2 D); a part of no pair counts for nothing."""
    count = parts[:, 0].sum()
    shares = parts[:, 0] / count
    whole = shares @ parts
    apart = (parts[:, 3:] - whole[3:]).unflatten(1, (2, -1))
    between = torch.stack([apart.square().sum(dim=(1, 2)), (apart[:, 0] - apart[:, 1]).square().sum(dim=1)])
    return torch.cat([count[None], whole[1:3] + between @ shares, whole[3:]])


def exact_moments(x: Tensor, y: Tensor) -> Tensor:
    """Moments of (N, D) float64 rows of any length."""
    means = torch.cat([x.mean(dim=0), y.mean(dim=0)])
    x, y = x - means[: x.shape[1]], y - means[x.shape[1] :]
    squares = (x.square().sum() + y.square().sum(), (x - y).square().sum())
    return torch.cat([means.new_tensor([len(x)]), torch.stack(squares) / len(x), means])


def _quick(x: Rows, y: Rows, normalize: bool) -> Tensor | None:
    """Moments from sums in the rows' own precision; None where a length looks wrong or too few digits would be left."""
    lengths, sums = _sums(x, y, normalize)
    low, high = (SAFE, 1 / SAFE) if normalize else (1 - UNIT_TOLERANCE, 1 + UNIT_TOLERANCE)
    ends = torch.stack(lengths[:2].aminmax())
    if normalize:
        lengths[:2] = 1
    means = sums.sum(dim=0, dtype=torch.float64) / len(x)
    norms = torch.linalg.vector_norm(lengths, dim=1, dtype=torch.float64)
    measured = torch.cat([ends, norms, torch.stack([means.norm(), torch.dist(*means)])])
    shortest, longest, of_x, of_y, apart, *offsets = measured.tolist()  # all at once: a GPU is waited for
    if not (low <= shortest and longest <= high):  # NaN is neither
        return None
    squares = (of_x**2 + of_y**2) / len(x), apart**2 / len(x)
    about = [square - offset**2 for square, offset in zip(squares, offsets, strict=True)]
    if any(left < LOST * square for left, square in zip(about, squares, strict=True)):
        return None
    return torch.cat([means.new_tensor([len(x), *about]), means.flatten()])


def _sums(x: Rows, y: Rows, normalize: bool) -> tuple[Tensor, Tensor]:
    """Lengths of the rows of x, of y (before they are normalised) and of x - y, (3, N); sums of x and y, (P, 2, D)."""
    (count, width), size = x.shape, _rows_of_block(x)
    first, other = (_tensor(rows[:1]) for rows in (x, y))
    dtype = torch.promote_types(torch.promote_types(first.dtype, other.dtype), torch.float32)
    memory = {"dtype": dtype, "device": first.device}
    lengths, sums = torch.empty(3, count, **memory), torch.empty(-(-count // size), 2, width, **memory)
    spare = torch.empty(3, size, width, **memory)  # taken once: fresh memory for each block costs more than its sums
    for part in range(len(sums)):
        here = slice(part * size, (part + 1) * size)
        blocks = [
            _sum(cloud[here], lengths[which, here], sums[part, which], spare[which], normalize)
            for which, cloud in enumerate((x, y))
        ]
        difference = torch.sub(*blocks, out=spare[2, : len(blocks[0])])
        torch.linalg.vector_norm(difference, dim=1, out=lengths[2, here])
    return lengths, sums


def _sum(rows: Rows, lengths: Tensor, total: Tensor, spare: Tensor, normalize: bool) -> Tensor:
    """Notes the rows' lengths and their sum; returns them in the precision of the sums, of length 1 where asked."""
    rows, spare = _tensor(rows), spare[: len(rows)]
    if rows.dtype != spare.dtype:
        rows = spare.copy_(rows)
    torch.linalg.vector_norm(rows, dim=1, out=lengths)
    if normalize:
        rows = torch.div(rows, lengths[:, None], out=spare)
    torch.sum(rows, dim=0, out=total)
    return rows


def _checked(x: Rows, y: Rows, normalize: bool, first: int) -> Tensor:
    """Moments about the means, in float64 throughout, of rows that are refused where they are wrong."""
    parts, size = [], _rows_of_block(x)
    for start in range(0, len(x), size):
        rows = ((_tensor(cloud[start : start + size]), name) for cloud, name in ((x, "x"), (y, "y")))
        parts.append(exact_moments(*(unit_rows(block, name, normalize, 1, first + start) for block, name in rows)))
    return pooled(torch.stack(parts))


def _rows_of_block(x: Rows) -> int:
    numbers = DEVICE_BLOCK if isinstance(x, Tensor) and x.is_cuda else BLOCK
    return min(len(x), max(1, numbers // x.shape[1]))


def _tensor(rows: Rows) -> Tensor:
    return real(rows, "rows").detach()
