"""Records at the door: what is no record, or is not where it belongs, is refused by file, key and remedy."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.conftest import CENTRED
from tpccma.cli import app
from tpccma.evidence.frontier import rate_choices
from tpccma.evidence.table import load_results
from tpccma.profiles import Profile
from tpccma.runs.record import run_job
from tpccma.runs.records import load_records, read_record, record_path, record_paths, save_record
from tpccma.runs.schema import check_record
from tpccma.runs.tables import RATE, RESULT, WORDS, read_table

ROOT = Path(__file__).parents[1]
RECORD = {
    "profile": "mine",
    "method": "clip",
    "alpha": 0.0,
    "seed": 3,
    "fingerprint": "0123abcd",
    "versions": {"python": "3.11"},
    "hardware": {"machine": "arm64", "threads": 2, "device": "a processor"},
    "wall_seconds": 1.5,
    "metrics": {"raw_gap": 0.5},
}
BAD = [
    ({"metrics": None}, "metrics: .*got None"),
    ({"metrics": {}}, "metrics: "),
    ({"metrics": [0.5]}, r"metrics: .*got \[0\.5\]"),
    *(({"metrics": {"cider": value}}, "metrics.cider: ") for value in (math.nan, -math.inf, "0.5", [0.5], None, True)),
    ({"metrics": {"cider": 10**400}}, "metrics.cider: "),
    ({"metrics": {"raw_gap": 0.5, "seed": 1.0}}, "metrics: .*named seed"),
    ({"seed": 1.0}, r"seed: .*got 1\.0"),
    ({"seed": True}, "seed: .*got True"),
    ({"seed": -1}, "seed: .*got -1"),
    ({"alpha": "0"}, "alpha: .*got '0'"),
    ({"alpha": 1.5}, r"alpha: .*got 1\.5"),
    ({"method": 7}, "method: .*got 7"),
    ({"profile": "../mine"}, r"profile: .*got '\.\./mine'"),
    ({"wall_seconds": -1.0}, r"wall_seconds: .*got -1\.0"),
    ({"hardware": {"machine": "arm64", "threads": 0, "device": ""}}, "hardware.threads: .*got 0"),
    ({"code": None}, "code: .*got None"),
    ({"code": {"training": "aaaa", "evaluation": 5}}, "code.evaluation: .*got 5"),
    ({"content": None}, "content: .*got None"),
    ({"base": None}, "base: .*got None"),
    ({"base": "E85B36D8467FD6FC"}, "base: .*got 'E85B"),
    ({"metrics": {"raw_gap": 0.5, "base": 1.0}}, "metrics: .*named base"),
    ({"mertics": {}}, "mertics: "),
]


def put(folder: Path, record: dict, name: str = "") -> Path:
    """Write what may be a record to where that of `RECORD` belongs, or under another name."""
    path = folder / (name or "mine/clip-a0-s3.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return path


def test_record_by_hand_is_one(tmp_path: Path):
    path = put(tmp_path, RECORD)
    assert read_record(path) == check_record(RECORD) == RECORD
    assert load_results(tmp_path).raw_gap.tolist() == [0.5]


def test_every_published_record_is_one_where_it_belongs():
    paths = record_paths(ROOT / "results")
    assert len(paths) >= 422  # and those of the chapters that were run here
    assert [read_record(path) for path in paths] == [json.loads(path.read_text()) for path in paths]


@pytest.mark.parametrize(("change", "named"), BAD)
def test_what_is_no_record_is_refused_at_every_door(change: dict, named: str, tmp_path: Path):
    path = put(tmp_path, RECORD | change)
    for read in (read_record, lambda _: load_records(tmp_path), lambda _: load_results(tmp_path)):
        with pytest.raises(ValueError, match=rf"s3\.json is not a record: {named}.*remove it and run again"):
            read(path)
    with pytest.raises(ValueError, match=named):
        save_record(RECORD | change, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    said = CliRunner().invoke(app, ["claims", "--results-dir", str(tmp_path)])
    assert said.exit_code == 2 and "clip-a0-s3.json is not a record" in said.stderr and said.stderr.count("\n") == 1


TAKEN = {*RESULT, *WORDS, "wall_seconds"}
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(st.text(min_size=1), NUMBERS, min_size=1).filter(TAKEN.isdisjoint))
def test_any_finite_measures_make_a_record(metrics: dict):
    assert check_record(RECORD | {"metrics": metrics})["metrics"] == metrics


@pytest.mark.parametrize(
    "name", ["mine/clip-a0-s4.json", "mine/clip-a0-s3 (copy).json", "other/clip-a0-s3.json", "mine/clip-a0.0-s3.json"]
)
def test_copy_is_refused_and_does_not_count_twice(name: str, tmp_path: Path):
    put(tmp_path, RECORD)
    put(tmp_path, RECORD, name)
    with pytest.raises(ValueError, match=r"was copied or renamed: .* are those of mine/clip-a0-s3\.json; remove it"):
        load_results(tmp_path)


@pytest.mark.parametrize("twice", ['"seed": 3, "seed": 4', '"seed": 3, "metrics": {"cider": 1.0, "cider": 2.0}'])
def test_key_that_is_given_twice_is_named(twice: str, tmp_path: Path):
    path = put(tmp_path, RECORD)
    path.write_text(path.read_text().replace('"seed": 3', twice))
    with pytest.raises(ValueError, match=r"s3\.json is not a record: '(seed|cider)' is given 2 times"):
        load_records(tmp_path)


def test_nested_without_end_is_no_record(tmp_path: Path):
    put(tmp_path, RECORD).write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"s3\.json is not a record"):
        load_records(tmp_path)


@pytest.mark.parametrize(("key", "value"), [("seed", 2), ("fingerprint", "ffff0000"), ("profile", "mine")])
def test_record_of_another_run_in_a_runs_folder_is_refused(
    key: str, value, record: dict, tiny_profile: Profile, tmp_path: Path
):
    (kept,) = (tmp_path / "runs").rglob("record.json")
    kept.write_text(json.dumps(record | {key: value}))
    with pytest.raises(ValueError, match=rf"record\.json is another run's: its {key} is {value!r}, not .*remove it"):
        run_job(tiny_profile, CENTRED, tmp_path / "runs", tmp_path / "results")
    assert read_record(record_path("demo", CENTRED.method, 0.0, 1, tmp_path / "results")) == record


# ---- tables without their records


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "is no table"),
        ("profile,method\ndemo,clip\n", "it lacks the column alpha"),
        ("profile,method,alpha,seed,cider\ndemo,clip,0,1,high\n", "cider holds what is no number"),
        ("profile,method,alpha,seed,cider\ndemo,clip,0,1,True\n", "cider holds what is no number"),
        ("profile,method,alpha,seed,cider\ndemo,clip,0,1,inf\n", "cider holds an infinite number"),
        ("profile,method,alpha,seed,cider\ndemo,clip,0,,1\n", "a row has no seed"),
        ("profile,method,alpha,seed,cider\n,clip,0,1,1\n", "a row has no profile"),
        (
            "profile,method,alpha,seed,cider\ndemo,clip,0,1,1\ndemo,clip,0.0,1,2\n",
            r"demo/clip/0\.0/1 stands there twice",
        ),
        ("profile,method,alpha,seed\ndemo,clip,0,1\ndemo,clip,0,1,2,3\n", "is no table"),
    ],
)
def test_csv_that_is_no_table_of_runs_is_named(text: str, named: str, tmp_path: Path):
    path = tmp_path / "results.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"results\.csv is no table.*{named}|results\.csv {named}"):
        load_results(tmp_path)
    said = CliRunner().invoke(app, ["claims", "--results-dir", str(tmp_path)])
    assert said.exit_code == 2 and "results.csv is no table" in said.stderr


def test_learning_rates_are_read_as_strictly(tmp_path: Path):
    path = tmp_path / "learning_rates.csv"
    row = "demo,clip,0.001,0,1,0.5\n"
    path.write_text("profile,method,learning_rate,seed,stage,score\n" + row * 2)
    for read in (lambda: read_table(path, RATE), lambda: rate_choices(path, "demo")):
        with pytest.raises(
            ValueError, match=r"learning_rates\.csv is no table of runs: .*0\.001(/0)? stands there twice"
        ):
            read()


def test_profile_may_be_named_like_a_number_or_like_nothing(tmp_path: Path):
    for name in ("NA", "007"):
        save_record(RECORD | {"profile": name}, tmp_path)
        assert load_results(tmp_path, name).raw_gap.tolist() == [0.5]


def test_tables_are_read_as_pandas_reads_them():
    path = ROOT / "results" / "results.csv"
    pd.testing.assert_frame_equal(read_table(path), pd.read_csv(path))
    path = ROOT / "results" / "learning_rates_first_round.csv"
    pd.testing.assert_frame_equal(read_table(path, RATE), pd.read_csv(path))
