"""TPC-CMA: measure CLIP's modality gap, close it with one dial, and see what that buys and costs (arXiv 2604.00279)."""

from tpccma.evaluate import evaluate
from tpccma.profiles import load_profile
from tpccma.train import Run, base_run, fine_tune

__all__ = ["Run", "base_run", "evaluate", "fine_tune", "load_profile"]
