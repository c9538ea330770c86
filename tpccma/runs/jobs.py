"""Which runs the book rests on: every method, alpha and ablation, seed by seed."""

from dataclasses import dataclass

from tpccma.methods import ABLATION_ALPHA, ABLATIONS, METHODS, PAIRED, run_name
from tpccma.profiles import profile_names

BASE = "base"  # in place of a method: the model that the others start from
# Whose dial is swept: the first reading's, and the ablations are of it. The second reading, tpc-cma, is planned at no
# alpha yet: its sweep comes later.
DIAL = PAIRED
OTHERS = tuple(name for name, method in METHODS.items() if not method.dial)
ALPHAS = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0)
SEEDS = (0, 1, 2, 3, 4)
ABLATION_SEEDS = {"demo": SEEDS[:3], "fashion": SEEDS}  # a run of the demo takes three times as long
VARIANT_ALPHAS = (0.0, 0.05, 0.5)  # of profiles that vary the base or the titles


@dataclass(frozen=True)
class Job:
    """One run of a sweep: a method of `tpccma.methods` or "base", alpha and seed."""

    method: str
    alpha: float
    seed: int

    @property
    def name(self) -> str:
        """Its name, which its files bear."""
        return run_name(self.method, self.alpha, self.seed)


def job_of(method: str, alpha: float | None = None, seed: int = 0) -> Job:
    """Name a run; alpha, where it is left out, is 0.5 of a method with the dial and 0 of the others."""
    dial = method in METHODS and METHODS[method].dial
    return Job(method, (ABLATION_ALPHA if dial else 0.0) if alpha is None else alpha, seed)


def variants() -> set[str]:
    """Name the shipped profiles that vary another one, such as "demo-scale-20"."""
    return {name for name in profile_names() if "-" in name}


def planned_jobs(profile: str) -> list[Job]:
    """List the runs of a profile: all methods, alphas and ablations, or, of a variant that ships, a few.

    Args:
        profile: its name.

    Returns:
        The jobs, seed by seed, ablations last.
    """
    if profile in variants():
        settings = [(BASE, 0.0), *((DIAL, alpha) for alpha in VARIANT_ALPHAS)]
        return [Job(*setting, seed) for seed in SEEDS for setting in settings]
    settings = [(BASE, 0.0), *((DIAL, alpha) for alpha in ALPHAS), *((name, 0.0) for name in OTHERS)]
    jobs = [Job(*setting, seed) for seed in SEEDS for setting in settings]
    return jobs + [Job(name, ABLATION_ALPHA, seed) for seed in ABLATION_SEEDS.get(profile, SEEDS) for name in ABLATIONS]
