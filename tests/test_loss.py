"""Legend: B pairs, D width, s the inverse temperature. The hand-made batch, as unit vectors of the plane:

x_1 = (1, 0), x_2 = (0, 1); y_1 = (0.6, 0.8), y_2 = (0.8, 0.6).
So x_i.y_i = 0.6, x_1.y_2 = x_2.y_1 = 0.8, x_1.x_2 = 0, y_1.y_2 = 0.96.
"""

import math
from inspect import signature
from math import exp, log

import open_clip.loss
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from open_clip.loss import ClipLoss
from torch import Tensor

import tpccma.loss
from tpccma.loss import (
    CMALoss,
    centroid_distance,
    check_alpha,
    gather_pair,
    geometry_mismatch,
    paired_distance,
    reweighted_contrast,
)

X = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
Y = torch.tensor([[0.6, 0.8], [0.8, 0.6]], dtype=torch.float64)
S = torch.tensor(2.0, dtype=torch.float64)
WEIGHTS = dict.fromkeys(("reweighted_weight", "geometry_weight", "centroid_weight", "paired_weight"), 1.0)


def random_batch(seed: int = 0, count: int = 6, width: int = 4, dtype: torch.dtype = torch.float64):
    """Two (B, D) batches of unit rows that ask for gradients, drawn by seed."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        F.normalize(torch.randn(count, width, generator=generator, dtype=dtype), dim=1).requires_grad_() for _ in "xy"
    )


def gradients(loss: Tensor, inputs) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, inputs)])


def slow_reweighted(x: Tensor, y: Tensor, s: Tensor, hardness: float, detach: bool = True) -> Tensor:
    """The definition of `reweighted_contrast`, anchor by anchor and negative by negative."""
    losses = []
    for anchors, others in ((x, y), (y, x)):
        for i, anchor in enumerate(anchors):
            cosines = [anchor @ z for rows in (anchors, others) for j, z in enumerate(rows) if j != i]
            hard = torch.stack([torch.exp(hardness * s * (c.detach() if detach else c)) for c in cosines])
            weights = hard / hard.mean()
            positive = torch.exp(s * anchor @ others[i])
            negatives = sum(w * torch.exp(s * c) for w, c in zip(weights, cosines, strict=True))
            losses.append(-torch.log(positive / (positive + negatives)))
    return torch.stack(losses).mean()


# ---- the whole loss


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
def test_alpha_0_is_clip_loss_in_value_and_gradient(dtype: torch.dtype, scale: float):
    x, y = random_batch(dtype=dtype)
    s = torch.tensor(scale, dtype=dtype, requires_grad=True)
    ours, theirs = CMALoss(alpha=0.0)(x, y, s), ClipLoss()(x, y, s)
    assert ours.dtype == dtype
    assert torch.equal(ours, theirs)
    assert torch.equal(gradients(ours, (x, y, s)), gradients(theirs, (x, y, s)))


def test_alpha_0_is_clip_loss_by_hand():
    # logits s x_i.y_j: 1.2 on the diagonal, 1.6 off it; so every row and column gives log(1 + e^(1.6 - 1.2))
    assert CMALoss(alpha=0.0)(X, Y, S).item() == pytest.approx(log(1 + exp(0.4)), abs=1e-12)


def test_alpha_1_is_the_weighted_sum_of_the_terms():
    reweighted = reweighted_contrast(X, Y, S).item()
    # geometry 0.9216, centroid 0.08: see the tests of the terms; nothing of the paired term
    expected = 1 * reweighted + 0.25 * 0.9216 + 1 * 0.08
    assert CMALoss(alpha=1.0)(X, Y, S).item() == pytest.approx(expected, abs=1e-12)


def test_alpha_mixes_linearly():
    clip, cma = CMALoss(alpha=0.0)(X, Y, S), CMALoss(alpha=1.0)(X, Y, S)
    assert CMALoss(alpha=0.3)(X, Y, S).item() == pytest.approx((0.7 * clip + 0.3 * cma).item(), abs=1e-12)


def test_dictionary_holds_weighted_terms_that_add_up_to_the_total():
    loss = CMALoss(alpha=0.25, geometry_weight=4.0, centroid_weight=3.0, paired_weight=2.0)
    terms = loss(X, Y, S, output_dict=True)
    assert list(terms) == ["contrastive_loss", "reweighted_loss", "geometry_loss", "centroid_loss", "paired_loss"]
    assert sum(terms.values()).item() == pytest.approx(loss(X, Y, S).item(), abs=1e-12)
    assert terms["contrastive_loss"].item() == pytest.approx(0.75 * log(1 + exp(0.4)))
    assert terms["geometry_loss"].item() == pytest.approx(0.25 * 4 * 0.9216)
    assert terms["centroid_loss"].item() == pytest.approx(0.25 * 3 * 0.08)
    assert terms["paired_loss"].item() == pytest.approx(0.25 * 2 * 0.8)


def test_dictionary_of_alpha_0_is_that_of_clip_loss():
    assert CMALoss(alpha=0.0)(X, Y, S, output_dict=True) == ClipLoss()(X, Y, S, output_dict=True)


@pytest.mark.parametrize("name", ["reweighted", "geometry", "centroid", "paired"])
def test_term_with_weight_0_is_absent(name: str):
    terms = CMALoss(alpha=0.5, **WEIGHTS | {f"{name}_weight": 0.0})(X, Y, S, output_dict=True)
    kept = {"reweighted", "geometry", "centroid", "paired"} - {name}
    assert set(terms) == {"contrastive_loss", *(f"{other}_loss" for other in kept)}


def test_all_terms_switched_off_leaves_clip():
    loss = CMALoss(alpha=0.5, **dict.fromkeys(WEIGHTS, 0.0))
    assert loss(X, Y, S).item() == pytest.approx(0.5 * log(1 + exp(0.4)))
    norm_and_cosine, terms = loss.read(X, Y, S).numbers()[1:3], loss.read(X, Y, S).numbers()[3:]
    assert norm_and_cosine.tolist() == [0.0, 0.0]
    assert terms.tolist() == pytest.approx([log(1 + exp(0.4)), 0.0, 0.0, 0.08, 0.8])


def test_alpha_may_change_between_steps():
    loss = CMALoss(alpha=0.5)
    loss.alpha = 0.0
    assert torch.equal(loss(X, Y, S), ClipLoss()(X, Y, S))


def test_runs_in_open_clips_training_loop():
    x, y = random_batch(dtype=torch.float32)
    model_out = {"image_features": x, "text_features": y, "logit_scale": torch.tensor(100.0)}
    losses = CMALoss(alpha=0.5, local_loss=False, gather_with_grad=True, cache_labels=True, rank=0, world_size=1)(
        **model_out, output_dict=True
    )
    total = sum(losses.values())
    total.backward()
    assert all(key.endswith("_loss") for key in losses)
    assert torch.isfinite(x.grad).all() and torch.isfinite(y.grad).all()


def test_logit_bias_reaches_clip_loss_alone():
    bias = torch.tensor(-3.0, dtype=torch.float64)
    ours = CMALoss(alpha=0.5)(X, Y, S, bias)
    assert ours.item() == pytest.approx(CMALoss(alpha=0.5)(X, Y, S).item())  # a softmax does not see a constant


# ---- the terms by hand


def test_centroid_distance_by_hand():
    # mean x = (0.5, 0.5), mean y = (0.7, 0.7): 0.2^2 + 0.2^2
    assert centroid_distance(X, Y).item() == pytest.approx(0.08)


def test_paired_distance_by_hand():
    # x_1 - y_1 = (0.4, -0.8): 0.16 + 0.64; x_2 - y_2 = (-0.8, 0.4): the same
    assert paired_distance(X, Y).item() == pytest.approx(0.8)


def test_geometry_mismatch_by_hand():
    # off the diagonal x_1.x_2 - y_1.y_2 = 0 - 0.96, once in each of two rows: (0.9216 + 0.9216) / 2
    assert geometry_mismatch(X, Y).item() == pytest.approx(0.9216)


def test_geometry_mismatch_of_three_pairs():
    # x: 0, 90 and 180 degrees; y: all alike. Cosines of x 0, 0, -1, of y 1, 1, 1; squares 1 + 4, 1 + 1, 4 + 1 in a row
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    y = torch.tensor([[1.0, 0.0]] * 3)
    assert geometry_mismatch(x, y).item() == pytest.approx((5 + 2 + 5) / 3)


def test_geometry_is_blind_to_a_rotation_of_one_modality():
    x, _ = random_batch()
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]
    assert geometry_mismatch(x, x @ rotation).item() == pytest.approx(0.0, abs=1e-14)


def test_reweighted_contrast_without_hardness_by_hand():
    # anchors x_i: positive e^1.2, negatives e^1.6 (the other text) and e^0 (the other image)
    # anchors y_i: positive e^1.2, negatives e^1.6 (the other image) and e^1.92 (the other text)
    image = log(1 + (exp(1.6) + 1) / exp(1.2))
    text = log(1 + (exp(1.6) + exp(1.92)) / exp(1.2))
    assert reweighted_contrast(X, Y, S, hardness=0.0).item() == pytest.approx((image + text) / 2, abs=1e-12)


def test_reweighted_contrast_with_hardness_by_hand():
    # beta = 1: x_i weighs its negatives e^1.6 : e^0, y_i e^1.6 : e^1.92, either pair of weights with mean 1, so sum 2
    a, b = 2 * exp(1.6) / (exp(1.6) + 1), 2 / (exp(1.6) + 1)
    image = log(1 + (a * exp(1.6) + b) / exp(1.2))
    c, d = 2 * exp(1.6) / (exp(1.6) + exp(1.92)), 2 * exp(1.92) / (exp(1.6) + exp(1.92))
    text = log(1 + (c * exp(1.6) + d * exp(1.92)) / exp(1.2))
    assert reweighted_contrast(X, Y, S, hardness=1.0).item() == pytest.approx((image + text) / 2, abs=1e-12)


def test_weights_have_mean_1():
    # all negatives equally hard: whatever the hardness, weights of mean 1 change nothing
    x = torch.eye(3, dtype=torch.float64)
    plain = reweighted_contrast(x, x, S, hardness=0.0).item()
    assert plain == pytest.approx(log(1 + 4 / exp(2)))  # positive e^(2 * 1), four negatives e^0
    assert reweighted_contrast(x, x, S, hardness=7.0).item() == pytest.approx(plain, abs=1e-12)


@pytest.mark.parametrize("hardness", [0.0, 1.0, 5.0])
def test_reweighted_contrast_equals_the_definition_with_weights_held_constant(hardness: float):
    x, y = random_batch()
    ours, reference = reweighted_contrast(x, y, S, hardness), slow_reweighted(x, y, S, hardness)
    assert ours.item() == pytest.approx(reference.item(), abs=1e-12)
    torch.testing.assert_close(gradients(ours, (x, y)), gradients(reference, (x, y)), rtol=1e-10, atol=1e-12)


def test_weights_with_gradient_would_differ():
    x, y = random_batch()
    ours = gradients(reweighted_contrast(x, y, S, 5.0), (x, y))
    through_weights = gradients(slow_reweighted(x, y, S, 5.0, detach=False), (x, y))
    assert (ours - through_weights).abs().max() > 0.01


def test_hardness_acts_beside_a_scale_of_100():
    # cosines 0.1 apart: e^(100 * 0.1) = 22,026 times the weight, where a beta on the cosine gave 1.1 times
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    s = torch.tensor(100.0, dtype=torch.float64)
    y = F.normalize(torch.tensor([[1.0, 0.1], [0.0, 1.0]], dtype=torch.float64), dim=1)
    cosine = (x[1] @ y[0]).item()  # x_2 has the negatives y_1, and x_1 at a cosine of 0
    weight = 2 * exp(100 * cosine) / (exp(100 * cosine) + 1)
    # anchors x_1: y_2 and x_2 at 0, positive y_1; y_1: x_2 at `cosine`, y_2 at `cosine`, both of weight 1; y_2: as x_2
    first = log(1 + 2 * exp(-100 * (x[0] @ y[0]).item()))
    second = log(1 + (weight * exp(100 * cosine) + 2 - weight) * exp(-100))
    third = log(1 + 2 * exp(100 * (cosine - (x[0] @ y[0]).item())))
    expected = (first + 2 * second + third) / 4
    assert reweighted_contrast(x, y, s).item() == pytest.approx(expected, rel=1e-6)


def test_hard_negatives_cost_more():
    x, y = random_batch()
    losses = [reweighted_contrast(x, y, S, hardness).item() for hardness in (0.0, 1.0, 2.0, 4.0)]
    assert losses == sorted(losses) and losses[0] < losses[-1]


def test_reweighted_contrast_keeps_float64():
    x, y = random_batch()
    assert reweighted_contrast(x, y, S).dtype == torch.float64


def test_perfect_alignment_leaves_no_distance():
    assert [term(X, X).item() for term in (geometry_mismatch, centroid_distance, paired_distance)] == [0.0, 0.0, 0.0]


def test_batch_of_one_pair_has_no_negatives():
    x, y = X[:1].clone().requires_grad_(), Y[:1]
    assert reweighted_contrast(x, y, S).item() == 0.0
    assert geometry_mismatch(x, y).item() == 0.0
    assert torch.isfinite(gradients(CMALoss(alpha=0.5)(x, y, S), (x,))).all()


@pytest.mark.parametrize("term", [geometry_mismatch, centroid_distance, paired_distance])
def test_gradcheck_of_distances(term):
    assert torch.autograd.gradcheck(term, random_batch(count=4, width=3))


def test_gradcheck_of_reweighted_contrast():
    # hardness 0 only: the weights of a harder one are constants by definition, which differences cannot know
    s = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    inputs = (*random_batch(count=4, width=3), s)
    assert torch.autograd.gradcheck(lambda x, y, s: reweighted_contrast(x, y, s, 0.0), inputs)


# ---- invariances


@given(seed=st.integers(0, 10_000), alpha=st.floats(0, 1), count=st.integers(2, 8))
def test_order_of_the_pairs_does_not_matter(seed: int, alpha: float, count: int):
    x, y = random_batch(seed, count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    loss = CMALoss(alpha=alpha)
    assert loss(x[order], y[order], S).item() == pytest.approx(loss(x, y, S).item(), rel=1e-9)


@given(seed=st.integers(0, 10_000), alpha=st.floats(0, 1))
def test_rotating_both_modalities_does_not_matter(seed: int, alpha: float):
    x, y = random_batch(seed)
    noise = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))
    rotation = torch.linalg.qr(noise)[0]
    loss = CMALoss(alpha=alpha, paired_weight=1.0)
    assert loss(x @ rotation, y @ rotation, S).item() == pytest.approx(loss(x, y, S).item(), rel=1e-8)


@given(seed=st.integers(0, 10_000), hardness=st.floats(0, 10))
def test_modalities_may_change_places(seed: int, hardness: float):
    x, y = random_batch(seed)
    loss = CMALoss(alpha=1.0, hardness=hardness)
    assert loss(y, x, S).item() == pytest.approx(loss(x, y, S).item(), rel=1e-9)


@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 100), hardness=st.floats(0, 20))
def test_terms_are_finite_and_not_negative(seed: int, scale: float, hardness: float):
    x, y = random_batch(seed, dtype=torch.float32)
    terms = CMALoss(alpha=1.0, hardness=hardness, **WEIGHTS)(x, y, torch.tensor(scale), output_dict=True)
    assert all(0 <= term.item() < math.inf for term in terms.values())
    assert torch.isfinite(gradients(sum(terms.values()), (x, y))).all()


# ---- several processes


def test_one_process_holds_the_whole_batch():
    first, second = gather_pair(ClipLoss(), X, Y)
    assert first is X and second is Y


def test_parts_are_gathered_with_the_losss_own_settings(monkeypatch: pytest.MonkeyPatch):
    calls: list[tuple] = []
    both = (torch.cat([X, X]), torch.cat([Y, Y]))
    monkeypatch.setattr(tpccma.loss, "gather_features", lambda *given: calls.append(given) or both)
    assert gather_pair(ClipLoss(gather_with_grad=True, rank=1, world_size=2), X, Y) is both
    (given,) = calls
    named = dict(zip(signature(open_clip.loss.gather_features).parameters, given, strict=True))
    assert named.pop("image_features") is X and named.pop("text_features") is Y
    assert named == {
        "local_loss": False,
        "gather_with_grad": True,
        "rank": 1,
        "world_size": 2,
        "use_horovod": False,
    }


# ---- bad arguments


@pytest.mark.parametrize("alpha", [-0.01, 1.01, math.nan, math.inf, "x", None, True])
def test_bad_alpha_is_named(alpha):
    with pytest.raises(ValueError, match=f"alpha must be .* got {alpha!r}"):
        CMALoss(alpha=alpha)


@pytest.mark.parametrize("alpha", [0, 1, 0.5])
def test_check_alpha_gives_a_float(alpha: float):
    assert check_alpha(alpha) == alpha and isinstance(check_alpha(alpha), float)


@pytest.mark.parametrize("name", [*WEIGHTS, "hardness"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_bad_weight_is_named(name: str, value: float):
    with pytest.raises(ValueError, match=f"{name} must be .* got {value!r}"):
        CMALoss(alpha=0.5, **{name: value})
