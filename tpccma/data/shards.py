"""Image-text pairs as webdataset shards in img2dataset's layout, streamed: what the paper's 3 million pairs come in.

A shard is a tar file of ``<key>.jpg``, or another of ``IMAGE_NAMES``, ``<key>.txt`` and ``<key>.json``; without a txt
the caption is looked for in the json. Beside it img2dataset leaves ``<shard>_stats.json``, whose number of successes
says how many pairs it holds.

    >>> shards = find_shards("cc3m/{00000..00331}.tar")
    >>> stream = PairStream(shards.paths, transform, tokenizer, seed=0)
    >>> images, tokens = next(iter(stream.batches(256, workers=4)))

Legend: B pairs in the batch of one process, (3, H, W) pixels and L tokens as the model takes them.
"""

import json
import logging
from collections.abc import Callable, Iterator
from copy import deepcopy
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
from tpccma.data.readers import leave_interrupts
from tpccma.data.shard_files import IMAGE_NAMES, MAX_BYTES, Shards, read_files, successes

MAX_HELD = 2**30 - MAX_BYTES  # bytes that wait in a reader: with one file more, however large, 1 GiB
COUNTED = ("used", "without_text", "without_image", "unreadable_image", "broken_shard")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairSource:
    """What a training streams, in place of pairs at hand.

    Args:
        shards: from `~tpccma.data.shard_files.find_shards`.
        transform: turns a PIL image into (3, H, W) pixels, uint8 or float32.
        pairs: pairs in an epoch; they decide the number of steps.
        workers: processes that read for each training process.
        buffer: pairs among which the next one is drawn, as they lie in a shard: 5,000 of 20 kB are 100 MB a worker.
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


class Pair(NamedTuple):
    """A pair as it lies in a shard."""

    name: str
    image: bytes
    text: str

    @property
    def size(self) -> int:
        """Bytes of picture and text."""
        return len(self.image) + len(self.text)


class PairStream(IterableDataset):
    """An endless, shuffled stream of pairs; damaged ones are skipped and counted.

    Shards are dealt to processes, then to their workers; every pass over them has an order of its own, decided by seed
    and pass. The same settings give the same stream. Pictures are not turned by their EXIF orientation, which open_clip
    does not follow either.

    Pairs wait as they lie in a shard and are decoded when they have been drawn, so the order does not hang on which
    pictures are damaged, and a stream that is to go on after some batches opens no picture of them. ``place`` says
    where it is: the number of batches taken, and for every worker how many pairs were drawn for them and how many of
    these had an unreadable picture.

    Args:
        paths: shards, at least one for each worker of each process.
        transform: turns a PIL image into (3, H, W) pixels, uint8 or float32.
        tokenizer: turns a list of B texts into (B, L) tokens.
        seed: of the order.
        rank: number of this process.
        world_size: processes.
        buffer: pairs among which the next one is drawn, >= 1, a worker; fewer where they take more than ``MAX_HELD``.
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
        self.place: dict = {"batches": 0, "workers": [[0, 0]]}

    def batches(self, batch_size: int, workers: int = 0, place: dict | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Stream batches of this process: (B, 3, H, W) pixels and (B, L) tokens.

        Args:
            batch_size: pairs a batch, B.
            workers: processes that read and decode; 0 reads in this one.
            place: where to go on, the ``place`` of a stream with the same settings, batch size and workers; None
                begins.

        Returns:
            An endless iterator.

        Raises:
            ValueError: if there are fewer shards than readers, or the place is one of other workers.
        """
        self.check_readers(workers)
        readers = max(1, workers)
        self.place = deepcopy(place) if place else {"batches": 0, "workers": [[0, 0]] * readers}
        if len(self.place["workers"]) != readers:
            told = f"the stream was read by {len(self.place['workers'])} workers and cannot go on with {readers}"
            raise ValueError(f"{told}: their order is another; use as many as before")
        self.counts = torch.zeros(readers, len(COUNTED), dtype=torch.int64).share_memory_()
        pinned = torch.cuda.is_available()
        how = {"collate_fn": self._collate, "pin_memory": pinned, "worker_init_fn": leave_interrupts}
        loader = DataLoader(self, batch_size, num_workers=workers, **how)
        return self._taken(loader)

    def _taken(self, loader: DataLoader) -> Iterator[tuple[Tensor, Tensor]]:
        workers = self.place["workers"]
        for number, (images, tokens, place) in enumerate(loader, self.place["batches"]):
            workers[number % len(workers)] = list(place)
            self.place["batches"] = number + 1
            yield images, tokens

    def _collate(self, samples: list[tuple]) -> tuple[Tensor, Tensor, tuple[int, int]]:
        pixels, texts, places = zip(*samples, strict=True)
        return default_collate(list(pixels)), self.tokenizer(list(texts)), places[-1]

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
        """Count what this process has read so far: pairs when they were drawn, all else when it was read.

        Returns:
            Pairs ``used``, ``without_text``, ``without_image`` and with an ``unreadable_image``, and how often a
            ``broken_shard`` ended early.
        """
        return dict(zip(COUNTED, self.counts.sum(0).tolist(), strict=True))

    def __iter__(self) -> Iterator[tuple[Tensor, str, tuple[int, int]]]:
        """Give pixels, text, and how many pairs were drawn so far and how many of these had an unreadable picture."""
        info = get_worker_info()
        workers = info.num_workers if info else 1
        # the loader takes its first batch from the first worker
        worker = (info.id + self.place["batches"]) % workers if info else 0
        drawn, unreadable = self.place["workers"][worker]
        self.own = self.counts[worker]
        self._count("used", -unreadable)
        self._count("unreadable_image", unreadable)
        for number, pair in enumerate(self._passes(worker, workers), start=1):
            if number <= drawn:
                self._count("used")
            elif (pixels := self._open(pair)) is not None:
                self._count("used")
                yield pixels, pair.text, (number, int(self.own[COUNTED.index("unreadable_image")]))

    def _passes(self, worker: int, workers: int) -> Iterator[Pair]:
        """Go over a worker's shards again and again."""
        for number in count():
            before = self.own.clone()
            order = Random(f"{self.seed} {number}")
            paths = order.sample(self.paths, len(self.paths))[self.rank :: self.world_size][worker::workers]
            yield from self._draw(self._read(paths), Random(f"{self.seed} {number} {self.rank} {worker}"))
            if (self.own - before)[0] == 0:
                found = dict(zip(COUNTED, (self.own - before).tolist(), strict=True))
                raise ValueError(f"no usable pair in {len(paths)} shards, the first {paths[0]}: {found}")

    def _draw(self, pairs: Iterator[Pair], order: Random) -> Iterator[Pair]:
        """Give pairs in random order: each is drawn from a buffer that the next one then fills up."""
        waiting: list[Pair] = []
        held = 0
        for pair in pairs:
            waiting.append(pair)
            held += pair.size
            while len(waiting) >= self.buffer or held > MAX_HELD:
                drawn = waiting.pop(order.randrange(len(waiting)))
                held -= drawn.size
                yield drawn
        order.shuffle(waiting)
        yield from waiting

    def _read(self, paths: list[Path]) -> Iterator[Pair]:
        """Read the pairs of shards one after another."""
        for path in paths:
            for sample in self._samples(path):
                if (pair := self._find(sample, path)) is not None:
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

    def _find(self, sample: dict, path: Path) -> Pair | None:
        """Find picture and text of a sample; None if one is missing."""
        name = f"{sample['__key__']} of {path}"
        try:
            text = _caption_of(sample)
        except (ValueError, RecursionError) as error:  # of text that is not UTF-8, or json that is none
            return self._bad("without_text", name, f" ({error})")
        image = next((sample[kind] for kind in IMAGE_NAMES if kind in sample), None)
        if not text:
            return self._bad("without_text", name)
        if image is None:
            return self._bad("without_image", name)
        return Pair(name, image, text)

    def _open(self, pair: Pair) -> Tensor | None:
        """Decode the picture of a pair; None if it is damaged."""
        try:
            picture = open_picture(pair.image)
        except DamagedPicture as error:
            return self._bad("unreadable_image", pair.name, f" ({reason_of(error.__cause__)})")
        return self.transform(picture)

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

    def _count(self, kind: str, number: int = 1) -> None:
        self.own[COUNTED.index(kind)] += number


def _caption_of(sample: dict) -> str:
    """Find the caption of a sample; "" if there is none."""
    if "txt" in sample:
        return sample["txt"].decode().strip()
    found = json.loads(sample.get("json", b"{}"))
    caption = found.get("caption") if isinstance(found, dict) else None
    return caption.strip() if isinstance(caption, str) else ""
