"""Trackers: what they are sent, that a training does not feel them, and what is said of one that is not there."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from typer.testing import CliRunner

from tpccma import fine_tune, load_profile
from tpccma.cli import app
from tpccma.data import Corpus
from tpccma.metrics import modality_gap
from tpccma.models import Encoder
from tpccma.profiles import Profile
from tpccma.training.encoders import load_encoder, weights_path
from tpccma.training.identity import fingerprint
from tpccma.training.run import Diverged
from tpccma.training.tracking import check_tracker


class Kept(GeneralTracker):
    """Keeps what it is sent."""

    name, requires_logging_directory, tracker = "kept", True, None
    made: "list[Kept]" = []  # noqa: RUF012

    def __init__(self, project: str, logging_dir: str):
        super().__init__()
        self.place, self.settings, self.rows, self.ended = (project, logging_dir), {}, {}, False
        self.made.append(self)

    def store_init_configuration(self, values: dict):
        self.settings = values

    def log(self, values: dict, step: int, **kwargs):
        self.rows[step] = values

    def finish(self):
        self.ended = True


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Kept]:
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "kept", Kept)
    monkeypatch.setattr(Kept, "made", [])
    return Kept.made


def gap_of(encoder: Encoder, corpus: Corpus) -> list[float]:
    first = [own[0] for own in corpus.val.captions]
    return list(modality_gap(encoder.embed_images(corpus.val.images), encoder.embed_texts(first)))


def test_a_tracker_has_the_log_and_the_gap_and_the_training_is_the_same(
    kept: list[Kept], tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path
):
    tiny_profile = load_profile(tiny_profile, fine_tune__watch_steps=5)
    tracked = load_profile(tiny_profile, track="kept")
    assert fingerprint(tracked, "tpc-cma", 0.5, 0) == fingerprint(tiny_profile, "tpc-cma", 0.5, 0)
    run = fine_tune(tracked, alpha=0.5, runs_dir=tmp_path / "tracked", corpus=tiny_corpus)
    plain = fine_tune(tiny_profile, alpha=0.5, runs_dir=tmp_path / "plain", corpus=tiny_corpus)
    one, other = run.encoder.model.state_dict(), plain.encoder.model.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    (tracker,) = kept
    assert tracker.ended and tracker.place == ("tpccma", str(run.folder))
    assert {"method": "tpc-cma", "alpha": 0.5, "seed": 0, "batch_size": 32}.items() <= tracker.settings.items()
    assert list(tracker.rows) == list(range(17))  # before the first step and after each of 16
    for name in ("loss", "contrastive_loss", "alpha", "learning_rate", "clip_norm"):
        sent = pd.Series([tracker.rows[step].get(name) for step in range(1, 17)], dtype=float)
        assert sent.equals(run.steps[name].astype(float)), name
    looks = {step: [row[f"val_{name}_gap"] for name in ("raw", "centroid", "distribution")]
             for step, row in tracker.rows.items() if "val_raw_gap" in row}  # fmt: skip
    assert list(looks) == [0, 5, 10, 15, 16]  # at the start, every fifth step, and at the end
    assert looks[16] == pytest.approx(gap_of(run.encoder, tiny_corpus))
    assert looks[0] == pytest.approx(gap_of(load_encoder(tiny_profile, weights_path(tiny_profile)), tiny_corpus))


def test_a_training_that_breaks_ends_its_tracker(
    kept: list[Kept], tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path
):
    broken = load_profile(tiny_profile, track="kept", learning_rates={"clip": 1e30})
    with pytest.raises(Diverged):
        fine_tune(broken, "clip", 0.0, runs_dir=tmp_path, corpus=tiny_corpus)
    assert kept[0].ended


def test_a_tracker_that_cannot_be_had_is_named_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("accelerate.tracking._available_trackers", [])
    for name, said in (("wandb", "error: tracker 'wandb' needs a package that is not installed: pip install wandb\n"),
                       ("tensorbord", "error: unknown tracker 'tensorbord': give one of aim, ")):  # fmt: skip
        result = CliRunner().invoke(app, ["train", "--track", name])
        assert result.exit_code == 2 and result.stderr.startswith(said) and result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    check_tracker(None)
