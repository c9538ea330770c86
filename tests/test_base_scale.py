"""What the base's logit scale decides, on hand-made results."""

import pandas as pd
import pytest

from tpccma.evidence.base_scale import (
    FAMILIES,
    MODELS,
    SCALES,
    changed_verdicts,
    describe_verdicts,
    pooled_predictions,
    scale_changes,
    scale_levels,
    scale_settings,
    verdicts_by_scale,
)
from tpccma.evidence.table import load_results
from tpccma.profiles import profile_names


@pytest.fixture
def results(tmp_path) -> pd.DataFrame:
    """Every base of the scenes but "learned"; alpha 0.5 halves the raw gap at scale 100 and leaves it at 20."""
    rows = []
    for scale, factor in (("20", 1.0), ("50", 0.75), ("100", 0.5)):
        for place, (method, alpha) in enumerate(MODELS.values()):
            for seed in range(3):
                gap = factor * 0.8 if alpha == 0.5 else 0.8
                more = {
                    "distribution_gap": 0.1 * place + gap,
                    "clustering_ari": 0.2 * place + 0.01 * seed,
                    "cider": 1.0,
                }
                key = {"profile": FAMILIES["scenes"][scale], "method": method, "alpha": alpha, "seed": seed}
                rows.append({**key, "raw_gap": gap, **more})
    pd.DataFrame(rows).to_csv(tmp_path / "results.csv", index=False)
    return load_results(tmp_path)


def test_every_scale_is_a_profile_that_ships():
    for family in FAMILIES:
        profiles = {setting.profile for models in scale_settings(family).values() for setting in models.values()}
        assert profiles <= set(profile_names())
        assert len(profiles) == len(SCALES)


def test_levels_and_changes_by_scale(results: pd.DataFrame):
    gap = {"raw_gap": "raw gap"}
    table = scale_levels(results, "scenes", gap).set_index(["scale", "model"]).ours
    assert table["50", "alpha 0.5"] == pytest.approx(0.6)
    assert table["100", "base"] == pytest.approx(0.8)
    assert table["learned"].isna().all()
    bases = scale_levels(results, "scenes", {"clustering_ari": "ARI"} | gap).query("model == 'base'")
    assert bases[bases.measure == "raw_gap"].low.isna().all()  # the same of all seeds
    assert bases[(bases.measure == "clustering_ari") & (bases.scale == "50")].low.notna().all()
    against = scale_changes(results, "scenes", "continued CLIP", gap).set_index("model").ours
    assert against["alpha 0.5, scale 100"] == pytest.approx(-0.4)
    assert against["alpha 0.5, scale 20"] == pytest.approx(0)


def test_verdicts_by_scale_and_what_changes(results: pd.DataFrame):
    table = verdicts_by_scale(results, "scenes")
    # C3 raw: 0, 25 and 50 % in every seed, against the paper's 82.3 %
    verdicts = ["undecided", "smaller", "smaller", "not run"]
    assert table.loc[("C3", "raw", "base")].tolist() == verdicts
    assert set(table.index.get_level_values("claim")) == {"C1", "C2", "C3", "C4", "C5"}
    said = describe_verdicts(table, "base")
    changed = changed_verdicts(table).xs("base", level="against")
    assert changed.loc[("C3", "raw")].tolist() == verdicts  # that "learned" was not run is no change
    assert ("C1", "raw") not in changed.index  # alpha 0.05 changes nothing on any base
    asked = table.xs("base", level="against").loc["C3"]
    known = (asked != "not run").sum(axis=1) > 1
    assert said.startswith(f"{len(changed)} of ") and f"C3 {len(changed.loc['C3'])} of {known.sum()}" in said
    assert describe_verdicts(table.iloc[:0], "base") == "fewer than two scales were run"


def test_pooling_takes_each_base_as_a_setting(results: pd.DataFrame):
    extra = results[results.method == "base"].assign(method="fahim", model="fahim")
    pooled = pooled_predictions(pd.concat([results, extra]), "scenes")
    assert pooled.loc[("four of every base", "ARI"), "settings"] == 3 * 4
    assert pooled.loc[("all of every base", "ARI"), "settings"] == 3 * 5
    assert pooled.loc[("four of every base", "CIDEr raw-fed"), "raw gap"] == "0.00 [0.00, 0.00]"  # CIDEr is constant
    assert pooled_predictions(results, "photographs")["verdict on C6"].unique().tolist() == ["not run"]
