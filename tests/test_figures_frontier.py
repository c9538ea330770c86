"""The figures that set methods side by side: what they draw and label, also where runs are missing."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tpccma.evidence.compared import TASKS, compared_runs
from tpccma.evidence.feeds import BOUND, FEEDS, feed_changes
from tpccma.evidence.price import class_changes
from tpccma.figures.feeds import plot_feed_changes, plot_feeds
from tpccma.figures.frontier import _spread_labels, plot_pareto
from tpccma.figures.price import PRICES, plot_class_changes, plot_price
from tpccma.runs.jobs import DIAL


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture
def runs() -> pd.DataFrame:
    """A base of one seed; alpha 0, 0.05 and 1, mean-centering and modgap of three seeds, every measure drawn."""
    settings = [("base", 0.0, 0.9), (DIAL, 0.0, 0.9), (DIAL, 0.05, 0.4), (DIAL, 1.0, 0.3)]
    settings += [("mean-centering", 0.0, 0.7), ("modgap", 0.0, 0.5)]
    measures = [*TASKS, *FEEDS, BOUND, *(name for panel in PRICES.values() for name in panel)]
    measures += ["zeroshot_top1_ring", "zeroshot_top1_moon"]
    results = pd.DataFrame(
        [
            {
                "profile": "demo",
                "method": method,
                "alpha": alpha,
                "model": f"alpha {alpha:g}" if method == DIAL else method,
                "seed": seed,
                "raw_gap": gap + 0.01 * seed,
                **{name: 1 - gap + 0.02 * seed + 0.01 * i for i, name in enumerate(measures)},
            }
            for method, alpha, gap in settings
            for seed in ((0,) if method == "base" else (0, 1, 2))
        ]
    )
    return compared_runs(results, "demo")


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_pareto_draws_every_method_and_labels_alphas(runs: pd.DataFrame):
    figure = plot_pareto(runs)
    assert len(figure.axes) == len(TASKS)
    assert legend_of(figure) == ["base", "mean-centering", "modgap", f"{DIAL}, by α"]
    for ax in figure.axes:
        assert [text.get_text() for text in ax.texts] == ["0", "0.05", "1", "α ="]
        curve = ax.containers[-1].lines[0]
        assert curve.get_xdata().tolist() == pytest.approx([0.91, 0.41, 0.31])  # mean gaps: 0.01 over the first seed's
    filled = {
        container.get_label(): container.lines[0].get_markerfacecolor() for container in figure.axes[0].containers
    }
    assert filled["mean-centering"] == "white" and filled["modgap"] != "white"


def test_pareto_without_the_dial(runs: pd.DataFrame):
    figure = plot_pareto(runs[runs.method == "modgap"])
    assert legend_of(figure) == ["modgap"]


def test_labels_are_moved_apart_as_little_as_possible():
    places = _spread_labels(np.array([0.5, 0.1, 0.5]), least=0.1)
    assert sorted(places) == pytest.approx([0.1, 0.45, 0.55])
    assert _spread_labels(np.array([0.98, 1.0]), least=0.1).tolist() == pytest.approx([0.9, 1.0])
    # two that meet at the left edge do not push the third out at the right
    assert _spread_labels(np.array([0.0, 0.0, 0.95]), least=0.1).tolist() == pytest.approx([0.0, 0.1, 0.95])


def test_feeds_have_a_line_a_model(runs: pd.DataFrame):
    figure = plot_feeds({"demo": runs, "fashion": runs[runs.method != "modgap"]})
    first, second = figure.axes
    names = ["base", "alpha 0", "alpha 0.05", "alpha 1", "mean-centering", "modgap"]
    assert [label.get_text() for label in first.get_yticklabels()] == names
    assert [label.get_text() for label in second.get_yticklabels()] == names[:-1]
    assert legend_of(figure) == ["raw-fed", "centred", "memory", "text-fed (bound)"]


def test_feed_changes_have_a_panel_a_feed_with_the_papers_figure(runs: pd.DataFrame):
    figure = plot_feed_changes({"demo": feed_changes(runs)})
    assert [ax.get_title() for ax in figure.axes] == ["demo: raw-fed", "demo: centred", "demo: memory"]
    for ax in figure.axes:
        assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "0.05", "1"]
        assert any(np.allclose(line.get_ydata(), 57.1) for line in ax.lines)


def test_price_keeps_the_base_apart(runs: pd.DataFrame):
    figure = plot_price({"demo": runs})
    assert len(figure.axes) == len(PRICES)
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == ["base", "0", "0.05", "1"]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["images", "texts", "both together"]


def test_classes_are_written_with_a_star_where_the_interval_leaves_out_0(runs: pd.DataFrame):
    table = class_changes(runs)
    moon = (table.measure == "moon") & (table.model == "alpha 1")
    table.loc[moon, ["ours", "low", "high"]] = [-4.25, -9.0, 0.5]
    panel, empty = plot_class_changes({"demo": table, "fashion": table[:0]}).axes[:2]
    assert empty.get_title() == "fashion: no runs"
    # alpha 0 is the reference; scores are 1 - gap, so 0.05 and 1 lie 50 and 60 points above it in every seed
    assert [text.get_text() for text in panel.texts] == ["+50.0*", "-4.2", "+50.0*", "+60.0*"]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["0.05", "1"]
