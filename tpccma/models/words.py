"""Word-level vocabularies: a small model's tokenizer, called as open_clip's are, and the caption decoder's words.

Legend: N texts, L tokens of a text.
"""

import re
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

PAD, EOS, UNK = 0, 1, 2
SPECIAL = ("<pad>", "<eos>", "<unk>")


class Vocabulary:
    """Words with their token ids; id 0 pads.

    Args:
        words: each once.
        first_id: of the first word; the others follow in order.

    Raises:
        ValueError: if a word stands twice.
    """

    pattern = r"\w+|[^\w\s]"  # of a word: letters and digits, or one mark

    def __init__(self, words: Sequence[str], first_id: int):
        twice = [word for word, count in Counter(words).items() if count > 1]
        if twice:
            raise ValueError(f"the vocabulary names a word twice: {twice[:5]}")
        self.ids = {word: i for i, word in enumerate(words, start=first_id)}

    @classmethod
    def split(cls, text: str) -> list[str]:
        """Split a text into lower-cased words and single punctuation marks."""
        return re.findall(cls.pattern, text.lower())

    @staticmethod
    def pad(rows: Sequence[list[int]], length: int) -> Tensor:
        """Fill up N rows of ids, none longer than ``length``: (N, length) int64."""
        return torch.tensor([row + [PAD] * (length - len(row)) for row in rows], dtype=torch.long).view(-1, length)


class WordTokenizer(Vocabulary):
    """Turn texts into token ids: start, words, end, padding. Unknown words are refused.

    >>> WordTokenizer(["a", "red", "star"], context_length=6)("a red star")
    tensor([[4, 1, 2, 3, 5, 0]])

    Args:
        words: the vocabulary, without special tokens.
        context_length: L, tokens a text, start and end included.

    Raises:
        ValueError: if a word stands twice.
    """

    def __init__(self, words: Sequence[str], context_length: int = 20):
        super().__init__(words, first_id=PAD + 1)
        self.words, self.context_length = list(words), context_length
        self.start_id, self.end_id = len(words) + 1, len(words) + 2  # open_clip pools the text at the largest id

    @property
    def vocab_size(self) -> int:
        """Number of ids, which are padding, the words, start and end."""
        return len(self.words) + 3

    def __call__(self, texts: str | list[str], context_length: int | None = None) -> Tensor:
        """Encode texts.

        Args:
            texts: one text or N.
            context_length: L, if not the tokenizer's own; longer texts are cut.

        Returns:
            (N, L) int64 ids.

        Raises:
            ValueError: if a text holds a word that is not in the vocabulary; the message names both.
        """
        texts = [texts] if isinstance(texts, str) else texts
        length = context_length or self.context_length
        rows = [[*[self.start_id, *self._known(text)][: length - 1], self.end_id] for text in texts]
        return self.pad(rows, length)

    def _known(self, text: str) -> list[int]:
        words = self.split(text)
        unknown = [word for word in words if word not in self.ids]
        if unknown:
            raise ValueError(
                f"{unknown[0]!r} in {text!r} is not one of the tokenizer's {len(self.words)} words: "
                f"{' '.join(self.words)}"
            )
        return [self.ids[word] for word in words]


class CaptionVocabulary(Vocabulary):
    """What the caption decoder can say: words and punctuation marks after three special tokens.

    ``t-shirt`` and ``men's`` are one word. No token marks the beginning: the decoder's prefix, which stands before the
    first word, does.

    Args:
        words: the known words, without the special tokens, each once.

    Raises:
        ValueError: if a word occurs twice, or is a special token.
    """

    pattern = r"\w+(?:['\u2019-]\w+)*|[^\w\s]"

    def __init__(self, words: Sequence[str]):
        self.words = (*SPECIAL, *words)
        super().__init__(self.words, first_id=PAD)

    @classmethod
    def from_captions(cls, captions: Sequence[str]) -> "CaptionVocabulary":
        """Collect the words of the training captions, in alphabetical order.

        Raises:
            ValueError: if there is none.
        """
        words = sorted({word for caption in captions for word in cls.split(caption)})
        if not words:
            raise ValueError(f"none of the {len(captions)} captions holds a word: pass captions to train a decoder on")
        return cls(words)

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, captions: Sequence[str], max_tokens: int) -> Tensor:
        """Turn captions into rows of token ids: words, end token, padding; cut after ``max_tokens``.

        Returns:
            int64 ids of shape (N, L), L the longest caption's tokens and at most ``max_tokens``.
        """
        rows = [[*(self.ids.get(word, UNK) for word in self.split(caption)), EOS][:max_tokens] for caption in captions]
        return self.pad(rows, max(map(len, rows)))

    def decode(self, tokens: Tensor) -> list[str]:
        """Turn rows of token ids (N, L) into captions, each up to its first end token; closing marks join the word."""
        captions = []
        for row in tokens.tolist():
            row = row[: row.index(EOS)] if EOS in row else row
            text = " ".join(self.words[i] for i in row if i != PAD)
            captions.append(re.sub(r" (?=[.,;:!?)])", "", text))
        return captions
