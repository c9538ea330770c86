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
BLOCK = 2**17  # numbers of one modality taken at a time on a CPU: three such blocks stay in a core's cache
DEVICE_BLOCK = 2**26  # on a GPU, where each operation costs its launch: 256 MiB
LOST = 0.1  # share of a mean square that must be left about the mean: with less, float32 has too few digits for 1e-6


@torch.no_grad()
def moments(x: Rows, y: Rows, normalize: bool = False) -> Tensor:
    """Checks paired rows and takes their moments, from plain sums unless that loses digits, else about the means.

    Args:
        x: (N, D) embeddings, L2-normalised; a memory-mapped array is read once and never held whole.
        y: (N, D) embeddings of the same pairs.
        normalize: L2-normalise the rows, instead of refusing rows that are not of length 1.

    Returns:
        Moments, on the device of the rows.

    Raises:
        ValueError: as ``check_pairs``.
    """
    return moments_of(*tally(x, y, normalize))


@torch.no_grad()
def tally(x: Rows, y: Rows, normalize: bool = False, minimum: int = 2) -> tuple[Tensor, Tensor | None]:
    """Checks paired rows and takes sums of what plain sums do for, and moments of the others.

    Args:
        x: as ``moments``.
        y: as ``moments``.
        normalize: as ``moments``.
        minimum: the least N.

    Returns:
        Sums, all 0 if there are none: (3 + 2 D,) float64, that is N, then those of the squared lengths of x and of y,
        of the squared lengths of x - y, of x and of y; they are added to others in one operation. And moments, or None.

    Raises:
        ValueError: as ``check_pairs``.
    """
    x, y = array(x, "x"), array(y, "y")
    for rows, name in ((x, "x"), (y, "y")):
        check_shape(rows, name, minimum)
        real(rows[:1], name)
    check_same_shape(x, y)
    sums, others = torch.zeros(3 + 2 * x.shape[1], dtype=torch.float64), []
    for first in range(0, len(x), SPAN):
        span = x[first : first + SPAN], y[first : first + SPAN]
        found = _quick(*span, normalize)
        if found is None:
            others.append(_checked(*span, normalize, first))
        else:
            sums = found + sums.to(found.device)
    return sums, pooled(torch.stack(others)) if others else None


def moments_of(sums: Tensor, others: Tensor | None) -> Tensor:
    """The moments of all pairs of a ``tally``."""
    total, means = sums / sums[0].clamp(min=1), sums[3:] / sums[0].clamp(min=1)
    x, y = means.chunk(2)
    about = total[1:3] - torch.stack([means.square().sum(), (x - y).square().sum()])
    found = torch.cat([sums[:1], about, means])
    return found if others is None else pooled(torch.stack([found.to(others.device), others]))


def pooled(parts: Tensor) -> Tensor:
    """The moments of all pairs, from those of P parts, (P, 3 + 2 D); a part of no pair counts for nothing."""
    count = parts[:, 0].sum()
    shares = parts[:, 0] / count.clamp(min=1)
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
    """Sums, see `tally`, in the rows' own precision; None where a length looks wrong or too few digits are left."""
    lengths, sums = _sums(x, y, normalize)
    low, high = (SAFE, 1 / SAFE) if normalize else (1 - UNIT_TOLERANCE, 1 + UNIT_TOLERANCE)
    ends = torch.stack(lengths[:2].aminmax())
    if normalize:
        lengths[:2] = 1
    totals = sums.sum(dim=0, dtype=torch.float64)
    norms = torch.linalg.vector_norm(lengths, dim=1, dtype=torch.float64)
    measured = torch.cat([ends, norms, (totals @ totals.T).flatten()])
    shortest, longest, of_x, of_y, apart, xx, xy, _, yy = measured.tolist()  # all at once: a GPU is waited for
    if not (low <= shortest and longest <= high):  # NaN is neither
        return None
    squares, offsets = (of_x**2 + of_y**2, apart**2), (xx + yy, xx - 2 * xy + yy)
    if any(square - offset / len(x) < LOST * square for square, offset in zip(squares, offsets, strict=True)):
        return None
    return torch.cat([totals.new_tensor([len(x), *squares]), totals.flatten()])


def _sums(x: Rows, y: Rows, normalize: bool) -> tuple[Tensor, Tensor]:
    """Lengths of the rows of x, of y (before they are normalised) and of x - y, (3, N); sums of x and y, (P, 2, D)."""
    size, spare, parts = _rows_of_block(x), None, []
    for start in range(0, len(x), size):
        rows = [_tensor(cloud[start : start + size]) for cloud in (x, y)]
        if spare is None:  # taken once: fresh memory for each block costs more than its sums
            spare = _memory(*rows, 3 if normalize else 1)
        parts.append(_sums_of_block(*rows, spare[:, : len(rows[0])], normalize))
    lengths, sums = zip(*parts, strict=True)
    return torch.cat(lengths, dim=1), torch.stack(sums)


def _memory(x: Tensor, y: Tensor, count: int) -> Tensor:
    """Takes memory for a number of blocks, in the precision of the sums: that of the rows, float32 at least."""
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    return torch.empty(count, *x.shape, dtype=dtype, device=x.device)


def _sums_of_block(x: Tensor, y: Tensor, spare: Tensor, normalize: bool) -> tuple[Tensor, Tensor]:
    """See `_sums`; the memory holds x - y and, where they are normalised, x and y."""
    apart, *spheres = spare
    x, y = x.to(spare.dtype), y.to(spare.dtype)
    lengths = [torch.linalg.vector_norm(rows, dim=1) for rows in (x, y)]
    if normalize:
        x, y = (
            torch.div(rows, of[:, None], out=sphere) for rows, of, sphere in zip((x, y), lengths, spheres, strict=True)
        )
    lengths.append(torch.linalg.vector_norm(torch.sub(x, y, out=apart), dim=1))
    return torch.stack(lengths), torch.stack([x.sum(dim=0), y.sum(dim=0)])


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
