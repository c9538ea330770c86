"""Which curriculum a method trains under: a factory each, called when a training begins. No torch is loaded here.

A factory takes the profile of a run, its alpha_target and its number of steps; those that go by the steps of another
run take its log too, see `tpccma.methods.Trace`.

Source: the curriculum's ablations are [ours]. Alpha counts in a run as often as the learning rate lets it, so two
curricula are compared at equal `dose`, and the dose of most is taken from a run of the whole method.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from tpccma.curriculum import GradientReading, ThreePhaseCurriculum, check_alpha
from tpccma.methods.first_curriculum import FirstReadingCurriculum

if TYPE_CHECKING:
    from pandas import DataFrame

    from tpccma.profiles import Profile


class Curriculum(Protocol):
    """What a training asks of a curriculum; steps count from 0."""

    def alpha(self, step: int) -> float:
        """Say alpha at a step, given the readings so far."""

    def phase(self, step: int) -> str:
        """Name the phase of a step: "anchor", "ramp" or "stabilize"."""

    def reads(self, step: int) -> bool:
        """Say whether a reading of the gradients is wanted at a step."""

    def update(self, step: int, reading: GradientReading) -> float:
        """Take in a step's gradients, then say its alpha."""

    def state_dict(self) -> dict[str, float]:
        """Return what `update` has changed, for a checkpoint."""

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take up a state that `state_dict` returned."""


class GivenAlphas:
    """Alpha step by step as it is given, whatever the gradients say.

    >>> curriculum = GivenAlphas([0.0, 0.25, 0.5, 0.5])
    >>> [curriculum.phase(step) for step in range(4)]
    ['anchor', 'ramp', 'stabilize', 'stabilize']

    Args:
        alphas: one a step, 0 to 1.

    Raises:
        ValueError: if one of them is no alpha, or there is none.
    """

    def __init__(self, alphas: Sequence[float]):
        if not len(alphas):
            raise ValueError("alphas are empty: give one for each step")
        self.alphas = [check_alpha(float(alpha)) for alpha in alphas]

    def alpha(self, step: int) -> float:
        """Say alpha at a step."""
        return self.alphas[step]

    def phase(self, step: int) -> str:
        """Name the phase of a step: "stabilize" where alpha is the last one, "anchor" where it is 0, else "ramp"."""
        alpha = self.alphas[step]
        return "stabilize" if alpha == self.alphas[-1] else "ramp" if alpha else "anchor"

    def reads(self, step: int) -> bool:
        """No gradients are read."""
        return False

    def update(self, step: int, reading: GradientReading) -> float:
        """Say alpha at a step."""
        return self.alphas[step]

    def state_dict(self) -> dict[str, float]:
        """Return nothing: the step says all."""
        return {}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Nothing was remembered."""


def dose(alphas: Sequence[float], rates: Sequence[float]) -> float:
    """Average alpha over the steps, each counting as much as its learning rate: how much alignment a run has had.

    >>> dose([0.0, 0.5, 0.5], [1.0, 2.0, 1.0])
    0.375

    Args:
        alphas: one a step.
        rates: the learning rates of the same steps.

    Returns:
        A number from 0 to the largest alpha: that of a run whose alpha is the same at every step is this alpha.

    Raises:
        ValueError: if there is no step with a learning rate above 0, or not one rate a step.
    """
    total = sum(rates)
    if not total > 0:
        raise ValueError(f"the learning rates of {len(rates)} steps add up to {total!r}: give a step that trains")
    return sum(alpha * rate for alpha, rate in zip(alphas, rates, strict=True)) / total


def three_phases(profile: "Profile", alpha: float, total_steps: int) -> Curriculum:
    """Make the curriculum of the second reading."""
    return ThreePhaseCurriculum(alpha, total_steps, **profile.curriculum.model_dump())


def as_first_read(profile: "Profile", alpha: float, total_steps: int) -> Curriculum:
    """Make the curriculum of the first reading."""
    return FirstReadingCurriculum(alpha, total_steps, **profile.first_reading.curriculum.model_dump())


def yoked(profile: "Profile", alpha: float, total_steps: int, steps: "DataFrame") -> Curriculum:
    """Take alpha from the steps of another run, as a control of what a run's own gradients have to do with it."""
    return GivenAlphas(_fitting(steps, total_steps).alpha)


def fixed_at_equal_dose(profile: "Profile", alpha: float, total_steps: int, steps: "DataFrame") -> Curriculum:
    """Keep alpha at the `dose` of another run from the first step to the last."""
    steps = _fitting(steps, total_steps)
    return GivenAlphas([dose(steps.alpha, steps.learning_rate)] * total_steps)


def linear_at_equal_dose(profile: "Profile", alpha: float, total_steps: int, steps: "DataFrame") -> Curriculum:
    """Let alpha rise by the same amount in every step to alpha_target, for as long as gives the `dose` of another run.

    A dose that no ramp within the run gives ends below alpha_target.
    """
    from scipy.optimize import brentq

    steps = _fitting(steps, total_steps)
    wanted = dose(steps.alpha, steps.learning_rate)
    if wanted == 0:
        return GivenAlphas([0.0] * total_steps)

    def ramp(length: float) -> list[float]:
        return [alpha * min(1.0, (step + 1) / length) for step in range(total_steps)]

    longest = total_steps * alpha / wanted  # by then even the last steps' alpha is below what is wanted on average
    excess = lambda length: dose(ramp(length), steps.learning_rate) - wanted  # noqa: E731
    return GivenAlphas(ramp(brentq(excess, 1.0, longest) if excess(1.0) > 0 else 1.0))


def _fitting(steps: "DataFrame", total_steps: int) -> "DataFrame":
    """See to it that the log of another run has as many steps as are to be taken."""
    if len(steps) != total_steps:
        raise ValueError(
            f"the run whose alphas are taken has {len(steps)} steps and this one {total_steps}: "
            "give both the same data, epochs and batch size"
        )
    return steps
