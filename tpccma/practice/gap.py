"""The gap of anybody's embeddings: its parts with intervals, which of them is the larger, and what centring would do.

Up to ``GROUPS`` pairs the intervals are those of `tpccma.metrics.gap_interval`. More pairs are put into so many groups
at random, and groups are resampled: its cost does not grow with the pairs, which are read once for it.

Legend: ``N`` pairs, ``D`` width, ``G`` groups, ``R`` resamples.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize as to_length_1

from tpccma.metrics.checks import Rows, check_pairs, real
from tpccma.metrics.gap import COLLAPSED, gap_of, modality_gap, scale_free_of
from tpccma.metrics.moments import exact_moments, pooled
from tpccma.tasks.retrieval import retrieval_recall

GROUPS = 5_000  # pairs that are resampled one by one; a group of more is resampled as a whole
RECALL_PAIRS = 5_000  # up to which recall is measured, in time that grows with their square; COCO's test has as many
BLOCK = 4_096  # pairs in memory at a time
LEVEL = 0.95
NAMES = ("raw", "centroid", "distribution", "scale_free")
Change = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Parts(NamedTuple):
    """What one pass over pairs finds.

    Args:
        moments: of all pairs, see ``tpccma.metrics.moments``.
        sums: (G, 2 D + 3) of each group: of x, of y, of the squared lengths of x - y and of x with y, and the count.
    """

    moments: Tensor
    sums: Tensor


def describe(x: Rows, y: Rows, normalize: bool = False, resamples: int = 1000, seed: int = 0) -> dict:
    """Measure the gap of paired embeddings, and what would become of it if each modality were centred.

    Args:
        x: (N, D) image embeddings, L2-normalised, N at least 2; a memory-mapped array is never held whole.
        y: (N, D) text embeddings of the same pairs.
        normalize: L2-normalise the rows first, instead of refusing rows that are not of length 1.
        resamples: R of the bootstrap, at least 1, usually 1000.
        seed: of the groups and the resamples.

    Returns:
        ``pairs`` (N), ``width`` (D), ``raw``, ``centroid``, ``distribution``, ``scale_free`` and for each of the four
        ``<name>_interval`` [low, high] of 95 %; ``centroid_share`` of raw squared, and ``dominates``, the larger part;
        ``centred``, the same four with intervals after each mean is taken off and rows are scaled back to length 1,
        None where rows lie at their mean; and ``recall``, shares in [0, 1] before and after, None above
        ``RECALL_PAIRS`` pairs and where there is no ``centred``.

    Raises:
        ValueError: as `tpccma.metrics.gap_interval`, and if both modalities are single points.
    """
    modality_gap(x, y, normalize)  # which refuses what is wrong, and names it
    found = _read(x, y, lambda *rows: _scaled(*rows, normalize), seed)
    means = found.moments[3:].chunk(2)
    now = _described(found, resamples, seed)
    if np.isnan(now["scale_free"]):
        raise ValueError("x is a single point and so is y, the embeddings have collapsed: train with a smaller alpha")
    share = now["centroid"] ** 2 / max(now["raw"] ** 2, COLLAPSED)

    def centre(*rows: Tensor) -> tuple[Tensor, ...]:
        return tuple(to_length_1(own - mean, dim=1) for own, mean in zip(_scaled(*rows, normalize), means, strict=True))

    return {
        "pairs": len(x),
        "width": x.shape[1],
        **now,
        "centroid_share": share,
        "dominates": "centroid" if share > 0.5 else "distribution",
        "centred": (centred := _centred(_read(x, y, centre, seed), resamples, seed)),
        "recall": _recalls(x, y, normalize, centre) if centred and len(x) <= RECALL_PAIRS else None,
    }


def _blocks(x: Rows, y: Rows) -> Iterator[tuple[slice, Tensor, Tensor]]:
    for start in range(0, len(x), BLOCK):
        here = slice(start, start + BLOCK)
        yield here, *(real(rows[here], "rows").detach().double() for rows in (x, y))


def _scaled(x: Tensor, y: Tensor, normalize: bool) -> tuple[Tensor, Tensor]:
    return (to_length_1(x, dim=1), to_length_1(y, dim=1)) if normalize else (x, y)


def _read(x: Rows, y: Rows, change: Change, seed: int) -> Parts:
    """Read all pairs once, changed block by block."""
    groups = _groups(len(x), seed)
    sums = torch.zeros(min(len(x), GROUPS), 2 * x.shape[1] + 3, dtype=torch.float64)
    whole = torch.zeros(3 + 2 * x.shape[1], dtype=torch.float64)
    for here, *rows in _blocks(x, y):
        one, other = change(*rows)
        squares = (
            (one - other).square().sum(1),
            one.square().sum(1) + other.square().sum(1),
            torch.ones(len(one)).double(),
        )
        sums.index_add_(0, groups[here], torch.cat([one, other, torch.stack(squares, 1)], 1))
        whole = pooled(torch.stack([whole, exact_moments(one, other)]))
    return Parts(whole, sums)


def _groups(count: int, seed: int) -> Tensor:
    """Put each pair into a group: its own, or at random one of G that differ in size by 1 at most."""
    if count <= GROUPS:
        return torch.arange(count)
    return torch.from_numpy(np.random.default_rng(seed).permutation(count) % GROUPS)


def _described(found: Parts, resamples: int, seed: int) -> dict[str, float | list[float]]:
    values = *gap_of(found.moments), scale_free_of(found.moments)
    intervals = [_interval(part) for part in resampled(found.sums, resamples, seed)]
    named = {f"{name}_interval": own for name, own in zip(NAMES, intervals, strict=True)}
    return dict(zip(NAMES, values, strict=True)) | named


def resampled(sums: Tensor, resamples: int, seed: int) -> Tensor:
    """Resample groups of pairs: the four gaps in each resample.

    What resampling adds to the distance of the means is known and given back, as in `tpccma.metrics.gap_interval`.

    Args:
        sums: as `Parts` has them.
        resamples: how many, R.
        seed: of the draws.

    Returns:
        (4, R): raw, centroid, distribution, scale-free.
    """
    draws, counts = _draws(len(sums), resamples, seed), sums[:, -1:]
    mean = sums[:, :-1].sum(0) / counts.sum()
    about = sums[:, :-1] - counts * mean  # sums about the means of all
    taken = draws @ torch.cat([about, counts], 1)
    shifts, (mean_x, mean_y) = taken[:, :-1] / taken[:, -1:], mean[:-2].chunk(2)
    of_x, of_y = shifts[:, :-2].chunk(2, 1)
    raw, lengths = (shifts[:, -2:] + mean[-2:]).unbind(1)
    noise_x, noise_y = (about[:, :-2] / counts.sum()).chunk(2, 1)
    centroid = (of_x - of_y + mean_x - mean_y).square().sum(1) - (noise_x - noise_y).square().sum()
    centroid = centroid.clamp(min=0)
    means = (of_x + mean_x).square().sum(1) + (of_y + mean_y).square().sum(1)
    width = lengths - means + noise_x.square().sum() + noise_y.square().sum()
    distribution = (raw - centroid).clamp(min=0)
    scale_free = torch.where(width > COLLAPSED, distribution / width, torch.nan)
    return torch.stack([raw.clamp(min=0), centroid, distribution, scale_free]).sqrt()


def _draws(count: int, resamples: int, seed: int) -> Tensor:
    """How often each group is drawn in each resample: (R, G)."""
    draw = np.random.default_rng(seed)
    drawn = [np.bincount(draw.integers(count, size=count), minlength=count) for _ in range(resamples)]
    return torch.from_numpy(np.stack(drawn)).double()


def _centred(found: Parts, resamples: int, seed: int) -> dict[str, float | list[float]] | None:
    *_, lengths, count = found.sums.sum(0).tolist()
    return _described(found, resamples, seed) if lengths > 1.99 * count else None  # 2, but for rows at their mean


def _interval(values: Tensor) -> list[float]:
    return np.quantile(values.numpy(), [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()


def _recalls(x: Rows, y: Rows, normalize: bool, centre: Change) -> dict[str, dict[str, float]]:
    rows = check_pairs(x, y, normalize)
    now, then = ((one.float(), other.float()) for one, other in (rows, centre(*rows)))
    return {
        name: retrieval_recall(one, other[:, None], ks=(1,))
        for name, (one, other) in (("before", now), ("after", then))
    }


def lines(found: dict) -> list[str]:
    """Say on a few lines for a reader what `describe` found."""
    share, centred = found["centroid_share"], found["centred"]
    shown = [f"{found['pairs']} pairs of width {found['width']}", *_gaps(found)]
    shown += [f"the {found['dominates']} gap dominates: {max(share, 1 - share):.0%} of the raw gap squared"]
    if centred:
        shown += ["", "each modality centred, rows scaled back to length 1:", *_gaps(centred)]
    else:
        return [*shown, "", "centring leaves nothing of rows that lie at their mean"]
    if found["recall"] is None:
        return [*shown, f"recall@1 is measured up to {RECALL_PAIRS} pairs"]
    for name, said in {"i2t_recall_at_1": "image to text", "t2i_recall_at_1": "text to image"}.items():
        before, after = (found["recall"][when][name] for when in ("before", "after"))
        shown.append(f"recall@1, {said}: {before:.4f}, centred {after:.4f}")
    return shown


def _gaps(state: dict) -> list[str]:
    shown = []
    for name in NAMES:
        low, high = state[f"{name}_interval"]
        shown.append(f"{name.replace('_', '-'):13}{state[name]:8.4f}   [{low:.4f}, {high:.4f}]")
    return shown
