"""The text-only caption decoder: causality, training, generation and the projection on the memory."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from tpccma.models.words import EOS, PAD, UNK, CaptionVocabulary
from tpccma.tasks.decoder import (
    CaptionDecoder,
    DecoderConfig,
    caption_memory,
    project_to_memory,
    train_decoder,
)
from tpccma.tasks.transformer import attend

SMALL = DecoderConfig(width=32, layers=2, heads=2, steps=150, batch_size=12, warmup_steps=10, max_tokens=8)
CAPTIONS = [f"a {c} {s}, {p}." for c in ("red", "blue") for s in ("star", "ring", "cup") for p in ("left", "right")]


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.fixture(scope="module")
def decoder() -> CaptionDecoder:
    return train_decoder(unit(12, 16), CAPTIONS, SMALL, seed=0, progress=False)


# configuration


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 30, "heads": 4}, "width must be a multiple of heads"),
        ({"steps": 5, "warmup_steps": 6}, "warmup_steps must be at most steps"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"learning_rate": math.nan}, "learning_rate"),
        ({"depth": 3}, "depth"),
    ],
)
def test_impossible_configurations_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        DecoderConfig(**values)


# decoder


def test_logits_depend_on_the_embedding_and_earlier_tokens_only(decoder):
    features, tokens = unit(1, 16, seed=1), torch.tensor([[3, 4, 5, 6, 7]])
    changed = torch.tensor([[3, 4, 8, 6, 7]])  # the token at position 2 differs, so logits differ from position 3 on
    first, second = decoder(features, tokens), decoder(features, changed)
    torch.testing.assert_close(first[:3], second[:3])
    assert ((first[3:] - second[3:]).abs().amax(dim=1) > 1e-3).all()
    assert ((first - decoder(-features, tokens)).abs().amax(dim=1) > 1e-3).all()


def test_generation_with_kept_keys_agrees_with_the_full_pass(decoder):
    features = unit(40, 16, seed=2)
    tokens = decoder._greedy(features)
    logits = decoder(features, tokens)
    said = tokens != PAD
    first = torch.arange(tokens.shape[1]).expand_as(tokens)[said] == 0
    logits[:, [PAD, UNK]] = -torch.inf
    logits[first, EOS] = -torch.inf
    assert torch.equal(logits.argmax(dim=1), tokens[said])


def test_the_decoder_says_its_training_captions_again(decoder):
    assert not decoder.training
    assert decoder.generate(unit(12, 16)) == CAPTIONS
    assert decoder.generate(unit(12, 16), chunk_size=5) == CAPTIONS
    assert decoder.generate(unit(12, 16)[:0]) == []


def test_generation_is_never_empty_or_unknown_and_never_too_long():
    vocabulary = CaptionVocabulary(["star"])
    decoder = CaptionDecoder(vocabulary, 16, SMALL)
    with torch.no_grad():
        decoder.norm.weight.zero_()
        decoder.norm.bias.copy_(torch.ones(32))
        decoder.words.weight.copy_(torch.tensor([4.0, 2.0, 3.0, 1.0])[:, None].expand(4, 32))
    # pad outweighs unk, unk the end, the end "star": the first word must be "star", then the end is likeliest
    assert decoder.generate(unit(2, 16)) == ["star", "star"]
    with torch.no_grad():
        decoder.words.weight[EOS] = 0
    assert decoder.generate(unit(2, 16)) == ["star " * 7 + "star"] * 2  # cut after max_tokens = 8


def test_training_repeats_by_seed_and_leaves_the_global_random_state_alone():
    config = SMALL.model_copy(update={"steps": 10})
    state = torch.get_rng_state()
    first, again, other = (train_decoder(unit(12, 16), CAPTIONS, config, seed, progress=False) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.prefix.weight, other.prefix.weight)


def test_the_progress_bar_goes_to_stderr_and_only_when_asked_for(capfd):
    config = SMALL.model_copy(update={"steps": 10})
    train_decoder(unit(12, 16), CAPTIONS, config, progress=False)
    assert capfd.readouterr() == ("", "")
    train_decoder(unit(12, 16), CAPTIONS, config, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "caption decoder" in err


def test_training_needs_a_caption_for_each_unit_norm_embedding(decoder):
    with pytest.raises(ValueError, match="got 11 and 12"):
        train_decoder(unit(12, 16), CAPTIONS[:11], SMALL)
    with pytest.raises(ValueError, match="row 0 of features has length 2, not 1: L2-normalise"):
        train_decoder(2 * unit(12, 16), CAPTIONS, SMALL)
    with pytest.raises(ValueError, match="row 1 of features has length nan"):
        decoder.generate(torch.stack([unit(16), torch.full((16,), torch.nan)]))
    with pytest.raises(ValueError, match=r"shape \(N, 16\), got \(2, 8\)"):
        decoder.generate(unit(2, 8))


def test_embeddings_in_half_precision_are_of_unit_norm(decoder):
    half = unit(12, 16).bfloat16()
    assert 1e-3 < (half.float().norm(dim=1) - 1).abs().max() < 2**-8  # rounding keeps 8 bits of each entry
    assert len(decoder.generate(half)) == 12
    assert project_to_memory(half.float(), half.float()).shape == (12, 16)


# memory


def test_projection_weighs_the_memory_by_the_softmax_of_the_cosines():
    memory = torch.eye(2)
    features = torch.tensor([[0.6, 0.8]])
    # weights in the ratio exp(2 * 0.6) : exp(2 * 0.8) = 1 : exp(0.4) along two orthogonal captions
    expected = torch.tensor([[1, math.exp(0.4)]]) / math.hypot(1, math.exp(0.4))
    torch.testing.assert_close(project_to_memory(features, memory, temperature=2), expected)


def test_projection_at_a_high_temperature_factor_is_the_nearest_caption():
    memory, features = unit(50, 8), unit(20, 8, seed=1)
    nearest = memory[(features @ memory.T).argmax(dim=1)]
    torch.testing.assert_close(project_to_memory(features, memory, temperature=1e6), nearest)


@given(st.integers(1, 6), st.integers(1, 40), st.floats(0.1, 200), st.integers(0, 1000))
def test_projection_has_unit_norm_and_does_not_depend_on_the_order_of_the_memory(count, size, temperature, seed):
    features, memory = unit(count, 8, seed=seed), unit(size, 8, seed=seed + 1)
    projected = project_to_memory(features, memory, temperature)
    torch.testing.assert_close(projected.norm(dim=1), torch.ones(count))
    torch.testing.assert_close(project_to_memory(features, memory.flip(0), temperature), projected, atol=1e-3, rtol=0)


def test_projection_refuses_what_it_cannot_weigh():
    with pytest.raises(ValueError, match="row 0 of memory has length 3"):
        project_to_memory(unit(2, 8), 3 * unit(4, 8))
    with pytest.raises(ValueError, match=r"features must have shape \(N, 8\), got \(2, 4\)"):
        project_to_memory(unit(2, 4), unit(4, 8))
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        project_to_memory(unit(2, 8), unit(4, 8), temperature=0)


def test_the_memory_is_a_random_choice_without_repetition():
    features, state = torch.arange(10.0)[:, None], torch.get_rng_state()
    memory = caption_memory(features, 4, seed=0)
    assert len(set(memory.flatten().tolist()) & set(range(10))) == 4
    assert torch.equal(memory, caption_memory(features, 4, seed=0))
    assert torch.equal(torch.get_rng_state(), state)
    assert sorted(caption_memory(features, 99).flatten().tolist()) == list(range(10))
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        caption_memory(features, 0)


def test_padding_has_no_part_in_logits_and_gradient(decoder):
    tokens, features = decoder.vocabulary.encode([*CAPTIONS[:5], "a red star"], 8), unit(6, 16)
    lengths = (tokens != PAD).sum(1).tolist()
    assert len(set(lengths)) > 1

    def taken(batches):
        decoder.zero_grad()
        logits = torch.cat([decoder(features[rows], tokens[rows, :length]) for rows, length in batches])
        F.cross_entropy(logits, tokens[tokens != PAD], reduction="sum").backward()
        return logits, torch.cat([parameter.grad.flatten() for parameter in decoder.parameters()])

    alone = taken([([row], length) for row, length in enumerate(lengths)])
    together = taken([(range(6), tokens.shape[1])])
    assert together[0].shape == (sum(lengths), len(decoder.vocabulary))
    for one, all_ in zip(alone, together, strict=True):
        torch.testing.assert_close(all_, one, rtol=1e-4, atol=1e-4)


def test_captions_of_one_word_have_logits_of_their_first(decoder):
    features, tokens = unit(3, 16), torch.tensor([[4], [5], [6]])
    longer = torch.tensor([[4, 7], [5, 7], [6, 7]])
    torch.testing.assert_close(decoder(features, tokens), decoder(features, longer)[::2])


def test_attention_is_torchs_own():
    inputs = torch.randn(2, 5, 36, generator=torch.Generator().manual_seed(0))  # three heads of width 4
    query, key, value = (part.unflatten(2, (3, 4)).transpose(1, 2) for part in inputs.split(12, dim=2))
    expected = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    torch.testing.assert_close(attend(inputs, heads=3), expected.transpose(1, 2).flatten(2))
