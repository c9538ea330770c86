"""What `tpccma.fine_tune` knows by name: TPC-CMA, its ablations, and what it is compared with."""

from tpccma.methods.registry import (
    ABLATION_ALPHA,
    ABLATIONS,
    FLOOR,
    FULL,
    LOSS_TERMS,
    METHODS,
    PAIRED,
    SECOND_ABLATIONS,
    SECOND_CURRICULUM,
    Method,
    Trace,
    check_method,
    find_method,
    loss_columns,
    run_name,
)

__all__ = [
    "ABLATIONS",
    "ABLATION_ALPHA",
    "FLOOR",
    "FULL",
    "LOSS_TERMS",
    "METHODS",
    "PAIRED",
    "SECOND_ABLATIONS",
    "SECOND_CURRICULUM",
    "Method",
    "Trace",
    "check_method",
    "find_method",
    "loss_columns",
    "run_name",
]
