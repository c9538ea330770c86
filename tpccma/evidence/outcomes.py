"""What records hold of each test picture, resampled: the means and the ARI of bootstrap samples of the test pictures.

Legend: N test pictures, R resamples, K clusters, C classes. Items are the arrays that `tpccma.runs.items` unpacks.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from tpccma.runs.items import unpack_items
from tpccma.runs.records import read_record

# Column of the results to the item that it is the mean of.
MEANS = {
    "zeroshot_top1": "zeroshot_correct",
    "i2t_recall_at_1": "i2t_hit",
    "t2i_recall_at_1": "t2i_hits",
    "cider": "cider",
    "cider_memory": "cider_memory",
    "cider_centred": "cider_centred",
    "cider_text": "cider_text",
}
ARI = "clustering_ari"
CLUSTERS = ("class", "cluster_image", "cluster_text")
RESAMPLES, SEED = 2000, 0


def read_items(path: str | Path) -> dict[str, np.ndarray] | None:
    """Read the items of a record; None where it was made before records held them.

    Raises:
        ValueError: if the file is no record.
    """
    return _read_items(Path(path), Path(path).stat().st_mtime_ns)


@lru_cache(maxsize=512)
def _read_items(path: Path, _changed: int) -> dict[str, np.ndarray] | None:
    packed = read_record(path).get("items")
    return unpack_items(packed) if packed else None


def holds(items: dict[str, np.ndarray] | None, column: str) -> bool:
    """Say whether a column of the results can be worked out from items."""
    needed = CLUSTERS if column == ARI else (MEANS.get(column, ""),)
    return items is not None and set(needed) <= set(items)


def same_pictures(all_items: list[dict[str, np.ndarray]]) -> bool:
    """Say whether several runs were tested on the same pictures, as far as their number and classes tell."""
    classes = [items.get("class", np.zeros(len(next(iter(items.values()))))) for items in all_items]
    return all(np.array_equal(classes[0], others) for others in classes)


@lru_cache(maxsize=4)
def picture_draws(pictures: int) -> np.ndarray:
    """Draw test pictures with replacement, always the same draws for as many pictures.

    Returns:
        (R, N) how often each picture is drawn; its rows sum to N.
    """
    return np.random.default_rng(SEED).multinomial(pictures, np.full(pictures, 1 / pictures), RESAMPLES).astype("f4")


def resampled(items: dict[str, np.ndarray], column: str) -> np.ndarray:
    """Work a column of the results out for every resample of `picture_draws`.

    Args:
        items: of one run, see `holds`.
        column: a key of ``MEANS``, or ``ARI``.

    Returns:
        (R,) its values.
    """
    draws = picture_draws(len(next(iter(items.values()))))
    if column == ARI:
        return adjusted_rand(_tables(items, draws))
    return draws @ items[MEANS[column]].astype("f4") / draws.shape[1]


def _tables(items: dict[str, np.ndarray], draws: np.ndarray) -> np.ndarray:
    """Count pictures and prompts by class and cluster in every resample: (R, C, K)."""
    classes, *clusters = (items[name].astype(int) for name in CLUSTERS)
    size = (classes.max() + 1, max(each.max() for each in clusters) + 1)
    cells = np.concatenate([classes * size[1] + each for each in clusters])  # of each picture, then of each prompt
    pictures = np.tile(np.arange(len(classes)), len(clusters))
    counted = csr_array((np.ones(len(cells), "f4"), (cells, pictures)), shape=(size[0] * size[1], len(classes)))
    return (counted @ draws.T).T.reshape(-1, *size)


def adjusted_rand(tables: np.ndarray) -> np.ndarray:
    """Compute the adjusted Rand index of contingency tables.

    Args:
        tables: (R, C, K) counts.

    Returns:
        (R,) indices, 1 where both groupings put all into one group. Source: Hubert and Arabie (1985).
    """
    tables = tables.astype(float)
    both, rows, columns, all_ = (
        (counts * (counts - 1) / 2).reshape(len(tables), -1).sum(1)
        for counts in (tables, tables.sum(2), tables.sum(1), tables.sum((1, 2)))
    )
    chance, most = rows * columns / all_, (rows + columns) / 2
    return np.divide(both - chance, most - chance, out=np.ones_like(both), where=most != chance)
