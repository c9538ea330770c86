"""Results made by hand: rows of a table as `tpccma.evidence.table.load_results` returns it."""

import numpy as np
import pandas as pd

from tpccma.evidence.table import named

HALF = 2.484138  # of the interval of 1, 2, 3: standard deviation 1, t(0.975, 2 degrees) = 4.302653, over sqrt(3)


def rows(method: str, alpha: float = 0.0, seeds: tuple = (0, 1, 2), profile: str = "demo", **columns) -> list[dict]:
    """One row a seed; a column given as a list has one value a seed."""
    keys = {"profile": profile, "method": method, "alpha": alpha, "model": named(method, alpha)}
    return [
        {
            **keys,
            "seed": seed,
            **{name: value[i] if isinstance(value, list) else value for name, value in columns.items()},
        }
        for i, seed in enumerate(seeds)
    ]


def table_of(*parts: list[dict]) -> pd.DataFrame:
    return pd.DataFrame([row for part in parts for row in part])


def one(table: pd.DataFrame, **keys) -> pd.Series:
    (found,) = table[np.logical_and.reduce([table[name] == value for name, value in keys.items()])].itertuples()
    return found


def models(settings: int) -> pd.DataFrame:
    """One setting a method, two seeds each; quality falls exactly with the distribution gap, not with the raw gap."""
    alpha = np.repeat(np.arange(settings) / settings, 2)
    raw = np.tile([0.5, 0.7], settings)  # the two seeds of a setting differ in the raw gap alone
    method = [f"method {place:02}" for place in np.repeat(range(settings), 2)]
    keys = {"profile": "demo", "method": method, "alpha": alpha}
    return pd.DataFrame(keys | {"raw_gap": raw, "distribution_gap": 1 - alpha, "ari": 0.2 + 0.5 * alpha})


def three_methods() -> pd.DataFrame:
    """Methods a and b lie on the line ari = gap, at 0, 1, 2 and 3, 4, 5; method c far off it."""
    method = ["a"] * 3 + ["b"] * 3 + ["c"]
    keys = {"profile": "demo", "method": method, "alpha": [0, 1, 2, 0, 1, 2, 0]}
    return pd.DataFrame(keys | {"raw_gap": 1.0, "gap": [0, 1, 2, 3, 4, 5, 9], "ari": [0, 1, 2, 3, 4, 5, 0]})
