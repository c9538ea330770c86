"""Repeated runs: what repeats, what repeats within drift, and what differs."""

import json
from copy import deepcopy
from pathlib import Path

import pytest

import tpccma.runs.verify
from tests.conftest import FOUND
from tpccma.profiles import Profile
from tpccma.runs.records import load_records, record_path
from tpccma.runs.verify import DRIFT, compare, verify, verify_some
from tpccma.training.identity import fingerprint

HARDWARE = {"machine": "x86_64", "threads": 1, "device": "AMD EPYC", "processor": "cpu family 25, model 17, stepping 1"}
RECORD = {
    "method": "tpc-cma",
    "alpha": 0.5,
    "seed": 3,
    "hardware": HARDWARE,
    "versions": {"torch": "2.6"},
    "metrics": FOUND,
}
OLD = {key: value for key, value in HARDWARE.items() if key != "processor"}


def changed(metrics: dict | None = None, **parts) -> dict:
    """The record with other values."""
    record = deepcopy(RECORD) | parts
    record["metrics"] |= metrics or {}
    return record


def test_fresh_record_is_verified(record: dict, tiny_profile: Profile, tmp_path: Path):
    found = verify(record, tiny_profile)
    assert (found.run, found.outcome, found.reason, found.unmatched) == ("mean-centering-a0-s1", "repeats", "", "")
    rows = found.rows
    assert rows.ok.all() and found.ok
    assert dict(zip(rows.measure, rows.recorded, strict=True)) == record["metrics"] == record["metrics"] | FOUND
    assert rows.again.tolist() == rows.recorded.tolist() and rows.difference.eq(0).all()
    assert set(rows.tolerance) == {1e-4}
    assert len(load_records(tmp_path / "results")) == 1  # what it repeats lies elsewhere


def test_run_repeats_with_the_recorded_number_of_threads(
    record: dict, tiny_profile: Profile, monkeypatch: pytest.MonkeyPatch
):
    asked: list[int] = []
    monkeypatch.setattr(tpccma.runs.verify.torch, "set_num_threads", asked.append)
    record["hardware"]["threads"] = 11
    verify(record, tiny_profile)
    assert asked == [11]


def test_figure_that_changed_on_the_same_machine_differs():
    found = compare(changed({"zeroshot_top5": 0.2502}), RECORD)  # more than 1e-4 off
    rows = found.rows.set_index("measure")
    assert rows.ok.drop("zeroshot_top5").all() and not rows.ok["zeroshot_top5"]
    assert rows.difference["zeroshot_top5"] == pytest.approx(0.0002)
    assert (found.outcome, found.reason, found.ok) == ("DIFFERS", "", False)
    assert "largest difference 0.0002 in zeroshot_top5, tolerance 0.0001\n" in str(found)
    assert str(found).splitlines()[-1].split()[:2] == ["zeroshot_top5", "0.2502"]


def test_figure_within_rounding_repeats_on_any_machine():
    found = compare(changed({"cider": 0.25005}, hardware={"device": "another"}, versions={}), RECORD)
    assert found.outcome == "repeats" and set(found.rows.tolerance) == {1e-4} and found.reason == ""
    assert str(found) == (
        "tpc-cma-a0.5-s3: repeats; 10 measures compared, largest difference 5e-05 in cider, tolerance 0.0001"
    )


@pytest.mark.parametrize(
    "parts, reason",
    [
        ({"hardware": OLD}, "the processor's model is not recorded"),  # as of the first 422 records
        ({"hardware": HARDWARE | {"processor": ""}}, "the processor's model is not recorded"),
        (
            {"hardware": HARDWARE | {"processor": "cpu family 25, model 1, stepping 1"}},
            "processor 'cpu family 25, model 1, stepping 1', now 'cpu family 25, model 17, stepping 1'",
        ),
        ({"hardware": HARDWARE | {"threads": 2}}, "threads 2, now 1"),
        ({"hardware": HARDWARE | {"device": "H100"}}, "device 'H100', now 'AMD EPYC'"),
        ({"versions": {"torch": "0.1"}}, "torch '0.1', now '2.6'"),
    ],
)
@pytest.mark.parametrize(
    "metrics, outcome", [({"clustering_ari": 0.36}, "repeats within drift"), ({"clustering_ari": 0.40}, "DIFFERS")]
)  # 0.11 and 0.15 off, of 0.12
def test_record_of_what_may_be_another_machine_is_compared_with_tolerance(
    parts: dict, reason: str, metrics: dict, outcome: str
):
    # raw_gap is 0.025 off, of 0.03; top 5 is not compared
    found = compare(changed({"raw_gap": 0.275, "zeroshot_top5": 0.9, **metrics}, **parts), RECORD)
    assert (found.outcome, found.reason) == (outcome, reason)
    rows = found.rows.set_index("measure")
    assert list(rows.index) == list(DRIFT) and rows.tolerance.to_dict() == DRIFT
    assert rows.ok["raw_gap"] and rows.ok["zeroshot_top1"]
    assert rows.ok["clustering_ari"] == found.ok == (outcome != "DIFFERS")
    assert f"9 measures compared, largest difference {metrics['clustering_ari'] - 0.25:.2g} in" in str(found)
    assert "in clustering_ari, tolerance 0.12; " in str(found) and reason in str(found)


def test_measures_that_one_side_lacks_are_named_and_not_compared():
    again = deepcopy(RECORD)
    again["metrics"]["scale_free"] = 1.0
    found = compare(changed({"clustering_v_measure": 0.5}), again)
    assert found.outcome == "repeats" and set(found.rows.measure) == set(FOUND)
    assert str(found).endswith("; only recorded: clustering_v_measure; only measured now: scale_free")


def test_nothing_to_compare_is_no_repeat():
    assert not compare(RECORD | {"metrics": {"one": 1.0}}, RECORD | {"metrics": {"two": 1.0}}).ok
    old = RECORD | {"hardware": OLD}
    assert not compare(old | {"metrics": {"one": 1.0}}, old | {"metrics": {"one": 2.0}}).ok  # none of DRIFT


def test_runs_are_drawn_by_seed(record: dict, tiny_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for seed in range(2, 12):
        moved = record | {"seed": seed, "fingerprint": fingerprint(tiny_profile, record["method"], 0.0, seed)}
        record_path("demo", record["method"], 0.0, seed, tmp_path / "results").write_text(json.dumps(moved))
    tasks: list[dict] = []
    monkeypatch.setattr(tpccma.runs.verify, "run_all", lambda work, given, jobs: tasks.append(given) or [])
    for seed in (0, 0, 1):
        assert list(verify_some(tiny_profile, 4, seed, results_dir=tmp_path / "results")) == []
    drawn = [list(noted) for noted in tasks]
    assert [len(set(names)) for names in drawn] == [4, 4, 4]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"fingerprint": "ffff0000"}, "with other settings than the profile names now"),
        ({"content": "0123456789abcdef"}, "with other data than"),
        ({"fingerprint": "ffff0000", "content": "0123456789abcdef"}, "with other settings and data than"),
    ],
)
def test_run_of_other_settings_or_data_is_refused_before_it_is_repeated(
    change: dict, named: str, record: dict, tiny_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    record_path("demo", record["method"], 0.0, 1, tmp_path / "results").write_text(json.dumps(record | change))
    monkeypatch.setattr(tpccma.runs.verify, "run_all", lambda *given: pytest.fail("repeated"))
    with pytest.raises(ValueError, match=f"mean-centering-a0-s1 of profile 'demo' was recorded {named}"):
        list(verify_some(tiny_profile, 1, results_dir=tmp_path / "results"))


def test_run_that_fails_is_named(record: dict, tiny_profile: Profile, tmp_path: Path, monkeypatch, in_threads):
    monkeypatch.setattr(tpccma.runs.verify, "run_job", lambda *given: 1 / 0)
    (found,) = verify_some(tiny_profile, 1, results_dir=tmp_path / "results")
    assert not found.ok and str(found) == "mean-centering-a0-s1: FAILED; ZeroDivisionError: division by zero"
