"""The caption decoder's words: a word-level vocabulary built from training captions.

Legend: `N` captions, `L` tokens of a caption.
"""

import re
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

PAD, EOS, UNK = 0, 1, 2
SPECIAL = ("<pad>", "<eos>", "<unk>")


class CaptionVocabulary:
    """Word-level vocabulary: lower-cased words and single punctuation marks, after three special tokens.

    No token marks the beginning: the decoder's prefix, which stands before the first word, does.

    Args:
        words: the known words, without the special tokens, each once.

    Raises:
        ValueError: if a word occurs twice.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = (*SPECIAL, *words)
        self.ids = {word: i for i, word in enumerate(self.words)}
        if len(self.ids) != len(self.words):
            twice = [word for word, count in Counter(self.words).items() if count > 1]
            raise ValueError(f"words must differ from each other and from {SPECIAL}, got twice: {twice[:5]}")

    @classmethod
    def from_captions(cls, captions: Sequence[str], min_count: int = 1) -> "CaptionVocabulary":
        """Collect the words that occur at least ``min_count`` times, in alphabetical order.

        Args:
            captions: training captions.
            min_count: occurrences below which a word counts as unknown, >= 1.

        Raises:
            ValueError: if no word is left, or ``min_count`` is below 1.
        """
        if min_count < 1:
            raise ValueError(f"min_count must be at least 1, got {min_count}")
        counts = Counter(word for caption in captions for word in split_words(caption))
        words = sorted(word for word, count in counts.items() if count >= min_count)
        if not words:
            raise ValueError(f"no word occurs {min_count} times or more in {len(captions)} captions; lower min_count")
        return cls(words)

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, captions: Sequence[str], max_tokens: int) -> Tensor:
        """Turn captions into rows of token ids: words, end token, padding; cut after ``max_tokens``.

        Returns:
            int64 ids of shape (N, L), L the longest caption's tokens and at most ``max_tokens``.
        """
        rows = [[self.ids.get(word, UNK) for word in split_words(caption)] + [EOS] for caption in captions]
        longest = min(max_tokens, max(map(len, rows)))
        return torch.tensor([row[:longest] + [PAD] * (longest - len(row)) for row in rows])

    def decode(self, tokens: Tensor) -> list[str]:
        """Turn rows of token ids (N, L) into captions, each up to its first end token; closing marks join the word."""
        captions = []
        for row in tokens.tolist():
            row = row[: row.index(EOS)] if EOS in row else row
            text = " ".join(self.words[i] for i in row if i != PAD)
            captions.append(re.sub(r" (?=[.,;:!?)])", "", text))
        return captions


def split_words(caption: str) -> list[str]:
    """Split a caption into lower-cased words (``t-shirt`` and ``men's`` are one) and single punctuation marks."""
    return re.findall(r"\w+(?:['\u2019-]\w+)*|[^\w\s]", caption.lower())
