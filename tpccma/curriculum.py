"""The curriculum of TPC-CMA: Anchor, Ramp, Stabilize [digest], gradient-aware scheduling [paper] as we read it [ours].

Steps count from 0. Alpha is the share of L_CMA in the loss, see `tpccma.loss`.
"""

import math
from dataclasses import asdict, dataclass
from numbers import Integral, Real

WINDOW = 10  # readings over which norms are smoothed: a quarter of the noise of single batches is left
MIN_FALL = 0.01  # share of a norm that counts as a fall: about what noise is left with
STEEPEST = 4.0  # largest rise of alpha in a step, in alpha_target / steps of the ramp; a raised cosine needs pi / 2


def check_alpha(alpha: float) -> float:
    """Return alpha as a float if it is a number from 0 to 1.

    Raises:
        ValueError: naming the value otherwise.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be a number from 0 (plain CLIP) to 1 (alignment only), got {alpha!r}")
    return float(alpha)


def check_number(
    name: str, value: float, low: float | None = 0.0, high: float | None = None, above: bool = False
) -> float:
    """Return a value if it is a finite number in its range; True and False are none.

    Args:
        name: what the message calls it.
        value: to be checked.
        low: the least it may be; None for no bound.
        high: the largest it may be; None for no bound.
        above: whether it must be above ``low``.

    Raises:
        ValueError: naming the value and the range otherwise.
    """
    good = isinstance(value, Real) and not isinstance(value, bool) and _finite(value)
    good = good and (low is None or low < value or (low == value and not above))
    if not good or (high is not None and value > high):
        floor = "" if low is None else f" {'>' if above else '>='} {low:g}"
        wanted = f"from {low:g} to {high:g}" if high is not None else "finite" + (floor and f" and{floor}")
        raise ValueError(f"{name} must be a number, {wanted}, got {value!r}")
    return value


def _finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def check_steps(total_steps: int) -> int:
    """Return a number of steps if it is whole and at least 1.

    Raises:
        ValueError: naming the value otherwise.
    """
    if isinstance(total_steps, bool) or not isinstance(total_steps, Integral) or total_steps < 1:
        raise ValueError(f"total_steps must be at least 1, a whole number, got {total_steps!r}")
    return total_steps


@dataclass(frozen=True)
class GradientReading:
    """What one step says of the two losses' gradients with respect to the embeddings of the global batch.

    They are to be projected on the tangent plane of the sphere, ``g_i - (g_i . x_i) x_i`` for each embedding x_i:
    normalisation deletes the radial part before it reaches an encoder. Every process must give the same numbers.

    Args:
        clip_norm: ``||g_clip||``.
        cma_norm: ``||g_cma||``.
        cosine: of the angle between them; negative where the losses pull against each other.
    """

    clip_norm: float
    cma_norm: float
    cosine: float

    @property
    def usable(self) -> bool:
        """Whether all numbers are finite and both norms above 0, so that they have a ratio."""
        return all(map(math.isfinite, asdict(self).values())) and min(self.clip_norm, self.cma_norm) > 0


class ThreePhaseCurriculum:
    """Alpha over the steps: 0 (anchor), a smooth rise (ramp), then alpha_target (stabilize).

    Without readings it is a plain schedule: alpha is 0 for the share ``anchor`` of the steps, then ``alpha_target u``
    with u a raised cosine from 0 to 1 that ends at ``ramp_end``. Readings, given to `update`, change it:

    - Anchor ends early, not before ``min_anchor``, once the smoothed ``||g_clip||`` has stopped falling: for
      ``patience`` it has not come to lie 1 % below its lowest, counted from the tenth reading on.
    - Ramp: what rises as u is the ratio ``r = ||alpha g_cma|| / ||(1 - alpha) g_clip||``. With q the smoothed
      ``||g_cma|| / ||g_clip||`` and q0 what q was at the end of the anchor phase, but of ten readings at least,
      ``alpha = r / (r + q)`` with ``r = u R``, ``R = alpha_target / (1 - alpha_target) q0``. So alpha waits while
      alignment's gradient is large against CLIP's, and goes ahead once it has shrunk.
    - Conflict: in a step whose own cosine is below 0 the clock of u runs at ``slow_rate``; it never stops.
    - Bounds: alpha never falls, is at most alpha_target, where Stabilize begins, and at least the plain schedule whose
      ramp ends at ``deadline``, so it arrives whatever the gradients say. It rises in a step by at most
      ``4 alpha_target / max(T, 4)``, T the steps of the plain ramp; by just that where R is infinite (alpha_target 1).

    >>> curriculum = ThreePhaseCurriculum(alpha_target=0.5, total_steps=100)
    >>> [round(curriculum.alpha(step), 3) for step in (0, 15, 40, 60, 99)]
    [0.0, 0.0, 0.293, 0.5, 0.5]

    Args:
        alpha_target: final alpha, 0 to 1.
        total_steps: optimiser steps of the run, >= 1.
        anchor: share of the steps by which the anchor phase is over.
        ramp_end: share at which a plain ramp is over; equal to anchor, alpha jumps, with both 0 it is fixed.
        deadline: share by which any ramp is over; ramp_end <= deadline < 1.
        slow_rate: speed of the clock against opposing gradients, 0 < slow_rate <= 1; 1 switches the delay off.
        shape: of the ramp, "cosine" (raised cosine) or "linear".
        gradient_aware: whether readings count; if not, the schedule is the plain one.
        min_anchor: share that the anchor phase lasts at least, if anchor allows; the default is the warm-up's.
        patience: share for which the norm must not fall, 0 < patience <= 1.

    Raises:
        ValueError: if an argument is out of range.

    Source: arXiv 2604.00279; phases [digest], gradient-aware scheduling [paper], every formula and default [ours].
    """

    def __init__(
        self,
        alpha_target: float,
        total_steps: int,
        *,
        anchor: float = 0.15,
        ramp_end: float = 0.6,
        deadline: float = 0.8,
        slow_rate: float = 0.5,
        shape: str = "cosine",
        gradient_aware: bool = True,
        min_anchor: float = 0.1,
        patience: float = 0.05,
    ):
        check_steps(total_steps)
        shares = {"anchor": anchor, "ramp_end": ramp_end, "deadline": deadline, "min_anchor": min_anchor}
        for name, value in (shares | {"slow_rate": slow_rate, "patience": patience}).items():
            check_number(name, value, low=None)
        if not 0 <= anchor <= ramp_end <= deadline < 1:
            got = f"{anchor=}, {ramp_end=}, {deadline=}"
            raise ValueError(f"shares must satisfy 0 <= anchor <= ramp_end <= deadline < 1, got {got}")
        if not (0 < slow_rate <= 1 and 0 < patience <= 1 and 0 <= min_anchor <= 1):
            raise ValueError(f"out of range of (0, 1] or, min_anchor, [0, 1]: {slow_rate=}, {patience=}, {min_anchor=}")
        if shape not in ("cosine", "linear"):
            raise ValueError(f"shape must be 'cosine' or 'linear', got {shape!r}")
        self.alpha_target = check_alpha(alpha_target)
        self.slow_rate, self.shape, self.gradient_aware = slow_rate, shape, gradient_aware
        self.min_anchor, self.patience = min_anchor * total_steps, patience * total_steps
        self.anchor_end, self.ramp_steps = anchor * total_steps, (ramp_end - anchor) * total_steps
        self.steepest = STEEPEST / max(self.ramp_steps, STEEPEST)
        self.deadline = min(deadline * total_steps, total_steps - 1)  # the last step, however short the run
        self._state = _State(ramp_start=self.anchor_end)

    def alpha(self, step: int) -> float:
        """Say alpha at a step, given the readings so far."""
        return self.alpha_target * self._share(step)

    def phase(self, step: int) -> str:
        """Name the phase of a step: "anchor", "ramp" or "stabilize"."""
        if self._share(step) >= 1:
            return "stabilize"
        return "anchor" if step < self._state.ramp_start else "ramp"

    def reads(self, step: int) -> bool:
        """Say whether a reading at this step could change an alpha; where not, none need be made."""
        return self.gradient_aware and self.alpha_target > 0 and self.phase(step) != "stabilize"

    def update(self, step: int, reading: GradientReading) -> float:
        """Take in the gradients of the step about to be taken, and say its alpha.

        A reading that is not finite, or has a norm of 0, changes nothing.
        """
        if self.reads(step) and reading.usable:
            state, anchored = self._state, self.phase(step) == "anchor"
            state.reached, state.reached_at = self._share(step - 1), step - 1
            state.smooth(reading)
            if anchored or state.readings <= WINDOW:
                state.anchor_log_ratio = state.log_ratio
            if anchored and step >= self.min_anchor and state.waited >= self.patience:
                state.ramp_start = step
            if not anchored and reading.cosine < 0:
                state.lag += 1 - self.slow_rate
        return self.alpha(step)

    def state_dict(self) -> dict[str, float]:
        """Return what `update` has changed, for a checkpoint."""
        return asdict(self._state)

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take up a state that `state_dict` returned."""
        self._state = _State(**state)

    def _share(self, step: int) -> float:
        """Say which share of alpha_target is reached: what is asked for, from step to step within the bounds."""
        if self._state.readings == 0:
            return self._asked(step)
        share = self._state.reached
        for each in range(self._state.reached_at + 1, step + 1):
            share = max(share, min(self._asked(each), share + self.steepest))
            if share >= 1:
                break
        return share

    def _asked(self, step: int) -> float:
        """Say the share that clock and norms ask for, ``r / (r + q)`` over alpha_target, or what the deadline does."""
        state, due = self._state, self._rise(step - self.anchor_end, self.deadline - self.anchor_end)
        u = self._rise(step - state.ramp_start - state.lag, self.ramp_steps)
        if u == 0 or state.readings == 0:
            return max(u, due)
        grown = math.exp(max(-700.0, min(state.log_ratio - state.anchor_log_ratio, 700.0)))  # q / q0, no overflow
        return max(due, min(u / (self.alpha_target * u + (1 - self.alpha_target) * grown), 1.0))

    def _rise(self, steps: float, length: float) -> float:
        """Say how high a ramp of some length stands after some steps, 0 to 1."""
        if steps >= length:
            return 1.0
        climbed = steps / length if steps > 0 else 0.0
        return climbed if self.shape == "linear" else (1 - math.cos(math.pi * climbed)) / 2


@dataclass
class _State:
    """What the readings have changed. Norms are smoothed in the logarithm, where one wild batch weighs little."""

    ramp_start: float  # the step at which the anchor phase ends
    lag: float = 0.0  # steps by which the ramp's clock is late
    reached: float = 0.0  # share of alpha_target at the step before the last reading
    reached_at: int = -1  # that step
    readings: int = 0
    log_clip: float = 0.0  # smoothed log ||g_clip||
    log_ratio: float = 0.0  # smoothed log q, q = ||g_cma|| / ||g_clip||
    anchor_log_ratio: float = 0.0  # log q0
    lowest: float = 0.0  # the log_clip below which the next fall is to lead
    waited: int = 0  # readings since the last fall

    def smooth(self, reading: GradientReading) -> None:
        """Average the first readings alike, then let each new one weigh 1 / WINDOW, and watch for falls."""
        self.readings += 1
        weight, log_clip = 1 / min(self.readings, WINDOW), math.log(reading.clip_norm)
        self.log_clip += weight * (log_clip - self.log_clip)
        self.log_ratio += weight * (math.log(reading.cma_norm) - log_clip - self.log_ratio)
        self.waited += 1
        if self.readings <= WINDOW or self.log_clip < self.lowest + math.log1p(-MIN_FALL):
            self.lowest, self.waited = self.log_clip, 0
