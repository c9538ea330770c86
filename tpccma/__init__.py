"""TPC-CMA: measure CLIP's modality gap, close it with one dial, and see what that buys and costs (arXiv 2604.00279)."""

from tpccma.evaluate import evaluate
from tpccma.profiles import load_profile

__all__ = ["Run", "base_run", "evaluate", "fine_tune", "load_profile"]


def __getattr__(name: str):
    """Import the trainer when it is first asked for, so that ``python -m tpccma.train`` runs it once."""
    if name in ("Run", "base_run", "fine_tune"):
        from tpccma import train

        return getattr(train, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
