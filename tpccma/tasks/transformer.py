"""Transformer blocks over captions of several lengths, of which attention alone sees the padding.

Legend: `B` captions, `L` places of the longest one, `T` words of all, `width` of a position.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tpccma.models.words import PAD


class Places(NamedTuple):
    """Where the T words of a batch of captions stand among its B * L places, the rest of which is padding.

    Args:
        shape: (B, L).
        words: (T,) place of each word.
        row: (B * L,) which row of what is padded stands at each place: the word's own, or in padding any.
    """

    shape: torch.Size
    words: Tensor
    row: Tensor

    @classmethod
    def of(cls, tokens: Tensor) -> "Places":
        """Find the words of token ids (B, L)."""
        said = (tokens != PAD).flatten()
        return cls(tokens.shape, said.nonzero()[:, 0], said.cumsum(0) - 1)

    def pack(self, x: Tensor) -> Tensor:
        """Leave the padding of (B, L, width) out: (T, width)."""
        return x.flatten(0, 1).index_select(0, self.words)

    def pad(self, x: Tensor) -> Tensor:
        """Put rows (T, width) at their places: (B, L, width); causal attention never looks at what fills the rest."""
        return x.index_select(0, self.row).view(*self.shape, -1)


class Block(nn.Module):
    """One pre-norm transformer block: causal self-attention, then a two-layer perceptron of four times the width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, places: Places, shared: bool = False) -> Tensor:
        """Attend within captions.

        Args:
            x: (T, width), the words of the captions one after another; if ``shared`` (U, width), rows of which each
                may stand at several places, ``places.row``.
            places: where they stand.
            shared: whether words share rows.

        Returns:
            (T, width), one row a word.
        """
        mixed = places.pack(attend(places.pad(self._inputs(x)), self.heads))
        return self._outputs(x.index_select(0, places.row[places.words]) if shared else x, mixed)

    def extend(self, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Attend from one new position ``x`` (B, 1, width) to ``past`` and itself.

        Returns:
            The output (B, 1, width), and the keys and values so far, (B, heads, L, width / heads) each.
        """
        query, *present = self._split(self._inputs(x))
        if past is not None:
            present = [torch.cat(pair, dim=2) for pair in zip(past, present, strict=True)]
        mixed = F.scaled_dot_product_attention(query, *present)
        return self._outputs(x, mixed.transpose(1, 2).flatten(2)), tuple(present)

    def _inputs(self, x: Tensor) -> Tensor:
        return self.query_key_value(self.attention_norm(x))

    def _split(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values (B, heads, L, width / heads) of inputs (B, L, 3 * width)."""
        return inputs.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()

    def _outputs(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.project(mixed)
        return x + self.mlp(self.mlp_norm(x))


def attend(inputs: Tensor, heads: int) -> Tensor:
    """Causal attention among a few places; torch's own takes longer to set out.

    Args:
        inputs: queries, keys and values (B, L, 3 * width).
        heads: that share the width.

    Returns:
        (B, L, width).
    """
    shape = inputs.shape[0], heads
    query, key, value = inputs.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).flatten(1, 2).unbind()
    later = torch.full((inputs.shape[1],) * 2, -torch.inf, device=inputs.device, dtype=inputs.dtype).triu(1)
    weights = torch.baddbmm(later, query, key.mT, alpha=query.shape[2] ** -0.5).softmax(-1)
    return (weights @ value).unflatten(0, shape).transpose(1, 2).flatten(2)
