"""Interpolated models beside retrained ones, on hand-made results."""

from matplotlib import pyplot as plt

from tests.results_by_hand import rows, table_of
from tpccma.evidence.dial import TASKS, retrained_table, with_fronts
from tpccma.figures.dial import plot_dial
from tpccma.methods import FULL

RETRAINED = table_of(
    rows("base", raw_gap=1.0, clustering_ari=0.3),
    rows(FULL, 0.0, raw_gap=0.8, clustering_ari=0.4),
    rows(FULL, 1.0, raw_gap=0.2, clustering_ari=1.0),
    rows("modgap", raw_gap=0.5, clustering_ari=0.9),
)
FRONTS = table_of(
    rows(f"interpolated-{FULL}-a0.5", 0.0, raw_gap=1.0, clustering_ari=0.3),
    rows(f"interpolated-{FULL}-a0.5", 0.6, raw_gap=0.4, clustering_ari=[0.7, 0.75, 0.65]),  # the curve has 0.8
    rows(f"interpolated-{FULL}-a0.5", 0.3, raw_gap=0.7, clustering_ari=0.6),  # and 0.5
    rows("interpolated-other-a0.5", 0.3, raw_gap=0.7, clustering_ari=0.6),
)


def test_interpolated_models_are_set_against_the_retrained_curve():
    runs = with_fronts(RETRAINED, FRONTS, "demo")
    assert list(runs.model[runs.method != FULL].unique()) == ["base", "t = 0.3", "t = 0.6"]
    shown = retrained_table(runs)
    assert list(shown.index) == ["t = 0.3", "t = 0.6"]
    assert shown[TASKS["clustering_ari"]].tolist() == ["▲ +0.100 ± 0.000", "-0.100 ± 0.124"]
    assert shown["raw gap"].tolist() == ["0.700 ± 0.000", "0.400 ± 0.000"]


def test_the_figure_has_intervals_both_ways_and_some_t():
    runs = with_fronts(RETRAINED, FRONTS, "demo")
    figure = plot_dial({"scenes": runs.assign(**dict.fromkeys(TASKS, runs.clustering_ari))})
    panel = figure.axes[0]
    drawn = {each.get_label(): each[0].get_ydata(orig=False).round(6).tolist() for each in panel.containers}
    assert drawn == {"retrained, by alpha": [0.4, 1.0], "interpolated, by t": [0.6, 0.7], "base": [0.3]}
    assert all(each.has_xerr and each.has_yerr for each in panel.containers)
    assert [text.get_text() for text in panel.texts] == ["0.3"]  # 0.6 is not among those labelled
    plt.close(figure)
