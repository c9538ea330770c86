"""The one pass against the plain form, which is the text of the method, in value and gradient.

Legend: B pairs, D width, s the inverse temperature.
"""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tpccma import blocks, closed_form
from tpccma.loss import CMALoss

ALL = {"reweighted_weight": 1.3, "geometry_weight": 0.25, "centroid_weight": 0.7, "paired_weight": 0.4}


def random_batch(seed: int, count: int, width: int = 4, dtype: torch.dtype = torch.float64, near: float = 1.0):
    """Two (B, D) batches of unit rows that ask for gradients; `near` mixes what a pair has in common."""
    generator = torch.Generator().manual_seed(seed)
    common, *own = (torch.randn(count, width, generator=generator, dtype=torch.float64) for _ in "cxy")
    return tuple(F.normalize(near * common + part, dim=1).to(dtype).requires_grad_() for part in own)


def scale_of(value: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(value, dtype=dtype, requires_grad=True)


def value_and_gradient(terms: dict[str, Tensor], inputs: tuple[Tensor, ...]) -> list[Tensor]:
    total = sum(terms.values())
    return [torch.stack(list(terms.values())).detach(), *torch.autograd.grad(total, inputs)]


def assert_close(found: list[Tensor], expected: list[Tensor], relative: float) -> None:
    """Compare tensors, each by the size of the largest number in it."""
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= relative * other.abs().max() + 1e-14


@pytest.fixture(
    params=[
        (256, 2048, ""),
        (3, 2048, ""),
        (3, 0, ""),
        (1, 0, ""),
        (3, 2048, ", as on a GPU"),
        (3, 0, ", as on a GPU"),
    ],
    ids=lambda given: "rows {}, held {}{}".format(*given),
)
def rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Rows at a time, with logits kept or computed twice; on a GPU forces take the place of the logits."""
    count, held, on_a_gpu = request.param
    monkeypatch.setattr(closed_form, "ROWS", count)
    monkeypatch.setattr(closed_form, "HELD", held)
    if on_a_gpu:
        monkeypatch.setattr(blocks, "_instead", Tensor.copy_)
    return count


# ---- against the plain form


@pytest.mark.parametrize("alpha", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("hardness", [0.0, 0.5, 1.0, 3.0])
def test_pass_equals_the_plain_form(rows: int, alpha: float, hardness: float):
    x, y = random_batch(0, 7)
    s = scale_of(14.3)
    loss = CMALoss(alpha, hardness=hardness, **ALL)
    expected = value_and_gradient(loss.plain(x, y, s), (x, y, s))
    assert_close(value_and_gradient(loss(x, y, s, output_dict=True), (x, y, s)), expected, 1e-12)
    assert_close(value_and_gradient(loss.read(x, y, s).terms(alpha), (x, y, s)), expected, 1e-12)


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 40),
    alpha=st.floats(0, 1),
    scale=st.floats(0.1, 200),
    hardness=st.floats(0, 5),
    weights=st.tuples(*[st.sampled_from([0.0, 0.3, 2.0])] * 4),
    near=st.sampled_from([0.0, 1.0, 30.0]),
)
def test_pass_equals_the_plain_form_whatever_the_settings(seed, count, alpha, scale, hardness, weights, near):
    x, y = random_batch(seed, count, near=near)
    s = scale_of(scale)
    loss = CMALoss(alpha, hardness=hardness, **dict(zip(ALL, weights, strict=True)))
    expected = value_and_gradient(loss.plain(x, y, s), (x, y, s))
    assert_close(value_and_gradient(loss(x, y, s, output_dict=True), (x, y, s)), expected, 1e-9)


@pytest.mark.parametrize("name", ALL)
def test_gradcheck_of_each_term(name: str):
    # hardness 0 only: the weights of a harder one are constants by definition, which differences cannot know
    loss = CMALoss(0.7, hardness=0.0, **dict.fromkeys(ALL, 0.0) | {name: 1.0})
    inputs = (*random_batch(1, 5, width=3), scale_of(2.0))
    assert torch.autograd.gradcheck(lambda x, y, s: loss(x, y, s), inputs)


def test_gradient_of_a_term_alone_is_its_own():
    x, y = random_batch(2, 6)
    s = scale_of(10.0)
    loss = CMALoss(0.4, **ALL)
    for name in loss.term_names:
        found, expected = (
            torch.autograd.grad(terms[name], (x, y)) for terms in (loss(x, y, s, output_dict=True), loss.plain(x, y, s))
        )
        assert_close(list(found), list(expected), 1e-12)


def test_terms_may_be_weighted_once_more():
    x, y = random_batch(3, 6)
    s = scale_of(10.0)
    loss = CMALoss(0.4, **ALL)
    found, expected = (
        torch.autograd.grad(2 * terms["contrastive_loss"] + 3 * terms["geometry_loss"], (x, y, s))
        for terms in (loss(x, y, s, output_dict=True), loss.plain(x, y, s))
    )
    assert_close(list(found), list(expected), 1e-12)


def test_logit_bias_has_no_gradient_and_no_effect():
    x, y = random_batch(4, 6)
    s, bias = scale_of(10.0), scale_of(-3.0)
    loss = CMALoss(0.4)
    with_bias = loss(x, y, s, bias)
    assert torch.equal(with_bias, loss(x, y, s))
    assert with_bias.item() == pytest.approx(sum(loss.plain(x, y, s, bias).values()).item(), rel=1e-12)
    assert torch.autograd.grad(with_bias, bias)[0].item() == 0.0


def test_large_batch_of_alpha_0_is_clip_without_its_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tpccma.loss.HELD", 5)  # the pass orders sums otherwise than ClipLoss
    x, y = random_batch(5, 6)
    s = scale_of(30.0)
    loss = CMALoss(0.0)
    terms = loss(x, y, s, output_dict=True)
    assert list(terms) == ["contrastive_loss"]
    assert_close(value_and_gradient(terms, (x, y, s)), value_and_gradient(loss.plain(x, y, s), (x, y, s)), 1e-12)


# ---- low precision


@pytest.mark.parametrize("dtype, relative", [(torch.float32, 5e-6), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)])
def test_low_precision_is_as_near_as_its_inputs_are(dtype: torch.dtype, relative: float):
    x, y = random_batch(6, 96, width=32, dtype=dtype)
    s = scale_of(100.0, torch.float32)
    loss = CMALoss(0.5, **ALL)
    exact = tuple(t.detach().double().requires_grad_() for t in (x, y, s))
    expected = value_and_gradient(loss.plain(*exact), exact)
    found = value_and_gradient(loss(x, y, s, output_dict=True), (x, y, s))
    assert found[1].dtype == dtype and found[0].dtype == torch.float32
    assert_close([t.double() for t in found], expected, relative)


@pytest.mark.parametrize("count", [2, 64, 4096])
def test_half_precision_is_finite(count: int):
    x, y = random_batch(7, count, width=16, dtype=torch.float16)
    s = scale_of(100.0, torch.float16)
    found = value_and_gradient(CMALoss(0.5, hardness=4.0, **ALL)(x, y, s, output_dict=True), (x, y, s))
    assert all(torch.isfinite(t).all() for t in found)


def test_autocast_does_not_round_the_cosines():
    x, y = random_batch(8, 16, dtype=torch.float32)
    s = scale_of(100.0, torch.float32)
    loss = CMALoss(0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(x, y, s)
    assert torch.equal(found, loss(x, y, s))


def test_distant_logits_do_not_underflow():
    # two images far from every other pair: their largest negatives lie 160 below other rows' at s = 100
    x, y = random_batch(9, 8, width=6, dtype=torch.float32, near=5.0)
    s = scale_of(300.0, torch.float32)
    exact = tuple(t.detach().double().requires_grad_() for t in (x, y, s))
    loss = CMALoss(1.0)
    expected = value_and_gradient(loss.plain(*exact), exact)
    assert_close([t.double() for t in value_and_gradient(loss(x, y, s, output_dict=True), (x, y, s))], expected, 1e-5)


# ---- what a curriculum reads


def test_reading_equals_autograd_on_the_tangent_planes():
    x, y = random_batch(10, 6)
    s = scale_of(14.3)
    numbers = CMALoss(0.3, **ALL).read(x, y, s).numbers()
    found = []
    for alpha in (0.0, 1.0):
        gradients = torch.autograd.grad(sum(CMALoss(alpha, **ALL).plain(x, y, s).values()), (x, y))
        found.append(torch.cat([g - (g * p).sum(1, keepdim=True) * p for g, p in zip(gradients, (x, y), strict=True)]))
    clip, cma = found
    expected = [clip.norm(), cma.norm(), F.cosine_similarity(clip.flatten(), cma.flatten(), dim=0)]
    assert numbers[:3].tolist() == pytest.approx([value.item() for value in expected], rel=1e-9)


def test_tangent_gradient_of_the_paired_term_by_hand():
    # x_i - y_i has the tangential part -(y_i - (x_i.y_i) x_i), of length sin(angle) = 0.8 at a cosine of 0.6
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    y = torch.tensor([[0.6, 0.8], [0.8, 0.6]], dtype=torch.float64)
    loss = CMALoss(0.5, reweighted_weight=0.0, geometry_weight=0.0, centroid_weight=0.0, paired_weight=1.0)
    # gradient 2 / B (x_i - y_i) at four embeddings: sqrt(4 * 0.8^2)
    assert loss.read(x, y, scale_of(2.0)).numbers()[1].item() == pytest.approx(1.6)


def test_numbers_hold_the_terms_in_their_order():
    x, y = random_batch(11, 6)
    s = scale_of(14.3)
    loss = CMALoss(1.0, **dict.fromkeys(ALL, 1.0))
    read = loss.read(x, y, s)
    terms = loss.plain(x, y, s)
    clip = CMALoss(0.0)(x, y, s).item()
    assert read.numbers()[3:].tolist() == pytest.approx([clip, *(t.item() for t in list(terms.values())[1:])])
    assert list(read.shares(0.25)) == list(CMALoss.term_names)
    assert list(read.shares(0.25).values()) == [0.75, 0.25, 0.25, 0.25, 0.25]
    assert read.shares(0.0) == {"contrastive_loss": 1.0}


def test_read_leaves_the_graph_alone():
    x, y = random_batch(12, 4)
    s = scale_of(10.0)
    CMALoss(0.5).read(x, y, s)
    assert x.grad is y.grad is s.grad is None


def test_pair_alone_has_neither_contrast_nor_geometry():
    x, y = random_batch(13, 1)
    numbers = CMALoss(0.5).read(x, y, scale_of(10.0)).numbers()
    distance = (x - y).square().sum().item()
    assert numbers[3:].tolist() == pytest.approx([0.0, 0.0, 0.0, distance, distance])


# ---- memory


class Largest(TorchDispatchMode):
    """Notes the elements of the largest tensor that any operation makes, in the forward and in the backward pass."""

    elements = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        made = function(*arguments, **(keywords or {}))
        for tensor in made if isinstance(made, list | tuple) else [made]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return made


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_memory_is_linear_in_the_batch(monkeypatch: pytest.MonkeyPatch, alpha: float):
    monkeypatch.setattr(closed_form, "ROWS", 8)
    monkeypatch.setattr(closed_form, "HELD", 0)
    monkeypatch.setattr("tpccma.loss.HELD", 0)
    for count in (64, 128, 256):
        x, y = random_batch(0, count)
        with Largest() as mode:
            CMALoss(alpha)(x, y, scale_of(10.0)).backward()
        assert mode.elements == 8 * count  # never B x B
