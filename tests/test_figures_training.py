"""What the figures of a run draw."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from tpccma.figures.training import TASK_LABELS, plot_tasks, plot_training


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def test_training_shows_the_dial_the_gradients_and_the_terms_that_were_there():
    steps = pd.DataFrame({"step": range(6), "alpha": 0.1, "clip_norm": 1.0, "cma_norm": np.nan, "cosine": 0.5})
    steps = steps.assign(phase=["anchor"] * 2 + ["ramp"] * 4, clip_loss=1.0, paired_loss=np.nan)
    dial, norms, _, terms = plot_training(steps).axes
    assert [text.get_text() for text in dial.texts] == ["anchor", "ramp"]
    assert [text.xy[0] for text in dial.texts] == [0.5, 3.5]  # in the middle of their steps
    assert [line.get_label() for line in norms.lines] == ["‖g_clip‖"]  # no gradient of a loss that was not there
    assert [line.get_label() for line in terms.lines] == ["clip"]


def test_tasks_have_a_bar_a_model_whose_whisker_is_the_interval_over_seeds():
    table = pd.DataFrame(
        {"model": ["base"] + ["alpha 0.5"] * 3, **{name: [1.0, 1.0, 2.0, 3.0] for name in TASK_LABELS}}
    )
    figure = plot_tasks(table)
    assert [ax.get_ylabel() for ax in figure.axes[:4]] == ["top-1 accuracy", "recall@1", "recall@1", "ARI"]
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["base", "α 0.5"]
    assert [text.get_text() for text in ax.texts] == ["1.00", "2.00"]
    drawn = np.concatenate([line.get_ydata() for line in ax.lines])
    # one seed has no interval; of 1, 2, 3 it is 2 -+ 4.302653 / sqrt(3)
    assert (np.nanmin(drawn), np.nanmax(drawn)) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-5)
