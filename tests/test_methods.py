from math import log
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from tpccma import base_run, fine_tune, load_profile
from tpccma.data import Corpus, Pairs
from tpccma.methods import (
    ABLATIONS,
    FLOOR,
    METHODS,
    PAIRED,
    SECOND_ABLATIONS,
    SECOND_CURRICULUM,
    check_method,
    find_method,
    run_name,
)
from tpccma.methods.first_curriculum import FirstReadingCurriculum
from tpccma.methods.post_processing import PostProcessed, Recentre
from tpccma.models import Encoder
from tpccma.profiles import Profile
from tpccma.runs.records import KEYS, load_records
from tpccma.training.encoders import build_encoder, weights_path
from tpccma.training.identity import fingerprint, mark_of, settings_of
from tpccma.training.loop import Trainer
from tpccma.training.objective import Objective
from tpccma.training.run import Run

RECORDS = Path(__file__).parents[1] / "results"
TERMS = ("reweighted", "geometry", "centroid", "paired")
FIRST, SECOND = (PAIRED, *ABLATIONS), ("tpc-cma", *SECOND_ABLATIONS)
POST_PROCESSED = ("mean-centering", "mind-the-gap", "realign")
LOSS_COLUMNS = {
    "clip": {"contrastive_loss"},
    "align-clip": {"contrastive_loss", "separation_loss"},
    "m2-mix": {"contrastive_loss", "mix_loss"},
    "clip-refine": {"reference_loss", "distillation_loss"},
    "cs-aligner": {"contrastive_loss", "divergence_loss"},
    "i0t-async": {"contrastive_loss"},
    "fahim": {"contrastive_loss", "uniformity_loss", "alignment_loss"},
    "modgap": {"contrastive_loss", "uniformity_loss", "alignment_loss"},
}
TEXTS = ["a red star.", "a moon.", "there is a small circle."]


def alpha_of(method: str) -> float:
    return 0.5 if METHODS[method].dial else 0.0


def columns_filled(run: Run) -> set[str]:
    """The columns of the log that hold the terms of the loss, as far as any step filled them."""
    terms = run.steps.filter(like="_loss")
    return set(terms.columns[terms.notna().any()])


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def run_of(tiny_profile: Profile, tiny_corpus: Corpus, runs_dir: Path):
    """Run a method once a module, seed 0, a dial at 0.5."""
    done: dict[str, Run] = {}

    def run(method: str) -> Run:
        if method not in done:
            done[method] = fine_tune(tiny_profile, method, alpha_of(method), 0, runs_dir, tiny_corpus)
        return done[method]

    return run


# ---- the register


def test_every_method_of_the_comparison_is_there():
    paper = {"mean-centering", "align-clip", "m2-mix", "clip-refine", "cs-aligner"}  # the paper's baselines
    relatives = {"mind-the-gap", "i0t-async", "realign", "fahim", "modgap"}
    both = {"tpc-cma", PAIRED, SECOND_CURRICULUM, FLOOR}
    assert both | {"clip"} | paper | relatives == set(METHODS) - {*ABLATIONS, *SECOND_ABLATIONS}


def test_ablations_take_dial_reading_and_learning_rate_of_what_they_are_of():
    assert len(ABLATIONS) == 9
    assert all((METHODS[name].dial, METHODS[name].like) == (True, PAIRED) for name in ABLATIONS)
    assert {name for name, method in METHODS.items() if method.first_reading} == {*FIRST, SECOND_CURRICULUM}
    assert all(METHODS[name].changes for name in ABLATIONS)
    assert len(SECOND_ABLATIONS) == 13
    assert all((METHODS[name].dial, METHODS[name].like) == (True, "tpc-cma") for name in SECOND_ABLATIONS)


def test_ablations_of_the_second_reading_differ_from_it_each_in_a_way_of_its_own():
    ways = [repr((METHODS[name].changes, METHODS[name].curriculum, METHODS[name].rate_factor)) for name in SECOND]
    assert len(set(ways)) == len(SECOND)


def test_run_that_a_curriculum_goes_by_is_of_the_same_rate_and_another_one():
    for name in SECOND_ABLATIONS:
        if trace := METHODS[name].trace:
            assert METHODS[trace.method].rate_factor == METHODS[name].rate_factor and not METHODS[trace.method].trace
            assert [trace.seed_of(seed) for seed in range(5)] == (
                [1, 2, 3, 4, 0] if name == "tpc-cma-yoked" else [0, 1, 2, 3, 4]
            )


def test_only_both_readings_and_the_ablations_have_a_dial():
    assert {name for name, method in METHODS.items() if method.dial} == {*FIRST, SECOND_CURRICULUM, FLOOR, *SECOND}


def test_post_processing_is_what_is_not_trained():
    assert {name for name, method in METHODS.items() if not method.trained} == set(POST_PROCESSED)
    assert all(METHODS[name].maps for name in POST_PROCESSED)


def test_found_method_is_the_registers():
    assert find_method("clip") is METHODS["clip"]
    assert check_method("clip", 0) is METHODS["clip"] and check_method("tpc-cma", 0.3) is METHODS["tpc-cma"]
    assert check_method("tpc-cma", 0.0).dial


@pytest.mark.parametrize("name", ["sgd", "", "CLIP", "base"])
def test_unknown_method_is_named_with_all_known_ones(name: str):
    for find in (find_method, lambda name: check_method(name, 0.5)):
        with pytest.raises(ValueError) as error:
            find(name)
        assert str(error.value) == f"unknown method {name!r}: give one of {', '.join(METHODS)}"


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.dial])
def test_method_without_a_dial_takes_alpha_0_only(name: str):
    with pytest.raises(ValueError, match=rf"method '{name}' has no dial and takes alpha=0, got alpha=0\.05"):
        check_method(name, 0.05)


# ---- learning rates


def test_learning_rates_are_those_of_the_profile_or_fine_tunes(tiny_profile: Profile):
    own = {PAIRED: 2e-3, "clip": 1e-5, "tpc-cma": 7e-4}
    profile = load_profile(tiny_profile, learning_rates=own, fine_tune__learning_rate=4e-4)
    rates = {name: profile.training_of(name).learning_rate for name in METHODS}
    assert {rates.pop(name) for name in (*FIRST, SECOND_CURRICULUM)} == {2e-3}
    for factor in (3, 10):
        found = [rates.pop(f"tpc-cma{kind}-rate-{factor}") for kind in ("", "-fixed-alpha")]
        assert found == pytest.approx([factor * 7e-4] * 2)
    assert {rates.pop(name) for name in (FLOOR, *SECOND) if "rate" not in name} == {7e-4}
    assert rates.pop("clip") == 1e-5
    assert set(rates.values()) == {4e-4}
    same = profile.fine_tune.model_dump(exclude={"learning_rate"})
    for name, method in METHODS.items():
        looks = {"watch_steps": 31 if method.watched else None}  # the demo's
        assert profile.training_of(name).model_dump(exclude={"learning_rate"}) == same | looks


def test_training_of_an_unknown_method_is_named():
    with pytest.raises(ValueError, match="unknown method 'sgd'"):
        load_profile("demo").training_of("sgd")


@pytest.mark.parametrize("rate", [0.0, -1e-3, float("nan"), "fast"])
def test_bad_learning_rate_is_named(rate):
    with pytest.raises(ValueError, match=f"learning_rates.clip: .* got {rate!r}"):
        load_profile("demo", learning_rates={"clip": rate})


def test_training_uses_the_methods_learning_rate(tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path):
    rates = {"fine_tune__learning_rate": 3e-4, "learning_rates": {"clip": 1e-5, PAIRED: 2e-5}}
    profile = load_profile(tiny_profile, fine_tune__epochs=1, **rates)
    for method, rate in (("clip", 1e-5), ("fahim", 3e-4), (f"{PAIRED}-no-paired", 2e-5)):
        run = fine_tune(profile, method, alpha_of(method), 0, tmp_path, tiny_corpus)
        assert run.steps.learning_rate.max() == pytest.approx(rate)


# ---- fingerprints


def test_methods_do_not_share_a_folder(tiny_profile: Profile):
    keys = [*((name, alpha_of(name), 0) for name in METHODS), ("base", 0.0, 0)]
    folders = {f"{run_name(*key)}-{fingerprint(tiny_profile, *key)}" for key in keys}
    assert len(folders) == len(METHODS) + 1
    # tpc-cma and the first reading, which was called so when its records were made, may be told apart by name alone
    marks = {fingerprint(tiny_profile, *key) for key in keys if key[0] != "tpc-cma"}
    assert len(marks) == len(METHODS)


def test_fingerprint_knows_the_methods_own_learning_rate_only(tiny_profile: Profile):
    plain = load_profile(tiny_profile, learning_rates={}, fine_tune__learning_rate=3e-4)
    changed = load_profile(plain, learning_rates={PAIRED: 5e-4})
    assert {name for name in METHODS if marks_differ(plain, changed, name)} == {*FIRST, SECOND_CURRICULUM}
    elsewhere = load_profile(plain, fine_tune__learning_rate=5e-4)
    assert fingerprint(elsewhere, PAIRED, 0.5, 0) == fingerprint(changed, PAIRED, 0.5, 0)


def test_fingerprint_of_what_is_not_trained_leaves_training_out(tiny_profile: Profile):
    changes = {"loss__hardness": 3.0, "curriculum__anchor": 0.1, "first_reading__loss__hardness": 3.0}
    changed = load_profile(tiny_profile, fine_tune__epochs=7, **changes)
    assert {name for name in METHODS if not marks_differ(tiny_profile, changed, name)} == set(POST_PROCESSED)


def test_fingerprint_counts_an_ablations_changes(tiny_profile: Profile):
    # what the ablation sets itself may change in the profile, and changes nothing
    changed = load_profile(tiny_profile, first_reading__loss__geometry_weight=3.0)
    assert not marks_differ(tiny_profile, changed, f"{PAIRED}-no-geometry")
    assert marks_differ(tiny_profile, changed, f"{PAIRED}-no-paired")


def test_settings_of_each_reading_are_part_of_its_own_fingerprints(tiny_profile: Profile):
    second = load_profile(tiny_profile, loss__hardness=3.0)
    changed = {name for name in METHODS if marks_differ(tiny_profile, second, name)}
    assert changed == {FLOOR, *SECOND} - {"tpc-cma-beta-0"}  # which sets it itself
    first = load_profile(tiny_profile, first_reading__loss__hardness=3.0)
    trained = {name for name, method in METHODS.items() if method.trained}
    assert {name for name in METHODS if marks_differ(tiny_profile, first, name)} == trained - {FLOOR, *SECOND}
    floor = load_profile(tiny_profile, floor__weight=3.0)
    assert {name for name in METHODS if marks_differ(tiny_profile, floor, name)} == {FLOOR}


def test_curriculum_is_part_of_the_fingerprints_of_what_trains_under_it(tiny_profile: Profile):
    second = load_profile(tiny_profile, curriculum__patience=0.1)
    assert {name for name in METHODS if marks_differ(tiny_profile, second, name)} == {*SECOND, FLOOR, SECOND_CURRICULUM}
    first = load_profile(tiny_profile, first_reading__curriculum__rho=3.0)
    changed = {name for name in METHODS if marks_differ(tiny_profile, first, name)}
    assert changed & {*SECOND, FLOOR, SECOND_CURRICULUM} == set() and PAIRED in changed and "clip" in changed


def marks_differ(one: Profile, other: Profile, method: str) -> bool:
    alpha = alpha_of(method)
    return fingerprint(one, method, alpha, 0) != fingerprint(other, method, alpha, 0)


@pytest.mark.parametrize("name, mark", [("demo", "12ce449c"), ("fashion", "fd10c7dd")])
def test_fingerprint_is_computed_as_it_was_for_the_first_records(name: str, mark: str):
    # a new field of a profile must not rename the runs that leave it at its default
    first = load_profile(name, fine_tune__learning_rate=3e-4, learning_rates={})
    assert fingerprint(first, PAIRED, 0.5, 0) == mark


def test_settings_are_written_as_they_were_when_the_bytes_of_a_base_stood_for_it():
    first = load_profile("demo", fine_tune__learning_rate=3e-4, learning_rates={})
    content = weights_path(first).read_bytes()
    assert mark_of(settings_of(first, PAIRED, 0.5, 0, by_recipe=False), content) == "26aef8e8"


def test_fingerprints_are_those_of_the_published_records():
    # where this fails, what decides these runs has changed since: `tpccma sweep` makes their records again
    records = load_records(RECORDS)
    assert {("demo", PAIRED, 0.5, 0), ("demo", "base", 0.0, 0)} <= {tuple(r[key] for key in KEYS) for r in records}
    profiles = {name: load_profile(name) for name in {r["profile"] for r in records}}
    stale = [
        r["profile"] + "/" + run_name(r["method"], r["alpha"], r["seed"])
        for r in records
        if r["fingerprint"] != fingerprint(profiles[r["profile"]], r["method"], r["alpha"], r["seed"])
    ]
    assert stale == []


# ---- from end to end

# the other ablations are run by `make test-deep`
QUICK = ("tpc-cma-paired-no-paired", "tpc-cma-fixed-alpha", "tpc-cma-yoked")
RUN = [
    pytest.param(
        name, marks=[pytest.mark.deep] if name in (*ABLATIONS, *SECOND_ABLATIONS) and name not in QUICK else []
    )
    for name in METHODS
]


@pytest.mark.parametrize("method", RUN)
def test_method_runs_and_the_same_call_loads_it(
    run_of, method: str, tiny_profile: Profile, tiny_corpus: Corpus, runs_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    run = run_of(method)
    assert (run.method, run.alpha, run.seed) == (method, alpha_of(method), 0)
    assert run.folder == runs_dir / "demo" / f"{run.name}-{fingerprint(tiny_profile, method, run.alpha, 0)}"
    assert (run.folder / "model.safetensors").is_file()
    if METHODS[method].trained:
        assert run.steps.step.tolist() == list(range(16))  # 2 epochs of 256 / 32 steps
        assert run.steps.loss.notna().all()
    else:
        assert len(run.steps) == 0
    monkeypatch.setattr(Trainer, "run", lambda trainer: pytest.fail("trained again"))
    again = fine_tune(tiny_profile, method, run.alpha, 0, runs_dir, tiny_corpus)
    for embed in (lambda encoder: encoder.embed_images(tiny_corpus.test.images), lambda e: e.embed_texts(TEXTS)):
        first = embed(run.encoder)
        torch.testing.assert_close(first.norm(dim=1), torch.ones(len(first)))
        torch.testing.assert_close(embed(again.encoder), first, rtol=0, atol=1e-6)
    pd.testing.assert_frame_equal(again.steps, run.steps)


def embeddings(encoder: Encoder, corpus: Corpus) -> torch.Tensor:
    return torch.cat([encoder.embed_images(corpus.test.images), encoder.embed_texts(TEXTS)])


@pytest.mark.parametrize("method", RUN)
def test_method_moves_the_base(run_of, method: str, tiny_profile: Profile, tiny_corpus: Corpus):
    base = embeddings(base_run(tiny_profile).encoder, tiny_corpus)
    assert (embeddings(run_of(method).encoder, tiny_corpus) - base).abs().max() > 1e-3


@pytest.mark.parametrize("method", LOSS_COLUMNS)
def test_log_holds_the_terms_of_the_methods_loss(run_of, method: str):
    steps = run_of(method).steps
    assert columns_filled(run_of(method)) == LOSS_COLUMNS[method]
    terms = steps[sorted(LOSS_COLUMNS[method])]
    assert terms.notna().all().all()
    assert terms.sum(axis=1).tolist() == pytest.approx(steps.loss.tolist(), rel=1e-5)
    assert steps.alpha.eq(0).all() and steps[["clip_norm", "cma_norm", "cosine"]].isna().all().all()


def test_first_contrastive_loss_is_the_same_for_all_methods(run_of):
    # same base, same first batch; i0t-async is another model from the first step on
    methods = [name for name, columns in LOSS_COLUMNS.items() if "contrastive_loss" in columns and name != "i0t-async"]
    first = [run_of(name).steps.contrastive_loss[0] for name in (*methods, "tpc-cma", PAIRED)]
    assert first == pytest.approx([first[0]] * len(first), rel=1e-6)


def test_m2_mix_is_told_the_epoch(tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, monkeypatch):
    epochs: list[int] = []
    terms = METHODS["m2-mix"].loss.terms

    def listening(loss, *features, epoch: int) -> dict:
        epochs.append(epoch)
        return terms(loss, *features, epoch=epoch)

    monkeypatch.setattr(METHODS["m2-mix"].loss, "terms", listening)
    fine_tune(tiny_profile, "m2-mix", 0, 0, tmp_path, tiny_corpus)
    assert epochs == [0] * 8 + [1] * 8


def test_teacher_is_the_base_and_stays_so(tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, monkeypatch):
    seen: list[tuple] = []
    inputs = Objective.inputs

    def listening(objective: Objective, images, tokens, raw, epoch) -> dict:
        found = inputs(objective, images, tokens, raw, epoch)
        seen.append((images, tokens, found["teacher"]))
        return found

    monkeypatch.setattr(Objective, "inputs", listening)
    fine_tune(tiny_profile, "clip-refine", 0, 0, tmp_path, tiny_corpus)
    base = base_run(tiny_profile).encoder.model.eval()
    images, tokens, (x, y, scale) = seen[-1]
    with torch.no_grad():
        torch.testing.assert_close(x, base.encode_image(images, normalize=True))
        torch.testing.assert_close(y, base.encode_text(tokens, normalize=True))
    assert scale.item() == pytest.approx(100)


def test_captions_are_compared_by_the_base_or_by_the_features_given(
    tiny_profile: Profile, tiny_corpus: Corpus, tmp_path
):
    method = METHODS["align-clip"]
    encoder = build_encoder(tiny_profile)
    trainer = Trainer(encoder, tiny_profile, tiny_profile.fine_tune, 0.0, 0, tmp_path, tiny_corpus, method)
    tokens = encoder.tokenizer(TEXTS)
    with torch.no_grad():
        expected = build_encoder(tiny_profile).model.eval().encode_text(tokens, normalize=True)
        torch.testing.assert_close(trainer.objective.sentences(tokens), expected)

    # heads: their text features are sentence embeddings already
    profile = load_profile("fashion", model__image_width=4, model__text_width=3, model__embed_dim=2)
    features = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0]])
    pairs = Pairs(torch.ones(2, 4), [["a"], ["b"]], torch.zeros(2))
    heads = Encoder(build_encoder(profile).model, lambda texts: features, profile.model)
    settings = profile.fine_tune.model_copy(update={"batch_size": 2})
    corpus = Corpus(pairs, pairs, pairs, ("thing",), ("a {}.",))
    trainer = Trainer(heads, profile, settings, 0.0, 0, tmp_path, corpus, method)
    assert trainer.objective.teacher is None
    sentences = trainer.objective.sentences(features).tolist()
    assert sentences == [pytest.approx([0.6, 0.8, 0.0]), pytest.approx([0.0, 0.0, 1.0])]


# ---- post-processing and i0t-async: the base stays as it is


@pytest.mark.parametrize("method", [*POST_PROCESSED, "i0t-async"])
def test_weights_of_the_base_stay_as_they_were(run_of, method: str, tiny_profile: Profile):
    model = run_of(method).encoder.model
    assert isinstance(model, PostProcessed)
    base = base_run(tiny_profile).encoder.model.state_dict()
    frozen = model.model.state_dict()
    assert set(frozen) == set(base) and all(torch.equal(frozen[name], base[name]) for name in base)


def test_i0t_async_trains_its_two_layers_and_the_scale(run_of):
    model = run_of("i0t-async").encoder.model
    for part in (model.images, model.texts):
        assert (part.weight - 1).abs().max() > 1e-4 and part.bias.abs().max() > 1e-4
        assert part.num_batches_tracked == 16
    assert model.logit_scale.item() != pytest.approx(log(100), abs=1e-6)
    assert run_of("i0t-async").steps.logit_scale[0] == pytest.approx(100)


def test_means_are_those_of_the_training_pictures_and_their_first_captions(
    run_of, tiny_profile: Profile, tiny_corpus: Corpus
):
    base, model = base_run(tiny_profile).encoder, run_of("mean-centering").encoder.model
    train = tiny_corpus.train
    first = base.embed_texts([captions[0] for captions in train.captions])
    torch.testing.assert_close(model.images.mean, base.embed_images(train.images).mean(0))
    torch.testing.assert_close(model.texts.mean, first.mean(0))
    test = base.embed_images(tiny_corpus.test.images)
    centred = F.normalize(test - model.images.mean, dim=1)
    torch.testing.assert_close(run_of("mean-centering").encoder.embed_images(tiny_corpus.test.images), centred)


def test_maps_are_saved_with_the_model(run_of):
    from safetensors.torch import load_file

    run = run_of("realign")
    saved = load_file(run.folder / "model.safetensors")
    assert {"texts.0.mean", "texts.0.gain", "texts.1.target", "logit_scale", "model.logit_scale"} <= set(saved)
    assert isinstance(run.encoder.model.texts[1], Recentre)
    torch.testing.assert_close(saved["texts.1.target"], run.encoder.model.texts[1].target)


# ---- ablations


@pytest.mark.parametrize("term", TERMS)
def test_ablated_term_is_absent_and_the_others_are_there(run_of, term: str):
    kept = {f"{other}_loss" for other in TERMS if other != term}
    assert columns_filled(run_of(f"{PAIRED}-no-{term}")) == {"contrastive_loss", *kept}
    assert columns_filled(run_of(PAIRED)) == {"contrastive_loss", f"{term}_loss", *kept}


def test_fixed_alpha_is_the_target_from_the_first_step(run_of):
    steps = run_of(f"{PAIRED}-fixed-alpha").steps
    assert steps.alpha.eq(0.5).all() and steps.phase.eq("stabilize").all()


def test_linear_ramp_is_linear_from_the_first_step(run_of):
    # over 60 % of 16 steps, so 9.6
    expected = [min(0.5 * step / 9.6, 0.5) for step in range(16)]
    assert run_of(f"{PAIRED}-linear-ramp").steps.alpha.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("method, steps", [(PAIRED, 3), (f"{PAIRED}-anchor-0", 0), (f"{PAIRED}-anchor-0.3", 5)])
def test_anchor_takes_its_share_of_the_steps(run_of, method: str, steps: int):
    # 15 %, 0 and 30 % of 16 are 2.4, 0 and 4.8
    run = run_of(method).steps
    assert run.phase.eq("anchor").sum() == steps
    assert run.phase[steps:].unique().tolist() == ["ramp", "stabilize"]
    assert run.alpha[:steps].eq(0).all() and run.alpha.iloc[-1] == 0.5


@pytest.mark.parametrize("method, aware", [(PAIRED, True), (f"{PAIRED}-not-gradient-aware", False)])
def test_gradients_hold_alpha_back_unless_ablated(
    tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, method: str, aware: bool
):
    profile = load_profile(tiny_profile, first_reading__curriculum__rho=0.01)
    alphas = fine_tune(profile, method, 0.5, 0, tmp_path, tiny_corpus).steps.alpha
    clock = FirstReadingCurriculum(0.5, 16)
    plain = pd.Series([clock.alpha(step) for step in range(16)])
    held_back = plain - alphas > 1e-3
    assert held_back.any() == aware
    if not aware:
        assert alphas.tolist() == pytest.approx(plain.tolist())
    assert alphas.iloc[-1] == 0.5


@pytest.mark.deep
@pytest.mark.parametrize("term", TERMS[:3])
def test_second_reading_without_a_term(run_of, term: str):
    kept = {f"{other}_loss" for other in TERMS[:3] if other != term}
    assert columns_filled(run_of(f"tpc-cma-no-{term}")) == {"contrastive_loss", *kept}
    assert columns_filled(run_of("tpc-cma")) == {"contrastive_loss", f"{term}_loss", *kept}


@pytest.mark.deep
def test_paired_term_weighs_what_it_did_in_the_first_reading(run_of, tiny_profile: Profile):
    alone, first = run_of("tpc-cma-only-paired"), load_profile(tiny_profile).first_reading.loss.paired_weight
    assert columns_filled(alone) == {"contrastive_loss", "paired_loss"}
    assert columns_filled(run_of("tpc-cma-with-paired")) == {"contrastive_loss", *(f"{term}_loss" for term in TERMS)}
    changes = [METHODS[f"tpc-cma-{name}"].changes["loss__paired_weight"] for name in ("only-paired", "with-paired")]
    assert changes == [first, first]


def test_yoked_run_has_the_alphas_of_another_seed_and_reads_no_gradients(
    tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path
):
    profile = load_profile(tiny_profile, fine_tune__epochs=1)
    other = fine_tune(profile, "tpc-cma", 0.5, 1, tmp_path, tiny_corpus)
    other.steps.assign(alpha=[0.125] * 8).to_csv(other.folder / "steps.csv", index=False)
    steps = fine_tune(profile, "tpc-cma-yoked", 0.5, 0, tmp_path, tiny_corpus).steps
    assert steps.alpha.tolist() == [0.125] * 8
    assert steps[["clip_norm", "cma_norm", "cosine"]].isna().all().all()


def test_fixed_alpha_gives_the_dose_of_the_run_of_its_own_seed(run_of):
    steps, full = run_of("tpc-cma-fixed-alpha").steps, run_of("tpc-cma").steps
    assert steps.alpha.nunique() == 1 and steps.phase.eq("stabilize").all()
    assert 0 < steps.alpha[0] < 0.5
    assert (steps.alpha * steps.learning_rate).sum() == pytest.approx((full.alpha * full.learning_rate).sum())


def test_run_whose_steps_are_wanted_is_trained_first_and_that_is_said(
    tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, caplog
):
    profile = load_profile(tiny_profile, fine_tune__epochs=1)
    first = fine_tune(profile, "tpc-cma-fixed-alpha", 0.5, 3, tmp_path, tiny_corpus)
    said = "tpc-cma-fixed-alpha-a0.5-s3 goes by the steps of tpc-cma-a0.5-s3, which is not there and is trained first"
    assert said in caplog.text
    caplog.clear()
    again = fine_tune(profile, "tpc-cma-fixed-alpha", 0.5, 3, tmp_path, tiny_corpus)
    assert caplog.text == "" and again.code == first.code == fine_tune(profile, "tpc-cma", 0.5, 3, tmp_path).code
    assert len(list((tmp_path / "demo").iterdir())) == 2


def test_run_that_goes_by_one_that_diverged_says_so(
    tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def diverge(trainer: Trainer) -> None:
        raise FloatingPointError("loss is nan at step 3")

    monkeypatch.setattr(Trainer, "run", diverge)
    said = r"tpc-cma-yoked-a0\.5-s4 goes by the steps of tpc-cma-a0\.5-s0, which has diverged: loss is nan at step 3"
    with pytest.raises(ValueError, match=said):
        fine_tune(tiny_profile, "tpc-cma-yoked", 0.5, 4, tmp_path, tiny_corpus)


def test_rate_of_an_ablation_is_a_multiple(tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path):
    profile = load_profile(tiny_profile, fine_tune__epochs=1, learning_rates={"tpc-cma": 1e-5})
    run = fine_tune(profile, "tpc-cma-rate-3", 0.5, 0, tmp_path, tiny_corpus)
    assert run.steps.learning_rate.max() == pytest.approx(3e-5)


def test_first_readings_loss_under_the_second_curriculum_has_its_terms_and_its_phases(run_of):
    run = run_of(SECOND_CURRICULUM)
    assert columns_filled(run) == columns_filled(run_of(PAIRED))
    assert run.steps.alpha.iloc[-1] == 0.5 and set(run.steps.phase) == {"anchor", "ramp", "stabilize"}
    assert run.steps.alpha.tolist() != run_of(PAIRED).steps.alpha.tolist()
    # same base, same batch: what the curriculum reads of L_CLIP is what it reads in the second reading
    names = ["clip_norm", "contrastive_loss"]
    assert run.steps[names].iloc[0].tolist() == pytest.approx(run_of("tpc-cma").steps[names].iloc[0].tolist(), rel=1e-4)
