"""Which runs the book rests on: every method, alpha and ablation, seed by seed."""

from dataclasses import dataclass

from tpccma.methods import (
    ABLATION_ALPHA,
    ABLATIONS,
    FLOOR,
    FULL,
    METHODS,
    PAIRED,
    SECOND_ABLATIONS,
    SECOND_CURRICULUM,
    run_name,
)
from tpccma.profiles import profile_names

BASE = "base"  # in place of a method: the model that the others start from
DIAL = FULL  # whose dial the chapters show: the second reading of the method
SHIFT = "demo-shift"  # a profile of the second round alone
SEED_BASES = "demo-bases"  # the demo's second round: every seed has a base of its own, so that all methods are run anew
ONE_BASE = "demo"  # whose seeds share one: the first round's alone
SCENES, PHOTOGRAPHS = SEED_BASES, "fashion"
WORLDS = {
    SCENES: "scenes",
    PHOTOGRAPHS: "photographs",
}  # profiles whose runs the chapters rest on, as readers know them
OTHERS = tuple(name for name, method in METHODS.items() if not method.dial)
ALPHAS = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0)
SEEDS = (0, 1, 2, 3, 4)
ABLATION_SEEDS = {
    "demo": SEEDS[:3],
    "fashion": SEEDS,
}  # of the first round: a run of the demo takes three times as long
VARIANT_ALPHAS = (0.0, 0.05, 0.5)  # of profiles that vary the base, the titles or the world
ENDS = VARIANT_ALPHAS[1:]  # at which the other losses under the second curriculum are run


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
    """List the runs of a profile: those of the `first_round`, then those of the `second_round` that are not among them.

    Args:
        profile: its name.
    """
    return list(dict.fromkeys(first_round(profile) + second_round(profile)))


def first_round(profile: str) -> list[Job]:
    """List the runs of the first round, whose method is as it was first read.

    Args:
        profile: its name.

    Returns:
        The jobs, seed by seed, ablations last: all methods, alphas and ablations, or, of a variant that ships, a few.
    """
    if profile in (SHIFT, SEED_BASES):
        return []
    if profile in variants():
        return _seed_by_seed([(BASE, 0.0), *((PAIRED, alpha) for alpha in VARIANT_ALPHAS)])
    settings = [(BASE, 0.0), *((PAIRED, alpha) for alpha in ALPHAS), *((name, 0.0) for name in OTHERS)]
    ablations = [(name, ABLATION_ALPHA) for name in ABLATIONS]
    return _seed_by_seed(settings) + _seed_by_seed(ablations, ABLATION_SEEDS.get(profile, SEEDS))


def second_round(profile: str) -> list[Job]:
    """List the runs of the method as it was read again, and what decides between the two readings.

    Args:
        profile: its name.

    Returns:
        The jobs: the whole method first, then its ablations, some of which go by its steps.
    """
    if profile == ONE_BASE:
        return []
    if profile == SHIFT:
        paired = [(SECOND_CURRICULUM, alpha) for alpha in ENDS]
        full = [(FULL, alpha) for alpha in VARIANT_ALPHAS]
        return _seed_by_seed([(BASE, 0.0), *full, *paired, ("modgap", 0.0)])
    if profile in variants() - {SEED_BASES}:
        return _seed_by_seed([(FULL, alpha) for alpha in VARIANT_ALPHAS])
    own_bases = [(BASE, 0.0), *((name, 0.0) for name in OTHERS), *((PAIRED, alpha) for alpha in VARIANT_ALPHAS)]
    anew = own_bases if profile == SEED_BASES else []
    ablations = [(name, ABLATION_ALPHA) for name in SECOND_ABLATIONS]
    losses = [(name, alpha) for name in (SECOND_CURRICULUM, FLOOR) for alpha in ENDS]
    return _seed_by_seed([(FULL, alpha) for alpha in ALPHAS] + anew) + _seed_by_seed(ablations + losses)


def _seed_by_seed(settings: list[tuple[str, float]], seeds: tuple[int, ...] = SEEDS) -> list[Job]:
    return [Job(*setting, seed) for seed in seeds for setting in settings]
