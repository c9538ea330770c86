import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tpccma.curriculum import GradientReading, ThreePhaseCurriculum

PHASES = ["anchor", "ramp", "stabilize"]
SHARES = {"anchor": 0.2, "ramp_end": 0.6, "deadline": 0.8}
WHOLE_ANCHOR = {**SHARES, "min_anchor": 1.0}  # readings do not end the anchor phase: of 100 steps the ramp has 20 to 60
STEADY = GradientReading(clip_norm=1.0, cma_norm=8.0, cosine=1.0)
OPPOSED = GradientReading(clip_norm=1.0, cma_norm=8.0, cosine=-1.0)

any_float = st.floats(allow_nan=True, allow_infinity=True)
numbers = st.floats(0, 1e6) | st.sampled_from([0.0, 5e-324, 1e-30, 1e30, 1.7e308])
readings = st.builds(GradientReading, clip_norm=numbers, cma_norm=numbers, cosine=st.floats(-1, 1))
broken_readings = st.builds(GradientReading, clip_norm=any_float, cma_norm=any_float, cosine=any_float)
given_or_missing = readings | broken_readings | st.none()


@st.composite
def curricula(draw) -> tuple[ThreePhaseCurriculum, int]:
    """Any curriculum, with the number of its steps."""
    anchor, ramp_end, deadline = sorted(draw(st.lists(st.integers(0, 99), min_size=3, max_size=3)))
    steps = draw(st.integers(1, 80))
    curriculum = ThreePhaseCurriculum(
        draw(st.floats(0, 1)),
        steps,
        anchor=anchor / 100,
        ramp_end=ramp_end / 100,
        deadline=deadline / 100,
        slow_rate=draw(st.floats(0.01, 1)),
        shape=draw(st.sampled_from(["cosine", "linear"])),
        gradient_aware=draw(st.booleans()),
        min_anchor=draw(st.floats(0, 1)),
        patience=draw(st.floats(0.01, 1)),
    )
    return curriculum, steps


def take(curriculum: ThreePhaseCurriculum, step: int, reading: GradientReading | None) -> float:
    """Take a step with a reading or, as a trainer may, without one."""
    return curriculum.alpha(step) if reading is None else curriculum.update(step, reading)


# ---- without readings


def test_phases_without_readings():
    curriculum = ThreePhaseCurriculum(0.5, 100)
    phases = [curriculum.phase(step) for step in range(100)]
    assert phases == ["anchor"] * 15 + ["ramp"] * 45 + ["stabilize"] * 40


def test_alpha_without_readings_by_hand():
    curriculum = ThreePhaseCurriculum(0.4, 100, **SHARES)
    # a raised cosine over the steps 20 to 60: after a quarter (1 - cos(pi / 4)) / 2 of 0.4, in the middle half of it
    assert [curriculum.alpha(step) for step in (0, 19, 20)] == [0.0, 0.0, 0.0]
    assert curriculum.alpha(30) == pytest.approx(0.4 * (1 - math.sqrt(0.5)) / 2)
    assert curriculum.alpha(40) == pytest.approx(0.2)
    assert curriculum.alpha(60) == curriculum.alpha(99) == 0.4


def test_linear_ramp_by_hand():
    curriculum = ThreePhaseCurriculum(0.4, 100, **SHARES, shape="linear")
    # over the steps 20 to 60: after a quarter a quarter of 0.4
    alphas = [curriculum.alpha(step) for step in (19, 20, 30, 40, 50, 60)]
    assert alphas == pytest.approx([0.0, 0.0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_shortest_runs_end_at_the_target(steps: int):
    assert ThreePhaseCurriculum(0.5, steps).alpha(steps - 1) == 0.5


@pytest.mark.parametrize("alpha", [0.05, 0.5, 1.0])
def test_no_anchor_and_no_ramp_fix_alpha_from_the_start(alpha: float):
    curriculum = ThreePhaseCurriculum(alpha, 50, anchor=0.0, ramp_end=0.0)
    assert {curriculum.update(step, OPPOSED) for step in range(50)} == {alpha}
    assert {(curriculum.phase(step), curriculum.reads(step)) for step in range(50)} == {("stabilize", False)}


@given(curricula(), st.data())
def test_switched_off_or_without_a_target_readings_change_nothing(drawn, data):
    curriculum, steps = drawn
    curriculum.gradient_aware = curriculum.gradient_aware and curriculum.alpha_target == 0
    before = curriculum.state_dict()
    plain = [curriculum.alpha(step) for step in range(steps)]
    assert [curriculum.update(step, data.draw(readings)) for step in range(steps)] == plain
    assert curriculum.state_dict() == before
    assert not any(curriculum.reads(step) for step in range(steps))


# ---- whatever the readings say


@given(curricula(), st.data())
def test_alpha_rises_from_0_to_the_target_in_bounded_steps(drawn, data):
    curriculum, steps = drawn
    alphas = [take(curriculum, step, data.draw(given_or_missing)) for step in range(steps)]
    assert all(0 <= alpha <= curriculum.alpha_target for alpha in alphas)
    assert alphas[-1] == curriculum.alpha_target
    assert all(alpha == curriculum.alpha_target for alpha in alphas[math.ceil(curriculum.deadline) :])
    bound = curriculum.alpha_target * 4 / max(curriculum.ramp_steps, 4)
    for before, after in pairwise(alphas):
        assert 0 <= after - before <= bound * (1 + 1e-9)


@given(curricula(), st.data())
def test_phases_come_in_order_and_say_when_to_read(drawn, data):
    curriculum, steps = drawn
    seen = []
    for step in range(steps):
        alpha = take(curriculum, step, data.draw(given_or_missing))
        seen.append(curriculum.phase(step))
        if seen[-1] == "anchor":
            assert alpha == 0
        if seen[-1] == "stabilize":
            assert alpha == curriculum.alpha_target and not curriculum.reads(step)
    assert seen == sorted(seen, key=PHASES.index)


@given(curricula(), st.data())
def test_saved_state_goes_on_as_if_nothing_had_happened(drawn, data):
    curriculum, steps = drawn
    seen = [data.draw(given_or_missing) for _ in range(steps)]
    states, alphas = [], []
    for step in range(steps):
        states.append(curriculum.state_dict())
        alphas.append(take(curriculum, step, seen[step]))
    for middle in range(steps):
        curriculum.load_state_dict(states[middle])
        assert [take(curriculum, step, seen[step]) for step in range(middle, steps)] == alphas[middle:]


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["clip_norm", "cma_norm", "cosine"])
def test_reading_that_is_not_finite_changes_nothing(place: str, broken: float):
    unchanged(GradientReading(**{"clip_norm": 1.0, "cma_norm": 1.0, "cosine": -1.0, place: broken}))


@pytest.mark.parametrize("norms", [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_norm_of_0_changes_nothing(norms: tuple[float, float]):
    unchanged(GradientReading(*norms, cosine=-1.0))


def unchanged(reading: GradientReading) -> None:
    curriculum = ThreePhaseCurriculum(0.5, 100)
    for step in range(31):
        curriculum.update(step, OPPOSED)
    before, alpha = curriculum.state_dict(), curriculum.alpha(31)
    assert curriculum.update(31, reading) == alpha
    assert curriculum.state_dict() == before


def test_steps_without_a_reading_let_the_clock_go_on():
    curriculum = ThreePhaseCurriculum(0.5, 100, **WHOLE_ANCHOR)
    for step in range(25):
        curriculum.update(step, STEADY)
    # with steady norms r = u R: alpha = u / (u + 1) for alpha_target 0.5, and u is 1/2 in the middle, 1 at the end
    assert [curriculum.alpha(step) for step in (40, 60)] == pytest.approx([1 / 3, 0.5])


# ---- anchor


def anchor_end(norms: list[float], **settings) -> int:
    """Say at which step the anchor phase of a curriculum of 200 steps is over, 100 of them at most."""
    curriculum = ThreePhaseCurriculum(0.5, 200, anchor=0.5, ramp_end=0.8, deadline=0.9, **settings)
    for step, norm in enumerate(norms):
        curriculum.update(step, GradientReading(norm, 1.0, 1.0))
        if curriculum.phase(step) != "anchor":
            return step
    return len(norms)


def test_anchor_lasts_its_share_while_the_norm_falls():
    assert anchor_end([0.99**step for step in range(100)] + [1.0]) == 100


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_anchor_ends_when_the_norm_does_not_fall(factor: float):
    # the average is full with the tenth reading, that of step 9; patience is 10 of the 200 steps, min_anchor 20
    norms = [factor**step for step in range(100)]
    assert anchor_end(norms) == 20
    assert anchor_end(norms, min_anchor=0.0) == 19
    assert anchor_end(norms, min_anchor=0.2) == 40
    assert anchor_end(norms, min_anchor=1.0) == 100
    assert anchor_end(norms, patience=0.2) == 9 + 40


def test_anchor_ends_a_patience_after_the_last_fall():
    # 1 up to step 29, then exp(-.02): its smoothed logarithm is -.02 (1 - .9^k) after k such readings, and -.0094 at
    # k = 6, -.0104 at k = 7. Log .99 is -.01005, so step 36 has the one fall of 1 %; patience is 10 steps
    norms = [1.0] * 30 + [math.exp(-0.02)] * 70
    assert anchor_end(norms, min_anchor=0.2) == 36 + 10


def test_one_batch_does_not_move_the_anchors_end():
    # smoothed, a norm of a tenth is a fall to 1/10^.1 = .79, and stays below the steady norm for good
    norms = [1.0] * 15 + [0.1] + [1.0] * 84
    assert anchor_end(norms) == 15 + 10


@pytest.mark.parametrize("seed", range(5))
def test_noise_does_not_end_an_anchor_whose_norm_falls(seed: int):
    # noise of 4 % a batch, as on the demo, on a norm that falls to a half within the 100 steps
    noise = torch.randn(100, generator=torch.Generator().manual_seed(seed)).mul(0.04).exp()
    falling = [0.5 ** (step / 100) * factor for step, factor in enumerate(noise.tolist())]
    assert anchor_end(falling) > 50


# ---- ramp


def smoothed(values: list[float]) -> float:
    """Average by hand: the first ten alike, as a geometric mean, then each with a tenth of the weight."""
    average = math.prod(values[:10]) ** (1 / len(values[:10]))
    for value in values[10:]:
        average = average**0.9 * value**0.1
    return average


def test_ratio_rises_by_the_raised_cosine_by_hand():
    # alpha_target 0.2, q0 = 8: R = 0.2 / 0.8 * 8 = 2. In the middle u = 1/2, r = 1, alpha = 1 / (1 + 8)
    curriculum = ThreePhaseCurriculum(0.2, 100, **WHOLE_ANCHOR)
    alphas = [curriculum.update(step, STEADY) for step in range(100)]
    assert alphas[:21] == [0.0] * 21
    assert alphas[40] == pytest.approx(1 / 9)
    # a quarter on, u = (1 + sqrt(1/2)) / 2, r = 2 u
    ratio = 1 + math.sqrt(0.5)
    assert alphas[50] == pytest.approx(ratio / (ratio + 8))
    assert alphas[60] == pytest.approx(0.2)


def test_alpha_follows_the_smoothed_norms_by_hand():
    # the anchor phase's 20 readings, of which all make q0; then 2 % less at each of the steps 20 to 40
    anchor = [4.0] * 10 + [8.0] * 10
    norms = anchor + [8.0 * 0.98**k for k in range(1, 22)]
    curriculum = ThreePhaseCurriculum(0.25, 100, **WHOLE_ANCHOR)
    alpha = [curriculum.update(step, GradientReading(1.0, norm, 1.0)) for step, norm in enumerate(norms)][-1]
    ratio = 0.5 * 0.25 / 0.75 * smoothed(anchor)  # u = 1/2 in the middle of the ramp
    assert alpha == pytest.approx(ratio / (ratio + smoothed(norms)))
    assert alpha * smoothed(norms) / (1 - alpha) == pytest.approx(ratio)  # ||alpha g_cma|| / ||(1 - alpha) g_clip||


def test_common_factor_of_both_norms_changes_nothing():
    one, thousand = (ThreePhaseCurriculum(0.5, 100, **WHOLE_ANCHOR) for _ in range(2))
    for step in range(100):
        norm = 8 * 0.99**step
        expected = one.update(step, GradientReading(1.0, norm, 1.0))
        assert thousand.update(step, GradientReading(1e3, 1e3 * norm, 1.0)) == pytest.approx(expected)


def ramp_of(cma_norms: list[float], alpha_target: float = 0.5) -> list[float]:
    """Take the 186 steps of a demo run with CLIP's norm at 3 and no early end of the anchor phase."""
    curriculum = ThreePhaseCurriculum(alpha_target, 186, min_anchor=1.0)
    return [curriculum.update(step, GradientReading(3.0, norm, 1.0)) for step, norm in enumerate(cma_norms)]


def test_alpha_goes_ahead_once_alignments_gradient_has_shrunk_and_waits_while_it_is_large():
    # the anchor phase ends at 27.9. q stays, falls from 10 / 3 to 1 within 60 steps, or triples as fast
    steady = ramp_of([10.0] * 186)
    shrinking = ramp_of([10.0 * 0.3 ** min(max(step - 28, 0) / 60, 1) for step in range(186)])
    growing = ramp_of([10.0 * 0.3 ** -min(max(step - 28, 0) / 60, 1) for step in range(186)])
    plain = ThreePhaseCurriculum(0.5, 186)
    for step in (40, 50, 60):
        assert shrinking[step] > steady[step] > growing[step]
        assert shrinking[step] > plain.alpha(step)
    # at step 70 u = .505 and, smoothed over some nine steps, q / q0 = .3^(33 / 60) = .516 or so: u q0 / q = .98
    assert shrinking[70] == pytest.approx(0.98 / 1.98, rel=0.02)
    # at step 112 u is 1 and q / q0 = 1 / .3: alpha = .3 / 1.3, less than the schedule of the deadline has
    assert growing[112] == pytest.approx(plain_by_deadline(112)) and plain_by_deadline(112) > 0.3 / 1.3


def plain_by_deadline(step: int) -> float:
    return ThreePhaseCurriculum(0.5, 186, ramp_end=0.8, gradient_aware=False).alpha(step)


def test_alpha_waits_after_the_end_of_the_clock_and_arrives_by_the_deadline():
    # q / q0 = 4 from step 20 on: at the clock's end, step 60, alpha asks for 1 / (1 + 4) and the lower bound for more
    curriculum = ThreePhaseCurriculum(0.5, 100, **WHOLE_ANCHOR)
    grown = GradientReading(1.0, 32.0, 1.0)
    alphas = [curriculum.update(step, STEADY if step < 20 else grown) for step in range(100)]
    # the raised cosine over the steps 20 to 80, two thirds done: (1 - cos(2 pi / 3)) / 2 = 3 / 4
    assert alphas[60] == pytest.approx(0.5 * 0.75)
    assert alphas[79] < 0.5 and alphas[80:] == [0.5] * 20


def test_alpha_does_not_fall_when_alignments_gradient_grows():
    curriculum = ThreePhaseCurriculum(0.5, 100, **WHOLE_ANCHOR)
    for step in range(40):
        curriculum.update(step, STEADY)
    before = curriculum.alpha(39)
    assert curriculum.update(40, GradientReading(1.0, 1e9, 1.0)) == before


def test_rise_of_a_step_is_bounded():
    # alignment's gradient vanishes at step 25: alpha rises by 4 / 40 of the target a step, and not at once
    curriculum = ThreePhaseCurriculum(0.5, 100, **WHOLE_ANCHOR)
    alphas = [curriculum.update(step, STEADY if step < 25 else GradientReading(1.0, 1e-30, 1.0)) for step in range(40)]
    assert [alphas[step] - alphas[step - 1] for step in (25, 26, 30)] == pytest.approx([0.05] * 3)
    assert alphas[36] == 0.5


def test_target_of_1_is_the_limit_of_targets_near_it():
    # R is infinite, so any u above 0 asks for alpha 1: the line of the largest rise, 4 / 40 a step from step 20 on
    whole, near = (
        [curriculum.update(step, STEADY) for step in range(100)]
        for curriculum in (ThreePhaseCurriculum(alpha, 100, **WHOLE_ANCHOR) for alpha in (1.0, 1 - 1e-12))
    )
    assert whole[20:31] == pytest.approx([k / 10 for k in range(11)])
    assert whole[31:] == [1.0] * 69
    assert near == pytest.approx(whole)


def test_without_an_anchor_the_first_ten_readings_are_the_reference():
    # they are taken at their own norms, so alpha = u / (u + 1); then q / q0 counts
    steady, noisy = (ThreePhaseCurriculum(0.5, 100, anchor=0.0) for _ in range(2))
    for step in range(10):
        expected = steady.update(step, STEADY)
        assert noisy.update(step, GradientReading(1.0, 8.0 * (1 + step % 2), 1.0)) == pytest.approx(expected)
    # smoothed, 16 and 8 in turn are 8 sqrt(2), and one more 16 is 2^.05 times that
    u = (1 - math.cos(math.pi * 10 / 60)) / 2
    assert noisy.update(10, GradientReading(1.0, 16.0, 1.0)) == pytest.approx(0.5 * u / (0.5 * u + 0.5 * 2**0.05))


# ---- conflict


def test_opposed_gradients_slow_the_clock_by_slow_rate():
    slowed, steady = (ThreePhaseCurriculum(0.5, 100, **WHOLE_ANCHOR, slow_rate=0.5) for _ in range(2))
    expected = [steady.update(step, STEADY) for step in range(100)]
    for step in range(20):
        slowed.update(step, OPPOSED)  # of no account in the anchor phase
    assert [slowed.update(step, STEADY) for step in range(20, 40)] == expected[20:40]
    alphas = [slowed.update(step, OPPOSED) for step in range(40, 50)]
    # ten slowed steps: half a step late after each, five steps after all
    assert alphas[-1] == pytest.approx(expected[49 - 5])
    assert slowed.update(50, STEADY) == pytest.approx(expected[50 - 5])


@pytest.mark.parametrize("slow_rate", [0.01, 0.5, 0.9])
def test_clock_never_stops_and_the_ramp_is_over_by_the_deadline(slow_rate: float):
    curriculum = ThreePhaseCurriculum(0.5, 100, slow_rate=slow_rate, min_anchor=1.0)
    alphas = [curriculum.update(step, OPPOSED) for step in range(100)]
    assert all(after > before for before, after in pairwise(alphas[16:81]) if before < 0.5)
    assert alphas[79] < 0.5 or slow_rate == 0.9
    assert alphas[80:] == [0.5] * 20


def test_slow_rate_1_switches_the_delay_off():
    one, other = (ThreePhaseCurriculum(0.5, 100, slow_rate=1.0) for _ in range(2))
    for step in range(100):
        assert one.update(step, OPPOSED) == other.update(step, STEADY)


# ---- readings and arguments
