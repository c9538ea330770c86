"""What belongs together, so that it does not stand on both sides of a split: near-equal pictures and equal captions.

Legend: N items, a picture with its captions each.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from tqdm import tqdm

from tpccma.data.cache import FeatureCache, content_key
from tpccma.data.pictures import DamagedPicture, open_picture

HASH_SIDE = 16  # the usual 8 is too coarse: hashes of unrelated shirts coincide, and 121 products end in one group
HASH_BITS = 4  # differing bits of 256; up to here it is the same shot or its recoloured twin, from 9 on groups chain


def _difference_hash(picture: Image.Image) -> Tensor:
    """Describe an RGB picture by where its brightness rises from left to right (dHash): 16 x 16 bits, (32,) uint8."""
    grey = np.asarray(picture.convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.LANCZOS))
    return torch.from_numpy(np.packbits(grey[:, 1:] > grey[:, :-1]))


def hash_images(
    paths: Sequence[Path], cache_dir: Path | str | None, progress: bool, upright: bool = False
) -> tuple[list[int], Tensor, tuple[str, ...]]:
    """Open every picture and hash it.

    Args:
        paths: pictures.
        cache_dir: folder in which hashes are kept; None keeps nothing.
        progress: show a bar on stderr.
        upright: hash pictures as their EXIF orientation turns them, as they are read; such hashes have a file of their
            own in ``cache_dir``, since hashes are found by content alone.

    Returns:
        Positions of the N readable pictures, their (N, 32) uint8 hashes, and the names of damaged files.
    """
    file = "dhash-256-upright.safetensors" if upright else "dhash-256.safetensors"
    how = {"preprocessing": f"difference hash of {HASH_SIDE} x {HASH_SIDE} bits, Lanczos"}
    cache = FeatureCache(cache_dir and Path(cache_dir) / file, HASH_SIDE**2 // 8, torch.uint8, how)
    readable, keys, unreadable = [], [], []
    for i, path in enumerate(tqdm(paths, desc="hashing", disable=not progress, delay=2)):
        try:
            content = path.read_bytes()
            key = content_key(content)
            new = None if key in cache else open_picture(content, path, upright)
        except (OSError, DamagedPicture):
            unreadable.append(path.name)
            continue
        if new is not None:
            cache.add([key], _difference_hash(new)[None])
        readable.append(i)
        keys.append(key)
    cache.save()
    return readable, cache.stack(keys), tuple(unreadable)


def _near_pairs(hashes: np.ndarray) -> np.ndarray:
    """Find the (2, P) pairs among U distinct hashes, (U, 32) uint8, that differ in at most `HASH_BITS` bits."""
    signs = np.unpackbits(hashes, axis=1).astype(np.float32) * 2 - 1  # their product: bits - 2 * differing bits
    pairs = [np.empty((2, 0), dtype=np.int64)]
    for start in range(0, len(signs), 1_000):
        row, column = np.nonzero(signs[start : start + 1_000] @ signs.T >= signs.shape[1] - 2 * HASH_BITS)
        pairs.append(np.stack([row + start, column]))
    return np.concatenate(pairs, axis=1)


def group_items(hashes: Tensor, captions: Sequence[Sequence[str]]) -> np.ndarray:
    """Find what belongs together: near-identical pictures and equal captions, transitively [ours].

    Args:
        hashes: (N, 32) uint8 hashes of the pictures; at most 4 of 256 bits apart counts as the same picture.
        captions: N lists of captions, compared by their letters and digits, whatever the case; one in common is enough.

    Returns:
        (N,) number of each item's group.
    """
    distinct, first_shot, shot = np.unique(hashes.numpy(), axis=0, return_index=True, return_inverse=True)
    words = [" ".join(re.findall(r"\w+", caption.lower())) for own in captions for caption in own]
    owner = np.repeat(np.arange(len(captions)), [len(own) for own in captions])  # the item of each caption
    _, first_said, said = np.unique(words, return_index=True, return_inverse=True)
    links = [
        (np.arange(len(captions)), first_shot[shot.ravel()]),  # an item to the first one with the same picture,
        (owner, owner[first_said[said]]),  # and by each of its captions to the first one that has it too,
        first_shot[_near_pairs(distinct)],  # and the first one with a picture to that with one much like it
    ]
    return _connected(np.concatenate(links, axis=1), len(captions))


def _connected(links: np.ndarray, count: int) -> np.ndarray:
    """Number the groups that (2, L) links between items make; (count,) the number of each item's."""
    graph = coo_matrix((np.ones(links.shape[1]), tuple(links)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def split_groups(groups: np.ndarray, test_items: int, val_items: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Deal whole groups out: to test until it is full, then to val, the rest to train.

    Args:
        groups: (N,) group of each item.
        test_items: items wanted in test; at most one group more than that is taken.
        val_items: the same for val.
        seed: of the shuffle.

    Returns:
        Positions in ascending order under "train", "val" and "test".

    Raises:
        ValueError: if nothing would be left for train, or a wanted number is not positive.
    """
    if min(test_items, val_items) < 1:
        raise ValueError(f"test_items and val_items must be 1 or more, got {test_items} and {val_items}")
    ids, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(ids))
    filled = np.cumsum(sizes[order])
    test_end = np.searchsorted(filled, test_items) + 1  # groups in test, and in test and val
    val_end = test_end + np.searchsorted(filled[test_end:] - filled[test_end - 1 : test_end], val_items) + 1
    if val_end >= len(ids):
        raise ValueError(
            f"{test_items} test and {val_items} val items leave nothing of {len(groups)} to train on: lower "
            "test_items or val_items, below data: in a profile"
        )
    place = np.argsort(order)[group_of]
    ends = {"test": (0, test_end), "val": (test_end, val_end), "train": (val_end, len(ids))}
    return {name: np.flatnonzero((place >= start) & (place < end)) for name, (start, end) in ends.items()}
