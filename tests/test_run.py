import math
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tpccma.runs.record
import tpccma.runs.records
import tpccma.training.encoders
from tpccma import base_run, fine_tune, load_profile
from tpccma.curriculum import GradientReading
from tpccma.data import Corpus, Pairs
from tpccma.methods import LOSS_TERMS, METHODS, run_name
from tpccma.metrics import modality_gap
from tpccma.models.identity import weights_identity
from tpccma.models.towers import Towers
from tpccma.profiles import Profile
from tpccma.runs.record import make_record
from tpccma.training.batches import CaptionedPairs, EpochSampler
from tpccma.training.checkpoint import log_columns
from tpccma.training.encoders import build_encoder, load_encoder
from tpccma.training.identity import fingerprint
from tpccma.training.loop import Trainer
from tpccma.training.optimizer import parameter_groups, warmup_cosine
from tpccma.training.run import Run, base_recipe, check_seed, train_base

DIAL = METHODS["tpc-cma"]
LOG_COLUMNS = log_columns(LOSS_TERMS)
MEASURED = [column for column in LOG_COLUMNS if column not in ("seconds", "samples_per_second")]


class Killed(Exception):
    """Stands for the end of the process."""


def kill_at(step: int, patch: pytest.MonkeyPatch) -> None:
    """Let training end with `Killed` where it is about to take a step."""
    take_step = Trainer._take_step

    def killed(trainer: Trainer, *batch):
        if trainer.step == step:
            raise Killed
        return take_step(trainer, *batch)

    patch.setattr(Trainer, "_take_step", killed)


def assert_equal_weights(one: Run, other: Run) -> None:
    weights = other.encoder.model.state_dict()
    for name, value in one.encoder.model.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=1e-6, msg=name)


def weights_differ(one: Run, other: Run) -> bool:
    weights = other.encoder.model.state_dict()
    return any((value - weights[name]).abs().max() > 1e-5 for name, value in one.encoder.model.state_dict().items())


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def aligned(tiny_profile: Profile, tiny_corpus: Corpus, runs_dir: Path) -> Run:
    """A run of 16 steps with alpha 0.5."""
    return fine_tune(tiny_profile, alpha=0.5, seed=0, runs_dir=runs_dir, corpus=tiny_corpus)


# ---- bad arguments, before any work


@pytest.mark.parametrize("alpha", ["x", -1, 1.5, math.nan, True, None])
def test_bad_alpha_is_named_before_any_work(tiny_profile: Profile, tmp_path: Path, alpha):
    with pytest.raises(ValueError, match=f"alpha must be .* got {alpha!r}"):
        fine_tune(tiny_profile, alpha=alpha, runs_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "arguments, named",
    [
        ({"profile": "demoo"}, "unknown profile 'demoo'"),
        ({"method": "sgd"}, f"unknown method 'sgd': give one of {', '.join(METHODS)}$"),
        ({"method": "clip", "alpha": 0.5}, "method 'clip' has no dial and takes alpha=0, got alpha=0.5"),
        ({"seed": -1}, "seed must be .* got -1"),
        ({"seed": 1.5}, "seed must be .* got 1.5"),
        ({"seed": "0"}, "seed must be .* got '0'"),
        ({"seed": True}, "seed must be .* got True"),
        ({"seed": 2**31}, "seed must be .* got 2147483648"),
    ],
)
def test_bad_argument_is_named_before_any_work(tiny_profile: Profile, tmp_path: Path, arguments: dict, named: str):
    with pytest.raises(ValueError, match=named):
        fine_tune(**{"profile": tiny_profile, "runs_dir": tmp_path / "runs", **arguments})
    assert not (tmp_path / "runs").exists()


def test_largest_and_smallest_seed_pass():
    assert [check_seed(seed) for seed in (0, 2**31 - 1)] == [0, 2**31 - 1]


def test_batch_larger_than_the_data_is_named(tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path):
    profile = load_profile(tiny_profile, fine_tune__batch_size=257)
    with pytest.raises(ValueError, match="256 training pairs do not fill one batch of 257"):
        fine_tune(profile, runs_dir=tmp_path, corpus=tiny_corpus)


def test_missing_base_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"gone\.safetensors"):
        fine_tune(
            load_profile("demo", model__pretrained=str(tmp_path / "gone.safetensors")), runs_dir=tmp_path / "runs"
        )
    assert not (tmp_path / "runs").exists()


# ---- what a run leaves


def test_training_lowers_the_loss(tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path):
    profile = load_profile(tiny_profile, fine_tune__epochs=4, learning_rates={"clip": 3e-4})
    run = fine_tune(profile, "clip", 0, 0, tmp_path, tiny_corpus)
    assert run.steps.loss[-4:].mean() < 0.8 * run.steps.loss[:4].mean()


def test_run_holds_what_was_trained(aligned: Run, tiny_profile: Profile, runs_dir: Path):
    assert (aligned.method, aligned.alpha, aligned.seed, aligned.name) == ("tpc-cma", 0.5, 0, "tpc-cma-a0.5-s0")
    assert aligned.folder == runs_dir / "demo" / f"tpc-cma-a0.5-s0-{aligned.fingerprint}"
    assert sorted(path.name for path in aligned.folder.iterdir()) == [
        ".lock",
        "code.json",
        "model.safetensors",
        "steps.csv",
    ]
    assert weights_differ(aligned, base_run(tiny_profile))


def test_log_has_a_row_a_step(aligned: Run, tiny_profile: Profile):
    steps = aligned.steps
    assert tuple(steps.columns) == (*LOG_COLUMNS, "val_zeroshot")  # the whole method is looked at on the way
    assert steps.step.tolist() == list(range(16))  # 2 epochs of 256 / 32 steps
    assert list(steps.phase.unique()) == ["anchor", "ramp", "stabilize"]
    assert steps.alpha.iloc[0] == 0 and steps.alpha.iloc[-1] == 0.5
    for measured in ("clip_norm", "cma_norm", "cosine"):  # read while alpha depends on it
        assert steps[measured].notna().tolist() == (steps.phase != "stabilize").tolist()
    terms = steps[["contrastive_loss", "reweighted_loss", "geometry_loss", "centroid_loss", "paired_loss"]]
    assert terms.fillna(0).sum(axis=1).tolist() == pytest.approx(steps.loss.tolist(), rel=1e-5)
    assert terms.reweighted_loss.isna().tolist() == (steps.alpha == 0).tolist()
    rate = tiny_profile.training_of("tpc-cma").learning_rate
    rates = [rate * factor for factor in (warmup_cosine(step, 16, 0.1) for step in range(16))]
    assert steps.learning_rate.tolist() == pytest.approx(rates)
    assert aligned.wall_seconds == pytest.approx(steps.seconds.sum()) and aligned.wall_seconds > 0
    assert aligned.samples_per_second == steps.samples_per_second.median() > 0


WAITS = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__")  # each asks the device


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_step_waits_for_the_device_once(
    alpha: float, tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    waits: list[str] = []

    def noting(name: str, method):
        return lambda tensor, *rest: (waits.append(name), method(tensor, *rest))[1]

    trainer = Trainer(
        base_run(tiny_profile).encoder, tiny_profile, tiny_profile.fine_tune, alpha, 0, tmp_path, tiny_corpus, DIAL
    )
    batches, embed = list(trainer.batches.between(0, 16)), trainer.towers.embed
    # what asks on a CPU alone: the optimiser its counters, the text tower how long its texts are
    monkeypatch.setattr(trainer.optimizer, "step", lambda: None)
    monkeypatch.setattr(trainer.towers, "embed", lambda *batch: (embed(*batch), waits.clear())[0])
    for name in WAITS:
        monkeypatch.setattr(Tensor, name, noting(name, getattr(Tensor, name)))
    found = []
    for batch in batches:
        trainer._take_step(*batch)
        found.append(list(waits))
    assert found == [["tolist"]] * 16


def test_same_call_loads_without_training(
    aligned: Run, tiny_profile: Profile, tiny_corpus: Corpus, runs_dir: Path, monkeypatch
):
    kill_at(0, monkeypatch)
    again = fine_tune(tiny_profile, alpha=0.5, seed=0, runs_dir=runs_dir, corpus=tiny_corpus)
    assert_equal_weights(again, aligned)
    assert again.fingerprint == aligned.fingerprint
    pd.testing.assert_frame_equal(again.steps, aligned.steps)


def test_saved_model_is_the_runs(aligned: Run, tiny_profile: Profile):
    texts = ["a red star.", "a moon."]
    loaded = load_encoder(tiny_profile, aligned.folder / "model.safetensors")
    assert torch.equal(loaded.embed_texts(texts), aligned.encoder.embed_texts(texts))


@pytest.mark.parametrize("step", [3, 5, 12])  # before the first checkpoint (of step 5), at it, and in the second epoch
def test_killed_and_resumed_equals_uninterrupted(
    aligned: Run, tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, step: int
):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at(step, patch)
        fine_tune(tiny_profile, alpha=0.5, seed=0, runs_dir=tmp_path, corpus=tiny_corpus)
    torch.manual_seed(999)  # another process has another random state
    with pytest.MonkeyPatch.context() as patch:
        taken: list[int] = []
        take_step = Trainer._take_step
        patch.setattr(Trainer, "_take_step", lambda self, *b: taken.append(self.step) or take_step(self, *b))
        resumed = fine_tune(tiny_profile, alpha=0.5, seed=0, runs_dir=tmp_path, corpus=tiny_corpus)
    assert taken == list(range(step // 5 * 5, 16))  # checkpoints stand at 5, 10 and 15
    assert_equal_weights(resumed, aligned)
    pd.testing.assert_frame_equal(resumed.steps[MEASURED], aligned.steps[MEASURED], rtol=1e-6)


@pytest.mark.parametrize("where", ["replace", "rename", "write_text"])
def test_killed_while_it_resumes_and_resumed_equals_uninterrupted(
    aligned: Run, tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, where: str
):
    def die(path: Path, *arguments, **options):
        if where == "write_text":
            path.write_bytes(b"step,phase")  # half of what was to be written
        raise Killed

    def train() -> Run:
        return fine_tune(tiny_profile, alpha=0.5, seed=0, runs_dir=tmp_path, corpus=tiny_corpus)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at(8, patch)
        train()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, where, die)  # the log is cut to the checkpoint's, or the next checkpoint takes its place
        train()
    resumed = train()
    assert_equal_weights(resumed, aligned)
    pd.testing.assert_frame_equal(resumed.steps[MEASURED], aligned.steps[MEASURED], rtol=1e-6)


@pytest.mark.parametrize("method", ["m2-mix", pytest.param("clip-refine", marks=pytest.mark.deep)])  # losses that draw
# At a checkpoint in the middle of the first epoch, and in the second epoch.
@pytest.mark.parametrize("step", [pytest.param(5, marks=pytest.mark.deep), 12])
def test_resumed_training_draws_as_if_uninterrupted(
    tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, method: str, step: int
):
    whole = fine_tune(tiny_profile, method, 0, 0, tmp_path / "whole", tiny_corpus)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at(step, patch)
        fine_tune(tiny_profile, method, 0, 0, tmp_path / "killed", tiny_corpus)
    torch.manual_seed(999)
    resumed = fine_tune(tiny_profile, method, 0, 0, tmp_path / "killed", tiny_corpus)
    pd.testing.assert_frame_equal(resumed.steps[MEASURED], whole.steps[MEASURED], rtol=1e-6)
    assert_equal_weights(resumed, whole)


def test_checkpoint_carries_the_curriculum(tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path):
    trainer = Trainer(build_encoder(tiny_profile), tiny_profile, tiny_profile.fine_tune, 0.5, 0, tmp_path, tiny_corpus)
    trainer.curriculum.update(4, GradientReading(1.0, 8.0, -1.0))
    trainer.step = 5
    trainer.save()
    fresh = Trainer(build_encoder(tiny_profile), tiny_profile, tiny_profile.fine_tune, 0.5, 0, tmp_path, tiny_corpus)
    assert fresh.curriculum.state_dict() != trainer.curriculum.state_dict()
    fresh.resume()
    assert (fresh.curriculum.state_dict(), fresh.step) == (trainer.curriculum.state_dict(), 5)
    trainer.save()  # replaces the checkpoint that is there
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "checkpoint.old"]


def test_seed_decides_the_weights(aligned: Run, tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path):
    again = fine_tune(tiny_profile, alpha=0.5, seed=0, runs_dir=tmp_path, corpus=tiny_corpus)
    assert_equal_weights(again, aligned)
    other = fine_tune(tiny_profile, alpha=0.5, seed=1, runs_dir=tmp_path, corpus=tiny_corpus)
    assert weights_differ(other, aligned)


def test_alpha_0_is_continued_plain_clip(tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path):
    profile = load_profile(tiny_profile, learning_rates={})  # else each trains at its own
    ours = fine_tune(profile, "tpc-cma", 0, 0, tmp_path, tiny_corpus)
    clip = fine_tune(profile, "clip", 0.0, 0, tmp_path, tiny_corpus)
    assert ours.folder != clip.folder
    assert_equal_weights(ours, clip)
    assert ours.steps.loss.tolist() == clip.steps.loss.tolist() == ours.steps.contrastive_loss.tolist()
    assert ours.steps.alpha.eq(0).all() and ours.steps.clip_norm.isna().all()


def test_logit_scale_is_clamped(tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path):
    profile = load_profile(tiny_profile, fine_tune__epochs=1, fine_tune__max_logit_scale=20.0)
    run = fine_tune(profile, "clip", 0, 0, tmp_path, tiny_corpus)
    assert run.steps.logit_scale[0] == pytest.approx(100)  # of the base
    assert run.steps.logit_scale[1:].max() <= 20 * (1 + 1e-6)
    assert run.encoder.model.logit_scale.exp().item() <= 20 * (1 + 1e-6)


def test_logit_scale_stays_where_it_is_not_learned(tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path):
    profile = load_profile(tiny_profile, fine_tune__epochs=1, fine_tune__learn_logit_scale=False)
    run = fine_tune(profile, alpha=0.5, runs_dir=tmp_path, corpus=tiny_corpus)
    assert run.steps.logit_scale.nunique() == 1
    assert run.encoder.model.logit_scale.item() == pytest.approx(math.log(100))


def test_diverged_training_ends_with_its_step(tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path):
    images = torch.full((256, 4), math.nan)
    broken = Corpus(
        Pairs(images, tiny_corpus.train.captions, tiny_corpus.train.labels),
        tiny_corpus.val,
        tiny_corpus.test,
        tiny_corpus.classes,
        tiny_corpus.templates,
    )
    model = nn.ModuleDict({"head": nn.Linear(4, 3)})
    model.logit_scale = nn.Parameter(torch.tensor(1.0))
    model.encode_image = model["head"].forward
    model.encode_text = lambda tokens: model["head"](torch.ones(len(tokens), 4))
    encoder = build_encoder(tiny_profile)
    encoder.model = model
    trainer = Trainer(encoder, tiny_profile, tiny_profile.fine_tune, 0.0, 0, tmp_path / "diverged", broken)
    with pytest.raises(FloatingPointError, match="loss is nan at step 0 of diverged; lower learning_rate"):
        trainer.run()


def test_term_that_no_column_would_show_ends_the_training(
    tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trainer = Trainer(build_encoder(tiny_profile), tiny_profile, tiny_profile.fine_tune, 0.5, 0, tmp_path, tiny_corpus)
    forward = trainer.objective.loss.forward
    strange = {"strange_loss": torch.tensor(1.0)}
    monkeypatch.setattr(
        trainer.objective.loss, "forward", lambda *given, **options: forward(*given, **options) | strange
    )
    with pytest.raises(ValueError, match="CMALoss returned 'strange_loss', which its term_names lack"):
        trainer.run()


# ---- fingerprints


def test_runs_with_other_settings_do_not_share_a_folder(tiny_profile: Profile):
    changes = [
        {},
        {"data__train_pairs": 128},
        {"fine_tune__epochs": 3},
        {"loss__geometry_weight": 0.0},
        {"curriculum__slow_rate": 0.9},
    ]
    marks = [fingerprint(load_profile(tiny_profile, **change), "tpc-cma", 0.5, 0) for change in changes]
    marks += [fingerprint(tiny_profile, *key) for key in (("clip", 0.5, 0), ("tpc-cma", 0.4, 0), ("tpc-cma", 0.5, 1))]
    assert len(set(marks)) == len(marks)
    assert marks[0] == fingerprint(tiny_profile, "tpc-cma", 0.5, 0)


def test_fingerprint_knows_the_weights_but_not_their_place(tiny_profile: Profile, tmp_path: Path):
    def from_base(path: Path) -> str:
        return fingerprint(load_profile(tiny_profile, model__pretrained=str(path)), "clip", 0.0, 0)

    content = Path(tiny_profile.model.pretrained).read_bytes()
    (tmp_path / "same.safetensors").write_bytes(content)
    build_encoder(tiny_profile, seed=9).save(tmp_path / "other.safetensors")
    assert from_base(tmp_path / "same.safetensors") == fingerprint(tiny_profile, "clip", 0.0, 0)
    assert from_base(tmp_path / "other.safetensors") != fingerprint(tiny_profile, "clip", 0.0, 0)


def test_fingerprint_leaves_evaluation_and_folders_out(tiny_profile: Profile, tmp_path: Path):
    evaluated = load_profile(tiny_profile, evaluation__kmeans_restarts=3)
    assert fingerprint(evaluated, "clip", 0.0, 0) == fingerprint(tiny_profile, "clip", 0.0, 0)
    fashion = load_profile("fashion")
    elsewhere = load_profile(fashion, data__data_dir=tmp_path, data__cache_dir=tmp_path)
    assert fingerprint(elsewhere, "clip", 0.0, 0) == fingerprint(fashion, "clip", 0.0, 0)
    longer_base = load_profile(fashion, base__epochs=31)
    assert fingerprint(longer_base, "clip", 0.0, 0) != fingerprint(fashion, "clip", 0.0, 0)


@pytest.mark.parametrize("alpha, name", [(0.0, "clip-a0-s3"), (0.05, "clip-a0.05-s3"), (1.0, "clip-a1-s3")])
def test_run_name(alpha: float, name: str):
    assert run_name("clip", alpha, 3) == name


# ---- the base


def test_base_is_loaded_as_a_run_without_steps(tiny_profile: Profile, tmp_path: Path):
    run = base_run(tiny_profile, seed=2, runs_dir=tmp_path)
    assert (run.method, run.alpha, run.seed, len(run.steps)) == ("base", 0.0, 2, 0)
    assert (run.wall_seconds, run.samples_per_second) == (0.0, 0.0)
    assert list(tmp_path.iterdir()) == []


def test_training_a_base_starts_from_random_weights(tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path):
    profile = load_profile(tiny_profile, base__epochs=1, base__batch_size=64)
    run = train_base(profile, seed=4, runs_dir=tmp_path, corpus=tiny_corpus)
    assert len(run.steps) == 4 and run.method == "base"
    assert run.steps.logit_scale.eq(run.steps.logit_scale[0]).all()  # the demo's recipe fixes it
    assert run.fingerprint != base_run(profile, 4).fingerprint
    assert run.base == weights_identity(run.folder / "model.safetensors") != base_run(profile, 4).base
    assert_equal_weights(train_base(profile, 4, tmp_path, tiny_corpus), run)


@pytest.fixture
def from_scratch(tiny_profile: Profile) -> Profile:
    """The tiny profile without weights to start from: 4 steps of 64 make a base."""
    changes = {"model__pretrained": None, "data__base_pairs": 256, "base__epochs": 1, "base__batch_size": 64}
    return load_profile(tiny_profile, **changes)


def test_without_weights_one_base_is_trained_for_all_seeds(
    from_scratch: Profile, tiny_corpus: Corpus, tmp_path: Path, monkeypatch
):
    first = base_run(from_scratch, 0, tmp_path)
    recipe = train_base(from_scratch, 0, tmp_path / "by hand", tiny_corpus)  # base_pairs are as many as train_pairs
    assert_equal_weights(first, recipe)
    assert weights_differ(first, Run(**{**vars(first), "encoder": build_encoder(from_scratch)}))
    kill_at(0, monkeypatch)
    third = base_run(from_scratch, 2, tmp_path)
    assert (third.method, third.seed, len(third.steps)) == ("base", 2, 0)
    assert_equal_weights(third, first)
    assert third.base == first.base == recipe.base
    assert len(list((tmp_path / "demo").iterdir())) == 1
    assert third.fingerprint == fingerprint(from_scratch, "base", 0.0, 2) != first.fingerprint


@pytest.fixture
def per_seed(from_scratch: Profile, tiny_profile: Profile) -> Profile:
    """The tiny profile with weights for seed 0, and a recipe of 4 steps for the others."""
    changes = {"model__pretrained": tiny_profile.model.pretrained, "bases": "per-seed", "name": "mine"}
    return load_profile(from_scratch, **changes)


def test_every_seed_may_have_a_base_of_its_own(per_seed: Profile, tiny_profile: Profile, tmp_path: Path, monkeypatch):
    first, second, third = (base_run(per_seed, seed, tmp_path) for seed in (0, 1, 2))
    assert_equal_weights(first, base_run(tiny_profile, 0, tmp_path))
    assert len({first.base, second.base, third.base}) == 3 and first.base == base_run(tiny_profile, 3).base
    by_hand = train_base(base_recipe(load_profile(tiny_profile, **per_seed_recipe(per_seed))), 2, tmp_path / "by hand")
    assert_equal_weights(third, by_hand)
    assert sorted(path.parent.name for path in tmp_path.glob("*/base-*")) == ["bases", "bases"]
    kill_at(0, monkeypatch)  # another profile that has them finds them trained
    shift = load_profile(per_seed, name="shift", data__held_back=("ring",), data__exchanged=0.1)
    assert base_run(shift, 2, tmp_path).base == third.base


def per_seed_recipe(profile: Profile) -> dict:
    return {"data__base_pairs": profile.data.base_pairs, "base": profile.base.model_dump()}


def test_seeds_with_bases_of_their_own_are_other_runs(per_seed: Profile, tiny_profile: Profile):
    one = load_profile(per_seed, bases="one")
    assert fingerprint(per_seed, "clip", 0.0, 0) == fingerprint(one, "clip", 0.0, 0)  # it is the same run
    scratch, both = (load_profile(per_seed, model__pretrained=None, bases=bases) for bases in ("one", "per-seed"))
    marks = {fingerprint(each, "clip", 0.0, 1) for each in (per_seed, one, scratch)}
    assert len(marks) == 3
    assert fingerprint(both, "clip", 0.0, 1) != fingerprint(scratch, "clip", 0.0, 1)  # which starts from seed 0's
    assert fingerprint(both, "clip", 0.0, 1) == fingerprint(per_seed, "clip", 0.0, 1)


def test_run_starts_from_the_base_of_its_seed(per_seed: Profile, tiny_corpus: Corpus, tmp_path: Path):
    frozen = load_profile(per_seed, learning_rates={"clip": 1e-12}, fine_tune__epochs=1)
    base, tuned = base_run(frozen, 1, tmp_path), fine_tune(frozen, "clip", 0, 1, tmp_path, tiny_corpus)
    assert make_record(tuned, {"raw_gap": 0.5})["base"] == base.base != base_run(frozen, 0).base
    for name, parameter in tuned.encoder.model.named_parameters():
        torch.testing.assert_close(parameter, base.encoder.model.get_parameter(name), rtol=0, atol=1e-6, msg=name)


def test_base_learns_from_base_pairs(from_scratch: Profile, tmp_path: Path, monkeypatch):
    seen: list[int] = []
    run = Trainer.run
    monkeypatch.setattr(Trainer, "run", lambda trainer: seen.append(len(trainer.batches.sampler)) or run(trainer))
    fine_tune(load_profile(from_scratch, data__base_pairs=128, data__train_pairs=192), "clip", 0, 0, tmp_path)
    assert seen == [128, 192]


def test_fine_tuning_starts_from_the_trained_base(from_scratch: Profile, tiny_corpus: Corpus, tmp_path: Path):
    base = base_run(from_scratch, 0, tmp_path)
    frozen = load_profile(from_scratch, learning_rates={"clip": 1e-12}, fine_tune__epochs=1)
    tuned = fine_tune(frozen, "clip", 0, 1, tmp_path, tiny_corpus)
    assert make_record(tuned, {"raw_gap": 0.5})["base"] == base.base
    for name, parameter in tuned.encoder.model.named_parameters():
        torch.testing.assert_close(parameter, base.encoder.model.get_parameter(name), rtol=0, atol=1e-6, msg=name)


def test_logit_scale_starts_where_the_recipe_says_and_stays(from_scratch: Profile, tiny_corpus: Corpus, tmp_path: Path):
    profile = load_profile(from_scratch, base__init_logit_scale=20, base__learn_logit_scale=False)
    run = train_base(profile, 0, tmp_path, tiny_corpus)
    assert run.steps.logit_scale.tolist() == [pytest.approx(20)] * 4
    assert base_run(profile, 3, tmp_path).encoder.model.logit_scale.exp().item() == pytest.approx(20)


def test_learned_logit_scale_starts_where_the_recipe_says_and_moves(
    from_scratch: Profile, tiny_corpus: Corpus, tmp_path: Path
):
    profile = load_profile(from_scratch, base__init_logit_scale=14.3, base__learn_logit_scale=True)
    run = train_base(profile, 0, tmp_path, tiny_corpus)
    assert run.steps.logit_scale[0] == pytest.approx(14.3)
    assert run.encoder.model.logit_scale.exp().item() != pytest.approx(14.3, abs=1e-4)


def test_recipe_of_the_base_decides_the_fingerprint(from_scratch: Profile):
    profiles = [load_profile(from_scratch, base__init_logit_scale=scale) for scale in (None, 20, 50)]
    for key in (("base", 0.0, 0), ("clip", 0.0, 0), ("mean-centering", 0.0, 0)):
        assert len({fingerprint(profile, *key) for profile in profiles}) == 3


def test_fingerprint_knows_masked_titles():
    marks = [fingerprint(load_profile("fashion", data__mask_titles=mask), "clip", 0.0, 0) for mask in (False, True)]
    assert marks[0] != marks[1]
    assert marks[0] == fingerprint(load_profile("fashion"), "clip", 0.0, 0)


# ---- parts


def test_towers_give_both_embeddings_before_normalisation(tiny_profile: Profile, tiny_corpus: Corpus):
    encoder = build_encoder(tiny_profile)
    model = encoder.model.eval()
    images, tokens = tiny_corpus.test.images[:3].float() / 127.5 - 1, encoder.tokenizer(["a red star.", "a moon.", "a"])
    with torch.no_grad():
        x, y, scale = Towers(model)(images, tokens)
        torch.testing.assert_close(F.normalize(x, dim=1), model.encode_image(images, normalize=True))
        torch.testing.assert_close(F.normalize(y, dim=1), model.encode_text(tokens, normalize=True))
    assert min((rows.norm(dim=1) - 1).abs().max() for rows in (x, y)) > 0.01
    assert scale.item() == pytest.approx(100)


def test_warmup_cosine_by_hand():
    # 10 steps, 2 of warm-up: 1/2, 2/2; then (1 + cos(pi k / 8)) / 2 for k = 0 to 7, so 1 at k = 0 and 1/2 at k = 4
    factors = [warmup_cosine(step, 10, 0.2) for step in range(10)]
    assert factors[:3] == [0.5, 1.0, 1.0]
    assert factors[6] == pytest.approx(0.5)
    assert factors[9] == pytest.approx((1 + math.cos(math.pi * 7 / 8)) / 2)
    assert warmup_cosine(10, 10, 0.2) == pytest.approx(0.0)


@pytest.mark.parametrize("total, warmup", [(1, 0.1), (1, 1.0), (5, 0.0), (5, 1.0), (16, 0.1)])
def test_learning_rate_stays_in_range_and_peaks(total: int, warmup: float):
    factors = [warmup_cosine(step, total, warmup) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)
    assert max(factors) == 1


def test_parameter_groups_decay_matrices_only():
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Linear(2, 1, bias=False))
    model.register_parameter("logit_scale", nn.Parameter(torch.tensor(1.0)))
    model[2].weight.requires_grad_(False)
    plain, decayed = parameter_groups(model, 0.2)
    assert [tuple(p.shape) for p in decayed["params"]] == [(2, 3)]
    assert sorted(tuple(p.shape) for p in plain["params"]) == [(), (2,), (2,), (2,)]
    assert (plain["weight_decay"], decayed["weight_decay"]) == (0.0, 0.2)


def test_every_trainable_parameter_is_in_one_group(tiny_profile: Profile):
    model = build_encoder(tiny_profile).model
    grouped = [id(p) for group in parameter_groups(model, 0.1) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())


def test_sampler_gives_every_picture_once_an_epoch_with_one_caption():
    sampler = EpochSampler(pairs=50, captions=5, seed=3)
    first, again = list(sampler), list(sampler)
    assert first == again and len(sampler) == 50
    assert sorted(item // 5 for item in first) == list(range(50))
    assert {item % 5 for item in first} == set(range(5))
    sampler.epoch = 1
    assert list(sampler) != first
    assert list(EpochSampler(50, 5, seed=4)) != first


def test_every_epoch_of_a_run_has_all_pictures_in_its_own_order(
    tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[Tensor] = []
    take_step = Trainer._take_step
    monkeypatch.setattr(
        Trainer, "_take_step", lambda self, images, t: seen.append(images.sum((1, 2, 3))) or take_step(self, images, t)
    )
    fine_tune(tiny_profile, "clip", 0, 0, tmp_path, tiny_corpus)
    first, second = torch.cat(seen).chunk(2)
    torch.testing.assert_close(first.sort().values, second.sort().values)
    assert (first - second).abs().max() > 1


def test_items_pair_a_picture_with_its_own_caption():
    images = torch.arange(3, dtype=torch.float32)[:, None]
    captions = [["p0 c0", "p0 c1"], ["p1 c0", "p1 c1"], ["p2 c0", "p2 c1"]]
    dataset = CaptionedPairs(
        Pairs(images, captions, torch.zeros(3)), lambda texts: torch.tensor([[int(t[1]), int(t[4])] for t in texts])
    )
    pictures, tokens = dataset.__getitems__([5, 0, 2])  # picture 2 caption 1, picture 0 caption 0, picture 1 caption 0
    assert pictures.flatten().tolist() == [2, 0, 1]
    assert tokens.tolist() == [[2, 1], [0, 0], [1, 0]]


# ---- heads on frozen features, as profile fashion trains them


@pytest.fixture
def featured(monkeypatch: pytest.MonkeyPatch) -> tuple[Profile, Corpus]:
    """A profile of heads and its corpus: 192 pairs of a common cause, seen through two maps."""
    generator = torch.Generator().manual_seed(0)
    causes = torch.randn(192, 6, generator=generator)
    images = causes @ torch.randn(6, 16, generator=generator)
    texts = dict(zip([f"text {i}" for i in range(192)], causes @ torch.randn(6, 8, generator=generator), strict=True))
    monkeypatch.setattr(
        tpccma.training.encoders,
        "make_tokenizer",
        lambda profile: lambda names: torch.stack([texts[name] for name in names]),
    )
    pairs = Pairs(images, [[name] for name in texts], torch.arange(192) % 3)
    texts |= {f"a {name}.": torch.randn(8, generator=generator) for name in ("one", "two", "three")}
    profile = load_profile(
        "fashion",
        model__image_width=16,
        model__text_width=8,
        model__hidden_width=32,
        model__embed_dim=8,
        base__epochs=3,
        base__batch_size=32,
        fine_tune__epochs=6,
        fine_tune__batch_size=32,
        fine_tune__learning_rate=3e-3,
        learning_rates={},
    )
    return profile, Corpus(pairs, pairs, pairs, ("one", "two", "three"), ("a {}.",))


def test_heads_train_through_the_same_code(featured: tuple[Profile, Corpus], tmp_path: Path):
    profile, corpus = featured
    aligned = fine_tune(profile, alpha=0.5, runs_dir=tmp_path, corpus=corpus)
    clip = fine_tune(profile, "clip", 0, runs_dir=tmp_path, corpus=corpus)
    base = base_run(profile, 0, tmp_path, corpus)
    assert len(base.steps) == 18 and len(aligned.steps) == 36  # the base was trained on the way, once for both
    assert len(list((tmp_path / "fashion").iterdir())) == 3

    def gap(run: Run) -> float:
        names = [captions[0] for captions in corpus.test.captions]
        x, y = run.encoder.embed_images(corpus.test.images), run.encoder.embed_texts(names)
        torch.testing.assert_close(x, F.normalize(x, dim=1))
        return float(modality_gap(x, y).raw)

    assert gap(aligned) < 0.8 * gap(clip)


def test_heads_have_one_base_a_seed(featured: tuple[Profile, Corpus], tmp_path: Path):
    profile, corpus = featured
    assert weights_differ(base_run(profile, 0, tmp_path, corpus), base_run(profile, 1, tmp_path, corpus))
