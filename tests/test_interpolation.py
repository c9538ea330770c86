"""Models between a base and one that was fine-tuned from it."""

import math
import weakref
from copy import deepcopy

import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import tpccma.models.interpolation
from tpccma import Run, evaluate, interpolate, load_profile
from tpccma.data.scenes import make_pairs
from tpccma.models import Encoder, prepare
from tpccma.models.towers import Heads
from tpccma.models.words import WordTokenizer
from tpccma.training.encoders import build_encoder

DEMO = load_profile("demo")
SCENES = make_pairs("test", 12)
SHARES = st.floats(0, 1)


class Line(nn.Module):
    """The least model: pictures of two numbers, scaled by weights, then by batch norm if there is any."""

    def __init__(self, weight: list[list[float]], normed: bool = False):
        super().__init__()
        self.linear = nn.Linear(2, 2, bias=False)
        self.linear.weight.data = torch.tensor(weight)
        self.norm = nn.BatchNorm1d(2) if normed else nn.Identity()
        self.logit_scale = nn.Parameter(torch.tensor(math.log(10)))

    def encode_image(self, images: Tensor) -> Tensor:
        return self.norm(self.linear(images))


def weights_of(model: nn.Module | Encoder) -> dict[str, Tensor]:
    return getattr(model, "model", model).state_dict()


def equal(one: nn.Module | Encoder, other: nn.Module | Encoder) -> bool:
    ours, theirs = weights_of(one), weights_of(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def ends() -> tuple[Encoder, Encoder]:
    """Two encoders of the demo with random weights and statistics, in training mode."""
    found = build_encoder(DEMO, seed=1), build_encoder(DEMO, seed=2)
    for seed, encoder in enumerate(found):
        torch.manual_seed(seed)
        for name, value in encoder.model.state_dict().items():
            if "running" in name:
                value.uniform_(0.5, 2)
            if "num_batches" in name:
                value.fill_(seed + 5)
    return found


# ---- weights


def test_linear_layer_by_hand():
    base, aligned = Line([[1.0, 2.0], [3.0, 4.0]]), Line([[5.0, 2.0], [-1.0, 0.0]])
    aligned.logit_scale.data = torch.tensor(math.log(1000))
    found = interpolate(base, aligned, 0.25)
    # .75 * 1 + .25 * 5 = 2;  2;  .75 * 3 - .25 = 2;  .75 * 4 = 3
    assert found.linear.weight.tolist() == [[2.0, 2.0], [2.0, 3.0]]
    # of logarithms: .75 * 1 + .25 * 3 = 1.5 powers of ten, not the .75 * 10 + .25 * 1000 = 257.5 of the scales
    assert found.logit_scale.exp().item() == pytest.approx(10**1.5, rel=1e-6)
    assert not found.training and isinstance(found, Line)


def test_ends_are_the_models_to_the_last_bit(ends):
    base, aligned = ends
    assert equal(interpolate(base, aligned, 0.0), base)
    one = weights_of(interpolate(base, aligned, 1))
    for name, value in weights_of(aligned).items():
        expected = value if value.is_floating_point() else weights_of(base)[name]  # counts are the base's
        assert torch.equal(one[name], expected), name


def test_neither_model_is_changed_nor_shares_what_is_made(ends):
    before = [deepcopy(weights_of(encoder)) for encoder in ends]
    found = interpolate(*ends, 0.3, SCENES.images)
    with torch.no_grad():
        for value in weights_of(found).values():
            value.fill_(7)
    for encoder, kept in zip(ends, before, strict=True):
        assert all(torch.equal(value, kept[name]) for name, value in weights_of(encoder).items())
        assert encoder.model.training and all(part.training for part in encoder.model.modules())


@given(SHARES)
def test_there_and_back_is_the_same_model(t: float):
    one, other = Line([[0.1, -2.3], [1e-3, 4e5]], True), Line([[7.7, 0.3], [-1e3, 0.0]], True)
    there, back = interpolate(one, other, t), interpolate(other, one, 1 - t)
    for name, value in weights_of(there).items():
        torch.testing.assert_close(value, weights_of(back)[name], rtol=1e-5, atol=1e-6)


@given(SHARES)
def test_what_both_have_stays_to_the_last_bit(t: float):
    one = Line([[0.1, -math.inf], [1e-38, 3e38]], True)  # a mask's infinity, and what no sum may overflow
    assert equal(interpolate(one, deepcopy(one), t), one)


def test_tied_weights_are_interpolated_once():
    models = [Line([[value, 0.0], [0.0, value]]) for value in (0.0, 8.0)]
    for model in models:
        model.twin = model.linear
    found = interpolate(*models, 0.5)
    assert found.twin is found.linear and found.linear.weight[0, 0] == 4


def test_types_are_the_base_s():
    base, aligned = Line([[1.0, 2.0], [3.0, 4.0]]), Line([[3.0, 2.0], [3.0, 4.0]])
    found = interpolate(base, aligned.half(), 0.5)
    assert {value.dtype for value in weights_of(found).values()} == {torch.float32}
    assert found.linear.weight[0, 0] == 2


def test_one_tensor_at_a_time_is_made_beside_the_model(monkeypatch: pytest.MonkeyPatch):
    models = [Line([[1.0, 2.0], [3.0, 4.0]]) for _ in "ab"]
    for model in models:
        model.layers = nn.ModuleList(nn.Linear(9, 9, bias=False) for _ in range(20))
    alive, most, mixed = weakref.WeakSet(), [], tpccma.models.interpolation._mixed

    def watched(*given: Tensor) -> Tensor:
        most.append(len(alive))
        found = mixed(*given)
        alive.add(found)
        return found

    monkeypatch.setattr(tpccma.models.interpolation, "_mixed", watched)
    interpolate(*models, 0.5)
    assert len(most) == 22 and max(most) == 0


# ---- statistics of batch norm


def test_statistics_of_known_data_by_hand():
    base, aligned = Line([[1.0, 0.0], [0.0, 1.0]], True), Line([[3.0, 0.0], [0.0, 1.0]], True)
    images = torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 6.0], [6.0, 0.0]])
    found = interpolate(base, aligned, 0.5, images)
    # the weights are 2 and 1, so that batch norm sees 2 6 4 12, of mean 6 and variance (16 + 0 + 4 + 36) / 3, and
    # 0 0 6 0, of mean 1.5 and variance (3 * 2.25 + 20.25) / 3 = 9; what stood there before, 0 and 1, has no part
    torch.testing.assert_close(found.norm.running_mean, torch.tensor([6.0, 1.5]))
    torch.testing.assert_close(found.norm.running_var, torch.tensor([56 / 3, 9.0]))
    assert not found.norm.training and found.norm.momentum == base.norm.momentum


def test_batches_count_by_their_size(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tpccma.models.interpolation, "BATCH", 4)
    line = Line([[1.0, 0.0], [0.0, 1.0]], True)
    images = torch.tensor([[1.0, 0.0], [1.0, 0.0], [3.0, 0.0], [3.0, 0.0], [8.0, 1.0], [10.0, 3.0]])
    found = interpolate(line, line, 0.5, images)
    # means 2 of four and 9 of two: (4 * 2 + 2 * 9) / 6 = 13 / 3
    # variances 4 / 3 and 2: (4 * 4 / 3 + 2 * 2) / 6 = 14 / 9
    torch.testing.assert_close(found.norm.running_mean, torch.tensor([13 / 3, 2 / 3]))
    torch.testing.assert_close(found.norm.running_var, torch.tensor([14 / 9, 2 / 3]))
    one_more = torch.cat([images, torch.tensor([[500.0, 500.0]])])[[0, 1, 2, 3, 6]]  # whose last batch is one picture
    assert interpolate(line, line, 0.5, one_more).norm.running_mean.tolist() == [2.0, 0.0]


def test_without_pictures_statistics_are_interpolated():
    base, aligned = Line([[1.0, 0.0], [0.0, 1.0]], True), Line([[1.0, 0.0], [0.0, 1.0]], True)
    aligned.norm.running_mean.fill_(4)
    aligned.norm.running_var.fill_(5)
    found = interpolate(base, aligned, 0.25)
    assert (found.norm.running_mean.tolist(), found.norm.running_var.tolist()) == ([1.0, 1.0], [2.0, 2.0])


def test_model_without_batch_norm_needs_no_pictures(ends):
    heads = [Heads(6, 4, 8, 3) for _ in "ab"]
    features = torch.randn(5, 6)
    assert equal(interpolate(*heads, 0.4), interpolate(*heads, 0.4, features))
    found = interpolate(*heads, 0.4)
    expected = 0.6 * heads[0].visual[1].weight + 0.4 * heads[1].visual[1].weight
    torch.testing.assert_close(found.visual[1].weight, expected)


def test_statistics_of_an_encoder_are_those_of_its_pixels(ends):
    with_pictures, without = interpolate(*ends, 0.5, SCENES.images), interpolate(*ends, 0.5)
    for name, value in weights_of(without).items():
        of_batches = "running" in name or "num_batches" in name
        assert of_batches != torch.equal(value, weights_of(with_pictures)[name]), name
    seen = []
    without.model.visual.conv1.register_forward_hook(lambda part, given, found: seen.append(found))
    without.embed_images(SCENES.images)
    torch.testing.assert_close(with_pictures.model.visual.bn1.running_mean, seen[0].mean((0, 2, 3)))


def test_ends_with_pictures_differ_from_the_models_in_statistics_alone(ends):
    found = weights_of(interpolate(*ends, 1.0, SCENES.images))
    for name, value in weights_of(ends[1]).items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(found[name], value), name


# ---- what is given, and what comes back


def test_bare_models_of_open_clip(ends):
    bare = [open_clip.create_model("tpccma-demo") for _ in "ab"]
    for model, encoder in zip(bare, ends, strict=True):
        model.load_state_dict(weights_of(encoder))
    found = interpolate(*bare, 0.5, prepare(SCENES.images))
    assert type(found) is open_clip.CLIP
    expected = weights_of(interpolate(*ends, 0.5, SCENES.images))
    for name, value in weights_of(found).items():
        torch.testing.assert_close(value, expected[name], msg=name)


def test_runs_give_an_encoder_that_can_be_measured_and_saved(ends, tiny_profile, tiny_corpus, tmp_path):
    runs = [Run(tiny_profile, "base", 0.0, 0, tmp_path, encoder, None, "") for encoder in ends]
    found = interpolate(*runs, 0.5)
    assert isinstance(found, Encoder) and equal(found, interpolate(*ends, 0.5))
    found.save(tmp_path / "half.safetensors")
    loaded = open_clip.create_model("tpccma-demo", pretrained=str(tmp_path / "half.safetensors"))
    assert equal(loaded, found)
    assert evaluate(found, tiny_corpus, tasks=("retrieval",))["i2t_recall_at_1"] >= 0


@pytest.mark.parametrize("t", [-0.1, 1.1, math.nan, "0.5", True, None])
def test_t_out_of_range_is_named(t):
    line = Line([[1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match="t must be a number, from 0 to 1, got"):
        interpolate(line, line, t)


def test_other_architectures_are_refused_by_name(ends):
    line, normed = Line([[1.0, 0.0], [0.0, 1.0]]), Line([[1.0, 0.0], [0.0, 1.0]], True)
    with pytest.raises(ValueError, match=r"base has norm \(Identity\) where aligned has norm \(BatchNorm1d\); pass"):
        interpolate(line, normed, 0.5)
    longer = Line([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    with pytest.raises(ValueError, match=r"linear\.weight of shape \(2, 2\) .* aligned has linear\.weight .*\(3, 2\)"):
        interpolate(line, longer, 0.5)
    more = deepcopy(line)
    more.bias = nn.Parameter(torch.zeros(2))
    with pytest.raises(ValueError, match="base has bias of shape"):
        interpolate(more, line, 0.5)
    with pytest.raises(ValueError, match=r"pass a model and one that was fine-tuned from it$"):
        interpolate(ends[0], Heads(6, 4, 8, 3), 0.5)


def test_other_activation_is_refused():
    small = {"image_size": 8, "layers": 1, "width": 64, "patch_size": 4}
    text = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
    models = [open_clip.CLIP(8, small, text, quick_gelu=quick) for quick in (False, True)]
    with pytest.raises(ValueError, match=r"\(GELU\) where aligned has .*\(QuickGELU\)"):
        interpolate(*models, 0.5)


def test_other_vocabulary_is_refused(ends):
    base, aligned = ends
    words = (*base.tokenizer.words[:-1], "zebra")
    other = Encoder(aligned.model, WordTokenizer(words, base.tokenizer.context_length))
    with pytest.raises(ValueError, match=r"two vocabularies: .* where 'zebra' does"):
        interpolate(base, other, 0.5)


def test_what_is_no_model_is_refused():
    with pytest.raises(ValueError, match="cannot interpolate str, which has no encode_image"):
        interpolate("base.pt", "aligned.pt", 0.5)


def test_pictures_that_cannot_serve_are_refused():
    line = Line([[1.0, 0.0], [0.0, 1.0]], True)
    with pytest.raises(ValueError, match="images holds 1, too few"):
        interpolate(line, line, 0.5, torch.ones(1, 2))
    with pytest.raises(ValueError, match=r"pixels of type torch\.uint8"):
        interpolate(line, line, 0.5, torch.ones(4, 2, dtype=torch.uint8))
