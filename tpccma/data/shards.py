"""Image-text pairs as webdataset shards in img2dataset's layout, streamed: what the paper's 3 million pairs come in.

A shard is a tar file of ``<key>.jpg``, ``<key>.txt`` and ``<key>.json``; beside it img2dataset leaves
``<shard>_stats.json``, whose number of successes says how many pairs it holds.

    >>> shards = find_shards("cc3m/{00000..00331}.tar")
    >>> stream = PairStream(shards.paths, transform, tokenizer, seed=0)
    >>> images, tokens = next(iter(stream.batches(256, workers=4)))

Legend: B pairs in the batch of one process, (3, H, W) pixels and L tokens as the model takes them.
"""

import json
import logging
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import BinaryIO

import torch
from braceexpand import braceexpand
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from webdataset.tariterators import group_by_keys

from tpccma.data.pictures import MAX_PIXELS, DamagedPicture, open_picture, reason_of

IMAGE_NAMES = ("jpg", "jpeg", "png", "webp")
MAX_BYTES = 3 * MAX_PIXELS  # read of one file of a shard: what the largest picture has in all, uncompressed
META = re.compile(r"__[^/]*__(/|$)")  # webdataset's own notes in a shard
COUNTED = ("used", "without_text", "without_image", "unreadable_image", "broken_shard")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shards:
    """Which shards there are.

    Args:
        paths: those that exist, in order.
        missing: those that do not.
        pairs: how many pairs the existing ones hold by their ``_stats.json``; None if one of these is not there.
    """

    paths: list[Path]
    missing: list[Path]
    pairs: int | None


def find_shards(pattern: str, skip_missing: bool = False) -> Shards:
    """Find shards by a pattern such as ``cc3m/{00000..00331}.tar``.

    Args:
        pattern: a path; ``{a..b}`` and ``{a,b}`` stand for several.
        skip_missing: go on without those that do not exist, with a warning, instead of refusing.

    Returns:
        The `Shards`.

    Raises:
        FileNotFoundError: if one does not exist and `skip_missing` is False, or none does.
    """
    named = [Path(path) for path in braceexpand(str(pattern))]
    paths = [path for path in named if path.is_file()]
    missing = [path for path in named if not path.is_file()]
    if missing:
        problem = f"{len(missing)} of {len(named)} shards of {pattern} do not exist, such as {missing[0]}"
        if not paths or not skip_missing:
            raise FileNotFoundError(f"{problem}; fetch them with img2dataset, or let them be skipped (skip_missing)")
        logger.warning("%s; going on without them", problem)
    stats = [path.with_name(f"{path.stem}_stats.json") for path in paths]
    known = all(path.is_file() for path in stats)
    return Shards(paths, missing, sum(_successes(path) for path in stats) if known else None)


def _successes(path: Path) -> int:
    try:
        return int(json.loads(path.read_text())["successes"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not img2dataset's statistics of a shard ({error!r}); remove it") from None


def _files(stream: BinaryIO, path: Path) -> Iterator[dict]:
    """Read the files of a shard, of each the first `MAX_BYTES`: what claims to be longer is damaged or hostile."""
    with tarfile.open(fileobj=stream, mode="r|*") as shard:
        for entry in shard:
            if entry.isreg() and not META.match(entry.name):
                content = shard.extractfile(entry).read(MAX_BYTES)
                yield {"fname": entry.name, "data": content, "__url__": str(path)}
            shard.members = []  # else it keeps a list of all


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


class PairStream(IterableDataset):
    """An endless, shuffled stream of pairs; damaged ones are skipped and counted.

    Shards are dealt to processes, then to their workers; every pass over them has an order of its own, decided by seed
    and pass. The same settings give the same stream. Pictures are not turned by their EXIF orientation, which open_clip
    does not follow either.

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
        self.counts = torch.zeros(1, len(COUNTED), dtype=torch.int64)

    def batches(self, batch_size: int, workers: int = 0) -> DataLoader:
        """Stream batches of this process: (B, 3, H, W) pixels and (B, L) tokens.

        Args:
            batch_size: B.
            workers: processes that read and decode; 0 reads in this one.

        Returns:
            An endless loader.

        Raises:
            ValueError: if there are fewer shards than readers.
        """
        readers = max(1, workers) * self.world_size
        if len(self.paths) < readers:
            raise ValueError(
                f"{len(self.paths)} shards are too few for {self.world_size} processes of {max(1, workers)} workers; "
                "use fewer workers, or write smaller shards"
            )
        self.counts = torch.zeros(max(1, workers), len(COUNTED), dtype=torch.int64).share_memory_()
        return DataLoader(self, batch_size, num_workers=workers)

    def tally(self) -> dict[str, int]:
        """Count what this process has read so far, a little ahead of the batches taken.

        Returns:
            Pairs ``used``, ``without_text``, ``without_image`` and with an ``unreadable_image``, and how often a
            ``broken_shard`` ended early.
        """
        return dict(zip(COUNTED, self.counts.sum(0).tolist(), strict=True))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        self.own = self.counts[worker]
        for number in count():
            before = self.own.clone()
            order = Random(f"{self.seed} {number}")
            paths = order.sample(self.paths, len(self.paths))[self.rank :: self.world_size][worker::workers]
            yield from self._draw(self._read(paths), Random(f"{self.seed} {number} {self.rank} {worker}"))
            if (self.own - before)[0] == 0:
                found = dict(zip(COUNTED, (self.own - before).tolist(), strict=True))
                raise ValueError(f"no usable pair in {len(paths)} shards, the first {paths[0]}: {found}")

    def _draw(self, pairs: Iterator[tuple[Tensor, Tensor]], order: Random) -> Iterator[tuple[Tensor, Tensor]]:
        """Give pairs in random order: each is drawn from a buffer that the next one then fills up."""
        waiting: list[tuple[Tensor, Tensor]] = []
        for pair in pairs:
            waiting.append(pair)
            if len(waiting) >= self.buffer:
                yield waiting.pop(order.randrange(len(waiting)))
        order.shuffle(waiting)
        yield from waiting

    def _read(self, paths: list[Path]) -> Iterator[tuple[Tensor, Tensor]]:
        """Read the pairs of shards one after another."""
        for path in paths:
            for sample in self._samples(path):
                pair = self._decode(sample, path)
                if pair is not None:
                    self._count("used")
                    yield pair

    def _samples(self, path: Path) -> Iterator[dict]:
        """Read a shard's samples up to its end or to where it is damaged."""
        stats, seen = path.with_name(f"{path.stem}_stats.json"), 0
        with path.open("rb") as stream:
            try:
                for sample in group_by_keys(_files(stream, path)):
                    seen += 1
                    yield sample
            except Exception as error:  # of tarfile, and of what unpacks a compressed shard
                self._broken(path, reason_of(error))
                return
        if stats.is_file() and seen < _successes(stats):
            self._broken(path, f"it ends after {seen} pairs, {stats.name} says {_successes(stats)}")

    def _decode(self, sample: dict, path: Path) -> tuple[Tensor, Tensor] | None:
        text = sample.get("txt", b"").decode(errors="replace").strip()
        image = next((sample[name] for name in IMAGE_NAMES if name in sample), None)
        if not text:
            return self._bad("without_text", sample, path)
        if image is None:
            return self._bad("without_image", sample, path)
        try:
            picture = open_picture(image)
        except DamagedPicture as error:
            return self._bad("unreadable_image", sample, path, f" ({reason_of(error.__cause__)})")
        return self.transform(picture), self.tokenizer([text])[0]

    def _bad(self, kind: str, sample: dict, path: Path, because: str = "") -> None:
        if not self.skip_bad:
            problem = f"pair {sample['__key__']} of {path}: {kind.replace('_', ' ')}{because}"
            raise ValueError(f"{problem}; repair the shard or let it be skipped (skip_bad)")
        self._count(kind)

    def _broken(self, path: Path, because: str) -> None:
        if not self.skip_bad:
            raise ValueError(f"{path} is damaged ({because}); fetch it again or let it be skipped (skip_bad)")
        self._count("broken_shard")
        logger.warning("%s is damaged (%s); what is left of it is skipped", path, because)

    def _count(self, kind: str) -> None:
        self.own[COUNTED.index(kind)] += 1
