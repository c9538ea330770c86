"""Every method that `tpccma.fine_tune` knows, by name: TPC-CMA, its ablations, and what it is compared with.

>>> sorted(name for name, method in METHODS.items() if not method.trained)
['mean-centering', 'mind-the-gap', 'realign']
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from math import inf
from typing import TYPE_CHECKING

from tpccma.methods.curricula import (
    as_first_read,
    fixed_at_equal_dose,
    linear_at_equal_dose,
    three_phases,
    yoked,
)

if TYPE_CHECKING:
    from tpccma.methods.losses import BaselineLoss
    from tpccma.methods.post_processing import Maps


# Every term that a method's loss may return, in the order of the log's columns.
LOSS_TERMS = (
    "contrastive_loss",
    "reweighted_loss",
    "geometry_loss",
    "centroid_loss",
    "paired_loss",
    "separation_loss",
    "mix_loss",
    "reference_loss",
    "distillation_loss",
    "divergence_loss",
    "uniformity_loss",
    "alignment_loss",
    "floor_loss",
)


YOKED_SEEDS = 5  # as many as a sweep has: the last is yoked to the first


@dataclass(frozen=True)
class Trace:
    """The run whose steps a curriculum goes by: of another method, at the same alpha.

    Args:
        method: its name.
        other_seed: whether it is the run of the next seed, of 0 to 4, and not of the same one.
    """

    method: str
    other_seed: bool = False

    def seed_of(self, seed: int) -> int:
        """Say the seed of that run."""
        return (seed + 1) % YOKED_SEEDS if self.other_seed else seed


@dataclass(frozen=True)
class Method:
    """How a method departs from continued plain CLIP.

    Args:
        dial: whether it takes an alpha; others take 0 only.
        loss_name: class in `tpccma.methods.losses` that takes the place of `tpccma.loss.CMALoss`.
        maps_name: function in `tpccma.methods.post_processing`: from training embeddings to the maps behind the towers
            of the frozen base model.
        trained: whether there is a training; if not, the maps are all.
        first_reading: whether the loss is that of `tpccma.methods.first_reading`, with the settings in the profile's
            part of that name.
        floor: whether the loss is that of `tpccma.methods.variance_floor`.
        curriculum: makes the curriculum, see `tpccma.methods.curricula`.
        trace: the run whose steps the curriculum goes by, None for none.
        changes: values that replace the profile's, as `tpccma.load_profile` takes them.
        like: the method whose learning rate it takes; None where it has one of its own.
        rate_factor: by which that learning rate is multiplied.
        watched: whether it is asked on the way how steady its training is, see `tpccma.runs.stability`.
    """

    dial: bool = False
    loss_name: str | None = None
    maps_name: str | None = None
    trained: bool = True
    first_reading: bool = False
    floor: bool = False
    curriculum: Callable = three_phases
    trace: Trace | None = None
    changes: dict = field(default_factory=dict)
    like: str | None = None
    rate_factor: float = 1.0
    watched: bool = False

    @property
    def loss(self) -> "type[BaselineLoss] | None":
        """The class that ``loss_name`` names; torch is loaded when it is first asked for."""
        return self.loss_name and getattr(import_module("tpccma.methods.losses"), self.loss_name)

    @property
    def maps(self) -> "Maps | None":
        """The function that ``maps_name`` names."""
        return self.maps_name and getattr(import_module("tpccma.methods.post_processing"), self.maps_name)

    @property
    def term_names(self) -> tuple[str, ...]:
        """The terms that its loss may return, as the loss declares them."""
        if self.first_reading:
            return import_module("tpccma.methods.first_reading").FirstReadingLoss.term_names
        if self.floor:
            return import_module("tpccma.methods.variance_floor").VarianceFloorLoss.term_names
        return (self.loss or import_module("tpccma.loss").CMALoss).term_names


FULL, PAIRED = "tpc-cma", "tpc-cma-paired"
FLOOR = f"{FULL}-floor"  # with a floor under the variance within each modality
SECOND_CURRICULUM = f"{PAIRED}-second-curriculum"  # the first reading's loss under the second reading's curriculum


def _ablation(**changes) -> Method:
    """Change the first reading in some settings of its part of a profile."""
    changes = {f"first_reading__{name}": value for name, value in changes.items()}
    return Method(dial=True, first_reading=True, curriculum=as_first_read, changes=changes, like=PAIRED)


def _second_ablation(
    curriculum: Callable = three_phases, trace: Trace | None = None, rate_factor: float = 1.0, **changes
) -> Method:
    """Change the second reading: settings of a profile, the curriculum or the learning rate."""
    given = {"curriculum": curriculum, "trace": trace, "rate_factor": rate_factor}
    return Method(dial=True, changes=changes, like=FULL, watched=True, **given)


_WITHOUT = {f"loss__{name}_weight": 0.0 for name in ("reweighted", "geometry", "centroid")}
_PAIRED_WEIGHT = 10.0  # the first reading's
_SECOND_ABLATIONS = {
    f"{FULL}-no-reweighted": _second_ablation(loss__reweighted_weight=0.0),
    f"{FULL}-no-geometry": _second_ablation(loss__geometry_weight=0.0),
    f"{FULL}-no-centroid": _second_ablation(loss__centroid_weight=0.0),
    f"{FULL}-with-paired": _second_ablation(loss__paired_weight=_PAIRED_WEIGHT),
    f"{FULL}-only-paired": _second_ablation(**_WITHOUT, loss__paired_weight=_PAIRED_WEIGHT),
    f"{FULL}-beta-0": _second_ablation(loss__hardness=0.0),
    f"{FULL}-fixed-alpha": _second_ablation(fixed_at_equal_dose, Trace(FULL)),
    f"{FULL}-yoked": _second_ablation(yoked, Trace(FULL, other_seed=True)),
    f"{FULL}-linear-ramp": _second_ablation(linear_at_equal_dose, Trace(FULL)),
    f"{FULL}-rate-3": _second_ablation(rate_factor=3.0),
    f"{FULL}-rate-10": _second_ablation(rate_factor=10.0),
    f"{FULL}-fixed-alpha-rate-3": _second_ablation(fixed_at_equal_dose, Trace(f"{FULL}-rate-3"), rate_factor=3.0),
    f"{FULL}-fixed-alpha-rate-10": _second_ablation(fixed_at_equal_dose, Trace(f"{FULL}-rate-10"), rate_factor=10.0),
}

METHODS = {
    FULL: Method(dial=True, watched=True),
    PAIRED: Method(dial=True, first_reading=True, curriculum=as_first_read),
    "clip": Method(),
    "mean-centering": Method(maps_name="mean_centering", trained=False),
    "align-clip": Method(loss_name="AlignCLIPLoss"),
    "m2-mix": Method(loss_name="M2MixLoss"),
    "clip-refine": Method(loss_name="CLIPRefineLoss"),
    "cs-aligner": Method(loss_name="CSAlignerLoss"),
    "mind-the-gap": Method(maps_name="mind_the_gap_shift", trained=False),
    "i0t-async": Method(maps_name="i0t_async"),
    "realign": Method(maps_name="realign", trained=False),
    "fahim": Method(loss_name="FahimLoss"),
    "modgap": Method(loss_name="ModGapLoss"),
    "tpc-cma-paired-no-reweighted": _ablation(loss__reweighted_weight=0.0),
    "tpc-cma-paired-no-geometry": _ablation(loss__geometry_weight=0.0),
    "tpc-cma-paired-no-centroid": _ablation(loss__centroid_weight=0.0),
    "tpc-cma-paired-no-paired": _ablation(loss__paired_weight=0.0),
    "tpc-cma-paired-fixed-alpha": _ablation(curriculum__anchor=0.0, curriculum__ramp_end=0.0),
    "tpc-cma-paired-linear-ramp": _ablation(
        curriculum__shape="linear", curriculum__anchor=0.0, curriculum__rho=inf, curriculum__slow_rate=1.0
    ),
    "tpc-cma-paired-not-gradient-aware": _ablation(curriculum__rho=inf, curriculum__slow_rate=1.0),
    "tpc-cma-paired-anchor-0": _ablation(curriculum__anchor=0.0),
    "tpc-cma-paired-anchor-0.3": _ablation(curriculum__anchor=0.3),
    SECOND_CURRICULUM: Method(dial=True, first_reading=True, like=PAIRED, watched=True),
    FLOOR: Method(dial=True, floor=True, like=FULL, watched=True),
    **_SECOND_ABLATIONS,
}
ABLATIONS = tuple(name for name, method in METHODS.items() if method.first_reading and method.changes)  # of the first
SECOND_ABLATIONS = tuple(_SECOND_ABLATIONS)
ABLATION_ALPHA = 0.5  # at which they are run


def find_method(name: str) -> Method:
    """Look a method up.

    Raises:
        ValueError: if there is none of that name; the message lists them.
    """
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}: give one of {', '.join(METHODS)}")
    return METHODS[name]


def loss_columns(method: Method) -> tuple[str, ...]:
    """Name a log's columns of terms: ``LOSS_TERMS``, the same for all methods, then what a method of one's own adds."""
    return (*LOSS_TERMS, *(name for name in method.term_names if name not in LOSS_TERMS))


def check_method(name: str, alpha: float) -> Method:
    """Look a method up that is to run at an alpha.

    Raises:
        ValueError: if there is none of that name, or it takes no alpha and alpha is not 0.
    """
    method = find_method(name)
    if alpha != 0 and not method.dial:
        raise ValueError(f"method {name!r} has no dial and takes alpha=0, got alpha={alpha:g}")
    return method


def run_name(method: str, alpha: float, seed: int) -> str:
    """Name a run ``<method>-a<alpha>-s<seed>``."""
    return f"{method}-a{alpha:g}-s{seed}"
