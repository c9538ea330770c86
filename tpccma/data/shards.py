"""Image-text pairs as webdataset shards in img2dataset's layout, streamed: what the paper's 3 million pairs come in.

A shard is a tar file of ``<key>.jpg``, ``<key>.txt`` and ``<key>.json``; beside it img2dataset leaves
``<shard>_stats.json``, whose number of successes says how many pairs it holds.

    >>> shards = find_shards("cc3m/{00000..00331}.tar")
    >>> stream = PairStream(shards.paths, transform, tokenizer, seed=0)
    >>> images, tokens = next(iter(stream.batches(256, workers=4)))

Legend: B pairs in the batch of one process, (3, H, W) pixels and L tokens as the model takes them.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, default_collate, get_worker_info
from webdataset.tariterators import group_by_keys

from tpccma.data.pictures import DamagedPicture, open_picture, reason_of
from tpccma.data.shard_files import Shards, read_files, successes

IMAGE_NAMES = ("jpg", "jpeg", "png", "webp")
COUNTED = ("used", "without_text", "without_image", "unreadable_image", "broken_shard")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairSource:
    """What a training streams, in place of pairs at hand.

    Args:
        shards: from `find_shards`.
        transform: turns a PIL image into (3, H, W) float32.
        pairs: pairs in an epoch; they decide the number of steps.
        workers: processes that read for each training process.
        buffer: pairs among which the next one is drawn.
        skip_bad: skip what is damaged.
    """

    shards: Shards
    transform: Callable[[Image.Image], Tensor]
    pairs: int
    workers: int = 0
    buffer: int = 5_000
    skip_bad: bool = True

    @property
    def missing_shards(self) -> int:
        """Number of shards that the pattern names and that are not there."""
        return len(self.shards.missing)

    def open(self, tokenizer: Callable, seed: int, rank: int, world_size: int) -> "PairStream":
        """Open the part of one of several processes."""
        settings = {"buffer": self.buffer, "skip_bad": self.skip_bad}
        return PairStream(self.shards.paths, self.transform, tokenizer, seed, rank, world_size, **settings)


class Unopened(NamedTuple):
    """A pair as it lies in a shard; its place is the number of the shard and its own number there."""

    place: tuple[int, int]
    name: str
    image: bytes
    text: str


class PairStream(IterableDataset):
    """An endless, shuffled stream of pairs; damaged ones are skipped and counted.

    Shards are dealt to processes, then to their workers; every pass over them has an order of its own, decided by seed
    and pass. The same settings give the same stream. Pictures are not turned by their EXIF orientation, which open_clip
    does not follow either.

    The order hangs on which pictures are damaged, which only opening them says. `damaged` holds the places of those
    that were found in the batches taken; a stream that is to go on after some batches and is given them opens no
    picture of these batches.

    Args:
        paths: shards, at least one for each worker of each process.
        transform: turns a PIL image into (3, H, W) float32.
        tokenizer: turns a list of one text into (1, L) tokens.
        seed: of the order.
        rank: number of this process.
        world_size: processes.
        buffer: pairs among which the next one is drawn, >= 1, a worker.
        skip_bad: skip what is damaged; else the first such pair ends the run with an error.
    """

    def __init__(
        self,
        paths: list[Path],
        transform: Callable[[Image.Image], Tensor],
        tokenizer: Callable[[list[str]], Tensor],
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        buffer: int = 5_000,
        skip_bad: bool = True,
    ):
        self.paths, self.transform, self.tokenizer = list(paths), transform, tokenizer
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.buffer, self.skip_bad = buffer, skip_bad
        self.numbers = {path: number for number, path in enumerate(self.paths)}
        self.counts = torch.zeros(1, len(COUNTED), dtype=torch.int64)
        self.damaged: set[tuple[int, int]] = set()
        self.batch_size, self.skip = 1, 0

    def batches(self, batch_size: int, workers: int = 0, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Stream batches of this process: (B, 3, H, W) pixels and (B, L) tokens.

        Args:
            batch_size: B.
            workers: processes that read and decode; 0 reads in this one.
            skip: batches that were taken before and are left out; `damaged` must hold what was found in them.

        Returns:
            An endless iterator.

        Raises:
            ValueError: if there are fewer shards than readers.
        """
        self.check_readers(workers)
        self.counts = torch.zeros(max(1, workers), len(COUNTED), dtype=torch.int64).share_memory_()
        self.batch_size, self.skip = batch_size, skip
        return self._taken(DataLoader(self, batch_size, num_workers=workers, collate_fn=_collate))

    def _taken(self, loader: DataLoader) -> Iterator[tuple[Tensor, Tensor]]:
        for images, tokens, damaged in loader:
            self.damaged.update(damaged)
            yield images, tokens

    def check_readers(self, workers: int) -> None:
        """See to it that there is a shard for every reader.

        Raises:
            ValueError: if there are fewer shards than readers.
        """
        readers = max(1, workers) * self.world_size
        if len(self.paths) < readers:
            raise ValueError(
                f"{len(self.paths)} shards are too few for {self.world_size} processes of {max(1, workers)} workers; "
                "use fewer workers, or write smaller shards"
            )

    def tally(self) -> dict[str, int]:
        """Count what this process has read so far, a little ahead of the batches taken.

        Returns:
            Pairs ``used``, ``without_text``, ``without_image`` and with an ``unreadable_image``, and how often a
            ``broken_shard`` ended early.
        """
        return dict(zip(COUNTED, self.counts.sum(0).tolist(), strict=True))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, list[tuple[int, int]]]]:
        """Give pixels, tokens and the places of the damaged pictures that were found since the pair before."""
        info = get_worker_info()
        workers = info.num_workers if info else 1
        worker = (info.id + self.skip) % workers if info else 0  # the loader takes its first batch from the first one
        left_out = len(range(worker, self.skip, workers)) * self.batch_size
        self.own, self.found, self.opening = self.counts[worker], [], left_out == 0
        for number, pair in enumerate(self._passes(worker, workers)):
            self.opening = number + 1 >= left_out
            if number >= left_out and (opened := self._open(pair) if isinstance(pair, Unopened) else pair):
                yield *opened, self.found
                self.found = []

    def _passes(self, worker: int, workers: int) -> Iterator[tuple[Tensor, Tensor] | Unopened]:
        """Go over a worker's shards again and again."""
        for number in count():
            before = self.own.clone()
            order = Random(f"{self.seed} {number}")
            paths = order.sample(self.paths, len(self.paths))[self.rank :: self.world_size][worker::workers]
            yield from self._draw(self._read(paths), Random(f"{self.seed} {number} {self.rank} {worker}"))
            if (self.own - before)[0] == 0:
                found = dict(zip(COUNTED, (self.own - before).tolist(), strict=True))
                raise ValueError(f"no usable pair in {len(paths)} shards, the first {paths[0]}: {found}")

    def _draw(self, pairs: Iterator, order: Random) -> Iterator[tuple[Tensor, Tensor] | Unopened]:
        """Give pairs in random order: each is drawn from a buffer that the next one then fills up."""
        waiting: list[tuple[Tensor, Tensor] | Unopened] = []
        for pair in pairs:
            waiting.append(pair)
            if len(waiting) >= self.buffer:
                yield waiting.pop(order.randrange(len(waiting)))
        order.shuffle(waiting)
        yield from waiting

    def _read(self, paths: list[Path]) -> Iterator[tuple[Tensor, Tensor] | Unopened]:
        """Read the pairs of shards one after another, unopened while batches are left out."""
        for path in paths:
            for number, sample in enumerate(self._samples(path)):
                pair = self._find(sample, (self.numbers[path], number), path)
                if pair is not None and self.opening:
                    pair = self._open(pair)
                if pair is not None:
                    self._count("used")
                    yield pair

    def _samples(self, path: Path) -> Iterator[dict]:
        """Read a shard's samples up to its end or to where it is damaged."""
        stats, seen = path.with_name(f"{path.stem}_stats.json"), 0
        with path.open("rb") as stream:
            try:
                for sample in group_by_keys(read_files(stream, path)):
                    seen += 1
                    yield sample
            except Exception as error:  # of tarfile, and of what unpacks a compressed shard
                self._broken(path, reason_of(error))
                return
        if stats.is_file() and seen < successes(stats):
            self._broken(path, f"it ends after {seen} pairs, {stats.name} says {successes(stats)}")

    def _find(self, sample: dict, place: tuple[int, int], path: Path) -> Unopened | None:
        """Find picture and text of a sample; None if one is missing, or the picture is known to be damaged."""
        name = f"{sample['__key__']} of {path}"
        text = sample.get("txt", b"").decode(errors="replace").strip()
        image = next((sample[kind] for kind in IMAGE_NAMES if kind in sample), None)
        if not text:
            return self._bad("without_text", name)
        if image is None:
            return self._bad("without_image", name)
        if not self.opening and place in self.damaged:
            return self._bad("unreadable_image", name)
        return Unopened(place, name, image, text)

    def _open(self, pair: Unopened) -> tuple[Tensor, Tensor] | None:
        """Decode a pair; None if its picture is damaged."""
        try:
            picture = open_picture(pair.image)
        except DamagedPicture as error:
            self.found.append(pair.place)
            return self._bad("unreadable_image", pair.name, f" ({reason_of(error.__cause__)})")
        return self.transform(picture), self.tokenizer([pair.text])[0]

    def _bad(self, kind: str, name: str, because: str = "") -> None:
        if not self.skip_bad:
            problem = f"pair {name}: {kind.replace('_', ' ')}{because}"
            raise ValueError(f"{problem}; repair the shard or let it be skipped (skip_bad)")
        self._count(kind)

    def _broken(self, path: Path, because: str) -> None:
        if not self.skip_bad:
            raise ValueError(f"{path} is damaged ({because}); fetch it again or let it be skipped (skip_bad)")
        self._count("broken_shard")
        logger.warning("%s is damaged (%s); what is left of it is skipped", path, because)

    def _count(self, kind: str) -> None:
        self.own[COUNTED.index(kind)] += 1


def _collate(samples: list[tuple]) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
    images, tokens = default_collate([sample[:2] for sample in samples])
    return images, tokens, [place for *_, damaged in samples for place in damaged]
