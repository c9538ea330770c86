"""The curriculum as it was first read: the schedule of ``tpc-cma-paired`` and its ablations [ours].

All runs of the dial in the first round were made with it, and those of ``tpc-cma-paired`` since. It went
with the loss of `tpccma.methods.first_reading`: the gradients never opposed each other and the cap hardly ever bound,
so that what was to be gradient-aware was a plain raised cosine. Steps count from 0.
"""

import math
from typing import TYPE_CHECKING

from tpccma.curriculum import check_alpha, check_number, check_steps

if TYPE_CHECKING:
    from tpccma.curriculum import GradientReading


class FirstReadingCurriculum:
    """Alpha over the steps: 0 (anchor), a smooth rise (ramp), then alpha_target (stabilize).

    Without gradients `alpha` is a plain function of the step. With them `update` caps alpha during the ramp so that
    ``||alpha g_cma|| <= rho ||(1 - alpha) g_clip||``, and lets the ramp's clock run at ``slow_rate`` while the
    gradients oppose each other, late by no more than ``deadline`` allows: alpha_target is always reached.

    >>> curriculum = FirstReadingCurriculum(alpha_target=0.5, total_steps=100)
    >>> [round(curriculum.alpha(step), 3) for step in (0, 15, 40, 60, 99)]
    [0.0, 0.0, 0.293, 0.5, 0.5]

    Args:
        alpha_target: final alpha, 0 to 1.
        total_steps: optimiser steps of the run, >= 1.
        anchor: share of the steps spent in the anchor phase.
        ramp_end: share of the steps at which an undelayed ramp is over; equal to anchor, alpha jumps.
        deadline: share of the steps by which any ramp is over; ramp_end <= deadline < 1.
        rho: the largest allowed ratio of the two weighted gradients, > 0; infinity switches the cap off.
        slow_rate: speed of the ramp's clock against opposing gradients, 0 < slow_rate <= 1; 1 switches the delay off.
        shape: of the ramp, "cosine" (raised cosine) or "linear".

    Raises:
        ValueError: if an argument is out of range.

    Source: the first reading [ours] of arXiv 2604.00279; phases [digest], gradient-aware scheduling [paper].
    """

    def __init__(
        self,
        alpha_target: float,
        total_steps: int,
        *,
        anchor: float = 0.15,
        ramp_end: float = 0.6,
        deadline: float = 0.8,
        rho: float = 2.0,
        slow_rate: float = 0.5,
        shape: str = "cosine",
    ):
        check_steps(total_steps)
        numbers = {"anchor": anchor, "ramp_end": ramp_end, "deadline": deadline, "slow_rate": slow_rate}
        for name, value in numbers.items():
            check_number(name, value, low=None)
        if not 0 <= anchor <= ramp_end <= deadline < 1:
            raise ValueError(
                "shares must satisfy 0 <= anchor <= ramp_end <= deadline < 1, "
                f"got anchor={anchor!r}, ramp_end={ramp_end!r}, deadline={deadline!r}"
            )
        if not rho > 0:
            raise ValueError(f"rho must be > 0, got {rho!r}")
        if not 0 < slow_rate <= 1:
            raise ValueError(f"slow_rate must be in (0, 1], got {slow_rate!r}")
        if shape not in ("cosine", "linear"):
            raise ValueError(f"shape must be 'cosine' or 'linear', got {shape!r}")
        self.alpha_target, self.shape = check_alpha(alpha_target), shape
        self.ramp_start = anchor * total_steps
        self.ramp_steps = (ramp_end - anchor) * total_steps
        self.max_lag = (deadline - ramp_end) * total_steps
        self.ramp_deadline = min(deadline * total_steps, total_steps - 1)  # the last step, however short the run
        self.rho, self.slow_rate = rho, slow_rate
        self.lag = 0.0  # steps by which the ramp's clock is late
        self.cap = 1.0  # largest alpha that the latest gradients allow during the ramp

    def phase(self, step: int) -> str:
        """Name the phase of a step: "anchor", "ramp" or "stabilize"."""
        if step >= self.ramp_deadline:
            return "stabilize"
        if step < self.ramp_start:
            return "anchor"
        return "ramp" if self._climbed(step) < 1 else "stabilize"

    def alpha(self, step: int) -> float:
        """Say alpha at a step, given the gradients seen so far: the ramp by its clock, capped."""
        phase = self.phase(step)
        if phase != "ramp":
            return 0.0 if phase == "anchor" else self.alpha_target
        climbed = self._climbed(step)
        rise = climbed if self.shape == "linear" else (1 - math.cos(math.pi * climbed)) / 2
        return min(self.alpha_target * rise, self.cap)

    def _climbed(self, step: int) -> float:
        """Say which share of the ramp its clock has behind it, from 0; 1 or more where the ramp is over."""
        if self.ramp_steps == 0:
            return 1.0
        return max(0.0, (step - self.lag - self.ramp_start) / self.ramp_steps)

    def reads(self, step: int) -> bool:
        """Say whether the gradients are read: at every step, also where alpha does not depend on them."""
        return self.alpha_target > 0

    def update(self, step: int, gradients: "GradientReading") -> float:
        """Take in one step's gradients, then say alpha for that step, 0 to alpha_target.

        A reading that is not finite changes nothing.
        """
        norms = gradients.clip_norm, gradients.cma_norm
        usable = all(map(math.isfinite, (*norms, gradients.cosine))) and min(norms) >= 0
        if usable and self.phase(step) == "ramp":
            if gradients.cosine < 0:
                self.lag = min(self.lag + 1 - self.slow_rate, self.max_lag)
            allowed = self.rho * gradients.clip_norm
            capped = math.isfinite(self.rho) and gradients.cma_norm > 0
            self.cap = allowed / (allowed + gradients.cma_norm) if capped else 1.0
        return self.alpha(step)

    def state_dict(self) -> dict[str, float]:
        """Return what `update` has changed, for a checkpoint."""
        return {"lag": self.lag, "cap": self.cap}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take up a state that `state_dict` returned."""
        self.lag, self.cap = float(state["lag"]), float(state["cap"])
