"""What `tpccma.fine_tune` knows by name: TPC-CMA, its ablations, and what it is compared with."""

from tpccma.methods.registry import ABLATION_ALPHA, ABLATIONS, METHODS, Method, check_method, find_method, run_name

__all__ = ["ABLATIONS", "ABLATION_ALPHA", "METHODS", "Method", "check_method", "find_method", "run_name"]
