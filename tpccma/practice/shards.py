"""Shards in img2dataset's layout, embedded one at a time; ``tpccma.data.shards`` says what is in them.

>>> embed_to(architecture, parts_of_shards("cc3m/{00000..00331}.tar"), Path("cc3m-embedded"), workers=8)
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image
from torch import Tensor

from tpccma.data.pictures import SomeDamaged, open_picture
from tpccma.data.shard_files import find_shards
from tpccma.data.shards import Pair, PairStream
from tpccma.models.encoder import as_it_is
from tpccma.practice.embed import Opened, Part


class Shard(PairStream):
    """One shard's pairs, in the order in which they lie there; what is damaged is left out and counted.

    Args:
        path: of the tar file.
    """

    def __init__(self, path: Path):
        super().__init__([path], as_it_is, as_it_is)
        self.own = self.counts[0]

    def pairs(self) -> list[Pair]:
        """Read all of them, pictures undecoded."""
        return list(self._read(self.paths))


def parts_of_shards(pattern: str) -> list[Part]:
    """List shards as parts of an embedding, a part a shard.

    Args:
        pattern: as `tpccma.data.shard_files.find_shards` takes it.

    Raises:
        FileNotFoundError, ValueError: as `~tpccma.data.shard_files.find_shards`.
    """
    paths = find_shards(pattern).paths
    return [Part([str(path), path.stat().st_size], partial(_open, path)) for path in paths]


def _open(path: Path, transform: Callable[[Image.Image], Tensor], workers: int) -> Opened:
    shard = Shard(path)
    pairs = shard.pairs()
    pictures = SomeDamaged(partial(_open_one, pairs), transform, len(pairs), workers)
    left_out = {reason: count for reason, count in shard.tally().items() if reason != "used"}
    return Opened(pictures, [(pair.name, pair.text) for pair in pairs], left_out, pictures.readable)


def _open_one(pairs: list[Pair], row: int) -> Image.Image:
    return open_picture(pairs[row].image)
