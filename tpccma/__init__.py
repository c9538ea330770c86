"""TPC-CMA: measure CLIP's modality gap, close it with one dial, and see what that buys and costs (arXiv 2604.00279).

Importing the package costs nothing: each name is loaded when it is first asked for.
"""

from importlib import import_module

PLACES = {
    "Run": "tpccma.training.run",
    "base_run": "tpccma.training.run",
    "evaluate": "tpccma.tasks.evaluation",
    "fine_tune": "tpccma.training.run",
    "interpolate": "tpccma.models.interpolation",
    "load_profile": "tpccma.profiles",
    "open_aligned": "tpccma.training.make_aligned",
}
__all__ = list(PLACES)


def __getattr__(name: str):
    if name in PLACES:
        return getattr(import_module(PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *PLACES})
