"""Batches from pairs that are all at hand: every picture once an epoch, each time with one of its captions.

Legend: B batch size, N training pairs, K captions a picture.
"""

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from tpccma.data import Pairs
from tpccma.models import prepare


class CaptionedPairs(Dataset):
    """Pairs as the loader reads them: item ``i * K + k`` is picture i with its caption k.

    Args:
        pairs: N pictures with K captions each.
        tokenizer: applied once to all captions.
    """

    def __init__(self, pairs: Pairs, tokenizer):
        self.images = pairs.images
        self.captions = len(pairs.captions[0])
        self.tokens = tokenizer([caption for captions in pairs.captions for caption in captions])

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, items: list[int]) -> tuple[Tensor, Tensor]:
        """Return a batch: (B, 3, H, W) float32 pixels or (B, F) features, and (B, L) tokens or (B, F) features."""
        items = torch.tensor(items)
        return prepare(self.images[items // self.captions]), self.tokens[items]


def as_it_is(batch):
    """Collate nothing: `CaptionedPairs` gives whole batches. A function by name, which worker processes can be sent."""
    return batch


class EpochSampler(Sampler):
    """Every picture once an epoch, in a new order and with one of its captions, both decided by seed and epoch.

    The trainer sets `epoch`. There is no method set_epoch, since accelerate would call it with 0 in every epoch.

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
