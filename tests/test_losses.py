"""Legend: s the inverse temperature. The hand-made batch, as unit vectors of the plane:

x_1 = (1, 0), x_2 = (0, 1); y_1 = (0.6, 0.8), y_2 = (0.8, 0.6); s = 2.
So x_i.y_i = 0.6, x_1.y_2 = x_2.y_1 = 0.8, x_1.x_2 = 0, y_1.y_2 = 0.96.
"""

import math
from math import exp, log, sqrt

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from open_clip.loss import ClipLoss
from torch import Tensor, nn

import tpccma.methods.baseline
import tpccma.methods.losses
from tpccma.loss import CMALoss
from tpccma.methods import LOSS_TERMS, METHODS, Method, loss_columns
from tpccma.methods.baseline import BaselineLoss
from tpccma.methods.losses import (
    AlignCLIPLoss,
    CLIPRefineLoss,
    CSAlignerLoss,
    FahimLoss,
    M2MixLoss,
    ModGapLoss,
    cauchy_schwarz_divergence,
    hybrid_distillation,
    intra_modal_separation,
    mixed_contrast,
    random_feature_alignment,
    slerp,
    uniformity_potential,
)
from tpccma.methods.post_processing import (
    PostProcessed,
    Recentre,
    i0t_async,
    mean_centering,
    mind_the_gap_shift,
    realign,
)
from tpccma.metrics.divergences import cauchy_schwarz, median_bandwidth, trace_ratio
from tpccma.metrics.geometry import uniformity
from tpccma.models.towers import Heads

X = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
Y = torch.tensor([[0.6, 0.8], [0.8, 0.6]], dtype=torch.float64)
S = torch.tensor(2.0, dtype=torch.float64)
CLIP = log(1 + exp(0.4))  # of the hand-made batch: logits 1.2 on the diagonal, 1.6 off it
HALF = torch.tensor(0.5, dtype=torch.float64)
EYE = torch.eye(2, dtype=torch.float64)


def unit_rows(seed: int, count: int = 6, width: int = 4) -> Tensor:
    """A (B, D) batch of unit rows that asks for gradients, drawn by seed."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, generator=generator, dtype=torch.float64), dim=1).requires_grad_()


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    return unit_rows(2 * seed), unit_rows(2 * seed + 1)


def inputs_of(loss: BaselineLoss, seed: int = 0) -> dict:
    """What a loss asks the trainer for, made up."""
    made_up = {
        "sentences": unit_rows(seed + 10, width=3).detach(),
        "epoch": 1,
        "raw": tuple(3 * rows for rows in batch(seed + 20)),
        "teacher": (*(rows.detach() for rows in batch(seed + 30)), torch.tensor(5.0, dtype=torch.float64)),
    }
    return {name: made_up[name] for name in loss.inputs}


LOSSES = (AlignCLIPLoss, M2MixLoss, CLIPRefineLoss, CSAlignerLoss, FahimLoss, ModGapLoss)
every_loss = pytest.mark.parametrize("kind", LOSSES, ids=lambda kind: kind.__name__)


# ---- align-clip


def test_separation_by_hand():
    # x_1.x_2 = 0.8, captions of cosine 0.6 and so of distance 0.4: logits 2 * 0.8 * 0.4 = 0.64 off the diagonal;
    # x_i.y_i = 0.6, so 1.2 on it: both rows give log(1 + e^(0.64 - 1.2))
    x = torch.tensor([[1.0, 0.0], [0.8, 0.6]], dtype=torch.float64)
    y = torch.tensor([[0.6, 0.8], [0.0, 1.0]], dtype=torch.float64)
    sentences = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    assert intra_modal_separation(x, y, S, sentences).item() == pytest.approx(log(1 + exp(-0.56)), abs=1e-12)


def test_separation_leaves_pictures_of_one_meaning_alone():
    # equal captions: distance 0, logits 0 off the diagonal whatever the pictures are
    x, y = torch.tensor([[1.0, 0.0], [0.8, 0.6]], dtype=torch.float64), Y
    same = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    # x_1.y_1 = 0.6; x_2.y_2 = 0.64 + 0.36 = 1: rows log(1 + e^-1.2) and log(1 + e^-2)
    expected = (log(1 + exp(-1.2)) + log(1 + exp(-2))) / 2
    assert intra_modal_separation(x, y, S, same).item() == pytest.approx(expected, abs=1e-12)


def test_align_clip_adds_half_the_separation():
    sentences = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    losses = AlignCLIPLoss()(X, Y, S, output_dict=True, sentences=sentences)
    assert list(losses) == ["contrastive_loss", "separation_loss"]
    assert losses["contrastive_loss"].item() == pytest.approx(CLIP, abs=1e-12)
    # x_1.x_2 = 0, so 0 off the diagonal and 1.2 on it
    assert losses["separation_loss"].item() == pytest.approx(0.5 * log(1 + exp(-1.2)), abs=1e-12)
    assert AlignCLIPLoss(weight=3.0)(X, Y, S, sentences=sentences).item() == pytest.approx(
        CLIP + 3 * log(1 + exp(-1.2)), abs=1e-12
    )


# ---- m2-mix


def test_slerp_by_hand():
    # a third of the quarter circle from (1, 0) to (0, 1) ends at 30 degrees
    third = slerp(X[:1], X[1:], torch.tensor(1 / 3, dtype=torch.float64))
    assert third.tolist() == [pytest.approx([sqrt(3) / 2, 0.5])]
    # the middle of the arc from x_1 to y_1 is the direction of (1.6, 0.8), of x_2 to y_2 that of (0.8, 1.6)
    middle = slerp(X, Y, HALF)
    assert middle.tolist() == [pytest.approx([2 / sqrt(5), 1 / sqrt(5)]), pytest.approx([1 / sqrt(5), 2 / sqrt(5)])]


@given(seed=st.integers(0, 1000), share=st.floats(0, 1))
def test_slerp_stays_on_the_sphere_and_divides_the_angle(seed: int, share: float):
    x, y = batch(seed)
    point = slerp(x, y, torch.tensor(share, dtype=torch.float64))
    torch.testing.assert_close(point.norm(dim=1), torch.ones(6, dtype=torch.float64))
    angle, part = ((x * other).sum(1).clamp(-1, 1).acos() for other in (y, point))
    torch.testing.assert_close(part, share * angle, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_slerp_of_equal_rows_is_the_row(dtype: torch.dtype, share: float):
    x, y = (unit_rows(0).detach().to(dtype).requires_grad_() for _ in "xy")
    point = slerp(x, y, torch.tensor(share, dtype=dtype))
    torch.testing.assert_close(point, x, atol=1e-6, rtol=0)
    gradients = torch.autograd.grad(point.square().sum(), (x, y))
    # (1 - share) x + share y to first order: the gradient of its square is 2 (1 - share) x and 2 share y
    torch.testing.assert_close(gradients, (2 * (1 - share) * x, 2 * share * y), atol=1e-5, rtol=0)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_slerp_of_opposite_rows_is_finite(share: float):
    x, y = X.clone().requires_grad_(), (-X).requires_grad_()
    point = slerp(x, y, torch.tensor(share, dtype=torch.float64))
    # of a half circle, the part along x: cos(pi share) x, as far as the angle, kept 0.0014 off it, allows
    torch.testing.assert_close(point, math.cos(math.pi * share) * X, atol=1e-3, rtol=0)
    assert all(gradient.abs().max() < 1e4 for gradient in torch.autograd.grad(point.sum(), (x, y)))


def test_mixed_contrast_by_hand():
    # m_1 = (2, 1) / sqrt(5), m_2 = (1, 2) / sqrt(5); x_1.m_2 = x_2.m_1 = 1 / sqrt(5), y_1.m_2 = y_2.m_1 = 2.2 / sqrt(5)
    # on the diagonals x_i.y_i = 0.6; temperature 0.5
    expected = log(1 + exp((1 / sqrt(5) - 0.6) / 0.5)) + log(1 + exp((2.2 / sqrt(5) - 0.6) / 0.5))
    assert mixed_contrast(X, Y, HALF, temperature=0.5).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("share, cosines", [(0.0, (0.0, 0.8)), (1.0, (0.8, 0.96))])
def test_mixed_contrast_at_the_ends_of_the_arc(share: float, cosines: tuple[float, float]):
    # share 0: m = x, so x_1.x_2 = 0 and y_1.x_2 = 0.8; share 1: m = y, so x_1.y_2 = 0.8 and y_1.y_2 = 0.96
    expected = sum(log(1 + exp((cosine - 0.6) / 0.07)) for cosine in cosines)
    assert mixed_contrast(X, Y, torch.tensor(share, dtype=torch.float64)).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("epoch", [0, 3])
def test_m2_mix_weighs_less_epoch_by_epoch(epoch: int):
    torch.manual_seed(1)
    share = torch.distributions.Beta(0.5, 0.5).sample()
    torch.manual_seed(1)
    losses = M2MixLoss()(X, Y, S, output_dict=True, epoch=epoch)
    assert list(losses) == ["contrastive_loss", "mix_loss"]
    assert losses["contrastive_loss"].item() == pytest.approx(CLIP, abs=1e-12)
    assert losses["mix_loss"].item() == pytest.approx(0.05 / (epoch + 1) * mixed_contrast(X, Y, share).item())


def test_m2_mix_draws_a_new_share_every_batch():
    loss = M2MixLoss(weight=1.0, shape=2.0, temperature=0.5)
    torch.manual_seed(1)
    shares = [torch.distributions.Beta(2.0, 2.0).sample() for _ in range(2)]
    torch.manual_seed(1)
    found = [loss(X, Y, S, output_dict=True, epoch=0)["mix_loss"].item() for _ in range(2)]
    assert found == [pytest.approx(mixed_contrast(X, Y, share, 0.5).item()) for share in shares]
    assert found[0] != found[1]


# ---- clip-refine


def test_random_feature_alignment_by_hand():
    images, texts = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [3.0, 0.0]])
    reference = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    # images: 1 + 4 and 1 + 1; texts: 0 + 1 and 4 + 1; in all 13, over 2 B = 4
    assert random_feature_alignment(images, texts, reference).item() == pytest.approx(13 / 4)


def divergence(wanted: list[float], found: list[float]) -> float:
    return sum(q * log(q / p) for q, p in zip(wanted, found, strict=True))


def softmax(logits: list[float]) -> list[float]:
    return [exp(logit) / sum(map(exp, logits)) for logit in logits]


def test_hybrid_distillation_by_hand():
    # student: y = (0.6, 0.8), (1, 0) and scale 1 give logits x_i.y_j = [[0.6, 1], [0.8, 0]]
    y, one = torch.tensor([[0.6, 0.8], [1.0, 0.0]], dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    # teacher: x_1 = y_1 = (1, 0), x_2 = (0, 1), y_2 = (0.6, 0.8), scale log 3, cosines [[1, 0.6], [0, 0.8]]
    teacher_y, scale = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64), torch.tensor(log(3))
    # a = 0.25: q = 0.25 I + 0.75 q_T, by rows (image to text) and by columns (text to image)
    rows = [softmax([log(3), 0.6 * log(3)]), softmax([0.0, 0.8 * log(3)])]
    columns = [softmax([log(3), 0.0]), softmax([0.6 * log(3), 0.8 * log(3)])]
    mix = [[[0.25 * (i == j) + 0.75 * part[i][j] for j in (0, 1)] for i in (0, 1)] for part in (rows, columns)]
    by_row = (divergence(mix[0][0], softmax([0.6, 1.0])) + divergence(mix[0][1], softmax([0.8, 0.0]))) / 2
    by_column = (divergence(mix[1][0], softmax([0.6, 0.8])) + divergence(mix[1][1], softmax([1.0, 0.0]))) / 2
    found = hybrid_distillation(X, y, one, X, teacher_y, scale, mixing=0.25)
    assert found.item() == pytest.approx((by_row + by_column) / 2, abs=1e-7)


def test_hybrid_distillation_is_0_at_the_teacher():
    x, y = batch()
    loss = hybrid_distillation(x, y, S, x.detach(), y.detach(), S, mixing=0.0)
    assert loss.item() == pytest.approx(0.0, abs=1e-12)
    assert torch.cat(torch.autograd.grad(loss, (x, y))).abs().max() < 1e-12


def test_hybrid_distillation_of_the_truth_alone_is_clip():
    # q = I: KL(I || p) = -log p_ii, averaged over rows and directions as L_CLIP is
    x, y = batch()
    teacher = (rows.detach() for rows in batch(1))
    truth = hybrid_distillation(x, y, S, *teacher, S, mixing=1.0)
    assert truth.item() == pytest.approx(ClipLoss()(x, y, S).item(), abs=1e-6)


def test_hybrid_distillation_leaves_the_teacher_alone():
    x, y = batch()
    teacher = batch(1)
    hybrid_distillation(x, y, S, *teacher, S).backward()
    assert x.grad is not None and teacher[0].grad is teacher[1].grad is None


def test_clip_refine_has_no_contrastive_term():
    raw, teacher = (2 * X, 3 * Y), (X, Y, S)
    torch.manual_seed(4)
    reference = torch.randn(2, 2).double()
    torch.manual_seed(4)
    losses = CLIPRefineLoss()(X, Y, S, output_dict=True, raw=raw, teacher=teacher)
    assert list(losses) == ["reference_loss", "distillation_loss"]
    assert losses["reference_loss"].item() == pytest.approx(random_feature_alignment(*raw, reference).item())
    # student = teacher: p = e^1.2 / (e^1.2 + e^1.6) on the diagonal in every row and column, q = 0.5 I + 0.5 p
    p = 1 / (1 + exp(0.4))
    expected = divergence([0.5 + 0.5 * p, 0.5 * (1 - p)], [p, 1 - p])
    assert losses["distillation_loss"].item() == pytest.approx(expected, abs=1e-7)


def test_clip_refine_aligns_raw_embeddings():
    loss = CLIPRefineLoss()
    x, y = (rows.detach() for rows in batch())
    raw = tuple(rows.requires_grad_() for rows in ((5 * x).clone(), (5 * y).clone()))
    loss(x, y, S, raw=raw, teacher=(x, y, S)).backward()
    assert all(rows.grad.abs().max() > 0.1 for rows in raw)


# ---- cs-aligner


def test_cauchy_schwarz_by_hand():
    # one point each, d^2 = 2, width 1: k(x, x) = k(y, y) = 1, k(x, y) = e^-1, so 0 + 0 - 2 * -1
    assert cauchy_schwarz_divergence(X[:1], X[1:], bandwidth=1.0).item() == pytest.approx(2.0)
    # the median distance is their only one, 2^0.5: k(x, y) = e^(-2 / 4), so 1
    assert cauchy_schwarz_divergence(X[:1], X[1:]).item() == pytest.approx(1.0)


@pytest.mark.parametrize("bandwidth", [None, 0.7])
@pytest.mark.parametrize("count", [3, 4, 40])  # an odd and an even number of distances
def test_cauchy_schwarz_is_that_of_the_measures(count: int, bandwidth: float | None):
    x, y = unit_rows(0, count), 0.7 * unit_rows(1, count) + 0.2
    assert cauchy_schwarz_divergence(x, y, bandwidth).item() == pytest.approx(cauchy_schwarz(x, y, bandwidth), rel=1e-6)


def test_median_width_is_a_constant():
    x, y = batch()
    width = median_bandwidth(x, y)
    own, given_width = (
        torch.cat(torch.autograd.grad(cauchy_schwarz_divergence(x, y, bandwidth), (x, y)))
        for bandwidth in (None, width)
    )
    torch.testing.assert_close(own, given_width)
    assert own.abs().max() > 1e-3


def test_cauchy_schwarz_of_collapsed_points_is_0_with_finite_gradient():
    x, y = (torch.ones(4, 3, requires_grad=True) for _ in "xy")
    loss = cauchy_schwarz_divergence(x, y)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert torch.isfinite(torch.cat(torch.autograd.grad(loss, (x, y)))).all()


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_cs_aligner_adds_the_divergence(weight: float):
    losses = CSAlignerLoss(weight)(X, Y, S, output_dict=True)
    assert list(losses) == ["contrastive_loss", "divergence_loss"]
    assert losses["contrastive_loss"].item() == pytest.approx(CLIP, abs=1e-12)
    # d^2: x_1.x_2 2, y_1.y_2 0.08, pairs 0.8, 0.8, others 0.4, 0.4; the third of six is 0.4, so k = e^(-d^2 / 0.8)
    xx, yy, xy = (1 + exp(-2.5)) / 2, (1 + exp(-0.1)) / 2, (exp(-1) + exp(-0.5)) / 2
    assert losses["divergence_loss"].item() == pytest.approx(weight * (log(xx) + log(yy) - 2 * log(xy)), abs=1e-9)


# ---- fahim, modgap


def test_uniformity_potential_by_hand():
    # 0, 90 and 180 degrees: d^2 = 2, 2, 4
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    assert uniformity_potential(points).item() == pytest.approx(log((2 * exp(-4) + exp(-8)) / 3))
    assert uniformity_potential(points, rate=0.5).item() == pytest.approx(log((2 * exp(-1) + exp(-2)) / 3))


@pytest.mark.parametrize("count", [2, 3, 30])
def test_uniformity_potential_is_that_of_the_measures(count: int):
    x = unit_rows(0, count)
    assert uniformity_potential(x).item() == pytest.approx(uniformity(x), rel=1e-9)
    assert torch.isfinite(torch.autograd.grad(uniformity_potential(x), x)[0]).all()


def test_fahim_adds_uniformity_and_alignment():
    losses = FahimLoss()(X, Y, S, output_dict=True)
    assert list(losses) == ["contrastive_loss", "uniformity_loss", "alignment_loss"]
    # one distance each: d^2 = 2 between the x, so -4; 0.2^2 + 0.2^2 = 0.08 between the y, so -0.16
    expected = [CLIP, (-4 - 0.16) / 2, 0.8]
    assert [loss.item() for loss in losses.values()] == pytest.approx(expected, abs=1e-12)


def test_modgap_adds_alignment_and_uniformity_of_the_middles():
    losses = ModGapLoss()(X, Y, S, output_dict=True)
    assert list(losses) == ["contrastive_loss", "uniformity_loss", "alignment_loss"]
    # middles (0.8, 0.4) and (0.4, 0.8): d^2 = 0.32, so -0.64
    assert [loss.item() for loss in losses.values()] == pytest.approx([CLIP, -0.64, 0.8], abs=1e-12)


# ---- all losses


@every_loss
def test_total_is_the_sum_of_the_terms(kind: type[BaselineLoss]):
    loss, (x, y) = kind(), batch()
    given_inputs = inputs_of(loss)
    torch.manual_seed(0)
    total = loss(x, y, S, **given_inputs)
    torch.manual_seed(0)
    terms = loss(x, y, S, output_dict=True, **given_inputs)
    assert total.item() == pytest.approx(sum(terms.values()).item(), rel=1e-12)
    assert all(name.endswith("_loss") and term.ndim == 0 for name, term in terms.items())
    assert ("contrastive_loss" in terms) == (kind is not CLIPRefineLoss)
    if "contrastive_loss" in terms:
        assert torch.equal(terms["contrastive_loss"], ClipLoss()(x, y, S))


@every_loss
def test_gradients_are_finite_at_scale_100(kind: type[BaselineLoss]):
    loss, (x, y) = kind(), batch()
    total = loss(x, y, torch.tensor(100.0, dtype=torch.float64), **inputs_of(loss))
    gradients = torch.cat(torch.autograd.grad(total, (x, y)))
    assert torch.isfinite(gradients).all() and gradients.abs().max() > 0


@every_loss
def test_aligned_pairs_have_finite_gradients(kind: type[BaselineLoss]):
    loss, (x, y) = kind(), (unit_rows(0), unit_rows(0))
    assert torch.isfinite(torch.cat(torch.autograd.grad(loss(x, y, S, **inputs_of(loss)), (x, y)))).all()


@every_loss
def test_terms_look_at_the_whole_global_batch(kind: type[BaselineLoss], monkeypatch: pytest.MonkeyPatch):
    """As if a second process held a copy of this one's share: its rows come with every tensor, its scale does not."""
    loss, (x, y) = kind(), batch()
    given_inputs = inputs_of(loss)
    doubled = {
        name: tuple(torch.cat([part, part]) if part.ndim else part for part in value)
        if isinstance(value, tuple)
        else (torch.cat([value, value]) if isinstance(value, Tensor) else value)
        for name, value in given_inputs.items()
    }
    torch.manual_seed(0)
    expected = loss.terms(torch.cat([x, x]), torch.cat([y, y]), S, **doubled)
    monkeypatch.setattr(
        tpccma.methods.baseline, "gather_pair", lambda loss, a, b: (torch.cat([a, a]), torch.cat([b, b])), raising=True
    )
    torch.manual_seed(0)
    found = loss(x, y, S, output_dict=True, **given_inputs)
    found.pop("contrastive_loss", None)
    assert {name: term.item() for name, term in found.items()} == pytest.approx(
        {name: term.item() for name, term in expected.items()}, rel=1e-9
    )


# ---- the names of the terms


class HomeMadeLoss(BaselineLoss):
    term_names = ("contrastive_loss", "home_made_loss")

    def terms(self, x: Tensor, y: Tensor, scale: Tensor) -> dict[str, Tensor]:
        return {"home_made_loss": x.sum() * 0}


@every_loss
def test_a_loss_returns_the_terms_that_it_names(kind: type[BaselineLoss]):
    loss = kind()
    assert tuple(loss(*batch(), S, output_dict=True, **inputs_of(loss))) == kind.term_names


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_alignment_returns_terms_that_it_names(alpha: float):
    found = tuple(CMALoss(alpha, paired_weight=1.0)(*batch(), S, output_dict=True))
    assert found == (CMALoss.term_names if alpha else CMALoss.term_names[:1])


@pytest.mark.parametrize("method", METHODS)
def test_the_log_has_a_column_for_every_term_of_a_method(method: str):
    assert set(METHODS[method].term_names) <= set(LOSS_TERMS)
    assert loss_columns(METHODS[method]) == LOSS_TERMS


def test_no_column_of_the_log_is_without_a_loss_that_fills_it():
    assert set(LOSS_TERMS) == {name for method in METHODS.values() for name in method.term_names}
    assert len(set(LOSS_TERMS)) == len(LOSS_TERMS)


def test_a_loss_of_ones_own_gets_its_column_behind_the_others(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tpccma.methods.losses, "HomeMadeLoss", HomeMadeLoss, raising=False)
    assert loss_columns(Method(loss_name="HomeMadeLoss")) == (*LOSS_TERMS, "home_made_loss")


def test_a_term_that_is_not_named_is_refused_before_a_log_loses_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(HomeMadeLoss, "term_names", ("contrastive_loss",))
    with pytest.raises(ValueError, match=r"HomeMadeLoss.term_names lacks \['home_made_loss'\]"):
        HomeMadeLoss()(*batch(), S)


# ---- post-processing


def test_recentre_by_hand():
    # (0.6, 0.8) - (0.2, 0.8) = (0.4, 0), of length 1: (1, 0)
    assert Recentre(torch.tensor([0.2, 0.8]))(torch.tensor([[0.6, 0.8]])).tolist() == [pytest.approx([1.0, 0.0])]
    # twice (0.4, 0), plus (0, 0.6): (0.8, 0.6), of length 1 already; one row further 2 (0, 0) + (0, 0.6): (0, 1)
    moved = Recentre(torch.tensor([0.2, 0.8]), torch.tensor([0.0, 0.6]), 2.0)
    rows = moved(torch.tensor([[0.6, 0.8], [0.2, 0.8]]))
    assert rows.tolist() == [pytest.approx([0.8, 0.6]), pytest.approx([0.0, 1.0])]


def test_recentre_holds_copies_that_are_saved_and_not_trained():
    mean = torch.tensor([0.2, 0.8])
    moved = Recentre(mean)
    mean += 1
    assert moved.mean.tolist() == pytest.approx([0.2, 0.8])
    assert sorted(moved.state_dict()) == ["gain", "mean", "target"] and list(moved.parameters()) == []


def test_mean_centering_by_hand():
    images, texts = mean_centering(X, Y)
    # mean of the x (0.5, 0.5): (0.6, 0.8) becomes (0.1, 0.3), of length sqrt(0.1)
    point = torch.tensor([[0.6, 0.8]], dtype=torch.float64)
    assert images(point).tolist() == [pytest.approx([0.1 / sqrt(0.1), 0.3 / sqrt(0.1)])]
    # mean of the y (0.7, 0.7): (0.6, 0.8) becomes (-0.1, 0.1)
    assert texts(point).tolist() == [pytest.approx([-sqrt(0.5), sqrt(0.5)])]


def test_centring_removes_an_offset_that_is_all_there_is():
    x = unit_rows(0, 50, 8).detach()
    shift = torch.tensor([3.0] + [0.0] * 7)
    images, texts = mean_centering(x + shift, x)
    torch.testing.assert_close(images(x + shift), texts(x))


def test_mind_the_gap_shift_by_hand():
    images, texts = mind_the_gap_shift(X, Y)
    # means (0.5, 0.5) and (0.7, 0.7): half the way is (0.1, 0.1), on for the x and back for the y
    assert images(X).tolist() == [
        pytest.approx([1.1 / sqrt(1.22), 0.1 / sqrt(1.22)]),
        pytest.approx([0.1 / sqrt(1.22), 1.1 / sqrt(1.22)]),
    ]
    assert texts(Y[:1]).tolist() == [pytest.approx([0.5 / sqrt(0.74), 0.7 / sqrt(0.74)])]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_mind_the_gap_shift_moves_the_means_by_its_share(share: float):
    x, y = unit_rows(0, 30).detach(), F.normalize(unit_rows(1, 30).detach() + 0.5, dim=1)
    images, texts = mind_the_gap_shift(x, y, share)
    before = x.mean(0) - y.mean(0)
    left = (x - images.mean).mean(0) - (y - texts.mean).mean(0)  # before normalisation
    torch.testing.assert_close(left, (1 - share) * before)
    if share == 0:
        torch.testing.assert_close((images(x), texts(y)), (x, y))


def test_realign_by_hand():
    images, texts = realign(X, Y)
    assert torch.equal(images(X), X)
    # means (0.5, 0.5) and (0.7, 0.7); squares about them 4 * 0.25 = 1 and 4 * 0.01 = 0.04: r = sqrt(1 / 0.04) = 5
    # y_1 becomes (0.5, 0.5) + 5 (-0.1, 0.1) = (0, 1), y_2 (1, 0); their mean is (0.5, 0.5) already
    assert texts[0].gain.item() == pytest.approx(5.0)
    assert texts(Y).tolist() == [pytest.approx([0.0, 1.0], abs=1e-9), pytest.approx([1.0, 0.0], abs=1e-9)]


def test_realign_gives_the_texts_the_images_mean_and_total_variance():
    x, y = (F.normalize(unit_rows(seed, 30).detach() + shift, dim=1) for seed, shift in ((0, 0.8), (1, -0.2)))
    images, texts = realign(x, y)
    first, last = texts
    moved = first.gain * (y - first.mean) + first.target  # before either normalisation
    torch.testing.assert_close(moved.mean(0), x.mean(0))
    assert trace_ratio(moved, x) == pytest.approx(1.0)
    once = F.normalize(moved, dim=1)
    shifted = once - once.mean(0) + x.mean(0)
    torch.testing.assert_close(shifted.mean(0), x.mean(0))
    torch.testing.assert_close(texts(y), F.normalize(shifted, dim=1))
    torch.testing.assert_close(last.target, x.mean(0))
    assert torch.equal(images(x), x)
    assert (texts(y).mean(0) - x.mean(0)).norm() < 0.3 * (y.mean(0) - x.mean(0)).norm()


def test_i0t_async_normalises_each_modality_by_batch():
    x, y = (unit_rows(seed, 30).detach().float() + seed for seed in (0, 1))
    images, texts = i0t_async(x, y)
    for part, rows in ((images, x), (texts, y)):
        found = part(rows)
        torch.testing.assert_close(found.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
        torch.testing.assert_close(found.var(0, correction=0), torch.ones(4), atol=1e-3, rtol=0)
    assert (images.running_mean - texts.running_mean).abs().min() > 0.05  # each has its own statistics
    assert all(parameter.requires_grad for part in (images, texts) for parameter in part.parameters())


# ---- a model with maps behind its towers


class Recorder(nn.Linear):
    """A map that keeps what it was given."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return super().forward(x)


@pytest.fixture
def processed() -> PostProcessed:
    torch.manual_seed(0)
    return PostProcessed(Heads(5, 3, 6, 4), Recorder(4, 4), Recorder(4, 4))


def test_maps_see_unit_rows_and_their_outcome_is_the_embedding(processed: PostProcessed):
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(7, 5, generator=generator), torch.randn(7, 3, generator=generator)
    calls = (
        (processed.encode_image, processed.model.encode_image, processed.images, images),
        (processed.encode_text, processed.model.encode_text, processed.texts, texts),
    )
    for encode, inner, part, inputs in calls:
        raw = encode(inputs)
        torch.testing.assert_close(part.seen, inner(inputs, normalize=True))
        torch.testing.assert_close(raw, F.linear(part.seen, part.weight, part.bias))
        torch.testing.assert_close(encode(inputs, normalize=True), F.normalize(raw, dim=1))
    assert (processed.encode_image(images).norm(dim=1) - 1).abs().max() > 0.01  # not normalised unless asked for


def test_frozen_model_stays_in_evaluation_mode(processed: PostProcessed):
    for mode in (True, False, True):
        assert processed.train(mode) is processed
        assert (processed.training, processed.images.training, processed.texts.training) == (mode,) * 3
        assert not any(module.training for module in processed.model.modules())
    assert not processed.eval().training


def test_gradient_reaches_the_maps_and_the_scale_alone(processed: PostProcessed):
    processed.train()
    x, y = processed.encode_image(torch.ones(2, 5), True), processed.encode_text(torch.ones(2, 3), True)
    (processed.logit_scale.exp() * (x - y)).square().sum().backward()
    trained = {name for name, parameter in processed.named_parameters() if parameter.requires_grad}
    assert trained == {"logit_scale", "images.weight", "images.bias", "texts.weight", "texts.bias"}
    assert {name for name, parameter in processed.named_parameters() if parameter.grad is not None} == trained


def test_scale_is_a_copy(processed: PostProcessed):
    before = processed.model.logit_scale.item()
    assert processed.logit_scale.item() == before
    processed.logit_scale.data.add_(1)
    assert processed.model.logit_scale.item() == before
