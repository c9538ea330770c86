"""The ablations' tables, on hand-made results."""

import pandas as pd
import pytest

from tests.results_by_hand import one
from tpccma.evidence.ablation import (
    CURRICULUM,
    PARTS,
    against_clip,
    against_whole,
    all_settings,
    count_changes,
    count_diverged,
    curriculum_changes,
    label_of,
    starred,
    without_effect,
)
from tpccma.methods import ABLATIONS, FULL, PAIRED, SECOND_ABLATIONS
from tpccma.runs.jobs import DIAL


def rows(method: str, alpha: float, gaps: list[float]) -> pd.DataFrame:
    keys = {"profile": "demo", "method": method, "alpha": alpha}
    return pd.DataFrame({**keys, "seed": range(len(gaps)), "raw_gap": gaps, "cider": 1.0})


RESULTS = pd.concat(
    [
        rows(DIAL, 0.5, [0.2, 0.3, 0.4]),
        rows(DIAL, 0.0, [0.8, 0.9, 1.0]),
        rows(f"{DIAL}-no-geometry", 0.5, [0.5, 0.6, 0.7]),
    ],
    ignore_index=True,
)


@pytest.mark.parametrize(("method", "planned"), [(PAIRED, ABLATIONS), (FULL, SECOND_ABLATIONS)])
def test_every_ablation_has_a_label(method: str, planned: tuple):
    assert set(PARTS[method]) == set(planned)
    assert len(set(PARTS[method].values())) == len(planned)
    assert list(all_settings("demo", method)) == [label_of(method), *PARTS[method].values()]


def test_either_reading_is_set_against_itself():
    first = pd.concat([rows(PAIRED, 0.5, [0.5, 0.5, 0.5]), rows(f"{PAIRED}-no-paired", 0.5, [0.7, 0.8, 0.9])])
    found = against_whole(pd.concat([RESULTS, first]), ["demo"], PAIRED)
    assert round(one(found, model="no paired term", measure="raw_gap").ours, 6) == 0.3
    assert (found[found.model != "no paired term"].ours.isna()).all()


def test_the_curriculum_is_set_against_an_alpha_fixed_at_the_same_rate():
    first, second = CURRICULUM["rate x 10"]
    steady = rows(first, 0.5, [1.0, 1.0, 1.0]).assign(loss_spike=[0.1, 0.2, 0.3])
    wild = rows(second, 0.5, [1.0, 1.0, 1.0]).assign(loss_spike=[0.4, 0.6, 0.8], diverged=[1.0, None, None])
    found = curriculum_changes(pd.concat([steady, wild]), "demo")
    assert round(one(found, model="rate x 10", measure="loss_spike").ours, 6) == -0.4
    assert found[found.model != "rate x 10"].ours.isna().all()
    counted = count_diverged(pd.concat([steady, wild]), "demo")
    assert counted.loc["rate x 10"].to_numpy().tolist() == [[0, 3], [1, 3]]  # the curriculum, alpha fixed
    assert not counted.loc["rate x 3"].to_numpy().any()  # not run


def test_parts_are_set_against_the_whole_and_everything_against_continued_clip():
    whole = against_whole(RESULTS, ["demo"]).query("measure == 'raw_gap'").set_index("model").ours
    assert round(whole["no geometry term"], 6) == 0.3
    assert whole.drop("no geometry term").isna().all()  # not run
    clip = against_clip(RESULTS, ["demo"]).query("measure == 'raw_gap'").set_index("model").ours
    assert clip[[label_of(DIAL), "no geometry term"]].round(6).tolist() == [-0.6, -0.3]


def test_changes_that_exclude_zero_are_counted_and_starred():
    table = against_whole(RESULTS, ["demo"])
    # raw gap and CIDEr of one ablation have an interval; CIDEr does not change
    said = "1 of 2 differences have an interval that excludes 0, where chance alone would give about 0"
    assert count_changes(table) == said
    shown = starred(table).loc[("demo", "no geometry term")]
    assert (shown["raw gap"], shown["CIDEr raw-fed"]) == ("+0.300*", "0.000")
    assert (starred(table).loc[("demo", "rate x 3")] == "–").all()  # not run


def test_count_without_runs():
    nothing = RESULTS[RESULTS.alpha == 0]
    assert count_changes(against_whole(nothing, ["demo"])) == "no differences with an interval yet"


def test_part_without_effect_is_named():
    same = rows(f"{DIAL}-yoked", 0.5, [0.2, 0.3, 0.4])
    assert without_effect(against_whole(pd.concat([RESULTS, same]), ["demo"])) == "another seed's alpha"
    assert without_effect(against_whole(RESULTS, ["demo"])) == "none"
