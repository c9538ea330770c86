"""Every method that `tpccma.fine_tune` knows, by name: TPC-CMA, its ablations, and what it is compared with.

>>> sorted(name for name, method in METHODS.items() if not method.trained)
['mean-centering', 'mind-the-gap', 'realign']
"""

from dataclasses import dataclass, field
from importlib import import_module
from math import inf
from typing import TYPE_CHECKING

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
)


@dataclass(frozen=True)
class Method:
    """How a method departs from continued plain CLIP.

    Args:
        dial: whether it takes an alpha; others take 0 only.
        loss_name: class in `tpccma.methods.losses` that takes the place of `tpccma.loss.CMALoss`.
        maps_name: function in `tpccma.methods.post_processing`: from training embeddings to the maps behind the towers
            of the frozen base model.
        trained: whether there is a training; if not, the maps are all.
        first_reading: whether loss and curriculum are those of `tpccma.methods.first_reading`, with the settings in the
            profile's part of that name.
        changes: values that replace the profile's, as `tpccma.load_profile` takes them.
        like: the method whose learning rate it takes; None where it has one of its own.
        rates: learning rates that are tried on validation data, three for every method.
    """

    dial: bool = False
    loss_name: str | None = None
    maps_name: str | None = None
    trained: bool = True
    first_reading: bool = False
    changes: dict = field(default_factory=dict)
    like: str | None = None
    rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3)

    @property
    def loss(self) -> "type[BaselineLoss] | None":
        """The class that `loss_name` names; torch is loaded when it is first asked for."""
        return self.loss_name and getattr(import_module("tpccma.methods.losses"), self.loss_name)

    @property
    def maps(self) -> "Maps | None":
        """The function that `maps_name` names."""
        return self.maps_name and getattr(import_module("tpccma.methods.post_processing"), self.maps_name)

    @property
    def term_names(self) -> tuple[str, ...]:
        """The terms that its loss may return, as the loss declares them."""
        if self.first_reading:
            return import_module("tpccma.methods.first_reading").FirstReadingLoss.term_names
        return (self.loss or import_module("tpccma.loss").CMALoss).term_names


PAIRED = "tpc-cma-paired"


def _ablation(**changes) -> Method:
    """Change the first reading in some settings of its part of a profile."""
    changes = {f"first_reading__{name}": value for name, value in changes.items()}
    return Method(dial=True, first_reading=True, changes=changes, like=PAIRED)


METHODS = {
    "tpc-cma": Method(dial=True),
    PAIRED: Method(dial=True, first_reading=True),
    "clip": Method(),
    "mean-centering": Method(maps_name="mean_centering", trained=False),
    "align-clip": Method(loss_name="AlignCLIPLoss"),
    "m2-mix": Method(loss_name="M2MixLoss"),
    "clip-refine": Method(loss_name="CLIPRefineLoss", rates=(1e-6, 1e-5, 1e-4)),  # its authors train at 1e-6
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
}
ABLATIONS = tuple(name for name in METHODS if name.startswith(f"{PAIRED}-"))  # of the first reading
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
    """Name a log's columns of terms: `LOSS_TERMS`, the same for all methods, then what a method of one's own adds."""
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
