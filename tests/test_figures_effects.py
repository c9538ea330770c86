"""What the figures of effects draw."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from tpccma.evidence.verdicts import NONE, VERDICTS
from tpccma.figures.effects import SHAPES, plot_changes, plot_scales, plot_verdicts

COLUMNS = {"raw_gap": "raw gap", "cider": "CIDEr"}


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def tidy(rows: list[str], profile: str, **more) -> pd.DataFrame:
    found = {"ours": 0.1, "low": 0.0, "high": 0.3, "n": 3}
    return pd.DataFrame(
        [{"model": row, "profile": profile, "measure": column, **found, **more} for row in rows for column in COLUMNS]
    )


def test_forest_has_a_panel_a_measure_and_a_mark_a_profile():
    table = pd.concat([tidy(["one", "two"], "demo"), tidy(["one", "two"], "fashion", ours=NONE, low=NONE, high=NONE)])
    figure = plot_changes(table, "title", COLUMNS)
    shown = [ax for ax in figure.axes if ax.axison]
    assert [ax.get_title() for ax in shown] == ["raw gap", "CIDEr"]
    assert [label.get_text() for label in shown[0].get_yticklabels()] == ["one", "two"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["demo", "fashion"]
    marks = shown[0].containers[1]
    assert marks[0].get_xdata().tolist() == [0.1, 0.1]
    whisker = marks[2][0].get_segments()[0]
    assert whisker[:, 0].tolist() == pytest.approx([0.0, 0.3])  # the interval, which is not symmetric here


def test_forest_is_pale_where_there_may_be_no_change():
    table = pd.concat(
        [
            tidy(["held"], "demo"),
            tidy(["more"], "demo", low=0.05),
            tidy(["less"], "demo", ours=-0.2, low=-0.3, high=-0.1),
        ]
    )
    figure = plot_changes(table, "title", COLUMNS)
    dark, pale = figure.axes[0].containers
    places = [np.flatnonzero(~np.isnan(marks[0].get_xdata(orig=False))).tolist() for marks in (dark, pale)]
    assert places == [[1, 2], [0]]  # the first interval begins at 0
    assert (dark[0].get_alpha(), pale[0].get_alpha()) == (None, 0.5)
    assert figure.legends == []  # of an only profile


def test_scales_have_a_line_a_model():
    table = pd.concat([tidy(["base", "alpha 0.5"], "demo").assign(scale=scale) for scale in ("20", "100")])
    figure = plot_scales({"demo": table}, COLUMNS)
    assert len(figure.axes) == 2
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["20", "100"]
    drawn = {each.get_label(): each[0].get_ydata().tolist() for each in figure.axes[0].containers}
    assert list(drawn) == ["base", "continued CLIP", "alpha 0.05", "alpha 0.5"]
    assert drawn["alpha 0.5"] == [0.1, 0.1]


def test_verdicts_have_a_sign_each():
    assert set(SHAPES) == {verdict.mark for verdict in VERDICTS.values()}
    index = pd.MultiIndex.from_tuples(
        [("C1", "raw", "base"), ("C1", "raw", "continued CLIP"), ("C4", "relative", "base")],
        names=["claim", "reading", "against"],
    )
    verdicts = pd.DataFrame({"20": ["opposite"] * 3, "100": ["as large", "not run", "opposite"]}, index)
    figure = plot_verdicts({"demo": verdicts})
    assert [ax.get_title() for ax in figure.axes] == ["demo,\nagainst base", "demo,\nagainst continued CLIP"]
    counts = {line.get_label(): len(line.get_xdata()) for line in figure.axes[0].lines}
    assert {name: count for name, count in counts.items() if count} == {"as large": 1, "opposite": 3}
    crosses = next(line for line in figure.axes[0].lines if line.get_label() == "opposite")
    assert sorted(zip(crosses.get_xdata(), crosses.get_ydata(), strict=True)) == [(0, 0), (0, 1), (1, 1)]
