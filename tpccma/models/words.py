"""A word-level tokenizer with the call signature of open_clip's, for models of a small vocabulary.

Legend: N texts, L context length in tokens.
"""

import re

import torch
from torch import Tensor


class WordTokenizer:
    """Turn texts into token ids: start, words, end, padding.

    >>> WordTokenizer(["a", "red", "star"], context_length=6)("a red star")
    tensor([[4, 1, 2, 3, 5, 0]])

    Args:
        words: the vocabulary, without special tokens.
        context_length: L, tokens a text, start and end included.

    Raises:
        ValueError: if a word stands twice.
    """

    def __init__(self, words: list[str], context_length: int = 20):
        if len(set(words)) != len(words):
            raise ValueError(f"the vocabulary names a word twice: {sorted({w for w in words if words.count(w) > 1})}")
        self.words, self.context_length = list(words), context_length
        self.ids = {word: i for i, word in enumerate(words, start=1)}
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
        tokens = torch.zeros(len(texts), length, dtype=torch.long)
        for row, text in enumerate(texts):
            ids = [*[self.start_id, *self._encode(text)][: length - 1], self.end_id]
            tokens[row, : len(ids)] = torch.tensor(ids)
        return tokens

    def _encode(self, text: str) -> list[int]:
        words = re.findall(r"\w+|[^\w\s]", text.lower())
        unknown = [word for word in words if word not in self.ids]
        if unknown:
            raise ValueError(
                f"{unknown[0]!r} in {text!r} is not one of the tokenizer's {len(self.words)} words: "
                f"{' '.join(self.words)}"
            )
        return [self.ids[word] for word in words]
