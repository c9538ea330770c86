"""The claims as a reader sees them, on hand-made results and on the recorded ones."""

from pathlib import Path

import pandas as pd
import pytest

from tests.results_by_hand import rows
from tpccma.evidence.claims import both_readings, claims_table
from tpccma.evidence.paper import CLAIMS
from tpccma.evidence.readme import (
    BEGIN,
    END,
    describe,
    describe_marks,
    describe_strip,
    full_table,
    lead,
    plain_text,
    primary_table,
    readme_block,
    strip,
)
from tpccma.evidence.table import load_results
from tpccma.figures.claims import FIGURE, plot_claims, write_readme
from tpccma.methods import PAIRED
from tpccma.runs.jobs import DIAL, SCENES

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def results() -> pd.DataFrame:
    """One base, three seeds of alpha 0, 0.05 and 0.5 of the second reading, on the scenes."""
    runs = pd.DataFrame(
        [
            *rows("base", 0, [0], raw_gap=0.8, clustering_ari=0.2, zeroshot_top1=0.8),
            *rows(DIAL, 0, [0, 1, 2], raw_gap=0.4, clustering_ari=0.4, zeroshot_top1=0.8),
            *rows(DIAL, 0.05, [0, 1, 2], raw_gap=0.3, zeroshot_top1=[0.60, 0.61, 0.62]),
            *rows(DIAL, 0.5, [0, 1, 2], raw_gap=0.2, clustering_ari=[0.39, 0.40, 0.41]),
        ]
    )
    return runs.assign(profile=SCENES)


@pytest.fixture(scope="module")
def with_first(results: pd.DataFrame) -> pd.DataFrame:
    first = results[results.alpha > 0].assign(method=PAIRED, raw_gap=0.1)
    return both_readings(pd.concat([results, first]))


@pytest.fixture(scope="module")
def table(results: pd.DataFrame) -> pd.DataFrame:
    return both_readings(results)


@pytest.fixture(scope="module")
def recorded() -> pd.DataFrame:
    return both_readings(load_results(ROOT / "results"))


def test_strip_has_a_mark_a_word_and_a_number(table: pd.DataFrame):
    shown = strip(table)
    assert list(shown.index) == ["C1", "C2", "C3", "C4", "C5", "C6/C7", "C8"]
    assert list(shown.columns) == ["the paper says", "paper", "scenes", "photographs", "hangs on"]
    # 1 - 0.2 / 0.8 = 75 % of 82.3; 20, 19 and 18 points of 4.84
    assert shown.loc["C3"].tolist()[1:] == ["82.3 %", "● as large 75 %", "not run", "which gap counts"]
    assert shown.loc["C2", "scenes"] == "✕ beyond it 19.0 points"
    assert shown.loc["C4", "scenes"] == "● as large 0.20"
    assert shown.loc["C6/C7", "scenes"] == "not run; not run"
    assert (lead(table), "`tpc-cma-paired` has not been run" in describe_strip(table)) == (DIAL, True)


def test_strip_puts_the_second_reading_first_and_the_other_in_brackets(with_first: pd.DataFrame):
    shown = strip(with_first)
    assert (
        shown.loc["C3", "scenes"] == "● as large 75 % (●\u00a088\u00a0%)"
    )  # 1 - 0.1 / 0.8 = 87.5 %, within 1.25 * 82.3
    assert lead(with_first) == "tpc-cma"
    assert describe_strip(with_first).startswith(
        "Effects of `tpc-cma` against the base; in brackets those of `tpc-cma-"
    )


def test_rows_of_the_strip_are_short_whatever_is_run(recorded: pd.DataFrame):
    for _, row in strip(recorded).iterrows():
        assert len(" ".join(row).split()) < 60


def test_marks_are_named_if_the_strip_has_them(table: pd.DataFrame):
    shown = table.assign(verdict="not run")
    shown.loc[shown.claim == "C1", "verdict"] = "smaller"
    shown.loc[shown.claim == "C2", "verdict"] = "no drop found"
    shown.loc[shown.claim == "C3", "verdict"] = "as large"
    assert describe_marks(shown) == "● as large, no drop found; ▼ smaller"


def test_primary_table(table: pd.DataFrame):
    shown = primary_table(table[table.method == DIAL], SCENES)
    assert list(shown.index) == list(CLAIMS)
    assert shown.loc["C3"].tolist() == ["82.3 %", "75.0 [75.0, 75.0] %", "seeds", "as large", "< 0.001"]
    assert shown.loc["C5"].tolist()[1:] == ["–", "–", "not run", "–"]


def test_full_table(table: pd.DataFrame):
    full = full_table(table[table.method == DIAL], SCENES)
    assert full.loc[("C3", "raw *"), "paper"] == "82.3 %"
    assert full.loc[("C3", "raw *"), "verdict, continued CLIP"] == "smaller"  # 1 - 0.2 / 0.4 = 50 %
    assert full.loc[("C3", "raw squared"), "verdict, base"] == "as large"
    assert full.loc[("C4", "absolute *"), "verdict, continued CLIP"] == "undecided, no direction"
    assert full.loc[("C6", "ARI by paired *"), "verdict, base"] == "not run"
    alone = full_table(table[(table.claim == "C8") & (table.method == DIAL)], SCENES)  # has one reference only
    assert list(alone.columns) == ["paper", "ours", "verdict", "note"]


def test_description_is_of_the_primary_reading(results: pd.DataFrame):
    table = claims_table(results, (SCENES,))
    # 0.19, 0.20 and 0.21: 0.2 -+ 0.0248; against continued CLIP -0.01, 0 and 0.01
    assert describe(table[table.claim == "C4"]) == (
        "as large, 0.200 [0.175, 0.225] ARI, 1.01 times the paper's (against continued CLIP: undecided, no direction)"
    )
    assert describe(claims_table(results, ("paper",)).query("claim == 'C1'")) == "not run"


def test_figure_has_a_panel_for_each_profile_that_was_run(table: pd.DataFrame, results: pd.DataFrame):
    figure = plot_claims(table[table.method == DIAL])
    (ax,) = figure.axes
    assert ax.get_title() == "scenes"
    base, _ = (each for each in ax.collections if each.get_label().startswith("ours"))
    assert base.get_offsets()[2].tolist() == pytest.approx([75 / 82.3, 2 - 0.14])  # C3, the third row
    assert [label.get_text()[:2] for label in ax.get_yticklabels()] == ["C1", "C2", "C3", "C4", "C5", "C6", "C7"]
    with pytest.raises(ValueError, match="no claim has a run"):
        plot_claims(claims_table(results, ("paper",)))


def test_readme_is_written_between_its_markers(table: pd.DataFrame, tmp_path: Path):
    path = tmp_path / "README.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):  # writing again changes nothing
        write_readme(table, tmp_path)
        assert path.read_text() == f"before\n{readme_block(table)}\nafter\n"
    assert 0 < (tmp_path / FIGURE).stat().st_size < 100_000
    path.write_text("no markers")
    with pytest.raises(ValueError, match="lacks the lines"):
        write_readme(table, tmp_path)


def test_a_terminal_shows_both_readings_of_the_method(with_first: pd.DataFrame):
    lines = plain_text(with_first).splitlines()
    start = lines.index("C3  gap reduction at alpha 0.5: 82.3 %; hangs on which gap counts")
    expected = "as large, 87.5 [87.5, 87.5] %, 1.06 times the paper's"
    assert f"    {SCENES}, {PAIRED}: {expected}" in lines[start:]
    assert f"    {SCENES}, {DIAL}: as large, 75.0" in "\n".join(lines[start:])


def test_readme_holds_what_the_recorded_results_give(recorded: pd.DataFrame):
    assert readme_block(recorded) in (ROOT / "README.md").read_text(), "run `tpccma claims --readme`"
