"""What alignment may cost, on hand-made results: the rules for collapse and accuracy cost, and classes."""

import pytest

from tests.results_by_hand import rows, table_of
from tpccma.evidence.price import class_changes, price_of_alignment
from tpccma.runs.jobs import DIAL


@pytest.mark.parametrize(
    ("images", "texts", "collapse"),
    [
        ([85.0, 85.1, 84.9], 100.0, "found"),
        (100.0, [85.0, 85.1, 84.9], "found"),
        ([91.0, 91.1, 90.9], 100.0, "not found"),  # a loss, but less than 10 %
        ([70.0, 80.0, 105.0], 100.0, "not found"),  # -15 % on average, but not in every seed
        ([85.0, None, 84.9], 100.0, "not run"),
    ],
)
def test_rule_for_collapse(images, texts, collapse: str):
    runs = table_of(
        rows(DIAL, 0.0, effective_rank_image=100.0, effective_rank_text=100.0),
        rows(DIAL, 1.0, effective_rank_image=images, effective_rank_text=texts),
        rows("modgap", effective_rank_image=1.0, effective_rank_text=1.0),
    )
    assert price_of_alignment(runs).collapse.to_dict() == {"alpha 1": collapse}


@pytest.mark.parametrize(
    ("accuracy", "cost"),
    [([0.79, 0.80, 0.79], "not found"), ([0.79, 0.79, 0.79], "found"), ([0.81, 0.81, 0.81], "not found")],
)
def test_rule_for_accuracy_cost(accuracy: list[float], cost: str):
    runs = table_of(rows(DIAL, 0.0, zeroshot_top1=0.8), rows(DIAL, 0.3, zeroshot_top1=accuracy))
    found = price_of_alignment(runs)
    assert found["accuracy cost"].to_dict() == {"alpha 0.3": cost}
    assert found.collapse.item() == "not run"  # no rank was recorded


def test_classes_are_ordered_by_loss_and_unknown_ones_left_out():
    columns = {"zeroshot_top1": 0.5, "zeroshot_top1_socks": None}
    runs = table_of(
        rows(DIAL, 0.0, zeroshot_top1_ring=0.9, zeroshot_top1_moon=0.9, **columns),
        rows(DIAL, 0.5, zeroshot_top1_ring=0.95, zeroshot_top1_moon=0.7, **columns),
        rows(DIAL, 1.0, zeroshot_top1_ring=0.90, zeroshot_top1_moon=0.6, **columns),
    )
    found = class_changes(runs)
    assert list(zip(found.measure, found.model, strict=True)) == [
        ("moon", "alpha 0.5"),
        ("moon", "alpha 1"),
        ("ring", "alpha 0.5"),
        ("ring", "alpha 1"),
    ]
    assert found.ours.tolist() == pytest.approx([-20, -30, 5, 0])
