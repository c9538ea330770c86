"""Any model of open_clip on any pictures and captions, without a profile or a run. All made here."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import open_clip
import pytest
import torch
from torch import Tensor, nn

from tpccma import evaluate, load_profile
from tpccma.data import Corpus, Pairs
from tpccma.models import Encoder, prepare
from tpccma.models.transforms import prepare_by
from tpccma.profiles import Evaluation

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
MODEL = "tpccma-anybodys-test"
COLOURS = ("red", "green", "blue")
DECODER = {"width": 16, "layers": 1, "heads": 2, "steps": 3, "warmup_steps": 1, "batch_size": 8}
SETTINGS = Evaluation(kmeans_restarts=1, bootstrap_resamples=20, decoder=DECODER)
CHEAP = ("gap", "zeroshot", "retrieval", "clustering")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    folder = tmp_path_factory.mktemp("config")
    (folder / f"{MODEL}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / f"{MODEL}.json")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return open_clip.create_model(MODEL)


@pytest.fixture(scope="module")
def tokenizer(model: nn.Module):
    return open_clip.get_tokenizer(MODEL)


@pytest.fixture(scope="module")
def transform(model: nn.Module):
    return open_clip.image_transform(32, is_train=False)


def pixels_of(count: int) -> Tensor:
    """Noise that is reddest, greenest or bluest in turn."""
    images = torch.randint(0, 160, (count, 3, 32, 32), generator=torch.Generator().manual_seed(count))
    images[torch.arange(count), torch.arange(count) % 3] += 80
    return images.to(torch.uint8)


def pairs_of(count: int) -> Pairs:
    captions = [[f"a {COLOURS[i % 3]} thing", f"number {i} is {COLOURS[i % 3]}"] for i in range(count)]
    return Pairs(pixels_of(count), captions, torch.arange(count) % 3)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Pixels with two captions each, and classes."""
    return Corpus(pairs_of(24), pairs_of(9), pairs_of(18), COLOURS, ("a {} thing", "something {}"))


def prepared(corpus: Corpus, transform) -> Corpus:
    """The same pictures as floats, prepared for the model."""
    splits = {name: getattr(corpus, name) for name in ("train", "val", "test")}
    make = prepare_by(transform)
    return replace(corpus, **{name: replace(pairs, images=make(pairs.images)) for name, pairs in splits.items()})


@pytest.fixture(scope="module")
def results(model: nn.Module, tokenizer, transform, corpus: Corpus) -> dict[str, float]:
    """All tasks, of prepared pictures."""
    return evaluate(model, prepared(corpus, transform), tokenizer=tokenizer, settings=SETTINGS, seed=1)


def test_model_and_corpus_of_ones_own_give_all_measures(results: dict[str, float]):
    assert {"raw_gap", "zeroshot_top1_red", "i2t_recall_at_5", "clustering_ari", "cider", "cider_text"} <= set(results)
    assert all(isinstance(value, float) for value in results.values())


def test_run_and_encoder_of_the_same_weights_give_the_same(
    model: nn.Module, tokenizer, transform, corpus: Corpus, results: dict[str, float]
):
    encoder, ready = Encoder(model, tokenizer), prepared(corpus, transform)
    run = SimpleNamespace(encoder=encoder, profile=load_profile("demo", evaluation=SETTINGS.model_dump()), seed=1)
    assert evaluate(run, ready) == results
    of_encoder = evaluate(encoder, ready, CHEAP, settings=SETTINGS)
    assert of_encoder == {name: results[name] for name in of_encoder}


def test_pixels_are_prepared_by_the_models_transform(
    model: nn.Module, tokenizer, transform, corpus: Corpus, results: dict[str, float]
):
    found = evaluate(model, corpus, CHEAP, tokenizer=tokenizer, transform=transform, settings=SETTINGS)
    assert found == {name: results[name] for name in found}
    scaled = replace(corpus, test=replace(corpus.test, images=prepare(corpus.test.images)))  # as the demo's model does
    assert evaluate(model, scaled, ("gap",), tokenizer=tokenizer, settings=SETTINGS)["raw_gap"] != found["raw_gap"]


def test_pixels_without_a_transform_are_refused(model: nn.Module, tokenizer, corpus: Corpus):
    with pytest.raises(ValueError, match=r"pixels of type torch\.uint8.*say transform="):
        evaluate(model, corpus, ("gap",), tokenizer=tokenizer)


def test_no_gradient_and_no_mode_is_left_behind(model: nn.Module, tokenizer, transform, corpus: Corpus):
    model.train()
    evaluate(model, corpus, ("retrieval",), tokenizer=tokenizer, transform=transform)
    assert model.training and all(weight.grad is None for weight in model.parameters())


def test_without_classes_the_other_tasks_are_measured_and_theirs_refused(
    model: nn.Module, tokenizer, transform, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
):
    unlabelled = replace(corpus.test, labels=torch.full((18,), -1))
    given = {"tokenizer": tokenizer, "transform": transform, "settings": SETTINGS}
    unlabelled = Corpus(unlabelled, unlabelled, unlabelled)
    monkeypatch.setattr("tpccma.tasks.evaluation.TASKS", CHEAP)  # what is measured where nothing is named
    found = evaluate(model, unlabelled, **given)
    assert {"raw_gap", "t2i_recall_at_1"} <= set(found)
    assert not any(name.startswith(("zeroshot", "clustering")) for name in found)
    with pytest.raises(ValueError, match="no classes, needed for zeroshot and clustering"):
        evaluate(model, unlabelled, CHEAP, **given)


def test_one_caption_a_picture_is_enough(model: nn.Module, tokenizer, transform, corpus: Corpus):
    one = replace(corpus.test, captions=[captions[:1] for captions in corpus.test.captions])
    given = {"tokenizer": tokenizer, "transform": transform, "settings": SETTINGS}
    gap = evaluate(model, replace(corpus, test=one), ("gap",), **given)
    # The gap is of the first captions; embedded among others, they come out a rounding apart.
    assert gap == pytest.approx(evaluate(model, corpus, ("gap",), **given), rel=1e-5)


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (lambda i, captions: captions[: 1 + i % 2], "1 to 2 captions"),
        # as many captions in all as with two each
        (lambda i, captions: captions * 2 if i == 0 else [] if i == 1 else captions, "0 to 4 captions"),
        (lambda i, captions: [], "0 to 0 captions"),
    ],
)
def test_other_numbers_of_captions_are_refused(model: nn.Module, tokenizer, transform, corpus: Corpus, cut, message):
    uneven = replace(corpus.test, captions=[cut(i, captions) for i, captions in enumerate(corpus.test.captions)])
    with pytest.raises(ValueError, match=rf"the split has {message}.*cut them to one K"):
        evaluate(model, replace(corpus, test=uneven), tokenizer=tokenizer, transform=transform)


def test_captions_learnt_from_may_differ_in_number(model: nn.Module, tokenizer, transform, corpus: Corpus):
    uneven = replace(corpus.train, captions=[captions[: 1 + i % 2] for i, captions in enumerate(corpus.train.captions)])
    found = evaluate(
        model, replace(corpus, train=uneven), ("captioning",), tokenizer=tokenizer, transform=transform,
        settings=SETTINGS,
    )  # fmt: skip
    assert {"cider", "cider_memory", "cider_centred", "cider_text", "bleu4", "meteor", "rouge_l"} == set(found)


def test_nothing_to_learn_captioning_from_is_said(model: nn.Module, tokenizer, transform, corpus: Corpus):
    nothing = Pairs(corpus.test.images[:0], [], corpus.test.labels[:0])
    with pytest.raises(ValueError, match=r"corpus\.train is empty"):
        evaluate(model, replace(corpus, train=nothing), ("captioning",), tokenizer=tokenizer, transform=transform)


def test_captions_are_lists_of_texts(corpus: Corpus):
    with pytest.raises(ValueError, match=r"captions of picture 0 are the text 'a red thing'.*one or several"):
        replace(corpus.test, captions=[captions[0] for captions in corpus.test.captions])


def test_what_is_missing_is_said(model: nn.Module, tokenizer, corpus: Corpus):
    with pytest.raises(ValueError, match=r"needs its tokenizer: say tokenizer=open_clip\.get_tokenizer"):
        evaluate(model, corpus)
    with pytest.raises(ValueError, match=r"what to measure the model on: evaluate\(model, corpus\)"):
        evaluate(model, tokenizer=tokenizer)
    with pytest.raises(ValueError, match="bring their own: leave tokenizer="):
        evaluate(Encoder(model, tokenizer), corpus, tokenizer=tokenizer)
    with pytest.raises(ValueError, match="Linear has no encode_image and encode_text"):
        evaluate(nn.Linear(2, 2), corpus)


def test_encoder_of_unknown_origin_is_not_saved(model: nn.Module, tokenizer, tmp_path: Path):
    with pytest.raises(ValueError, match=r"model\.safetensors is not written: say what the model was made from"):
        Encoder(model, tokenizer).save(tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())
