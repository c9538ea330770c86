"""What the decoder is fed, on hand-made results: C5 by feed and reference, and the share of the bound."""

import pytest

from tests.results_by_hand import rows, table_of
from tpccma.evidence.feeds import bound_shares, feed_changes, feed_verdicts
from tpccma.runs.jobs import DIAL


def test_c5_is_judged_for_each_feed_and_reference():
    runs = table_of(
        rows("base", seeds=(0,), cider=1.0, cider_centred=2.0, cider_memory=3.0),
        rows(DIAL, 0.0, cider=2.0, cider_centred=2.0, cider_memory=3.0),
        rows(DIAL, 0.5, cider=2.0, cider_centred=[2.1, 2.2, 2.3], cider_memory=[2.6, 2.7, 2.8]),
    )
    found = feed_verdicts(feed_changes(runs))
    assert found["against base, %"].tolist() == ["+100.0 ± 0.0", "+10.0 ± 12.4", "-10.0 ± 8.3", "-10.0 ± 8.3"]
    assert found["verdict, base"].tolist() == ["larger", "undecided", "opposite", "opposite"]
    assert found.loc["raw-fed", "verdict, continued CLIP"] == "undecided"  # 2 to 2
    assert (feed_verdicts(feed_changes(runs[runs.alpha == 0])) == "–").all(axis=None)


def test_shares_of_the_bound_are_ratios_of_means():
    runs = table_of(rows("clip", cider=[1.0, 2.0, 3.0], cider_memory=4.0, cider_text=[2.0, 4.0, 6.0]))
    found = bound_shares(runs)
    assert found.measure.tolist() == ["raw-fed", "memory"]
    assert found.ours.tolist() == pytest.approx([50, 100])  # 1 + 2 + 3 of 2 + 4 + 6, and 12 of 12
