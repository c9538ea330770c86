"""The distance to the paper's published signature, on hand-made results."""

import math

import pandas as pd
import pytest

from tests.results_by_hand import rows
from tpccma.evidence.signature import nearer, signature, signature_distance, signature_table
from tpccma.methods import FULL, PAIRED, SECOND_CURRICULUM
from tpccma.runs.jobs import SHIFT


@pytest.fixture
def results() -> pd.DataFrame:
    """The first reading: the gap falls by half of 82.3 % at 0.5 and not at 0.05, ARI rises by five times 0.198."""
    ranks = {"effective_rank_image": 40.0, "effective_rank_text": 30.0}
    fallen = {"effective_rank_image": 41.0, "effective_rank_text": [28.0, 28.1, 28.2]}
    return pd.DataFrame(
        [
            *rows("base", 0, raw_gap=1.0, clustering_ari=0.0, zeroshot_top1=0.9, **ranks),
            *rows(PAIRED, 0.05, raw_gap=1.0, zeroshot_top1=0.9 - 0.0242),
            *rows(PAIRED, 0.5, raw_gap=1 - 0.823 / 2, clustering_ari=0.99, **fallen),
            *rows(FULL, 0, profile=SHIFT, zeroshot_top1=0.7),
            *rows(SECOND_CURRICULUM, 0.5, profile=SHIFT, zeroshot_top1=[0.70, 0.69, 0.71]),
        ]
    )


def test_components_are_from_0_to_1(results: pd.DataFrame):
    found = signature(results, "demo", PAIRED)
    expected = {"C1": 1, "C2": 0.5, "C3": 0.5, "C4": 1, "C5": math.nan}  # none of it, half, half, five times, not run
    expected |= {"rank falls": 0, "accuracy falls under shift": 1}  # of texts; no fall that excludes 0
    assert found.to_dict() == pytest.approx(expected, nan_ok=True)
    assert signature_distance(found) == pytest.approx(4 / 6)
    assert math.isnan(signature_distance(signature(results.iloc[:0], "demo", PAIRED)))


def test_readings_are_compared_on_what_is_known_of_both(results: pd.DataFrame):
    alone = signature_table(results, "demo")
    assert list(alone.columns) == [PAIRED] and nearer(alone).startswith("one reading at most")
    second = rows(FULL, 0.5, raw_gap=1 - 0.823, clustering_ari=0.198)
    both = signature_table(pd.concat([results, pd.DataFrame(second)]), "demo")
    assert both[FULL].dropna().to_dict() == pytest.approx({"C3": 0, "C4": 0, "distance": 0}, abs=1e-9)
    assert both.loc["distance", PAIRED] == pytest.approx(0.75)  # of C3 and C4 alone
    assert nearer(both) == f"{FULL} is nearer ({FULL} 0.00, {PAIRED} 0.75)"
    assert nearer(both.assign(**{PAIRED: 0.05})) == f"neither is nearer ({FULL} 0.00, {PAIRED} 0.05)"
