import json
import math
import re
import runpy
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import tpccma.runs.record
import tpccma.runs.records
from tpccma import load_profile
from tpccma.cli import app
from tpccma.evidence.table import SCALE_FREE, load_results
from tpccma.models.identity import weights_identity
from tpccma.runs import provenance
from tpccma.runs.items import unpack_items
from tpccma.runs.record import CAPTIONS, captions_of, make_record, record_run
from tpccma.runs.records import KEYS, SCHEMA, build_csv, load_records, record_path, save_record
from tpccma.tasks.evaluation import Evaluated
from tpccma.training.encoders import weights_path
from tpccma.training.identity import fingerprint
from tpccma.training.run import Run

ROOT = Path(__file__).parents[1]
METRICS = {name: 0.25 for name in SCHEMA if name not in (*KEYS, "base", "wall_seconds")} | {
    "zebra": 1.0,
    "aardvark": 2.0,
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A finished run as far as records look at it: two steps of 1.25 and 2 s."""
    taken = {"alpha": [0.0, 0.05], "learning_rate": 1e-3, "contrastive_loss": [2.0, 1.9]}
    steps = pd.DataFrame({"seconds": [1.25, 2.0], "samples_per_second": [100.0, 50.0]} | taken)
    encoder = SimpleNamespace(model=SimpleNamespace(logit_scale=torch.tensor(math.log(50))))
    return Run(load_profile("demo"), "tpc-cma", 0.05, 3, tmp_path / "run", encoder, steps, "0123abcd")


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the data of a run be none: evaluation, which would look at them, is another's."""
    monkeypatch.setattr(tpccma.runs.record, "load_corpus", lambda profile: SimpleNamespace(report={}))


def measures(metrics: dict) -> Evaluated:
    """An evaluation that kept nothing of its pictures."""
    return Evaluated(dict(metrics), {}, {})


def save(run: Run, folder: Path, **changes) -> Path:
    return save_record(make_record(replace(run, **changes), METRICS), folder)


def test_record_says_all_there_is_to_say(run: Run):
    record = make_record(run, METRICS)
    assert [record[key] for key in KEYS] == ["demo", "tpc-cma", 0.05, 3]
    assert record["fingerprint"] == "0123abcd"
    assert (record["wall_seconds"], record["samples_per_second"]) == (3.2, 75.0)  # the sum, rounded, and the median
    assert {"python", "torch", "open_clip_torch", "numpy", "tpccma"} <= set(record["versions"])
    assert set(record["hardware"]) == {"machine", "threads", "device", "processor"}
    assert record["hardware"]["device"] and record["hardware"]["processor"]
    assert "code" not in record
    code = {"training": "aaaa", "evaluation": "bbbb"}
    assert make_record(replace(run, code=code), METRICS)["code"] == code
    assert record["metrics"] == METRICS


def test_record_round_trip(run: Run, tmp_path: Path):
    record = make_record(run, METRICS)
    path = save_record(record, tmp_path)
    assert path == record_path("demo", "tpc-cma", 0.05, 3, tmp_path) == tmp_path / "demo" / "tpc-cma-a0.05-s3.json"
    assert load_records(tmp_path) == [json.loads(path.read_text())] == [record]


def test_record_and_csv_name_the_base_where_it_is_known(run: Run, tmp_path: Path):
    digits = "1234567890123456"  # which is no number
    assert "base" not in make_record(run, METRICS)
    save(run, tmp_path)
    save(run, tmp_path, base=digits, seed=4)
    assert [record.get("base") for record in load_records(tmp_path)] == [None, digits]
    assert load_results(tmp_path).base.fillna("").tolist() == ["", digits]


def test_records_of_the_shipped_base_name_it():
    base = weights_identity(weights_path(load_profile("demo")))
    for folder in (ROOT / "results", ROOT / "results" / "trials"):
        assert {r["base"] for r in load_records(folder) if r["profile"] == "demo"} == {base}


def test_renaming_of_the_base_changes_nothing_else(tmp_path: Path):
    migration = runpy.run_path(ROOT / "results" / "migrations" / "2026_11_weights.py")
    published = record_path("demo", "tpc-cma-paired", 0.5, 0, ROOT / "results")
    now = json.loads(published.read_text())
    before = {name: value for name, value in now.items() if name != "base"} | {"fingerprint": "a7877cab"}
    path = save_record(before, tmp_path)
    for _ in range(2):
        migration["main"](tmp_path)
        assert path.read_bytes() == published.read_bytes()
    save_record(before | {"fingerprint": "a7877cac"}, tmp_path)  # of other settings
    with pytest.raises(AssertionError, match="was made by other settings"):
        migration["main"](tmp_path)


def test_metrics_are_rounded_to_six_digits(run: Run):
    assert make_record(run, {"raw_gap": 1 / 3})["metrics"] == {"raw_gap": 0.333333}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_metric_that_is_not_finite_is_refused_by_name(run: Run, value: float):
    with pytest.raises(ValueError, match=f"tpc-cma-a0.05-s3: metric cider is {value!r}"):
        make_record(run, METRICS | {"cider": value})


def test_csv_has_the_schema_first_then_the_rest_by_name(run: Run, tmp_path: Path):
    save(run, tmp_path)
    header = (tmp_path / "results.csv").read_text().splitlines()[0]
    assert header == ",".join([*SCHEMA, "aardvark", "zebra"])


def test_csv_has_one_row_a_run_in_order(run: Run, tmp_path: Path):
    for method, alpha, seed in (("tpc-cma", 0.5, 0), ("tpc-cma", 0.05, 10), ("tpc-cma", 0.05, 2), ("base", 0.0, 0)):
        save(run, tmp_path, method=method, alpha=alpha, seed=seed)
    table = load_results(tmp_path)
    keys = list(table[["method", "alpha", "seed"]].itertuples(index=False, name=None))
    assert keys == [("base", 0.0, 0), ("tpc-cma", 0.05, 2), ("tpc-cma", 0.05, 10), ("tpc-cma", 0.5, 0)]
    assert table.cider.tolist() == [0.25] * 4
    assert table.wall_seconds.tolist() == [3.2] * 4


def test_csv_of_records_equals_the_csv_kept_up_to_date(run: Run, tmp_path: Path):
    save(run, tmp_path)
    save(run, tmp_path, seed=4)
    kept = (tmp_path / "results.csv").read_text()
    (tmp_path / "results.csv").unlink()
    assert build_csv(tmp_path).read_text() == kept


def test_metric_that_a_run_lacks_is_empty(run: Run, tmp_path: Path):
    save_record(make_record(run, {"raw_gap": 0.5}), tmp_path)
    row = load_results(tmp_path).iloc[0]
    assert row.raw_gap == 0.5 and math.isnan(row.cider)


def test_scale_free_gap_that_a_record_lacks_is_worked_out_and_one_it_holds_is_kept(run: Run, tmp_path: Path):
    held = {"distribution_gap": 0.6, "cone_image": 0.5, "cone_text": 0.86}
    save_record(make_record(run, held), tmp_path)
    save_record(make_record(replace(run, seed=4), held | {SCALE_FREE: 0.7}), tmp_path)
    # Of 1,000 rows 1 - ||m||^2 = 0.999 (1 - cone): 0.999 (0.5 + 0.14)
    assert load_results(tmp_path)[SCALE_FREE].tolist() == pytest.approx([0.6 / math.sqrt(0.999 * 0.64), 0.7])
    assert pd.read_csv(tmp_path / "results.csv")[SCALE_FREE].isna().tolist() == [True, False]


def test_scale_free_gap_of_unknown_data_stays_empty(run: Run, tmp_path: Path):
    foreign = load_profile("demo", name="mine")
    save_record(make_record(replace(run, profile=foreign), {"distribution_gap": 0.6, "cone_image": 0.5}), tmp_path)
    assert load_results(tmp_path)[SCALE_FREE].isna().all()


def test_scale_free_gap_is_worked_out_for_what_ships_alone(run: Run, tmp_path: Path):
    held = {"distribution_gap": 0.6, "cone_image": 0.5, "cone_text": 0.86}
    for name in ("demo-mine", "demo-scale-20"):  # nobody knows on how many pairs the first was measured
        save_record(make_record(replace(run, profile=load_profile("demo", name=name)), held), tmp_path)
    table = load_results(tmp_path).set_index("profile")[SCALE_FREE]
    assert math.isnan(table["demo-mine"])
    assert table["demo-scale-20"] == pytest.approx(0.6 / math.sqrt(0.999 * 0.64))


def test_every_published_run_has_a_scale_free_gap():
    gaps = load_results(ROOT / "results")[SCALE_FREE]
    assert gaps.between(0, math.sqrt(2)).all()


def test_record_of_the_same_fingerprint_is_left_alone(run: Run, tmp_path: Path):
    path = save(run, tmp_path)
    before = path.read_bytes()
    save_record(make_record(run, METRICS | {"cider": 0.75}), tmp_path)
    assert path.read_bytes() == before
    assert load_results(tmp_path).cider.tolist() == [0.25]


def test_record_of_another_fingerprint_is_replaced_and_that_told(run: Run, tmp_path: Path, caplog):
    save(run, tmp_path)
    assert not caplog.text
    save_record(make_record(replace(run, fingerprint="ffff0000"), METRICS | {"cider": 0.75}), tmp_path)
    assert load_results(tmp_path).cider.tolist() == [0.75]
    assert "other settings" in caplog.text and "now ffff0000" in caplog.text
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["results.csv", "tpc-cma-a0.05-s3.json"]


def test_run_is_evaluated_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[Run] = []
    monkeypatch.setattr(
        tpccma.runs.record, "evaluate_whole", lambda run, corpus: calls.append(run) or measures(METRICS)
    )
    first = record_run(run, results_dir=tmp_path / "results")
    again = record_run(run, results_dir=tmp_path / "results")
    assert again == first and len(calls) == 1
    assert json.loads((run.folder / "record.json").read_text()) == first
    assert len(load_results(tmp_path / "results")) == 1


def test_record_holds_what_was_found_of_each_picture_and_the_csv_does_not(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    items = {"class": np.array([0, 1, 1]), "i2t_hit": np.array([1, 0, 0.5])}
    monkeypatch.setattr(tpccma.runs.record, "evaluate_whole", lambda *_: Evaluated(dict(METRICS), items, {}))
    record_run(run, results_dir=tmp_path / "results")
    (record,) = load_records(tmp_path / "results")
    found = unpack_items(record["items"])
    assert {name: values.tolist() for name, values in found.items()} == {"class": [0, 1, 1], "i2t_hit": [1, 0, 0.5]}
    header = (tmp_path / "results" / "results.csv").read_text().splitlines()[0]
    assert header == ",".join([*SCHEMA, "aardvark", "dose", "logit_scale", "loss_spike", "zebra"])


def test_other_evaluation_settings_evaluate_again(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[Run] = []
    monkeypatch.setattr(
        tpccma.runs.record, "evaluate_whole", lambda run, corpus: calls.append(run) or measures(METRICS)
    )
    record_run(run, results_dir=tmp_path / "results")
    changed = replace(run, profile=load_profile("demo", evaluation__kmeans_restarts=3))
    record_run(changed, results_dir=tmp_path / "results")
    assert calls == [run, changed]


@pytest.mark.parametrize("text", ["{", "", "[1, 2]", "5", "null", "\xff\xfe"])
def test_file_that_is_no_record_is_named(run: Run, tmp_path: Path, text: str):
    path = save(run, tmp_path)
    path.write_bytes(text.encode("latin-1"))
    for read in (load_records, build_csv):
        with pytest.raises(ValueError, match=r"tpc-cma-a0\.05-s3\.json is not a record: .*remove it"):
            read(tmp_path)


def test_record_that_lacks_a_key_is_named(run: Run, tmp_path: Path):
    path = save(run, tmp_path)
    record = json.loads(path.read_text())
    del record["seed"], record["metrics"]
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"s3\.json is not a record: it lacks seed, metrics"):
        load_records(tmp_path)


def test_results_of_one_profile(run: Run, tmp_path: Path):
    save(run, tmp_path)
    save(run, tmp_path, profile=load_profile("fashion"))
    assert len(load_results(tmp_path)) == 2
    assert load_results(tmp_path, "fashion").profile.tolist() == ["fashion"]


def test_results_of_an_unknown_profile_are_named(run: Run, tmp_path: Path):
    save(run, tmp_path)
    with pytest.raises(ValueError, match="no run of profile 'paper'"):
        load_results(tmp_path, "paper")


def test_missing_csv_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no .*results\.csv and no records there: .*`tpccma sweep`"):
        load_results(tmp_path)


# ---- other code

NOW, BEFORE = {"training": "aaaa", "evaluation": "bbbb"}, {"training": "aaaa", "evaluation": "cccc"}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Let every evaluation find what it was never found before; the list of them."""
    found: list[dict] = []

    def evaluate(run: Run, corpus) -> Evaluated:
        found.append(METRICS | {"cider": 1.0 + len(found)})
        return measures(found[-1])

    monkeypatch.setattr(tpccma.runs.record, "evaluate_whole", evaluate)
    return found


def test_record_of_other_evaluation_code_is_told_of_and_made_anew_on_request(
    run: Run, tmp_path: Path, measured: list[dict], caplog
):
    results = tmp_path / "results"
    before = record_run(replace(run, code=BEFORE), results_dir=results)
    assert caplog.messages == []
    now = replace(run, code=NOW)
    for told in (1, 2):  # however often it is asked for
        assert record_run(now, results_dir=results) == before and len(measured) == 1
        assert len(caplog.messages) == told
        assert "record.json was made by other code" in caplog.messages[-1] and "--fresh" in caplog.messages[-1]
        assert "cccc" in caplog.messages[-1] and "bbbb" in caplog.messages[-1]
    again = record_run(now, results_dir=results, fresh=True)
    assert (again["metrics"]["cider"], again["code"]) == (2.0, NOW)
    assert load_records(results) == [again] == [record_run(now, results_dir=results)]
    assert record_run(now, results_dir=results, fresh=True) == again  # by this code: nothing to make anew
    assert len(measured) == 2 == len(caplog.messages)


def test_record_from_before_code_was_noted_is_told_of_once(run: Run, tmp_path: Path, measured: list[dict], caplog):
    results = tmp_path / "results"
    before = record_run(run, results_dir=results)
    published = record_path("demo", "tpc-cma", 0.05, 3, results).read_bytes()
    now = replace(run, code=NOW)
    for _ in range(2):
        used = record_run(now, results_dir=results)
        assert used == before | {"code": {"training": "aaaa", "evaluation": "unknown"}}
    assert len(caplog.messages) == 1 and "not noted" in caplog.messages[0]
    assert record_path("demo", "tpc-cma", 0.05, 3, results).read_bytes() == published
    assert record_run(now, results_dir=results, fresh=True)["code"] == NOW and len(measured) == 2


# ---- where and by what


def test_processor_is_told_by_its_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    info = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: {}\nmodel name\t: AMD EPYC\n"
    monkeypatch.setattr(provenance, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(provenance, "_cpuinfo", provenance._cpuinfo.__wrapped__)
    told = []
    for model in (1, 17):
        (tmp_path / "cpuinfo").write_text(info.format(model) + "stepping\t: 1\nflags\t:\n\nprocessor\t: 1\n")
        told.append((provenance.processor_name(), provenance.processor_generation()))
    assert told == [
        ("AMD EPYC", f"vendor_id AuthenticAMD, cpu family 25, model {model}, stepping 1") for model in (1, 17)
    ]
    monkeypatch.setattr(provenance, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(provenance.platform, "processor", lambda: "arm")
    assert provenance.processor_name() == provenance.processor_generation() == "arm"


def git(folder: Path, *arguments: str) -> str:
    given = ["-c", "user.name=one", "-c", "user.email=one@example.org", *arguments]
    return subprocess.run(["git", *given], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_revision_is_that_of_the_packages_own_repository(tmp_path: Path):
    package = tmp_path / "site-packages" / "tpccma"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    assert provenance.revision_of(package) is None
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "of somebody's project")
    assert provenance.revision_of(package) is None  # which the package is merely installed in
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "of the package")
    assert provenance.revision_of(package) == git(tmp_path, "rev-parse", "HEAD")
    (package / "__init__.py").write_text("changed")
    assert provenance.revision_of(package) == git(tmp_path, "rev-parse", "HEAD") + "-dirty"
    assert provenance.revision_of(tmp_path / "nowhere") is None


def test_revision_is_not_that_of_the_repository_whose_hook_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    own, other = tmp_path / "own", tmp_path / "other"
    for folder in (own, other):
        folder.mkdir()
        (folder / "__init__.py").write_text(folder.name)
        git(folder, "init")
        git(folder, "add", ".")
        git(folder, "commit", "-m", folder.name)
    wanted = git(own, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert provenance.revision_of(own) == wanted


def test_git_is_asked_when_a_record_is_made_and_then_no_more(run: Run, monkeypatch: pytest.MonkeyPatch):
    asked: list[Path] = []
    monkeypatch.setattr(provenance, "revision_of", lambda package: asked.append(package) or "0123abcd")
    provenance.git_revision.cache_clear()
    try:
        assert [make_record(run, METRICS)["git_revision"] for _ in range(2)] == ["0123abcd"] * 2
    finally:
        provenance.git_revision.cache_clear()
    assert asked == [Path(tpccma.__file__).parent]


# ---- kills, and other data


def test_kill_between_record_and_csv_loses_no_row(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(run, tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tpccma.runs.records, "build_csv", kill)
        save(run, tmp_path, seed=4)
    assert load_results(tmp_path).seed.tolist() == [3, 4]  # read before anything else is recorded
    (tmp_path / "results.csv").unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tpccma.files, "_sync", kill)
        build_csv(tmp_path)
    save(run, tmp_path)  # that record is there already
    assert pd.read_csv(tmp_path / "results.csv").seed.tolist() == [3, 4]


def kill(*arguments) -> None:
    raise KeyboardInterrupt


def test_number_that_was_edited_in_the_csv_is_not_believed(run: Run, tmp_path: Path):
    save(run, tmp_path)
    path = tmp_path / "results.csv"
    path.write_text(path.read_text().replace("0.25", "0.95"))
    assert load_results(tmp_path).cider.tolist() == [0.25]
    assert "0.95" not in path.read_text()


def test_csv_that_cannot_be_written_is_named_and_its_rows_are_read_all_the_same(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
):
    save(run, tmp_path)
    path = tmp_path / "results.csv"
    before = path.read_text().replace("0.25", "0.95")
    path.write_text(before)  # what the records do not say
    monkeypatch.setattr(tpccma.runs.records, "write_whole", on_a_read_only_disk)
    said = f"{path} is not what the records say and cannot be written (Read-only file system): make room and its folder"
    for write in (build_csv, lambda folder: save(run, folder)):  # that record is there already
        with pytest.raises(OSError, match=re.escape(said)):
            write(tmp_path)
    assert load_results(tmp_path).cider.tolist() == [0.25]
    assert said in caplog.text and path.read_text() == before
    path.unlink()
    result = CliRunner().invoke(app, ["claims", "--results-dir", str(tmp_path)])
    assert (result.exit_code, path.exists()) == (0, False) and "C8" in result.stdout
    monkeypatch.undo()
    caplog.clear()
    assert load_results(tmp_path).cider.tolist() == [0.25] and path.exists() and caplog.text == ""


def on_a_read_only_disk(path: Path, text: str) -> None:
    raise OSError(30, "Read-only file system", str(path))


def test_csv_without_records_is_read_as_it_is(run: Run, tmp_path: Path):
    path = save(run, tmp_path)
    path.unlink()
    assert load_results(tmp_path).cider.tolist() == [0.25]


def test_what_lies_among_the_benchmarks_is_no_record(run: Run, tmp_path: Path):
    path = save(run, tmp_path)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "loss-cpu.json").write_text("{}")
    assert len(load_results(tmp_path)) == 1
    path.unlink()
    assert load_results(tmp_path).cider.tolist() == [0.25]  # of the CSV, which is still read as it is


def test_record_of_other_data_is_refused_not_replaced(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one, other = replace(run, content="aaaa"), replace(run, content="bbbb", folder=run.folder / "other")
    monkeypatch.setattr(tpccma.runs.record, "evaluate_whole", lambda run, corpus: measures(METRICS))
    record_run(one, results_dir=tmp_path / "results")
    before = load_records(tmp_path / "results")
    monkeypatch.setattr(tpccma.runs.record, "evaluate_whole", lambda *arguments: pytest.fail("evaluated"))
    with pytest.raises(ValueError, match=r"s3\.json was recorded on other data \(content aaaa, now bbbb\).*name"):
        record_run(other, results_dir=tmp_path / "results")
    assert load_records(tmp_path / "results") == before


def test_trials_are_of_the_second_reading_as_it_is():
    trials = load_records(Path(__file__).parents[1] / "results" / "trials")
    assert [(trial["profile"], trial["method"], trial["alpha"], trial["seed"]) for trial in trials] == [
        (profile, "tpc-cma", alpha, 0) for profile in ("demo", "fashion") for alpha in (0.05, 0.5)
    ]
    for trial in trials:
        watched = load_profile(trial["profile"])  # which changes nothing in a training
        rate = watched.fine_tune.learning_rate  # none had been chosen yet
        unwatched = load_profile(watched, fine_tune__watch_steps=None, learning_rates={"tpc-cma": rate})
        assert trial["fingerprint"] == fingerprint(unwatched, "tpc-cma", trial["alpha"], 0)
        assert len(trial["code"]["training"]) == len(trial["code"]["evaluation"]) == 16


@pytest.mark.parametrize("text", ["", '{"raw": ["a', "3", "[" * 100_000])
def test_kept_captions_that_are_damaged_are_named(text: str, run: Run):
    run.folder.mkdir()
    (run.folder / CAPTIONS).write_text(text)
    with pytest.raises(ValueError, match=r"captions\.json is damaged \(\w+\); remove it and run again"):
        captions_of(run)
