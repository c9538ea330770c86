"""How steady a training was, by hand, and what a watched or diverged run leaves behind."""

import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tpccma import fine_tune, load_profile
from tpccma.data import Corpus
from tpccma.methods import FLOOR, METHODS, SECOND_ABLATIONS, SECOND_CURRICULUM
from tpccma.models import read_weights
from tpccma.profiles import Profile
from tpccma.runs.jobs import Job
from tpccma.runs.record import run_job
from tpccma.runs.records import load_records
from tpccma.runs.stability import loss_spike, stability
from tpccma.runs.sweep import recorded
from tpccma.training.encoders import build_encoder
from tpccma.training.loop import Trainer
from tpccma.training.run import Diverged
from tpccma.training.watch import Watch


def log(losses: list[float], alpha: float | list[float] = 0.0) -> pd.DataFrame:
    return pd.DataFrame({"alpha": alpha, "contrastive_loss": losses})


def test_spike_by_hand():
    # averages of two: 3, 2, 3, 3; lowest so far 3, 2, 2, 2; the largest rise is from 2 to 3
    assert loss_spike(log([4.0, 2.0, 2.0, 4.0, 2.0]), window=2) == pytest.approx(0.5)
    # one by one: from 1 to 4, though 3 has been seen before
    assert loss_spike(log([3.0, 1.0, 4.0]), window=1) == pytest.approx(3.0)
    assert loss_spike(log([4.0, 3.0, 2.0, 2.0]), window=2) == 0.0


def test_spike_is_one_of_clips_loss_without_its_share():
    # (1 - alpha) L_CLIP = 2, 1, .5 at alpha 0, .5, .75: L_CLIP stays at 2, however alpha rises
    assert loss_spike(log([2.0, 1.0, 0.5], [0.0, 0.5, 0.75]), window=1) == 0.0
    # at alpha 1 L_CLIP is not known: the last step does not count
    assert loss_spike(log([2.0, 1.0, 0.0], [0.0, 0.5, 1.0]), window=1) == 0.0
    assert loss_spike(log([0.0, 0.0], 1.0)) == 0.0


def test_spike_of_a_run_shorter_than_the_window_is_of_its_average():
    assert loss_spike(log([1.0, 9.0])) == 0.0


@given(st.lists(st.floats(0.01, 10.0), min_size=1, max_size=40), st.integers(1, 12))
def test_spike_is_at_most_what_single_steps_show_and_knows_no_unit(losses: list[float], window: int):
    found = loss_spike(log(losses), window)
    assert 0 <= found <= max(losses) / min(losses) - 1 + 1e-9
    assert loss_spike(log([7 * loss for loss in losses]), window) == pytest.approx(found, abs=1e-9)


def test_what_is_watched_is_the_second_reading_and_what_it_is_set_against():
    watched = {name for name, method in METHODS.items() if method.watched}
    assert watched == {"tpc-cma", SECOND_CURRICULUM, FLOOR, *SECOND_ABLATIONS}
    for name in ("demo", "fashion", "demo-shift", "fashion-masked"):
        profile = load_profile(name)
        assert profile.training_of("tpc-cma").watch_steps and profile.training_of("tpc-cma-paired").watch_steps is None
    assert load_profile("paper").training_of("tpc-cma").watch_steps is None


@pytest.fixture(scope="module")
def watched(tiny_profile: Profile, tiny_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory):
    """A run that is looked at after every third of 8 steps, and one that is not."""
    runs = tmp_path_factory.mktemp("runs")
    return [
        fine_tune(
            load_profile(tiny_profile, fine_tune__epochs=1, fine_tune__watch_steps=every),
            "tpc-cma",
            0.5,
            0,
            runs,
            tiny_corpus,
        )
        for every in (3, None)
    ]


def test_watched_run_says_its_accuracy_on_validation_pictures_on_the_way(watched):
    seen = watched[0].steps.val_zeroshot
    assert seen.notna().tolist() == [False, False, True, False, False, True, False, False]
    assert seen.dropna().between(0, 1).all() and "val_zeroshot" not in watched[1].steps
    said = stability(watched[0])
    assert said["worst_val_zeroshot"] == seen.min()
    assert said.keys() - stability(watched[1]).keys() == {"worst_val_zeroshot"}
    steps = watched[0].steps
    assert said["dose"] == pytest.approx((steps.alpha * steps.learning_rate).sum() / steps.learning_rate.sum())


def test_watching_changes_nothing(watched):
    steps = [run.steps[["loss", "alpha", "logit_scale", "learning_rate"]] for run in watched]
    pd.testing.assert_frame_equal(*steps)
    weights, others = (read_weights(run.folder / "model.safetensors") for run in watched)
    assert all(torch.equal(value, others[name]) for name, value in weights.items())


def test_look_by_hand(tiny_profile: Profile, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch):
    encoder = build_encoder(tiny_profile)
    watch, count = Watch(encoder, tiny_corpus, 2), len(tiny_corpus.classes)
    assert watch.look(3) == {}
    labels = tiny_corpus.val.labels
    guesses = torch.where(torch.arange(len(labels)) < 8, labels, (labels + 1) % count)  # 8 of 32 are right
    monkeypatch.setattr(encoder, "embed_images", lambda images: torch.eye(count)[guesses])
    prompts = torch.eye(count).repeat_interleave(len(tiny_corpus.templates), 0)
    monkeypatch.setattr(encoder.model, "encode_text", lambda tokens, normalize: prompts)
    assert watch.look(4) == {"val_zeroshot": 0.25}


def test_pictures_without_classes_are_not_looked_at(tiny_profile: Profile, tiny_corpus: Corpus):
    bare = Corpus(tiny_corpus.train, tiny_corpus.val, tiny_corpus.test)
    watch = Watch(build_encoder(tiny_profile), bare, 1)
    assert watch.columns == () and watch.look(1) == {}


def test_run_that_is_not_watched_tells_nothing_of_its_stability(watched):
    watched[1].method, kept = "clip", watched[1].method
    assert stability(watched[1]) == {}
    watched[1].method = kept


def break_down(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Let the loss of a step be no number."""
    check = Trainer._check_finite
    monkeypatch.setattr(
        Trainer, "_check_finite", lambda trainer, loss: check(trainer, math.nan if trainer.step == at else loss)
    )


@pytest.mark.parametrize("at, kept", [(0, set()), (6, {"dose", "loss_spike", "worst_val_zeroshot"})])
def test_run_that_diverges_is_recorded_as_far_as_it_came(
    at: int, kept: set[str], tiny_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
):
    profile = load_profile(tiny_profile, fine_tune__epochs=1, fine_tune__watch_steps=3)
    break_down(monkeypatch, at)
    job, results = Job("tpc-cma", 0.5, 0), tmp_path / "results"
    record = run_job(profile, job, tmp_path / "runs", results)
    assert f"loss is nan at step {at}" in caplog.text
    assert record["metrics"].keys() == {"diverged", *kept} and record["metrics"]["diverged"] == 1
    assert load_records(results) == [record] and job in recorded(profile, [job], results)
    assert "diverged" in (results / "results.csv").read_text().splitlines()[0]


def test_divergence_says_how_far_the_run_came(
    tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    break_down(monkeypatch, 5)
    with pytest.raises(Diverged, match="loss is nan at step 5") as error:
        fine_tune(tiny_profile, "clip", 0.0, 0, tmp_path, tiny_corpus)
    assert isinstance(error.value, FloatingPointError) and error.value.run.steps.step.tolist() == [0, 1, 2, 3, 4]
