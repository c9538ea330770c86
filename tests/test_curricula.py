"""Curricula of the ablations, on logs of a few steps."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpccma import load_profile
from tpccma.curriculum import GradientReading, ThreePhaseCurriculum
from tpccma.methods.curricula import (
    GivenAlphas,
    as_first_read,
    dose,
    fixed_at_equal_dose,
    linear_at_equal_dose,
    three_phases,
    yoked,
)
from tpccma.methods.first_curriculum import FirstReadingCurriculum

# 0 * 1 + .2 * 2 + .4 * 2 + .4 * 1 = 1.6 over rates that add up to 6
STEPS = pd.DataFrame({"alpha": [0.0, 0.2, 0.4, 0.4], "learning_rate": [1e-3, 2e-3, 2e-3, 1e-3]})
DOSE = 1.6 / 6
PROFILE = load_profile("demo")


def alphas_of(curriculum, steps: int = 4) -> list[float]:
    return [curriculum.alpha(step) for step in range(steps)]


def test_dose_by_hand():
    assert dose(STEPS.alpha, STEPS.learning_rate) == pytest.approx(DOSE)
    assert dose([0.5], [3.0]) == 0.5
    assert dose([0.0, 1.0], [1.0, 3.0]) == 0.75


@pytest.mark.parametrize("rates", [[], [0.0], [float("nan")]])
def test_dose_of_no_step_is_refused(rates: list[float]):
    with pytest.raises(ValueError, match=rf"the learning rates of {len(rates)} steps add up to"):
        dose([0.1] * len(rates), rates)


def test_dose_wants_a_rate_for_every_alpha():
    with pytest.raises(ValueError, match="shorter"):
        dose([0.1, 0.2], [1.0])


def test_given_alphas_are_given_whatever_the_gradients_say():
    curriculum = GivenAlphas([0.0, 0.0, 0.25, 0.5, 0.5])
    assert [curriculum.phase(step) for step in range(5)] == ["anchor", "anchor", "ramp", "stabilize", "stabilize"]
    assert not any(curriculum.reads(step) for step in range(5))
    assert curriculum.update(2, GradientReading(1.0, 100.0, -1.0)) == 0.25 == curriculum.alpha(2)
    curriculum.load_state_dict(curriculum.state_dict())
    assert alphas_of(curriculum, 5) == [0.0, 0.0, 0.25, 0.5, 0.5]


@pytest.mark.parametrize(
    "alphas, said", [([], "alphas are empty"), ([0.1, 1.5], "got 1.5"), ([float("nan")], "got nan")]
)
def test_given_alphas_are_alphas(alphas: list[float], said: str):
    with pytest.raises(ValueError, match=said):
        GivenAlphas(alphas)


def test_yoked_alphas_are_those_of_the_log():
    assert alphas_of(yoked(PROFILE, 0.4, 4, STEPS)) == [0.0, 0.2, 0.4, 0.4]


def test_fixed_alpha_has_the_dose_of_the_log():
    assert alphas_of(fixed_at_equal_dose(PROFILE, 0.4, 4, STEPS)) == [pytest.approx(DOSE)] * 4


def test_linear_ramp_by_hand():
    # with equal rates a ramp of .4 over L >= 4 steps has doses .1 / L * (1 + 2 + 3 + 4) = 1 / L; .2 is that of L = 5
    steps = pd.DataFrame({"alpha": [0.0, 0.1, 0.3, 0.4], "learning_rate": [1e-3] * 4})
    assert alphas_of(linear_at_equal_dose(PROFILE, 0.4, 4, steps)) == pytest.approx([0.08, 0.16, 0.24, 0.32])


@given(st.lists(st.floats(0.001, 1.0), min_size=2, max_size=30), st.floats(0.01, 1.0))
def test_linear_ramp_has_the_dose_of_the_log_and_never_falls(shares: list[float], target: float):
    steps = pd.DataFrame({"alpha": [share * target for share in shares], "learning_rate": shares[::-1]})
    found = alphas_of(linear_at_equal_dose(PROFILE, target, len(steps), steps), len(steps))
    assert found == sorted(found) and found[-1] <= target
    wanted = dose(steps.alpha, steps.learning_rate)
    assert dose(found, steps.learning_rate) == pytest.approx(wanted, rel=1e-6) or found == [target] * len(steps)


@pytest.mark.parametrize("factory", [fixed_at_equal_dose, yoked, linear_at_equal_dose])
def test_alpha_0_gives_alpha_0(factory):
    assert alphas_of(factory(PROFILE, 0.0, 4, STEPS.assign(alpha=0.0))) == [0.0] * 4


@pytest.mark.parametrize("factory", [fixed_at_equal_dose, yoked, linear_at_equal_dose])
def test_log_of_another_length_is_refused(factory):
    with pytest.raises(ValueError, match="the run whose alphas are taken has 4 steps and this one 5"):
        factory(PROFILE, 0.4, 5, STEPS)


def test_both_readings_have_the_curriculum_of_their_part_of_the_profile():
    changed = load_profile(PROFILE, curriculum__slow_rate=0.25, first_reading__curriculum__slow_rate=0.75)
    second, first = three_phases(changed, 0.4, 100), as_first_read(changed, 0.4, 100)
    assert isinstance(second, ThreePhaseCurriculum) and second.slow_rate == 0.25
    assert isinstance(first, FirstReadingCurriculum) and first.slow_rate == 0.75
