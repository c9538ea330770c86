"""Whatever numbers are handed in, through every door: a value, or a ValueError that names what is wrong.

The doors of losses take image embeddings, text embeddings and the inverse temperature; those of measures two clouds.
A device that no machine lacks, and that holds no numbers, stands for a second one: torch's "meta".
"""

import copy
import math
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from open_clip.loss import ClipLoss
from torch import Tensor
from typer.testing import CliRunner, Result

from tpccma import closed_form, load_profile, metrics
from tpccma.cli import app
from tpccma.closed_form import Weights
from tpccma.curriculum import ThreePhaseCurriculum
from tpccma.loss import CMALoss, centroid_distance, geometry_mismatch, paired_distance, reweighted_contrast
from tpccma.methods import first_reading, losses
from tpccma.methods.baseline import BaselineLoss
from tpccma.methods.first_curriculum import FirstReadingCurriculum
from tpccma.methods.first_reading import FirstReadingLoss, reweighted_by_cosine
from tpccma.metrics import divergences
from tpccma.tasks.caption_scores import score_captions
from tpccma.tasks.clustering import joint_clustering
from tpccma.tasks.decoder import caption_memory, project_to_memory, train_decoder
from tpccma.tasks.retrieval import retrieval_recall
from tpccma.tasks.zeroshot import zero_shot_accuracy, zero_shot_classifier

D = 4
REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def unit(count: int, seed: int = 0, width: int = D, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, generator=generator, dtype=torch.float64), dim=1).to(dtype)


def beside(x: Tensor) -> Tensor:
    """Give an embedding of something else for each row."""
    return unit(len(x) if x.ndim else 1, 7, x.shape[-1] if x.ndim else D)


def call(loss: ClipLoss, x: Tensor, y: Tensor, scale) -> Tensor:
    """Compute a loss, with what a baseline asks for beside; what is drawn is drawn alike."""
    torch.manual_seed(0)
    rows = beside(x)
    given = {"sentences": rows, "epoch": 0, "raw": (x, y), "teacher": (rows, rows, 2.0)}
    return loss(x, y, scale, **{name: given[name] for name in getattr(loss, "inputs", ())})


def second_reading(alpha: float) -> CMALoss:
    return CMALoss(alpha, paired_weight=1.0)


BASELINES = tuple(kind for kind in vars(losses).values() if isinstance(kind, type) and issubclass(kind, BaselineLoss))[
    1:
]
WHOLE = {
    **{f"CMALoss {alpha}": lambda x, y, s, a=alpha: call(second_reading(a), x, y, s) for alpha in (0.0, 0.5, 1.0)},
    "CMALoss.plain": lambda x, y, s: sum(second_reading(0.5).plain(x, y, s).values()),
    "CMALoss.read": lambda x, y, s: sum(second_reading(0.5).read(x, y, s).terms(0.5).values()),
    **{f"first {alpha}": lambda x, y, s, a=alpha: call(FirstReadingLoss(a), x, y, s) for alpha in (0.0, 0.5, 1.0)},
    "first.read": lambda x, y, s: sum(FirstReadingLoss().read(x, y, s).terms(0.5).values()),
    **{kind.__name__: lambda x, y, s, kind=kind: call(kind(), x, y, s) for kind in BASELINES},
}
SCALED = {
    "reweighted_contrast": reweighted_contrast,
    "reweighted_by_cosine": first_reading.reweighted_by_cosine,
    "intra_modal_separation": lambda x, y, s: losses.intra_modal_separation(x, y, s, beside(x)),
    "hybrid_distillation": lambda x, y, s: losses.hybrid_distillation(x, y, s, x, y, s),
}
TERMS = {
    **SCALED,
    "geometry_mismatch": lambda x, y, s: geometry_mismatch(x, y),
    "centroid_distance": lambda x, y, s: centroid_distance(x, y),
    "paired_distance": lambda x, y, s: paired_distance(x, y),
    "mean_geometry_mismatch": lambda x, y, s: first_reading.mean_geometry_mismatch(x, y),
    "mixed_contrast": lambda x, y, s: losses.mixed_contrast(x, y, torch.tensor(0.3)),
    "slerp": lambda x, y, s: losses.slerp(x, y, torch.tensor(0.3)).sum(),
    "random_feature_alignment": lambda x, y, s: losses.random_feature_alignment(x, y, x),
    "cauchy_schwarz_divergence": lambda x, y, s: losses.cauchy_schwarz_divergence(x, y),
    "uniformity_potential": lambda x, y, s: losses.uniformity_potential(x) + losses.uniformity_potential(y),
}
LOSSES = WHOLE | TERMS
APART = ("uniformity_potential",)  # takes one modality alone, so no pairs


def each(doors: dict):
    return pytest.mark.parametrize("door", doors.values(), ids=doors.keys())


# ---- losses: what the host can see


@pytest.mark.parametrize(
    ("x", "y", "found"),
    [
        (unit(4)[:0], unit(4)[:0], r"shape \(0, 4\)"),
        (unit(4)[:, :0], unit(4)[:, :0], r"shape \(4, 0\)"),
        (unit(4)[0], unit(4)[0], r"shape \(4,\)"),
        (unit(4)[None], unit(4)[None], r"shape \(1, 4, 4\)"),
        (torch.eye(4).long(), torch.eye(4).long(), "type torch.int64: pass a floating"),
        (torch.eye(4).bool(), torch.eye(4).bool(), "type torch.bool: pass a floating"),
        (unit(4) + 0j, unit(4) + 0j, "type torch.complex64: pass a floating"),
        (unit(4).numpy(), unit(4).numpy(), "type ndarray: pass a floating"),
    ],
    ids=["no pair", "no width", "vector", "three axes", "integers", "bool", "complex", "array"],
)
@each(LOSSES)
def test_what_is_no_embedding_is_named(door, x, y, found: str):
    with pytest.raises(ValueError, match=f"^(x|image_features|images) .*{found}"):
        door(x, y, torch.tensor(5.0))


@pytest.mark.parametrize(
    ("y", "found"),
    [
        (unit(1), r"\(4, 4\) and \w+ \(1, 4\): pass pairs"),  # which torch would repeat
        (unit(3), r"\(4, 4\) and \w+ \(3, 4\): pass pairs"),
        (unit(4, width=1), r"\(4, 4\) and \w+ \(4, 1\): pass pairs"),
        (unit(4).to("meta"), r"is on cpu and \w+ on meta: move both to one device"),
        (unit(4).long(), r"type torch.int64: pass a floating"),
    ],
    ids=["one text", "three texts", "other width", "other device", "integers"],
)
@each({name: door for name, door in LOSSES.items() if name not in APART})
def test_texts_that_belong_to_no_image_are_named(door, y, found: str):
    with pytest.raises(ValueError, match=f"(x|image_features|y|text_features|texts|images) .*{found}"):
        door(unit(4), y, torch.tensor(5.0))


SCALES = {
    "number": 5.0,
    "whole number": 5,
    "numpy": np.float32(5),
    "scalar": torch.tensor(5.0),
    "of shape (1,)": torch.tensor([5.0]),
    "whole tensor": torch.tensor(5),
    "float64": torch.tensor(5.0, dtype=torch.float64),
}


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES.keys())
@each(WHOLE | SCALED)
def test_inverse_temperature_may_have_any_form(door, scale):
    x, y = unit(6, 1).requires_grad_(), unit(6, 2).requires_grad_()
    expected = door(x, y, torch.tensor(5.0))
    found = door(x, y, scale)
    assert found.shape == () and found.item() == pytest.approx(expected.item(), rel=1e-6)
    for one, other in zip(*(torch.autograd.grad(loss, (x, y)) for loss in (found, expected)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (1,)])
@each(WHOLE)
def test_its_gradient_has_its_own_shape(door, shape):
    scale = torch.full(shape, 5.0, requires_grad=True)
    door(unit(6, 1).requires_grad_(), unit(6, 2), scale).backward()
    assert scale.grad.shape == shape and scale.grad.isfinite().all()


@pytest.mark.parametrize(
    "scale",
    [0.0, -1.0, math.nan, math.inf, True, "5", None, *(torch.ones(s) for s in ((2,), (1, 1))), torch.tensor(True)],
    ids=str,
)
@each(WHOLE | SCALED)
def test_bad_inverse_temperature_is_named(door, scale):
    with pytest.raises(ValueError, match=r"^logit_scale (must be a number, finite and > 0, got|is a tensor of shape)"):
        door(unit(4), unit(4, 1), scale)


@pytest.mark.parametrize("bias", [-10.0, torch.tensor(-10.0), torch.tensor([-10.0])], ids=str)
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_logit_bias_may_have_any_form(alpha: float, bias):
    x, y = unit(6, 1), unit(6, 2)
    found = second_reading(alpha)(x, y, 5.0, bias).item()
    assert found == pytest.approx(second_reading(alpha)(x, y, 5.0).item(), rel=1e-4)


@pytest.mark.parametrize("bias", [math.nan, "0", torch.ones(2)], ids=str)
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_bad_logit_bias_is_named(alpha: float, bias):
    with pytest.raises(ValueError, match=r"^logit_bias "):
        second_reading(alpha)(unit(4), unit(4, 1), 5.0, bias)


@pytest.mark.parametrize("value", [5e-324, 1e-39, 1e39, 1e300])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_number_that_float32_does_not_hold_is_named(alpha: float, value: float):
    got = re.escape(repr(value))
    for name, scalars in (("logit_scale", (value,)), ("logit_bias", (5.0, value))):
        with pytest.raises(ValueError, match=f"^{name} must be a number that float32 holds, .* got {got}"):
            second_reading(alpha)(unit(4), unit(4, 1), *scalars)


# ---- losses: what only the device can see, which is not asked


@each(LOSSES)
def test_nan_shows_in_the_loss(door):
    x = unit(4)
    x[2, 1] = math.nan
    assert not door(x, unit(4, 1), torch.tensor(5.0)).isfinite()


@pytest.mark.parametrize("value", [0.0, math.inf, -math.inf, math.nan])
def test_a_tensor_that_is_no_temperature_shows_in_loss_or_gradient(value: float):
    scale = torch.tensor(value, requires_grad=True)
    loss = second_reading(0.5)(unit(6, 1), unit(6, 2), scale)
    (gradient,) = torch.autograd.grad(loss, scale)
    assert not (loss.isfinite() and gradient.isfinite())


def test_a_negative_tensor_gives_the_formulas_value():
    x, y, scale = unit(6, 1, dtype=torch.float64), unit(6, 2, dtype=torch.float64), torch.tensor(-5.0).double()
    plain = sum(second_reading(0.5).plain(x, y, scale).values())
    assert second_reading(0.5)(x, y, scale).item() == pytest.approx(plain.item(), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_rows_of_another_length_give_the_formulas_value(alpha: float):
    x, y, scale = 3 * unit(6, 1, dtype=torch.float64), unit(6, 2, dtype=torch.float64) / 2, torch.tensor(5.0).double()
    plain = sum(second_reading(alpha).plain(x, y, scale).values())
    assert second_reading(alpha)(x, y, scale).item() == pytest.approx(plain.item(), rel=1e-12)


@each(LOSSES)
def test_what_overflows_float64_is_no_finite_loss_and_no_error(door):
    for alone in (1, 4):
        found = door(
            1e155 * unit(4, 1, dtype=torch.float64), alone * unit(4, 2, dtype=torch.float64), torch.tensor(5.0)
        )
        assert found.shape == ()


@each(LOSSES)
def test_one_pair_has_a_finite_loss_and_gradient(door):
    x, y = unit(1, 1).requires_grad_(), unit(1, 2).requires_grad_()
    loss = door(x, y, torch.tensor(5.0))
    loss.backward()
    assert loss.isfinite() and x.grad.isfinite().all() and y.grad.isfinite().all()


# ---- losses: precision


@each(LOSSES)
@given(first=st.sampled_from(REAL), second=st.sampled_from(REAL), count=st.integers(1, 9), seed=st.integers(0, 99))
def test_types_may_be_mixed(door, first: torch.dtype, second: torch.dtype, count: int, seed: int):
    x, y = unit(count, seed, dtype=first).requires_grad_(), unit(count, seed + 1, dtype=second).requires_grad_()
    found, exact = (door(*pair, torch.tensor(5.0)) for pair in ((x, y), (x.detach().double(), y.detach().double())))
    found.backward()
    assert found.item() == pytest.approx(exact.item(), rel=0.03, abs=0.03)
    assert (x.grad.dtype, y.grad.dtype) == (first, second) and x.grad.isfinite().all() and y.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@each(LOSSES)
def test_half_precision_holds_batches_of_hundreds(door, dtype: torch.dtype, count: int = 600):
    # opposite directions: all rows of x alike, those of y about -x, so that every cosine and difference is large
    x = F.normalize(unit(1) + 0.1 * unit(count, 1), dim=1).to(dtype)
    y = F.normalize(-unit(1) + 0.1 * unit(count, 2), dim=1).to(dtype)
    found, exact = (door(*pair, torch.tensor(100.0)) for pair in ((x, y), (x.double(), y.double())))
    assert found.item() == pytest.approx(exact.item(), rel=0.02, abs=0.05)


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES.keys())
def test_alpha_0_is_clip_loss_bit_for_bit_in_every_type_and_form(dtype: torch.dtype, scale):
    if getattr(scale, "shape", ()) == (1,):
        scale = scale.to(dtype)  # a vector beside half precision is more than open_clip takes
    x, y = (unit(6, seed, dtype=dtype).requires_grad_() for seed in (1, 2))
    ours, theirs = CMALoss(0.0)(x, y, scale), ClipLoss()(x, y, scale)
    assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    for one, other in zip(*(torch.autograd.grad(loss, (x, y)) for loss in (ours, theirs)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("held", [0, 2048])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_large_batches_take_every_form_too(monkeypatch: pytest.MonkeyPatch, held: int, dtype: torch.dtype):
    monkeypatch.setattr(closed_form, "HELD", held)
    monkeypatch.setattr("tpccma.loss.HELD", held)
    x, y = unit(5, 1, dtype=dtype), unit(5, 2, dtype=dtype)
    for alpha in (0.0, 0.5):
        found = [second_reading(alpha)(x, y, scale).item() for scale in SCALES.values() if np.shape(scale) == ()]
        assert found == pytest.approx([found[0]] * len(found), rel=1e-6)


# ---- losses: settings, whenever they are set

NOT_NEGATIVE = (-1.0, 10**400, math.nan, math.inf, "1", None, True)
ABOVE_0 = (0.0, *NOT_NEGATIVE)
SETTINGS = {
    (CMALoss, "alpha"): (1.7, -0.1, math.nan, "1", None, True),
    (FirstReadingLoss, "alpha"): (1.7, -0.1, math.nan, "1", None, True),
    (FirstReadingLoss, "hardness"): NOT_NEGATIVE,
    (losses.AlignCLIPLoss, "weight"): NOT_NEGATIVE,
    (losses.CSAlignerLoss, "weight"): NOT_NEGATIVE,
    (losses.M2MixLoss, "weight"): NOT_NEGATIVE,
    (losses.M2MixLoss, "shape"): ABOVE_0,
    (losses.M2MixLoss, "temperature"): ABOVE_0,
    (losses.CLIPRefineLoss, "mixing"): (1.1, *NOT_NEGATIVE),
}
BAD_SETTINGS = [(kind, name, value) for (kind, name), values in SETTINGS.items() for value in values]


@pytest.mark.parametrize(("kind", "name", "value"), BAD_SETTINGS)
def test_bad_setting_is_named_before_and_after(kind: type, name: str, value):
    with pytest.raises(ValueError, match=f"^{name} must be .* got {value!r}"):
        kind(**{name: value})
    loss = kind()
    before = getattr(loss, name)
    with pytest.raises(ValueError, match=f"^{name} must be .* got {value!r}"):
        setattr(loss, name, value)
    assert getattr(loss, name) == before


@pytest.mark.parametrize("name", Weights._fields)
@pytest.mark.parametrize("value", NOT_NEGATIVE)
def test_bad_weight_is_named_after(name: str, value):
    loss = CMALoss()
    label = name if name == "hardness" else f"{name}_weight"
    with pytest.raises(ValueError, match=f"^{label} must be .* got {value!r}"):
        loss.weights = loss.weights._replace(**{name: value})
    loss.weights = loss.weights._replace(**{name: 0.5})
    assert getattr(loss.weights, name) == 0.5


def test_weights_of_another_kind_are_named():
    with pytest.raises(ValueError, match=r"weights must be a tpccma.closed_form.Weights, got \(1, 1, 1, 1, 1\)"):
        CMALoss().weights = (1, 1, 1, 1, 1)
    with pytest.raises(ValueError, match=r"centroid_weight must be .* got nan"):
        FirstReadingLoss().weights = {"reweighted": 1.0, "geometry": 1.0, "centroid": math.nan, "paired": 1.0}


@pytest.mark.parametrize("hardness", [100.5, 1e20])
def test_hardness_beyond_the_digits_of_float32_is_refused(hardness: float):
    # at 1e20 the pass would give 6e-15 for what is about 3
    of_pairs = unit(4), unit(4, 1), 5.0, hardness
    uses = [lambda: CMALoss(hardness=hardness), lambda: reweighted_contrast(*of_pairs)]
    uses += [lambda: FirstReadingLoss(hardness=hardness), lambda: reweighted_by_cosine(*of_pairs)]
    for use in uses:
        with pytest.raises(ValueError, match=r"hardness must be a number, from 0 to 100, got"):
            use()


def test_the_largest_hardness_still_equals_the_plain_form():
    x, y = unit(60, 1), unit(60, 2)
    loss = CMALoss(1.0, hardness=100.0)
    plain = sum(loss.plain(x.double(), y.double(), torch.tensor(100.0).double()).values())
    assert loss(x, y, torch.tensor(100.0)).item() == pytest.approx(plain.item(), rel=1e-4)


def test_a_loss_whose_settings_are_checked_is_copied_and_pickled():
    for loss in (CMALoss(0.3), FirstReadingLoss(0.3)):
        for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
            assert (other.alpha, other.weights) == (0.3, loss.weights)


def test_alpha_of_a_reading_is_checked():
    with pytest.raises(ValueError, match=r"alpha must be .* got 1.7"):
        CMALoss().read(unit(4), unit(4, 1), 5.0).terms(1.7)


@pytest.mark.parametrize("kind", [ThreePhaseCurriculum, FirstReadingCurriculum])
@pytest.mark.parametrize("steps", [0, -1, math.nan, math.inf, 10.5, True, "10", None])
def test_steps_that_are_none_are_named(kind: type, steps):
    with pytest.raises(ValueError, match=f"total_steps must be at least 1, .* got {steps!r}"):
        kind(0.5, steps)


@pytest.mark.parametrize("kind", [ThreePhaseCurriculum, FirstReadingCurriculum])
@pytest.mark.parametrize("name", ["anchor", "ramp_end", "deadline", "slow_rate"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, "0.2", None, True])
def test_share_of_the_steps_that_is_none_is_named(kind: type, name: str, value):
    with pytest.raises(
        ValueError, match=rf"{name}(=| must be a number, finite, got ){value!r}|{name} .* got {value!r}"
    ):
        kind(0.5, 100, **{name: value})


# ---- measures

PAIRED = {
    name: getattr(metrics, name)
    for name in (
        "modality_gap",
        "scale_free_distribution_gap",
        "pair_cosine",
        "alignment",
        "relative_modality_gap",
        "modality_mixing",
        "linear_separability",
        "measure_all",
    )
} | {
    "modality_mixing": lambda x, y: metrics.modality_mixing(x, y, k=1),
    "gap_interval": lambda x, y: metrics.gap_interval(x, y, n_resamples=3),
    "describe_gap": lambda x, y: metrics.describe_gap(x, y, n_resamples=3),
    "uniformity": lambda x, y: (metrics.uniformity(x), metrics.uniformity(y)),
    "cone_effect": lambda x, y: (metrics.cone_effect(x), metrics.cone_effect(y)),
    "ModalityGap": lambda x, y: metrics.ModalityGap()(x, y),
    "ScaleFreeDistributionGap": lambda x, y: metrics.ScaleFreeDistributionGap()(x, y),
}
CLOUDS = {
    "mmd": divergences.mmd,
    "cauchy_schwarz": divergences.cauchy_schwarz,
    "sliced_wasserstein": divergences.sliced_wasserstein,
    "frechet": divergences.frechet,
    "linear_cka": divergences.linear_cka,
    "trace_ratio": divergences.trace_ratio,
    "median_bandwidth": divergences.median_bandwidth,
    "effective_rank": lambda x, y: (metrics.effective_rank(x), metrics.effective_rank(y)),
    "centre": lambda x, y: tuple(divergences.centre(rows).abs().sum().item() for rows in (x, y)),
}
MEASURES = PAIRED | CLOUDS
ALONE = ("uniformity", "cone_effect", "effective_rank", "centre")  # take one modality


def numbers_of(found) -> list[float]:
    """List the numbers of a result, however it holds them."""
    if isinstance(found, dict):
        return numbers_of(list(found.values()))
    if isinstance(found, list | tuple):
        return [number for part in found for number in numbers_of(part)]
    return [float(found)]


def with_row(row: list[float], dtype: torch.dtype = torch.float64) -> Tensor:
    rows = unit(12, dtype=dtype)
    rows[3] = torch.tensor(row, dtype=dtype)
    return rows


NO_CLOUDS = {
    "no row": (unit(12)[:0], r"shape \(0, 4\)"),
    "no width": (unit(12)[:, :0], r"shape \(12, 0\)"),
    "vector": (unit(12)[0], r"shape \(4,\)"),
    "NaN": (with_row([math.nan, 0, 0, 0]), "NaN or infinity in row 3"),
    "infinity": (with_row([-math.inf, 0, 0, 0]), "NaN or infinity in row 3"),
    "too large": (with_row([1e155, 0, 0, 0]), r"largest number of x is 1e\+155"),
    "all too large": (1e155 * unit(12, dtype=torch.float64), r"largest number of x is \d.*divide"),
    "all too small": (1e-155 * unit(12, dtype=torch.float64), r"largest number of x is \d.*divide"),
    "complex": (unit(12) + 0j, "type torch.complex64: pass real numbers"),
    "complex array": ((unit(12) + 0j).numpy(), "type (torch.)?complex64"),
    "words": (np.array([["a", "b"], ["c", "d"]]), "type <U1"),
    "objects": (np.array([[None, 1.0], [2.0, 3.0]]), "type object"),
    "ragged list": ([[1.0, 0.0], [1.0]], "type list"),
}


@pytest.mark.parametrize(("x", "found"), NO_CLOUDS.values(), ids=NO_CLOUDS.keys())
@each(MEASURES)
def test_what_is_no_cloud_is_named(door, x, found: str):
    with pytest.raises(ValueError, match=rf"x .*{found}|{found}"):
        door(x, x)


@pytest.mark.parametrize(("x", "found"), NO_CLOUDS.values(), ids=NO_CLOUDS.keys())
def test_what_is_no_cloud_cannot_be_normalised_either(x, found: str):
    for door in (metrics.modality_gap, metrics.gap_interval, metrics.ModalityGap(normalize=True)):
        options = {} if isinstance(door, metrics.ModalityGap) else {"normalize": True}
        with pytest.raises(ValueError, match=found):
            door(x, x, **options)


@pytest.mark.parametrize(
    ("row", "found"),
    [([2.0, 0, 0, 0], "has length 2, not 1"), ([0.0] * 4, "has length 0, not 1"), ([0.99, 0, 0, 0], "has length 0.99")],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@each(PAIRED)
def test_row_of_another_length_is_named(door, row: list[float], found: str, dtype: torch.dtype):
    with pytest.raises(ValueError, match=f"row 3 of x {found}"):
        door(with_row(row, dtype), unit(12, 1, dtype=dtype))


@pytest.mark.parametrize("length", [0.0, 1e-160, 1e-200])
def test_rows_too_short_to_have_a_direction_are_named(length: float):
    x = with_row([length, 0, 0, 0])
    for door in (metrics.modality_gap, metrics.scale_free_distribution_gap, metrics.gap_interval):
        with pytest.raises(ValueError, match=r"row 3 of x has length \S+, not 1: drop it"):
            door(x, unit(12, 1, dtype=torch.float64), normalize=True)


@each({name: door for name, door in MEASURES.items() if name not in ALONE})
def test_clouds_on_two_devices_are_named(door):
    with pytest.raises(ValueError, match="x is on cpu and y on meta: move both to one device"):
        door(unit(12), unit(12, 1).to("meta"))


@pytest.mark.parametrize("first", [*REAL, "numpy", "list"], ids=str)
@pytest.mark.parametrize("second", REAL, ids=str)
@each(MEASURES)
def test_clouds_of_mixed_types_are_measured(door, first, second: torch.dtype):
    x, y = unit(12, dtype=torch.float64), unit(12, 1, dtype=second)
    mixed = {"numpy": x.numpy(), "list": x.tolist()}[first] if isinstance(first, str) else x.to(first)
    coarse = {torch.float16, torch.bfloat16} & {first, second}
    try:
        found = numbers_of(door(mixed, y))
        exact = numbers_of(door(x if isinstance(first, str) else x.to(first).double(), y.double()))
    except ValueError as error:  # bfloat16 does not hold a length to a thousandth
        assert coarse and "not 1" in str(error)
    else:
        assert found == pytest.approx(exact, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool], ids=str)
@each(MEASURES)
def test_whole_numbers_are_numbers(door, dtype: torch.dtype):
    x, y = (torch.eye(4)[order].to(dtype) for order in ([0, 1, 2, 3, 0, 1], [1, 2, 0, 3, 3, 2]))
    assert numbers_of(door(x, y)) == pytest.approx(numbers_of(door(x.double(), y.double())), rel=1e-6, abs=1e-7)


@given(count=st.integers(2, 4), seed=st.integers(0, 999), width=st.integers(1, 5))
def test_few_rows_are_measured_or_refused_and_never_nan(count: int, seed: int, width: int):
    x, y = unit(count, seed, width, torch.float64), unit(count, seed + 1, width, torch.float64)
    points = max(rows.std(dim=0, correction=0).max().item() for rows in (x, y)) < 1e-12
    for name, door in MEASURES.items():
        try:
            found = numbers_of(door(x, y))
        except ValueError as error:
            assert "collapsed" in str(error) or "coincide" in str(error) or "single point" in str(error)
        else:
            assert np.isfinite(found).all() or (points and name in ("gap_interval", "ScaleFreeDistributionGap"))


def test_one_row_is_refused_where_no_measure_is_defined():
    for name, door in PAIRED.items():
        if not name.endswith("Gap"):
            with pytest.raises(ValueError, match="x has 1 row"):
                door(unit(1), unit(1, 1))
    assert metrics.ModalityGap()(unit(1), unit(1, 1)).distribution == 0


@pytest.mark.parametrize("bandwidth", [0, -1.0, math.nan, math.inf, 1e-200, 1e200])
def test_bandwidth_that_is_none_is_named(bandwidth: float):
    for door in (divergences.mmd, divergences.cauchy_schwarz):
        with pytest.raises(ValueError, match="bandwidth is"):
            door(unit(5), unit(5, 1), bandwidth=bandwidth)


@pytest.mark.parametrize("rows", [0, 1, math.nan])
def test_bandwidth_of_too_few_rows_is_refused(rows: float):
    with pytest.raises(ValueError, match="max_rows is"):
        divergences.median_bandwidth(unit(5), unit(5, 1), max_rows=rows)


@pytest.mark.parametrize("resamples", [0, -1, 1.5, math.nan])
def test_resamples_that_are_none_are_named(resamples):
    with pytest.raises(ValueError, match=f"n_resamples is {resamples}"):
        metrics.gap_interval(unit(5), unit(5, 1), n_resamples=resamples)


def test_a_stream_of_no_width_is_refused():
    with pytest.raises(ValueError, match="width is 0"):
        metrics.ModalityGap(width=0)


def test_a_stream_called_batch_by_batch_counts_a_last_pair_of_any_type():
    x, y = unit(5, 1), unit(5, 2)
    for dtype in (torch.float16, torch.float32, torch.float64):
        metric = metrics.ModalityGap()
        for rows in (slice(0, 4), slice(4, 5)):
            metric(x[rows].to(dtype), y[rows])
        assert metric.compute() == pytest.approx(metrics.modality_gap(x, y), abs=1e-3)


# ---- tasks

LABELS = torch.tensor([0, 1, 2, 1])


def apart(rows: Tensor) -> Tensor:
    """Give each row an axis of its own: one caption an image, one prompt a class."""
    return rows.unsqueeze(min(1, rows.ndim))


TASKS = {
    "retrieval": lambda x, y: retrieval_recall(x, apart(y)),
    "zero-shot": lambda x, y: zero_shot_accuracy(x, y, LABELS[: x.shape[0] if x.ndim else 1]),
    "clustering": lambda x, y: joint_clustering(x, LABELS[: x.shape[0] if x.ndim else 1], apart(y), n_init=1).metrics(),
    "memory": lambda x, y: {"sum": project_to_memory(x, y).double().sum().item()},
}


@pytest.mark.parametrize("row", [[2.0, 0, 0, 0], [0.0] * 4, [math.nan] * 4, [math.inf, 0, 0, 0], [1e155, 0, 0, 0]])
@pytest.mark.parametrize("where", [0, 1])
@each(TASKS)
def test_row_that_is_no_direction_is_named_by_every_task(door, row: list[float], where: int):
    clouds = [unit(4, seed, dtype=torch.float64) for seed in (0, 1)]
    clouds[where][2] = torch.tensor(row, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"row 2 of \w+ has length|\w+ holds NaN or infinity"):
        door(*clouds)


@pytest.mark.parametrize("first", REAL, ids=str)
@pytest.mark.parametrize("second", REAL, ids=str)
@each(TASKS)
def test_tasks_take_mixed_types(door, first: torch.dtype, second: torch.dtype):
    x, y = unit(4, dtype=first), unit(4, 1, dtype=second)
    assert numbers_of(door(x, y)) == pytest.approx(numbers_of(door(x.double(), y.double())), abs=1e-4)


@each(TASKS)
def test_tasks_name_two_devices_complex_numbers_and_what_is_empty(door):
    for bad, found in ((unit(4).to("meta"), r"is on cpu and \w+ on meta"), (unit(4) + 0j, "complex64")):
        with pytest.raises(ValueError, match=found):
            door(unit(4), bad)
    with pytest.raises(ValueError, match="empty"):
        door(unit(4)[:0], unit(4)[:0])


@each(TASKS)
def test_tasks_take_whole_numbers(door):
    x, y = torch.eye(4), torch.eye(4).flip(0)
    assert numbers_of(door(x.long(), y.bool())) == pytest.approx(numbers_of(door(x, y)))


LABELLED = {
    "zero-shot": lambda labels: zero_shot_accuracy(unit(4), unit(3, 1), labels),
    "clustering": lambda labels: joint_clustering(unit(4), labels, unit(3, 1)[:, None], n_init=1).metrics(),
}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32], ids=str)
@each(LABELLED)
def test_labels_of_any_width(door, dtype: torch.dtype):
    assert door(LABELS.to(dtype)) == door(LABELS)


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.float16], ids=str)
@each(LABELLED)
def test_labels_that_are_no_numbers_of_classes_are_named(door, dtype: torch.dtype):
    with pytest.raises(ValueError, match=f"labels are of type {dtype}"):
        door(LABELS.to(dtype))


@each(LABELLED)
def test_labels_that_are_no_tensor_are_named(door):
    with pytest.raises(ValueError, match="labels is of type list: pass a tensor"):
        door(LABELS.tolist())


@pytest.mark.parametrize("ks", [5, (1.5,), (math.nan,), (), (0,), (True,)], ids=str)
def test_cut_offs_that_are_none_are_named(ks):
    with pytest.raises(ValueError, match="ks is"):
        retrieval_recall(unit(4), unit(4, 1)[:, None], ks=ks)


@pytest.mark.parametrize("count", [0, -1, 1.5, math.nan, True])
def test_counts_that_are_none_are_named(count: float):
    x, y = unit(4), unit(4, 1)
    counted = {
        "chunk_size": lambda: retrieval_recall(x, y[:, None], chunk_size=count),
        "n_init": lambda: joint_clustering(x, LABELS, y[:, None], n_init=count),
        "k": lambda: metrics.modality_mixing(x, y, k=count),
        "n_projections": lambda: divergences.sliced_wasserstein(x, y, n_projections=count),
    }
    for name, door in counted.items():
        with pytest.raises(ValueError, match=f"^{name} is {count}"):
            door()


@pytest.mark.parametrize("row", [[0.0, 0], [math.nan, 0], [math.inf, 0], [-1.0, 0]])
def test_prompts_without_a_mean_are_named(row: list[float]):
    with pytest.raises(ValueError, match=r"of (what embed_texts gave|the classifier) has length"):
        zero_shot_classifier(lambda prompts: torch.tensor([[1.0, 0], row]), ["cat"], ["a {}", "no {}"])


def test_classes_that_are_one_word_are_named():
    for classes, templates in (("cat", ["a {}"]), (["cat"], "a {}")):
        with pytest.raises(ValueError, match="must be a list, got the string"):
            zero_shot_classifier(lambda prompts: unit(len(prompts)), classes, templates)


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan, math.inf, 1e39])
def test_temperature_that_is_none_is_named(temperature: float):
    with pytest.raises(ValueError, match="temperature must be above 0, got"):
        project_to_memory(unit(4), unit(4, 1), temperature)


def test_the_highest_temperature_takes_the_nearest_caption():
    x, memory = unit(4, dtype=torch.float16), unit(6, 1)
    nearest = memory[(x.float() @ memory.T).argmax(dim=1)]
    torch.testing.assert_close(project_to_memory(x, memory, 1e30), nearest)


def test_memory_of_nothing_is_named():
    with pytest.raises(ValueError, match=r"memory is empty, of shape \(0, 4\)"):
        project_to_memory(unit(4), unit(4)[:0])
    with pytest.raises(ValueError, match="text_features is empty"):
        caption_memory(unit(4)[:0], 3)
    with pytest.raises(ValueError, match="features is empty"):
        train_decoder(unit(4)[:0], [], None)
    for size in (0, 1.5, math.nan):
        with pytest.raises(ValueError, match=f"size must be at least 1, got {size}"):
            caption_memory(unit(4), size)


def test_memory_that_cancels_out_is_named():
    x, memory = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    with pytest.raises(ValueError, match="row 0 of the means over the memory has length 0, not 1"):
        project_to_memory(x, memory)


def test_captions_with_half_a_character_are_named():
    for name, captions in (("candidates", (["a cat"], ["a \ud83d"])), ("references", (["a \ud83d"], ["a cat"]))):
        with pytest.raises(ValueError, match=rf"^{name}\[0\] holds half a character, 'a \\ud83d': write it anew"):
            score_captions([captions[0]], captions[1])


@pytest.mark.parametrize("caption", [None, 5, b"a cat", math.nan])
def test_captions_that_are_no_text_are_named(caption):
    with pytest.raises(ValueError, match=r"candidates\[0\] must be a caption, got"):
        score_captions([["a cat"]], [caption])
    with pytest.raises(ValueError, match=r"references\[0\] holds"):
        score_captions([["a cat", caption]], ["a cat"])


# ---- anything, through every door

SHAPES = st.sampled_from([(0, 4), (1, 4), (2, 1), (3, 4), (5, 2), (4,), (), (2, 2, 2)])
FILLS = st.sampled_from(
    [0.0, 1.0, math.nan, math.inf, -math.inf, 1e155, -1e300, 1e-160, 5e-324, 7e4, 0.999, 1e19, None, None, None]
)
TYPES = st.sampled_from([*REAL, *REAL, torch.int64, torch.uint8, torch.bool, torch.complex64])


@st.composite
def anything(draw: st.DrawFn) -> Tensor:
    """Draw a tensor of unit rows, of one of which some number may be replaced, of any shape and type."""
    shape, fill = draw(SHAPES), draw(FILLS)
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))), dtype=torch.float64)
    rows = F.normalize(rows, dim=-1) if rows.ndim else rows
    if fill is not None and rows.numel():
        rows.view(-1)[draw(st.integers(0, rows.numel() - 1))] = fill
    dtype = draw(TYPES)
    return rows.to(dtype) if dtype.is_floating_point else rows.nan_to_num(0, 0, 0).clamp(0, 1).to(dtype)


@given(x=anything(), y=anything(), alike=st.booleans(), doors=st.lists(st.sampled_from(sorted(LOSSES)), max_size=6))
def test_anything_gives_a_loss_or_is_named(x: Tensor, y: Tensor, alike: bool, doors: list[str]):
    y = x if alike else y
    for name in doors:
        try:
            found = LOSSES[name](x, y, 5.0)
        except ValueError as error:
            assert str(error).split()[0] in ("x", "y", "image_features", "text_features", "images", "texts")
        else:
            tame = all(rows.isfinite().all() and rows.abs().max() < 10 for rows in (x, y))
            assert found.shape == () and (found.isfinite() or not tame)


@given(x=anything(), y=anything(), alike=st.booleans(), doors=st.lists(st.sampled_from(sorted(MEASURES)), max_size=6))
def test_anything_is_measured_or_named(x: Tensor, y: Tensor, alike: bool, doors: list[str]):
    y = x if alike else y
    for name in doors:
        try:
            found = numbers_of(MEASURES[name](x, y))
        except ValueError as error:
            assert re.search(r"\b[xy]\b|coincide|collapsed|^shape", str(error))
        else:
            assert np.isfinite(found).all() or name in ("gap_interval", "ScaleFreeDistributionGap")


@given(x=anything(), y=anything(), alike=st.booleans(), doors=st.lists(st.sampled_from(sorted(TASKS)), max_size=4))
def test_anything_passes_a_task_or_is_named(x: Tensor, y: Tensor, alike: bool, doors: list[str]):
    y = x if alike else y
    for name in doors:
        try:
            found = numbers_of(TASKS[name](x, y))
        except ValueError as error:
            assert re.search(r"features|memory|classifier|labels", str(error))
        else:
            assert np.isfinite(found).all()


# ---- the command line, and profiles


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_command_takes_matrices_of_any_type(tmp_path: Path, dtype: type):
    for name, order in (("images", [0, 1, 2]), ("texts", [1, 2, 0])):
        np.save(tmp_path / f"{name}.npy", np.eye(3)[order].astype(dtype))
    done = run_gap(tmp_path)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("3 pairs of width 3\nraw            1.4142")  # every pair at a right angle


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e155, 3.0, 1j, 1, True])
def test_command_ends_with_2_where_a_number_is_none(tmp_path: Path, value: complex):
    texts = np.eye(3, dtype=type(value))
    texts[1, 1] = value
    np.save(tmp_path / "images.npy", np.eye(3))
    np.save(tmp_path / "texts.npy", texts)
    done = run_gap(tmp_path)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1) and done.stderr.startswith("error: ")


def run_gap(folder: Path) -> Result:
    return CliRunner().invoke(app, ["gap", str(folder / "images.npy"), str(folder / "texts.npy"), "--resamples", "5"])


@pytest.mark.parametrize("value", [-1.0, 101.0, 1e20, math.nan, math.inf])
@pytest.mark.parametrize("place", ["loss", "first_reading__loss"])
def test_hardness_is_refused_before_a_profile_is_used(place: str, value: float):
    with pytest.raises(ValueError, match=rf"profile demo: {place.replace('__', '.')}.hardness: "):
        load_profile("demo", **{f"{place}__hardness": value})
