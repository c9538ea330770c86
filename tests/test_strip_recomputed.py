"""The strip's numbers once more, from the records alone and without anything of tpccma.evidence but what is tested."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tpccma.evidence.claims import PROFILES, claims_table
from tpccma.evidence.readme import primary_readings
from tpccma.evidence.table import load_results
from tpccma.runs.jobs import DIAL, OTHERS

RESULTS = Path(__file__).parents[1] / "results"
READINGS = ("tpc-cma", "tpc-cma-paired")


def recompute(profile: str) -> dict[str, float]:
    records = [json.loads(path.read_text()) for path in (RESULTS / profile).glob("*.json")]
    keys = ("method", "alpha", "seed")
    runs = pd.DataFrame([{key: each[key] for key in keys} | each["metrics"] for each in records]).set_index("seed")
    bases = runs[runs.method == "base"]

    def both(method: str, alpha: float, column: str) -> tuple[float, float]:
        own = runs[(runs.method == method) & (runs.alpha == alpha)][column]
        return own.mean(), bases[column].reindex(own.index if len(bases) > 1 else bases.index).mean()

    (near, far), (ari, score) = ((both(DIAL, alpha, "raw_gap") for alpha in (0.05, 0.5)), ("clustering_ari", "cider"))
    found = {"C1": 100 * (1 - near[0] / near[1]), "C3": 100 * (1 - far[0] / far[1])}
    found["C2"] = -100 * np.subtract(*both(DIAL, 0.05, "zeroshot_top1"))
    found["C4"] = np.subtract(*both(DIAL, 0.5, ari))
    found["C5"] = 100 * (np.divide(*both(DIAL, 0.5, score)) - 1)
    found["C8"] = 100 * np.subtract(*both("mean-centering", 0, score)) / np.subtract(*both(DIAL, 0.5, score))
    counted = runs[runs.method.isin(["base", *READINGS, *OTHERS]) & ~(runs.method.isin(READINGS) & (runs.alpha == 0))]
    settings = counted.groupby(["method", "alpha"]).mean(numeric_only=True)
    found |= {
        claim: settings[gap].corr(settings[ari]) ** 2 for claim, gap in (("C6", "distribution_gap"), ("C7", "raw_gap"))
    }
    return found


@pytest.mark.parametrize("profile", PROFILES[:2])
def test_the_strip_is_what_twenty_lines_of_pandas_find(profile: str):
    table = primary_readings(claims_table(load_results(RESULTS), (profile,)))
    shown = dict(zip(table.claim, table.ours, strict=True))
    assert recompute(profile) == pytest.approx(shown, rel=1e-9)
