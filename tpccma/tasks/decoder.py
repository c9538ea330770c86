"""Captions from a decoder that saw text only: what the modality gap costs where one modality stands in for the other.

In the manner of DeCap a small causal transformer learns to say a caption again from the caption's own text embedding.
At inference it is handed an image embedding instead, either as it is (``raw-fed``, which the gap hurts) or replaced by
a weighted mean of training caption embeddings (`project_to_memory`, DeCap's own remedy for the gap).

Legend: ``N`` images, ``M`` training captions, ``D`` embedding width, ``B`` batch, ``L`` tokens of a caption,
``T`` tokens of a batch, ``V`` vocabulary.

Source: DeCap, arXiv 2303.03032. That the paper captions with DeCap is [digest]; the size of the decoder and of the
memory on the demo, the word-level vocabulary and greedy decoding are [ours].
"""

import math
import sys
from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from tpccma.metrics.checks import HALF_TOLERANCE, check_unit_length, is_count
from tpccma.models.words import EOS, PAD, UNK, CaptionVocabulary
from tpccma.profiles import DecoderConfig
from tpccma.tasks.checks import check_one_device, comparable
from tpccma.tasks.transformer import Block, Places


class CaptionDecoder(nn.Module):
    """GPT-2-style decoder of one embedding: a linear prefix token, then the caption's words.

    Args:
        vocabulary: the words it can say.
        feature_width: D, width of the embeddings.
        config: size of the transformer and longest caption.
        generator: source of the initial weights; a fresh one of seed 0 when None.

    Source: DeCap, arXiv 2303.03032, section 3.1; tied input and output embedding as in GPT-2.
    """

    def __init__(
        self,
        vocabulary: CaptionVocabulary,
        feature_width: int,
        config: DecoderConfig,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.vocabulary, self.config = vocabulary, config
        with torch.random.fork_rng(devices=[]):  # the layers' own initialisation is drawn, then replaced below
            self.prefix = nn.Linear(feature_width, config.width)
            self.words = nn.Embedding(len(vocabulary), config.width)
            self.positions = nn.Embedding(config.max_tokens, config.width)
            self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.layers))
            self.norm = nn.LayerNorm(config.width)
        self._initialise(generator or torch.Generator().manual_seed(0))

    def _initialise(self, generator: torch.Generator) -> None:
        """GPT-2's initial weights, but a larger prefix, since the entries of a unit-norm embedding are small."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                residual = name.endswith(("project.weight", "mlp.2.weight"))
                std = 0.02 / math.sqrt(2 * len(self.blocks)) if residual else 0.02
                nn.init.normal_(parameter, std=std, generator=generator)
        nn.init.normal_(self.prefix.weight, std=0.3, generator=generator)

    def forward(self, features: Tensor, tokens: Tensor) -> Tensor:
        """Logits of every word given the embedding and the words before it (teacher forcing).

        Only attention sees padding: all else is done once a word, and the first block's inputs once for all equal
        words at one position.

        Args:
            features: unit-norm embeddings (B, D).
            tokens: token ids (B, L), L <= ``max_tokens``, padded at the end; at least one word a row.

        Returns:
            Logits (T, V) of the T tokens that are no padding, row after row; those of a row's token i see the
            embedding and the row's tokens 0 to i - 1.
        """
        places = Places.of(tokens)
        x, row = self._inputs(features, tokens)
        first, *others = self.blocks
        x = first(x, places._replace(row=row), shared=True)
        for block in others:
            x = block(x, places)
        return F.linear(self.norm(x), self.words.weight)

    def _inputs(self, features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Give what the first block takes of features (B, D) and tokens (B, L).

        Returns:
            The distinct inputs (U, width), and which of them stands at each place (B * L,).
        """
        count, length = tokens.shape
        positions = torch.arange(1, length, device=tokens.device)
        distinct, row = (tokens[:, :-1] * length + positions).unique(return_inverse=True)
        prefixes = self.prefix(features) + self.positions.weight[0]
        x = torch.cat([prefixes, self.words(distinct // length) + self.positions(distinct % length)])
        own = torch.arange(count, device=tokens.device)[:, None]
        return x, torch.cat([own, count + row], dim=1).flatten()

    @torch.no_grad()
    def generate(self, features: Tensor, chunk_size: int = 1000) -> list[str]:
        """Say a caption for each embedding, greedily; never empty, never with an unknown word.

        Args:
            features: unit-norm embeddings (N, D), of images, of texts or projected ones; on any device.
            chunk_size: embeddings decoded at a time.

        Returns:
            N captions.

        Raises:
            ValueError: if the features are not of shape (N, D) or not of unit norm, or the chunk is below 1.
        """
        _check_features(features, self.prefix.in_features, least=0)
        if not is_count(chunk_size):
            raise ValueError(f"chunk_size is {chunk_size}: pass 1 or more, usually 1000")
        chunks = features.to(self.prefix.weight).split(chunk_size)
        return [caption for chunk in chunks for caption in self.vocabulary.decode(self._greedy(chunk))]

    def _greedy(self, features: Tensor) -> Tensor:
        """Token ids (B, L) of the likeliest word at each step; keys and values of earlier positions are kept."""
        x, pasts = self.prefix(features)[:, None], [None] * len(self.blocks)
        ended = torch.zeros(len(features), dtype=torch.bool, device=features.device)
        tokens = []
        for position in range(self.config.max_tokens):
            x = x + self.positions.weight[position]
            for i, block in enumerate(self.blocks):
                x, pasts[i] = block.extend(x, pasts[i])
            logits = F.linear(self.norm(x[:, 0]), self.words.weight)
            logits[:, [PAD, UNK] if tokens else [PAD, UNK, EOS]] = -torch.inf
            tokens.append(logits.argmax(dim=1).masked_fill(ended, PAD))
            ended |= tokens[-1] == EOS
            if ended.all():
                break
            x = self.words(tokens[-1])[:, None]
        return torch.stack(tokens, dim=1)


def train_decoder(
    text_features: Tensor,
    captions: Sequence[str],
    config: DecoderConfig,
    seed: int = 0,
    progress: bool = True,
) -> CaptionDecoder:
    """Train a decoder to say each caption again from the caption's own text embedding; it never sees an image.

    The same seed gives the same decoder; the global random state is neither used nor changed. Training runs on the
    device that holds ``text_features``.

    Args:
        text_features: unit-norm embeddings (M, D) of the captions.
        captions: the M captions.
        config: size and training of the decoder.
        seed: of the initial weights and of the batches.
        progress: show a progress bar on stderr.

    Returns:
        The trained decoder in evaluation mode.

    Raises:
        ValueError: if the features are not of shape (M, D), M >= 1, or not of unit norm, or there are not as many
            captions.

    Source: DeCap, arXiv 2303.03032, section 3.1.
    """
    _check_features(text_features)
    if len(captions) != len(text_features):
        raise ValueError(f"captions must be as many as text_features, got {len(captions)} and {len(text_features)}")
    generator = torch.Generator().manual_seed(seed)
    vocabulary = CaptionVocabulary.from_captions(captions)
    tokens = vocabulary.encode(captions, config.max_tokens)
    lengths = (tokens != PAD).sum(1)
    decoder = CaptionDecoder(vocabulary, text_features.shape[1], config, generator).to(text_features.device)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=config.learning_rate, fused=True)

    batches = islice(_batches(len(captions), config.batch_size, generator), config.steps)
    bar = tqdm(batches, total=config.steps, desc="caption decoder", disable=not progress, file=sys.stderr)
    for step, batch in enumerate(bar):
        optimizer.param_groups[0]["lr"] = _learning_rate(step, config)
        optimizer.zero_grad()
        said = tokens[batch, : lengths[batch].max()]
        _loss(decoder, text_features[batch.to(text_features.device)], said.to(text_features.device)).backward()
        nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
    return decoder.eval()


def _loss(decoder: CaptionDecoder, features: Tensor, tokens: Tensor) -> Tensor:
    """Mean over the words of a batch."""
    logits, smoothing = decoder(features.float(), tokens), decoder.config.label_smoothing
    return F.cross_entropy(logits, tokens[tokens != PAD], label_smoothing=smoothing)


def _batches(count: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices (B,) of one batch after another, in shuffled passes without end."""
    while True:
        yield from torch.randperm(count, generator=generator).split(batch_size)


def _learning_rate(step: int, config: DecoderConfig) -> float:
    """Linear warm-up to the peak, then a cosine to 0 at the last step's end."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / (config.steps - config.warmup_steps)
    return config.learning_rate * (1 + math.cos(math.pi * done)) / 2


def caption_memory(text_features: Tensor, size: int, seed: int = 0) -> Tensor:
    """Choose the training caption embeddings that ``project_to_memory`` averages, at random and without repetition.

    Args:
        text_features: embeddings (M, D) of the training captions.
        size: embeddings to keep, >= 1; all where there are no more.
        seed: of the choice; the global random state is not touched.

    Returns:
        Embeddings (min(size, M), D), in random order.

    Raises:
        ValueError: if ``size`` is no whole number of at least 1, or there are no embeddings.
    """
    if not is_count(size):
        raise ValueError(f"size must be at least 1, got {size}: pass a whole number")
    _check_shape(text_features, name="text_features")
    chosen = torch.randperm(len(text_features), generator=torch.Generator().manual_seed(seed))[:size]
    return text_features[chosen.to(text_features.device)]


def project_to_memory(features: Tensor, memory: Tensor, temperature: float = 100.0) -> Tensor:
    """Replace each embedding by the mean of caption embeddings, weighted by how near they are, at unit norm.

    v = norm(sum_k w_k t_k) with w = softmax(temperature * cos(feature, t_k)).

    Args:
        features: unit-norm image embeddings (N, D).
        memory: unit-norm embeddings (M, D) of training captions, M >= 1, on the same device.
        temperature: factor (an inverse temperature) on the cosines, > 0, at most 1e30; 100 as in DeCap.

    Returns:
        Unit-norm embeddings (N, D) in the text modality's part of the space, in the wider type of the two, float32 at
        least.

    Raises:
        ValueError: if features or memory are not of unit norm, of two widths or on two devices, the memory is empty,
            the temperature is out of range, or a mean over the memory is 0.

    Source: DeCap, arXiv 2303.03032, section 3.2.
    """
    check_one_device(features=features, memory=memory)
    _check_features(memory, name="memory")
    _check_features(features, memory.shape[1], least=0)
    if not 0 < temperature <= 1e30:
        raise ValueError(f"temperature must be above 0, got {temperature}: pass at most 1e30, as DeCap 100")
    features, memory = comparable(features=features, memory=memory)
    rows = max(1, 2**24 // len(memory))  # at most 64 MB of weights at a time
    mixed = [torch.softmax(temperature * chunk @ memory.T, dim=1) @ memory for chunk in features.split(rows)]
    found = F.normalize(torch.cat(mixed), dim=1)
    check_unit_length(found, "the means over the memory", HALF_TOLERANCE, "they cancel out, pass a higher temperature")
    return found


def _check_features(features: Tensor, width: int | None = None, name: str = "features", least: int = 1) -> None:
    _check_shape(features, width, name, least)
    check_unit_length(features.float(), name, HALF_TOLERANCE)


def _check_shape(features: Tensor, width: int | None = None, name: str = "features", least: int = 1) -> None:
    if features.ndim != 2 or width not in (None, features.shape[1]):
        raise ValueError(f"{name} must have shape (N, {width or 'D'}), got {tuple(features.shape)}")
    if len(features) < least:
        raise ValueError(f"{name} is empty, of shape {tuple(features.shape)}: pass at least {least} embedding")
    if features.is_complex():
        raise ValueError(f"{name} is of type {features.dtype}: pass real numbers, (N, D)")
