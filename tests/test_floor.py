"""Ranks that are kept, on hand-made results."""

import pytest

from tests.results_by_hand import one, rows, table_of
from tpccma.evidence.floor import floored_runs, keep_their_rank, rank_changes
from tpccma.methods import FLOOR, FULL


def ranks(method: str, alpha: float, image: list, text: list) -> list[dict]:
    return rows(method, alpha, effective_rank_image=image, effective_rank_text=text)


RESULTS = table_of(
    ranks("base", 0.0, [100.0, 50.0, 200.0], [80.0, 80.0, 80.0]),
    ranks(FULL, 0.05, [100.0, 50.0, 200.0], [79.0, 79.2, 79.4]),
    ranks(FULL, 0.3, [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]),
    ranks(FULL, 0.5, [90.0, 46.0, 182.0], [80.0, 80.0, 80.0]),
    ranks(FLOOR, 0.5, [95.0, 49.0, 204.0], [80.0, 80.0, 80.0]),
    ranks("modgap", 0.0, [10.0, 10.0, 10.0], [10.0, 10.0, 10.0]),
)


def test_ranks_are_shares_of_each_seeds_base_where_there_is_a_floor():
    found = rank_changes(floored_runs(RESULTS, "demo"))
    assert list(found.model.unique()) == ["alpha 0.05", "alpha 0.5", f"{FLOOR}, alpha 0.5"]
    lower = one(found, model="alpha 0.5", measure="effective_rank_image")
    assert lower.ours == pytest.approx(-9.0)  # the mean of -10, -8 and -9 per cent
    assert one(found, model="alpha 0.05", measure="effective_rank_text").ours == pytest.approx(-1.0)


def test_a_rank_is_lost_in_either_modality_and_kept_in_both():
    # alpha 0.05: 0 and -1.25, -1.0, -0.75 per cent; with a floor -5, -2 and +2 per cent of the images' rank
    said = keep_their_rank(rank_changes(floored_runs(RESULTS, "demo")))
    assert said.to_dict() == {"alpha 0.05": "kept", "alpha 0.5": "lost", f"{FLOOR}, alpha 0.5": "undecided"}
