"""Batches for a training: of pairs that are all at hand, epoch by epoch, or of an endless stream.

Legend: B batch size of a process, N training pairs, K captions a picture.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice

import torch
from accelerate import Accelerator, skip_first_batches
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tpccma.data import Corpus, Pairs
from tpccma.data.pictures import ImageFiles, Pictures
from tpccma.data.readers import leave_interrupts
from tpccma.models import Encoder, prepare
from tpccma.models.encoder import as_it_is
from tpccma.models.transforms import split_transform

Batch = tuple[Tensor, Tensor]  # (B, 3, H, W) float32 pixels or (B, F) features, and (B, L) tokens or (B, F) features
Images = Tensor | Pictures


def open_batches(
    corpus: Corpus, encoder: Encoder, batch_size: int, seed: int, accelerator: Accelerator
) -> "PairBatches | StreamBatches":
    """Prepare to read a corpus: its stream, or its train split where there is none.

    Args:
        corpus: what to read.
        encoder: whose tokenizer is used, and whose text tower says whether texts may be cut.
        batch_size: of all processes together.
        seed: of order and choice of captions.
        accelerator: of the training.

    Returns:
        An object with ``steps_per_epoch``; ``between(step, last)``, the batches of these steps; ``read()`` and
        ``resume(read)``, what it has to remember for a resume; and ``report()``, what it has read, {} if all is said.
        Pixels are read and sent as uint8, and scaled on the device; tokens are cut on the host after the longest text.

    Raises:
        ValueError: if there are fewer pairs than a batch takes, or the processes cannot share it.
    """
    kind = PairBatches if corpus.stream is None else StreamBatches
    return kind(corpus, encoder, batch_size, seed, accelerator)


def count_steps(pairs: int, batch_size: int) -> int:
    """Return the number of whole batches in an epoch.

    Raises:
        ValueError: if there is none.
    """
    if pairs < batch_size:
        raise ValueError(
            f"{pairs} training pairs do not fill one batch of {batch_size}; lower the profile's batch_size"
        )
    return pairs // batch_size


class PairBatches:
    """Batches of pairs at hand: every picture once an epoch, each time with one of its captions.

    Arguments and methods as `open_batches` says.
    """

    def __init__(self, corpus: Corpus, encoder: Encoder, batch_size: int, seed: int, accelerator: Accelerator):
        images, self.scale = as_pixels(corpus.train.images)
        dataset = CaptionedPairs(replace(corpus.train, images=images), encoder.tokenizer, encoder.shorten)
        self.steps_per_epoch = count_steps(len(dataset), batch_size)
        self.sampler = EpochSampler(len(dataset), dataset.captions, seed)
        workers = getattr(images, "workers", 0)
        loader = DataLoader(
            dataset,
            batch_size,
            sampler=self.sampler,
            drop_last=True,
            collate_fn=as_it_is,  # the dataset gives whole batches
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=leave_interrupts,
            pin_memory=accelerator.device.type == "cuda",
        )
        self.loader = accelerator.prepare(loader)

    def between(self, step: int, last: int) -> Iterator[Batch]:
        """Read the batches of the steps from ``step`` up to ``last``."""
        while step < last:
            self.sampler.epoch, done = divmod(step, self.steps_per_epoch)
            loader = skip_first_batches(self.loader, done) if done else self.loader  # whose workers persist
            for images, tokens in loader:
                yield self.scale(images), tokens
                step += 1

    def read(self) -> None:
        """Nothing has to be remembered: step and seed say all."""

    def resume(self, read: list) -> None:
        """Nothing was remembered."""

    def report(self) -> dict:
        """Return nothing: an epoch has every pair."""
        return {}


class StreamBatches:
    """Batches of an endless stream, of which every process has a part of its own.

    Arguments and methods as `open_batches` says.
    """

    def __init__(self, corpus: Corpus, encoder: Encoder, batch_size: int, seed: int, accelerator: Accelerator):
        processes = accelerator.num_processes
        if batch_size % processes:
            raise ValueError(f"batch_size {batch_size} must be a multiple of the {processes} processes that share it")
        self.source, self.accelerator, self.own_size = corpus.stream, accelerator, batch_size // processes
        self.steps_per_epoch = count_steps(self.source.pairs, batch_size)
        pixels, self.scale = split_transform(self.source.transform)
        tokenize = partial(_tokenize, tokenizer=encoder.tokenizer, shorten=encoder.shorten)
        self.reader = [accelerator.process_index, processes, self.source.workers]
        self.stream = replace(self.source, transform=pixels).open(tokenize, seed, *self.reader[:2])
        self.stream.check_readers(self.source.workers)
        self.place = None

    def between(self, step: int, last: int) -> Iterator[Batch]:
        """Read the batches of the steps from ``step`` up to ``last``; no picture of steps before is opened again."""
        known = self.place is not None and self.place["batches"] == step
        batches = self.stream.batches(self.own_size, self.source.workers, self.place if known else None)
        skip, device = step if known else 0, self.accelerator.device
        for images, tokens in islice(batches, step - skip, last - skip):
            yield self.scale(images.to(device, non_blocking=True)), tokens.to(device, non_blocking=True)

    def read(self) -> dict:
        """Return the place in this process's part of the stream."""
        return {"reader": self.reader, "place": self.stream.place}

    def resume(self, read: list) -> None:
        """Take up what `read` returned in all processes; without it, or by other readers, every picture is opened."""
        known = (each for each in read if isinstance(each, dict))  # earlier versions wrote a list of damaged pictures
        self.place = next((each["place"] for each in known if each["reader"] == self.reader), None)

    def report(self) -> dict:
        """Count the pairs that all processes have read and skipped."""
        tally = self.stream.tally()
        counts = torch.tensor(list(tally.values()), device=self.accelerator.device)
        total = self.accelerator.reduce(counts, reduction="sum").tolist()
        known = {"pairs": self.source.pairs, "missing_shards": self.source.missing_shards}
        return known | dict(zip(tally, total, strict=True))


class CaptionedPairs(Dataset):
    """Pairs as the loader reads them: item ``i * K + k`` is picture i with its caption k.

    Args:
        pairs: N pictures with K captions each.
        tokenizer: applied once to all captions.
        shorten: cuts the texts of a batch.
    """

    def __init__(self, pairs: Pairs, tokenizer: Callable, shorten: Callable[[Tensor], Tensor] = as_it_is):
        self.images, self.shorten = pairs.images, shorten
        self.captions = len(pairs.captions[0])
        self.tokens = tokenizer([caption for captions in pairs.captions for caption in captions])

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, items: list[int]) -> tuple[Tensor, Tensor]:
        """Return a batch: (B, 3, H, W) pixels or (B, F) features, and (B, L) tokens or (B, F) features."""
        items = torch.tensor(items)
        return self.images[items // self.captions], self.shorten(self.tokens[items])


def as_pixels(images: Images) -> tuple[Images, Callable[[Tensor], Tensor]]:
    """Let pictures be read as uint8 pixels where their transform allows it; return them and what scales the pixels."""
    if not isinstance(images, ImageFiles):
        return images, prepare
    pixels, scale = split_transform(images.transform)
    return ImageFiles(images.paths, pixels, images.workers, images.upright), scale


def _tokenize(texts: list[str], tokenizer: Callable, shorten: Callable) -> Tensor:
    return shorten(tokenizer(texts))


class EpochSampler(Sampler):
    """Every picture once an epoch, in a new order and with one of its captions, both decided by seed and epoch.

    The trainer sets ``epoch``. There is no method set_epoch, since accelerate would call it with 0 in every epoch.

    Args:
        pairs: N, number of pictures.
        captions: K, captions a picture.
        seed: of order and choice.
    """

    def __init__(self, pairs: int, captions: int, seed: int):
        self.pairs, self.captions, self.seed, self.epoch = pairs, captions, seed, 0

    def __len__(self) -> int:
        return self.pairs

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = torch.randperm(self.pairs, generator=generator)
        choice = torch.randint(self.captions, (self.pairs,), generator=generator)
        return iter((order * self.captions + choice).tolist())
