"""Measure the embeddings of models that nobody here made, and record that::

    tpccma real --data-dir FOLDER  # eight records in results/real; a minute or two

FOLDER holds the arrays that the authors of "Mind the Gap" (arXiv 2203.02053) published with their Figure 1: of four
models, before and after training, each (2, N, D): the first modality and texts, row i of both one pair. A file is known
by its checksum; none enters the project.

Legend: ``N`` pairs, ``D`` width, ``R`` resamples.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import binomtest
from scipy.stats import t as student
from torch import Tensor
from torch.nn.functional import normalize

from tpccma.metrics import (
    cone_effect,
    effective_rank,
    gap_interval,
    linear_separability,
    modality_gap,
    scale_free_distribution_gap,
)
from tpccma.metrics.checks import check_pairs
from tpccma.metrics.divergences import centre
from tpccma.runs.provenance import git_revision, hardware, versions
from tpccma.runs.real_records import GAPS, SEPARABILITY, Bounded, RealRecord, Source
from tpccma.tasks.retrieval import retrieval_hits

REPOSITORY = "https://github.com/Weixin-Liang/Modality-Gap"
COMMIT = "8e20cb24efa4c5f89aad694f2f65eb43ffc46d10"
FOLDER = "Figure_1_Modality_Gap"
LICENCE = "MIT"
RESAMPLES, LEVEL, GROUPS = 1000, 0.95, 20


class Published(NamedTuple):
    """An array of the authors: ``model``, whether it is ``trained``, and the ``sha256`` of its file."""

    model: str
    trained: bool
    sha256: str

    @property
    def file(self) -> str:
        """Its name."""
        return f"features_{self.model}{'' if self.trained else '_random'}.npy"


PUBLISHED = (
    Published("clip", True, "7227280ace0f145d2c45afa8ab507a1cb280e9460aa271fe9052d08e35342adb"),
    Published("clip", False, "c6a5f9ca3fba36d635fd47d20b3cdd5b9ac78dc462070240fdc2ee2786110403"),
    Published("convirt", True, "8cfb9c31888d12726a3f8b551bed64f04b25d1c76d5353b0a3e9efeceb43edb9"),
    Published("convirt", False, "2fd5698e712d5e0d72256a1b29044b2059818f0575ab12bfcb2c5ae13092007f"),
    Published("videoclip", True, "53255cac6105c5c47dd1850d77de084957d5f83841ba9ae9254bf7ae998573da"),
    Published("videoclip", False, "c57ee05a606c4a9da0d71ad8b5d5c964d780af816890064a693eb178492c0f3b"),
    Published("clasp", True, "5a1d12a68729405003fe19b271a38ae35adab97c139e4b4a51d70b18c44bf628"),
    Published("clasp", False, "2a159d008b7527e9fbd3de49daf9116d9500d1aaa250c3a5b009b162c5f4066b"),
)


def measure_real(data_dir: str | Path, n_resamples: int = RESAMPLES, seed: int = 0) -> list[RealRecord]:
    """Measure all published arrays.

    Args:
        data_dir: the folder that they lie in.
        n_resamples: R, at least 1.
        seed: of resampling, of the groups of the jackknife and of the split behind the separability.

    Returns:
        A record each.

    Raises:
        FileNotFoundError: naming a file that is missing, and where it is published.
        ValueError: naming a file that is not the one that was published.
    """
    arrays = [(each, _load(Path(data_dir) / each.file, each.sha256)) for each in PUBLISHED]
    return [_record(each, pairs, n_resamples, seed) for each, pairs in arrays]


def _load(path: Path, sha256: str) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: fetch it from the folder {FOLDER} of {REPOSITORY}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ValueError(f"{path} has the checksum {found}, not {sha256}: fetch it anew from {REPOSITORY}")
    return np.load(path, allow_pickle=False)


def _record(each: Published, pairs: np.ndarray, n_resamples: int, seed: int) -> RealRecord:
    source = Source(
        repository=REPOSITORY, commit=COMMIT, file=f"{FOLDER}/{each.file}", sha256=each.sha256, licence=LICENCE
    )
    return RealRecord(
        model=each.model,
        trained=each.trained,
        source=source,
        pairs=pairs.shape[1],
        width=pairs.shape[2],
        distinct=tuple(len(np.unique(rows, axis=0)) for rows in pairs),
        **measure_pairs(*pairs, n_resamples, seed),
        resamples=n_resamples,
        seed=seed,
        versions=versions(),
        hardware=hardware(),
        git_revision=git_revision(),
    )


def measure_pairs(
    x: np.ndarray, y: np.ndarray, n_resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, dict[str, Bounded]]:
    """Measure paired embeddings as they are, mean-centred, and what centring changes, each with a 95 % interval.

    The means are those of the same rows, the best case for centring; for the separability those of the half of the
    pairs that trains its classifier, since the means of all rows would tell it about the other half. Intervals are
    bootstrap ones over pairs, of recalls over queries among fixed candidates, but of the effective rank (a bootstrap
    repeats rows, which lowers ranks: a jackknife over 20 groups of pairs, or as many as there are) and of the
    separability (Wilson's, with the tested pairs as its trials).

    Args:
        x: (N, D) rows of the first modality, N at least 4; they are scaled to length 1.
        y: (N, D) texts of the same pairs.
        n_resamples: R, at least 1.
        seed: of all draws.

    Returns:
        ``raw``, ``centred`` and ``change``, see `tpccma.runs.real_records.RealRecord`, to 6 digits.

    Raises:
        ValueError: as `tpccma.metrics.modality_gap`.
    """
    x, y = check_pairs(x, y, normalize=True)
    counts = _draw(len(x), n_resamples, seed)
    after = centre(x, renormalise=True), centre(y, renormalise=True)
    before_hits, after_hits = (retrieval_hits(images, texts[:, None]) for images, texts in ((x, y), after))
    change = {name: after_hits[name] - hits for name, hits in before_hits.items()}
    separable = _separability(x, y, seed), _separability(*_centred_by_half(x, y, seed), seed)
    found = {
        "raw": _gaps(x, y, n_resamples, seed) | _shape(x, y, counts, seed) | separable[0] | _means(before_hits, counts),
        "centred": _gaps(*after, n_resamples, seed) | separable[1] | _means(after_hits, counts),
        "change": _means(change, counts),
    }
    return {state: {name: _rounded(each) for name, each in own.items()} for state, own in found.items()}


def _draw(n: int, n_resamples: int, seed: int) -> Tensor:
    """How often each of n pairs is drawn in each resample: (R, N)."""
    draws = np.random.default_rng(seed).integers(n, size=(n_resamples, n))
    return torch.from_numpy(np.stack([np.bincount(rows, minlength=n) for rows in draws])).double()


def _rounded(found: Bounded) -> Bounded:
    return Bounded(*(round(float(number), 6) for number in found))


def _bounded(value: float, resampled: Tensor) -> Bounded:
    low, high = np.quantile(resampled.numpy(), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Bounded(value, low, high)


def _gaps(x: Tensor, y: Tensor, n_resamples: int, seed: int) -> dict[str, Bounded]:
    values = *modality_gap(x, y), scale_free_distribution_gap(x, y)
    intervals = gap_interval(x, y, n_resamples, LEVEL, seed)
    return {name: Bounded(value, *own) for name, value, own in zip(GAPS, values, intervals, strict=True)}


def _means(hits: dict[str, Tensor], counts: Tensor) -> dict[str, Bounded]:
    """Recalls, or their changes, with what resampled queries make of them."""
    shares = counts / counts.shape[1]
    return {name: _bounded(own.mean().item(), shares @ own.flatten()) for name, own in hits.items()}


def _shape(x: Tensor, y: Tensor, counts: Tensor, seed: int) -> dict[str, Bounded]:
    sides = {"image": x, "text": y}
    cones = {f"cone_{side}": _bounded(cone_effect(rows), resampled_cones(rows, counts)) for side, rows in sides.items()}
    return cones | {f"effective_rank_{side}": _rank(rows, seed) for side, rows in sides.items()}


def resampled_cones(rows: Tensor, counts: Tensor) -> Tensor:
    """Mean cosine of two different rows in each resample; a row that was drawn twice is not paired with itself.

    Args:
        rows: (N, D) rows of length 1.
        counts: (R, N) how often each was drawn.

    Returns:
        (R,) in [-1, 1].
    """
    own = counts.square().sum(dim=1)
    return ((counts @ rows).square().sum(dim=1) - own) / (len(rows) ** 2 - own)


def _rank(rows: Tensor, seed: int) -> Bounded:
    """The effective rank with Student's interval by a jackknife that leaves out one group of pairs at a time."""
    value, count = effective_rank(rows), min(GROUPS, len(rows))
    groups = np.array_split(np.random.default_rng(seed).permutation(len(rows)), count)
    left = np.array([effective_rank(rows[np.setdiff1d(np.arange(len(rows)), group)]) for group in groups])
    half = student.ppf((1 + LEVEL) / 2, count - 1) * np.sqrt((count - 1) / count * np.square(left - left.mean()).sum())
    return Bounded(value, value - half, value + half)


def _centred_by_half(x: Tensor, y: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Take off the means of the half on which `linear_separability` trains its classifier, which it draws so too."""
    half = np.array_split(np.random.default_rng(seed).permutation(len(x)), 2)[0]
    return tuple(normalize(rows - rows[half].mean(dim=0), dim=1) for rows in (x, y))


def _separability(x: Tensor, y: Tensor, seed: int) -> dict[str, Bounded]:
    value, tested = linear_separability(x, y, seed), len(x) // 2
    found = binomtest(round(value * tested), tested).proportion_ci(LEVEL, method="wilson")
    return {SEPARABILITY: Bounded(value, min(found.low, value), max(found.high, value))}
