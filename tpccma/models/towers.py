"""The two towers: heads on frozen features, open_clip's CLIP for short texts, and both in one forward pass.

Legend: N inputs, B batch size, L text length in tokens, D embedding width, F feature width.
"""

import math

import open_clip
import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

LENGTH_STEP = 8  # few lengths of texts: a compiled model has a graph for each, or one for all


class Heads(nn.Module):
    """Two trainable heads on frozen features, with the methods of an open_clip model.

    Args:
        image_width: F of the image features.
        text_width: F of the text features.
        hidden_width: width of the hidden layer of each head.
        embed_dim: width of the embeddings, D.
        init_logit_scale: logarithm of the inverse temperature at the start.
    """

    def __init__(
        self,
        image_width: int,
        text_width: int,
        hidden_width: int,
        embed_dim: int,
        init_logit_scale: float = math.log(100),
    ):
        super().__init__()
        self.visual = _head(image_width, hidden_width, embed_dim)
        self.text = _head(text_width, hidden_width, embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(init_logit_scale))

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Map (N, F) image features to (N, D) embeddings."""
        features = self.visual(image)
        return F.normalize(features, dim=-1) if normalize else features

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Map (N, F) text features to (N, D) embeddings."""
        features = self.text(text)
        return F.normalize(features, dim=-1) if normalize else features

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return unit-length image and text embeddings, (N, D) each, and the inverse temperature."""
        return self.encode_image(image, True), self.encode_text(text, True), self.logit_scale.exp()


def _head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(inputs), nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


def find_lengths(tokens: Tensor) -> Tensor:
    """Count the tokens of N texts (N, L): a text ends at its largest id, where ``text_global_pool`` reads it."""
    return tokens.argmax(1) + 1  # not where zeros begin: 0 is a token too, "!" in CLIP's vocabulary


def shorten(tokens: Tensor) -> Tensor:
    """Cut texts (N, L) on the host where the longest has ended, up to a multiple of ``LENGTH_STEP``: (N, L or less)."""
    if not len(tokens):
        return tokens
    steps = math.ceil(int(find_lengths(tokens).max()) / LENGTH_STEP)
    return tokens[:, : steps * LENGTH_STEP].contiguous()


class ShortTextCLIP(open_clip.CLIP):
    """open_clip's CLIP, but texts are encoded without padding them to the context length.

    What follows the end of a text has no part in its embedding, since attention looks backwards only: the embeddings
    are those of open_clip's own class up to rounding, and a step of the demo takes 0.7 of the time.

    A GPU encodes texts as long as they come, since to ask how long they are would wait for it: see `shorten`.
    """

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Embed N tokenised texts (N, L), L at most the context length: (N, D)."""
        if not len(text):
            return self.text_projection[:0]
        in_parts = text.device.type == "cpu" and not torch.compiler.is_compiling()
        features = self._encode_in_parts(text) if in_parts else self._encode(text)
        return F.normalize(features, dim=-1) if normalize else features

    def _encode_in_parts(self, text: Tensor) -> Tensor:
        """Embed texts of about one length together, few enough that they stay in a CPU's cache."""
        lengths = find_lengths(text)
        order = lengths.argsort(stable=True)
        parts = [self._encode(text[rows, : lengths[rows].max()]) for rows in order.split(64)]
        return torch.cat(parts)[order.argsort()]

    def _encode(self, text: Tensor) -> Tensor:
        """Embed texts (N, L), L at most the context length."""
        length, kind = text.shape[1], self.transformer.get_cast_dtype()
        x = (self.token_embedding(text) + self.positional_embedding[:length]).to(kind)
        mask = self.attn_mask[:length, :length]
        *blocks, last = self.transformer.resblocks
        for block in blocks:
            x = block(x, attn_mask=mask)
        return self.ln_final(_run_at(text.argmax(1), last, x, mask)) @ self.text_projection

    @classmethod
    def adopt(cls, model: nn.Module) -> nn.Module:
        """Make a model one of this class if it is open_clip's CLIP as OpenAI made it; leave any other as it is."""
        if (
            type(model) is open_clip.CLIP
            and model.attn_mask is not None
            and model.text_pool_type == "argmax"
            and isinstance(model.text_projection, nn.Parameter)
            and type(model.transformer.resblocks[-1]) is ResidualAttentionBlock
        ):
            model.__class__ = cls
        return model


def _run_at(ends: Tensor, block: ResidualAttentionBlock, x: Tensor, mask: Tensor) -> Tensor:
    """Run a block on texts (N, L, W) for the token at the end of each alone: (N, W)."""
    here = torch.arange(len(x), device=x.device), ends
    normed = block.ln_1(x)
    heads = mask[ends].repeat_interleave(block.attn.num_heads, 0)[:, None]
    end = x[here] + block.ls_1(block.attention(normed[here][:, None], normed, normed, heads)[:, 0])
    return end + block.ls_2(block.mlp(block.ln_2(end)))


class Towers(nn.Module):
    """Both towers of a model in one forward pass.

    Args:
        model: an open_clip model or one with its methods.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return image and text embeddings before normalisation, (B, D) each, and the inverse temperature."""
        return self.model.encode_image(images), self.model.encode_text(tokens), self.model.logit_scale.exp()
