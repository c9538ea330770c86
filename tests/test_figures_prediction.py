"""What the figures on prediction draw."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from tpccma.evidence.league import league_table
from tpccma.evidence.prediction import MEASURES
from tpccma.figures.prediction import FAMILIES, KINDS, family_of, kind_of, plot_league, plot_prediction
from tpccma.methods import ABLATIONS, METHODS, PAIRED
from tpccma.runs.jobs import DIAL


@pytest.fixture
def runs() -> pd.DataFrame:
    """Six alphas, one of the first reading, four other methods; ARI falls with the distribution gap, not the raw."""
    alpha = np.arange(11) / 10
    gaps = {"raw_gap": [0.5, 0.7] * 5 + [0.6], "centroid_gap": 0.3 - 0.2 * alpha, "distribution_gap": 1 - alpha}
    method = ["base", "clip", "realign", "fahim"] + [DIAL] * 6 + [PAIRED]
    scores = {"clustering_ari": 0.2 + alpha, "cider": 1 + alpha}
    return pd.DataFrame({"profile": "demo", "method": method, "alpha": alpha, **gaps, **scores})


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_kinds_and_families_cover_everything():
    assert {kind_of(measure) for measure in MEASURES} == set(KINDS)
    assert {family_of(method) for method in ("base", *METHODS) if method not in ABLATIONS} == set(FAMILIES)
    assert family_of("realign") == "post-processing"
    assert family_of("i0t-async") == "other fine-tuning"


def test_league_has_a_panel_a_task_and_the_best_on_top(runs: pd.DataFrame):
    leagues = {("demo", name): league_table(runs, name) for name in ("clustering_ari", "cider")}
    figure = plot_league(leagues)
    assert [ax.get_title() for ax in figure.axes] == ["demo\nARI", "demo\nCIDEr raw-fed"]
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert set(names[:2]) == {"centroid gap", "distribution gap, paired"}
    assert names[2] == "raw gap"
    marks = [line for line in figure.axes[0].lines if line.get_marker() not in ("None", None)]
    assert len(marks) == 3


def test_league_says_where_there_are_too_few_settings(runs: pd.DataFrame):
    figure = plot_league({("demo", "cider"): league_table(runs.head(5), "cider")})
    assert [text.get_text() for text in figure.axes[0].texts] == ["below 10 settings,\n5 methods"]
    assert plot_league({("fashion", "cider"): league_table(runs.iloc[:0], "cider")}).axes


def test_scatter_has_a_mark_a_run_and_r_squared_above(runs: pd.DataFrame):
    leagues = {name: league_table(runs, name) for name in ("clustering_ari", "cider")}
    figure = plot_prediction(runs, leagues, "demo")
    assert len(figure.axes) == 6
    last = figure.axes[2]  # ARI over the distribution gap
    assert last.get_title() == f"R² 1.00, of {DIAL} alone 1.00"
    drawn = {line.get_label(): len(line.get_xdata()) for line in last.lines}
    assert (drawn["base"], drawn[f"{DIAL}, by alpha"], drawn[f"{PAIRED}, by alpha"]) == (1, 6, 1)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(FAMILIES)
    assert plot_prediction(runs.iloc[:0], {n: t.iloc[:0] for n, t in leagues.items()}, "fashion").axes
