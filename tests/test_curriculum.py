import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tpccma.curriculum import GradientReading, ThreePhaseCurriculum

CALM = GradientReading(clip_norm=1.0, cma_norm=1e-6, cosine=1.0)  # neither caps nor slows
OPPOSED = GradientReading(clip_norm=1.0, cma_norm=1e-6, cosine=-1.0)  # slows, does not cap

numbers = st.floats(0, 1e6)
readings = st.builds(GradientReading, clip_norm=numbers, cma_norm=numbers, cosine=st.floats(-1, 1))
any_float = st.floats(allow_nan=True, allow_infinity=True)
broken_readings = st.builds(GradientReading, clip_norm=st.just(math.nan), cma_norm=any_float, cosine=any_float)


@st.composite
def curricula(draw) -> tuple[ThreePhaseCurriculum, int]:
    """Any curriculum, with the number of its steps."""
    anchor, ramp_end, deadline = sorted(draw(st.lists(st.integers(0, 99), min_size=3, max_size=3)))
    steps = draw(st.integers(1, 60))
    curriculum = ThreePhaseCurriculum(
        draw(st.floats(0, 1)),
        steps,
        anchor=anchor / 100,
        ramp_end=ramp_end / 100,
        deadline=deadline / 100,
        rho=draw(st.floats(1e-3, 1e3) | st.just(math.inf)),
        slow_rate=draw(st.floats(0.01, 1)),
        shape=draw(st.sampled_from(["cosine", "linear"])),
    )
    return curriculum, steps


def test_phases_without_gradients():
    curriculum = ThreePhaseCurriculum(0.5, 100)
    phases = [curriculum.phase(step) for step in range(100)]
    assert phases == ["anchor"] * 15 + ["ramp"] * 45 + ["stabilize"] * 40


def test_alpha_without_gradients_by_hand():
    curriculum = ThreePhaseCurriculum(0.4, 100, anchor=0.2, ramp_end=0.6, deadline=0.8)
    # a raised cosine over the steps 20 to 60: after a quarter (1 - cos(pi / 4)) / 2 of 0.4, in the middle half of it
    assert [curriculum.alpha(step) for step in (0, 19, 20)] == [0.0, 0.0, 0.0]
    assert curriculum.alpha(30) == pytest.approx(0.4 * (1 - math.sqrt(0.5)) / 2)
    assert curriculum.alpha(40) == pytest.approx(0.2)
    assert curriculum.alpha(60) == curriculum.alpha(99) == 0.4


def test_linear_ramp_by_hand():
    curriculum = ThreePhaseCurriculum(0.4, 100, anchor=0.2, ramp_end=0.6, deadline=0.8, shape="linear")
    # over the steps 20 to 60: after a quarter a quarter of 0.4
    alphas = [curriculum.alpha(step) for step in (19, 20, 30, 40, 50, 60)]
    assert alphas == pytest.approx([0.0, 0.0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("anchor, jump", [(0.0, 0), (0.2, 20)])
def test_ramp_without_length_is_a_jump(anchor: float, jump: int):
    curriculum = ThreePhaseCurriculum(0.5, 100, anchor=anchor, ramp_end=anchor, deadline=0.8)
    assert [curriculum.update(step, OPPOSED) for step in range(100)] == [0.0] * jump + [0.5] * (100 - jump)
    assert {curriculum.phase(step) for step in range(jump, 100)} == {"stabilize"}


@given(curricula())
def test_alpha_without_gradients_rises_to_its_target(drawn):
    curriculum, steps = drawn
    alphas = [curriculum.alpha(step) for step in range(steps)]
    assert alphas == sorted(alphas)
    assert alphas[0] >= 0
    assert alphas[-1] == curriculum.alpha_target


@given(curricula(), st.data())
def test_any_gradients_leave_alpha_in_range_and_reach_the_target(drawn, data):
    curriculum, steps = drawn
    alphas = [curriculum.update(step, data.draw(readings | broken_readings)) for step in range(steps)]
    assert all(0 <= alpha <= curriculum.alpha_target for alpha in alphas)
    assert alphas[-1] == curriculum.alpha_target


@given(curricula(), st.data())
def test_cap_holds_during_the_ramp(drawn, data):
    curriculum, steps = drawn
    for step in range(steps):
        reading = data.draw(readings)
        alpha = curriculum.update(step, reading)
        if curriculum.phase(step) == "ramp" and math.isfinite(curriculum.rho):
            allowed = curriculum.rho * (1 - alpha) * reading.clip_norm
            assert alpha * reading.cma_norm <= allowed * (1 + 1e-6) + 1e-9


def test_cap_by_hand():
    # rho 2, norms 1 and 8: 8 alpha = 2 (1 - alpha) gives alpha = 0.2; the clock alone says 0.25 in the middle
    curriculum = ThreePhaseCurriculum(0.5, 100, anchor=0.2, ramp_end=0.6, deadline=0.8, rho=2.0)
    assert curriculum.update(40, GradientReading(1.0, 8.0, 1.0)) == pytest.approx(0.2)
    assert curriculum.update(40, CALM) == pytest.approx(0.25)  # the next reading lifts the cap
    assert curriculum.update(40, GradientReading(0.0, 8.0, 1.0)) == 0.0
    assert curriculum.update(60, GradientReading(1.0, 8.0, 1.0)) == 0.5  # no cap once the ramp is over


def test_infinite_rho_switches_the_cap_off():
    curriculum = ThreePhaseCurriculum(0.5, 100, anchor=0.2, ramp_end=0.6, deadline=0.8, rho=math.inf)
    assert curriculum.update(40, GradientReading(0.0, 8.0, 1.0)) == pytest.approx(0.25)


def test_opposed_gradients_slow_the_clock_by_slow_rate():
    curriculum, plain = ThreePhaseCurriculum(0.5, 100, slow_rate=0.5), ThreePhaseCurriculum(0.5, 100)
    alphas = [curriculum.update(step, OPPOSED) for step in range(15, 25)]
    # ten slowed steps: half a step late after each, five steps after all
    assert curriculum.lag == 5.0
    assert alphas[-1] == pytest.approx(plain.alpha(24 - 5))
    assert curriculum.update(25, CALM) == pytest.approx(plain.alpha(25 - 5))


def test_opposed_gradients_do_not_count_outside_the_ramp():
    curriculum = ThreePhaseCurriculum(0.5, 100)
    for step in (*range(15), *range(60, 100)):
        curriculum.update(step, OPPOSED)
    assert curriculum.state_dict() == {"lag": 0.0, "cap": 1.0}


@pytest.mark.parametrize("slow_rate", [0.01, 0.5, 0.9])
def test_clock_never_stops_and_the_ramp_is_over_by_the_deadline(slow_rate: float):
    curriculum = ThreePhaseCurriculum(0.5, 100, slow_rate=slow_rate)
    alphas = [curriculum.update(step, OPPOSED) for step in range(100)]
    ramp = alphas[15:81]
    assert all(later > earlier for earlier, later in pairwise(ramp) if 0 < earlier < 0.5)
    assert alphas[80:] == [0.5] * 20
    assert curriculum.lag == pytest.approx(20) or slow_rate == 0.9


def test_slow_rate_1_switches_the_delay_off():
    curriculum, plain = ThreePhaseCurriculum(0.5, 100, slow_rate=1.0), ThreePhaseCurriculum(0.5, 100)
    assert [curriculum.update(step, OPPOSED) for step in range(100)] == [plain.alpha(step) for step in range(100)]


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_shortest_runs_end_at_the_target(steps: int):
    assert ThreePhaseCurriculum(0.5, steps).alpha(steps - 1) == 0.5


def test_alpha_0_stays_0():
    curriculum = ThreePhaseCurriculum(0.0, 50)
    assert {curriculum.update(step, GradientReading(1.0, 5.0, -1.0)) for step in range(50)} == {0.0}


@given(curricula(), st.data())
def test_saved_state_goes_on_as_if_nothing_had_happened(drawn, data):
    curriculum, steps = drawn
    seen = data.draw(st.lists(readings, min_size=steps, max_size=steps))
    middle = steps // 2
    for step in range(middle):
        curriculum.update(step, seen[step])
    state = curriculum.state_dict()
    rest = [curriculum.update(step, seen[step]) for step in range(middle, steps)]
    curriculum.load_state_dict(state)
    assert [curriculum.update(step, seen[step]) for step in range(middle, steps)] == rest


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["clip_norm", "cma_norm", "cosine"])
def test_reading_that_is_not_finite_changes_nothing(place: str, broken: float):
    curriculum = ThreePhaseCurriculum(0.5, 100)
    curriculum.update(30, GradientReading(1.0, 8.0, -0.5))
    before = curriculum.state_dict()
    alpha = curriculum.update(31, GradientReading(**{"clip_norm": 1.0, "cma_norm": 1.0, "cosine": -1.0, place: broken}))
    assert curriculum.state_dict() == before
    assert 0 <= alpha <= 0.5


def test_reading_of_gradients_by_hand():
    # (3, 4) and (4, -3) stand at right angles; (3, 4) and (-6, -8) oppose each other
    assert GradientReading.of(torch.tensor([3.0, 4.0]), torch.tensor([4.0, -3.0])) == GradientReading(5.0, 5.0, 0.0)
    reading = GradientReading.of(torch.tensor([3.0, 4.0]), torch.tensor([-6.0, -8.0]))
    assert (reading.clip_norm, reading.cma_norm) == (5.0, 10.0)
    assert reading.cosine == pytest.approx(-1.0)


def test_reading_of_a_zero_gradient_is_finite():
    assert GradientReading.of(torch.zeros(2), torch.ones(2)).cosine == 0.0


@pytest.mark.parametrize(
    "arguments, named",
    [
        ({"alpha_target": 1.5}, "alpha .*1.5"),
        ({"alpha_target": math.nan}, "alpha .*nan"),
        ({"total_steps": 0}, "total_steps .*0"),
        ({"anchor": -0.1}, "anchor=-0.1"),
        ({"anchor": 0.61}, "anchor=0.61"),
        ({"ramp_end": 0.9}, "ramp_end=0.9"),
        ({"deadline": 1.0}, "deadline=1.0"),
        ({"deadline": math.nan}, "deadline=nan"),
        ({"rho": 0.0}, "rho .*0.0"),
        ({"rho": math.nan}, "rho .*nan"),
        ({"slow_rate": 0.0}, "slow_rate .*0.0"),
        ({"slow_rate": 1.5}, "slow_rate .*1.5"),
        ({"shape": "square"}, "shape .*'square'"),
    ],
)
def test_bad_argument_is_named(arguments: dict, named: str):
    with pytest.raises(ValueError, match=named):
        ThreePhaseCurriculum(**{"alpha_target": 0.5, "total_steps": 100, **arguments})
