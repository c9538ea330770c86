"""The first reading of the objective, as the recorded runs of ``tpc-cma-paired`` were trained by it.

Legend: B pairs, D width, s the inverse temperature. The hand-made batch, as unit vectors of the plane:

x_1 = (1, 0), x_2 = (0, 1); y_1 = (0.6, 0.8), y_2 = (0.8, 0.6).
So x_i.y_i = 0.6, x_1.y_2 = x_2.y_1 = 0.8, x_1.x_2 = 0, y_1.y_2 = 0.96.
"""

import math
from itertools import pairwise
from math import exp, log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from open_clip.loss import ClipLoss

from tpccma import load_profile
from tpccma.curriculum import GradientReading
from tpccma.methods.first_curriculum import FirstReadingCurriculum
from tpccma.methods.first_reading import FirstReadingLoss, mean_geometry_mismatch, reweighted_by_cosine

X = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
Y = torch.tensor([[0.6, 0.8], [0.8, 0.6]], dtype=torch.float64)
S = torch.tensor(2.0, dtype=torch.float64)
TERMS = ("reweighted", "geometry", "centroid", "paired")
SHARES = {"anchor": 0.2, "ramp_end": 0.6, "deadline": 0.8}
CALM = GradientReading(clip_norm=1.0, cma_norm=1e-6, cosine=1.0)  # neither caps nor slows
OPPOSED = GradientReading(clip_norm=1.0, cma_norm=1e-6, cosine=-1.0)  # slows, does not cap
numbers = st.floats(0, 1e6)
readings = st.builds(GradientReading, clip_norm=numbers, cma_norm=numbers, cosine=st.floats(-1, 1))


def random_batch(seed: int = 0, count: int = 6, width: int = 4) -> list[torch.Tensor]:
    """Two (B, D) batches of unit rows that ask for gradients, drawn by seed."""
    generator = torch.Generator().manual_seed(seed)
    drawn = (torch.randn(count, width, generator=generator) for _ in "xy")
    return [F.normalize(rows, dim=1).requires_grad_() for rows in drawn]


def gradients(loss: torch.Tensor, inputs) -> torch.Tensor:
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, inputs)])


# ---- the loss


@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
def test_alpha_0_is_clip_loss_in_value_and_gradient(scale: float):
    x, y = random_batch()
    s = torch.tensor(scale, requires_grad=True)
    ours, theirs = FirstReadingLoss(alpha=0.0)(x, y, s), ClipLoss()(x, y, s)
    assert torch.equal(ours, theirs)
    assert torch.equal(gradients(ours, (x, y, s)), gradients(theirs, (x, y, s)))


def test_reweighted_by_cosine_by_hand():
    # beta = 1: x_i weighs its negatives e^0.8 : e^0, y_i e^0.8 : e^0.96, either pair of weights with mean 1, so sum 2
    a, b = 2 * exp(0.8) / (exp(0.8) + 1), 2 / (exp(0.8) + 1)
    image = log(1 + (a * exp(1.6) + b) / exp(1.2))
    c, d = 2 * exp(0.8) / (exp(0.8) + exp(0.96)), 2 * exp(0.96) / (exp(0.8) + exp(0.96))
    text = log(1 + (c * exp(1.6) + d * exp(1.92)) / exp(1.2))
    assert reweighted_by_cosine(X, Y, S).item() == pytest.approx((image + text) / 2, abs=1e-12)
    plain = (log(1 + (exp(1.6) + 1) / exp(1.2)) + log(1 + (exp(1.6) + exp(1.92)) / exp(1.2))) / 2
    assert reweighted_by_cosine(X, Y, S, hardness=0.0).item() == pytest.approx(plain, abs=1e-12)


def test_geometry_is_a_plain_mean():
    # off the diagonal x_1.x_2 - y_1.y_2 = 0 - 0.96, twice: (0.9216 + 0.9216) / 2
    assert mean_geometry_mismatch(X, Y).item() == pytest.approx(0.9216)
    # x: 0, 90 and 180 degrees; y: all alike. Cosines of x 0, 0, -1, of y 1, 1, 1: (1 + 1 + 4) / 3
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert mean_geometry_mismatch(x, torch.tensor([[1.0, 0.0]] * 3)).item() == pytest.approx(2.0)


def test_terms_add_up_with_the_weights_of_then():
    terms = FirstReadingLoss(alpha=0.25)(X, Y, S, output_dict=True)
    assert tuple(terms) == FirstReadingLoss.term_names
    # the logits are 1.2 on the diagonal and 1.6 off it; centroids are (0.2, 0.2), pairs (0.4, 0.8) apart
    assert terms["contrastive_loss"].item() == pytest.approx(0.75 * log(1 + exp(0.4)))
    assert terms["reweighted_loss"].item() == pytest.approx(0.25 * reweighted_by_cosine(X, Y, S).item())
    assert terms["geometry_loss"].item() == pytest.approx(0.25 * 10 * 0.9216)
    assert terms["centroid_loss"].item() == pytest.approx(0.25 * 1 * 0.08)
    assert terms["paired_loss"].item() == pytest.approx(0.25 * 10 * 0.8)
    assert FirstReadingLoss(alpha=0.25)(X, Y, S).item() == pytest.approx(sum(terms.values()).item(), abs=1e-12)


def test_value_and_gradient_are_those_of_the_recorded_runs():
    # from the code of the records: 64 pairs at scale 100; rounding differs by processor
    x, y = random_batch(count=64, width=16)
    s = torch.tensor(100.0, requires_grad=True)
    total = FirstReadingLoss(alpha=0.5)(x, y, s)
    assert total.item() == pytest.approx(72.321716, rel=1e-6)
    assert gradients(total, (x, y, s)).norm().item() == pytest.approx(25.768551, rel=1e-5)


@pytest.mark.parametrize("term", TERMS)
def test_term_with_weight_0_is_absent(term: str):
    terms = FirstReadingLoss(alpha=0.5, **{f"{term}_weight": 0.0})(X, Y, S, output_dict=True)
    assert set(terms) == {"contrastive_loss", *(f"{other}_loss" for other in TERMS if other != term)}


def test_reading_equals_autograd_of_both_parts():
    x, y = random_batch()
    s = torch.tensor(10.0)
    numbers = FirstReadingLoss(alpha=0.3, hardness=2.0).read(x, y, s).numbers()
    clip, cma = (gradients(FirstReadingLoss(alpha=alpha, hardness=2.0)(x, y, s), (x, y)) for alpha in (0.0, 1.0))
    expected = [clip.norm(), cma.norm(), torch.cosine_similarity(clip, cma, dim=0)]
    assert numbers[:3].tolist() == pytest.approx([value.item() for value in expected], rel=1e-5)


def test_read_weighs_the_terms_as_the_loss_does():
    read = FirstReadingLoss(alpha=0.0, centroid_weight=0.0).read(X, Y, S)
    terms = FirstReadingLoss(alpha=0.25, centroid_weight=0.0)(X, Y, S, output_dict=True)
    assert read.terms(0.25) == terms
    values = dict(zip(FirstReadingLoss.term_names, read.numbers()[3:].tolist(), strict=True))
    assert {name: share * values[name] for name, share in read.shares(0.25).items()} == pytest.approx(
        {name: term.item() for name, term in terms.items()}
    )


def test_batch_of_one_pair_has_no_negatives():
    x, y = X[:1].clone().requires_grad_(), Y[:1]
    assert reweighted_by_cosine(x, y, S).item() == mean_geometry_mismatch(x, y).item() == 0.0
    assert torch.isfinite(gradients(FirstReadingLoss(alpha=0.5)(x, y, S), (x,))).all()


@pytest.mark.parametrize("name", ["alpha", "hardness", *(f"{term}_weight" for term in TERMS)])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_bad_setting_of_the_loss_is_named(name: str, value: float):
    with pytest.raises(ValueError, match=f"{name} must be .* got {value!r}"):
        FirstReadingLoss(**{name: value})


# ---- the curriculum


def test_alpha_without_gradients_by_hand():
    # over the steps 20 to 60: after a quarter (1 - cos(pi / 4)) / 2 of 0.4, or a quarter of it; in the middle half
    for shape, quarter in (("cosine", 0.4 * (1 - math.sqrt(0.5)) / 2), ("linear", 0.1)):
        curriculum = FirstReadingCurriculum(0.4, 100, **SHARES, shape=shape)
        alphas = [curriculum.alpha(step) for step in (0, 19, 20, 30, 40, 60, 99)]
        assert alphas == pytest.approx([0, 0, 0, quarter, 0.2, 0.4, 0.4])


@pytest.mark.parametrize("anchor, jump", [(0.0, 0), (0.2, 20)])
def test_ramp_without_length_is_a_jump(anchor: float, jump: int):
    curriculum = FirstReadingCurriculum(0.5, 100, anchor=anchor, ramp_end=anchor)
    assert [curriculum.update(step, OPPOSED) for step in range(100)] == [0.0] * jump + [0.5] * (100 - jump)


def test_cap_by_hand():
    # rho 2, norms 1 and 8: 8 alpha = 2 (1 - alpha) gives alpha = 0.2; the clock alone says 0.25 in the middle
    curriculum = FirstReadingCurriculum(0.5, 100, **SHARES, rho=2.0)
    assert curriculum.update(40, GradientReading(1.0, 8.0, 1.0)) == pytest.approx(0.2)
    assert curriculum.update(40, CALM) == pytest.approx(0.25)  # the next reading lifts the cap
    assert curriculum.update(40, GradientReading(0.0, 8.0, 1.0)) == 0.0
    assert curriculum.update(60, GradientReading(1.0, 8.0, 1.0)) == 0.5  # no cap once the ramp is over
    free = FirstReadingCurriculum(0.5, 100, **SHARES, rho=math.inf)
    assert free.update(40, GradientReading(0.0, 8.0, 1.0)) == pytest.approx(0.25)


@given(st.data(), st.integers(1, 60), st.floats(0, 1), st.floats(1e-3, 1e3), st.floats(0.01, 1))
def test_cap_holds_during_the_ramp_and_the_target_is_reached(data, steps, target, rho, slow_rate):
    curriculum = FirstReadingCurriculum(target, steps, rho=rho, slow_rate=slow_rate)
    for step in range(steps):
        reading = data.draw(readings)
        alpha = curriculum.update(step, reading)
        assert 0 <= alpha <= target
        if curriculum.phase(step) == "ramp":
            assert alpha * reading.cma_norm <= rho * (1 - alpha) * reading.clip_norm * (1 + 1e-6) + 1e-9
    assert alpha == target


def test_opposed_gradients_slow_the_clock_by_slow_rate():
    curriculum, plain = (FirstReadingCurriculum(0.5, 100, slow_rate=rate) for rate in (0.5, 1.0))
    alphas = [curriculum.update(step, OPPOSED) for step in range(25)]
    # ten slowed steps of the ramp: half a step late after each, five steps after all
    assert curriculum.lag == 5.0
    assert alphas[-1] == pytest.approx(plain.alpha(24 - 5))
    assert curriculum.update(25, CALM) == pytest.approx(plain.alpha(25 - 5))
    assert [plain.update(step, OPPOSED) for step in range(100)] == [plain.alpha(step) for step in range(100)]


@pytest.mark.parametrize("slow_rate", [0.01, 0.5, 0.9])
def test_clock_never_stops_and_the_ramp_is_over_by_the_deadline(slow_rate: float):
    curriculum = FirstReadingCurriculum(0.5, 100, slow_rate=slow_rate)
    alphas = [curriculum.update(step, OPPOSED) for step in range(100)]
    assert all(later > earlier for earlier, later in pairwise(alphas[15:81]) if 0 < earlier < 0.5)
    assert alphas[80:] == [0.5] * 20


@pytest.mark.parametrize("norms", [(-1.0, 2.0), (-1.0, 3.0), (1.0, -2.0)])
def test_norm_below_0_changes_nothing(norms: tuple[float, float]):
    curriculum, plain = FirstReadingCurriculum(0.5, 100), FirstReadingCurriculum(0.5, 100)
    assert curriculum.update(40, GradientReading(*norms, -1.0)) == plain.alpha(40)
    assert curriculum.state_dict() == plain.state_dict()


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["clip_norm", "cma_norm", "cosine"])
def test_reading_that_is_not_finite_changes_nothing(place: str, broken: float):
    curriculum = FirstReadingCurriculum(0.5, 100)
    curriculum.update(30, GradientReading(1.0, 8.0, -0.5))
    before = curriculum.state_dict()
    curriculum.update(31, GradientReading(**{"clip_norm": 1.0, "cma_norm": 1.0, "cosine": -1.0, place: broken}))
    assert curriculum.state_dict() == before


@given(st.lists(readings, min_size=40, max_size=40))
def test_saved_state_goes_on_as_if_nothing_had_happened(seen: list[GradientReading]):
    curriculum, resumed = (FirstReadingCurriculum(0.5, 40) for _ in range(2))
    for step in range(20):
        curriculum.update(step, seen[step])
    resumed.load_state_dict(curriculum.state_dict())
    rest = [[each.update(step, seen[step]) for step in range(20, 40)] for each in (curriculum, resumed)]
    assert rest[0] == rest[1]


@pytest.mark.parametrize(
    "arguments, named",
    [
        ({"alpha_target": 1.5}, "alpha .*1.5"),
        ({"total_steps": 0}, "total_steps .*0"),
        ({"anchor": 0.61}, "anchor=0.61"),
        ({"deadline": 1.0}, "deadline=1.0"),
        ({"rho": 0.0}, "rho .*0.0"),
        ({"rho": math.nan}, "rho .*nan"),
        ({"slow_rate": 0.0}, "slow_rate .*0.0"),
        ({"shape": "square"}, "shape .*'square'"),
    ],
)
def test_bad_setting_of_the_curriculum_is_named(arguments: dict, named: str):
    with pytest.raises(ValueError, match=named):
        FirstReadingCurriculum(**{"alpha_target": 0.5, "total_steps": 100, **arguments})


# ---- the profile's part


def test_profile_holds_the_settings_of_the_recorded_runs():
    settings = load_profile("demo").first_reading
    assert FirstReadingLoss(**settings.loss.model_dump()).weights == {
        "reweighted": 1.0,
        "geometry": 10.0,
        "centroid": 1.0,
        "paired": 10.0,
    }
    assert settings.loss.identity() == settings.loss.model_dump() | {"false_negative_rate": 0.0}
    expected = {"anchor": 0.15, "ramp_end": 0.6, "deadline": 0.8, "rho": 2.0, "slow_rate": 0.5}
    assert settings.curriculum.identity() == expected
    with pytest.raises(ValueError, match=r"first_reading.curriculum: .*anchor=0.7"):
        load_profile("demo", first_reading__curriculum__anchor=0.7)
