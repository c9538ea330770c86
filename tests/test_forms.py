"""Checkpoints as trainings leave them: loaded as open_clip loads them, and refused in words where they do not fit."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

from tpccma import load_profile
from tpccma.cli import app
from tpccma.models.encoder import build_network
from tpccma.models.forms import load_into, without_prefixes
from tpccma.models.transforms import image_transform
from tpccma.training.encoders import load_encoder, weights_path

Weights = dict[str, Tensor]
BASE = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 99, "width": 16, "heads": 2, "layers": 1},
}
KINDS = {
    "forms-plain": BASE,
    "forms-wide": BASE | {"vision_cfg": BASE["vision_cfg"] | {"image_size": 64}},
    "forms-long": BASE | {"text_cfg": BASE["text_cfg"] | {"context_length": 20}},
    "forms-custom-text": BASE | {"custom_text": True},
    "forms-with-bias": BASE | {"init_logit_bias": -10.0},
}


@pytest.fixture(scope="module", autouse=True)
def kinds(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("configs")
    for name, config in KINDS.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
        open_clip.add_model_config(folder / f"{name}.json")


@pytest.fixture(scope="module")
def weights() -> Weights:
    torch.manual_seed(3)
    return open_clip.create_model("forms-plain").state_dict()


def prefixed(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {prefix + name: value for name, value in weights.items()}


def of_a_training(weights: Weights) -> dict:
    return {
        "epoch": 1,
        "name": "run",
        "state_dict": weights,
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]},
    }


FORMS = [
    ("forms-plain", "plain.pt", dict),
    ("forms-plain", "plain.bin", dict),
    ("forms-plain", "plain.safetensors", dict),
    ("forms-plain", "training.pt", of_a_training),
    ("forms-plain", "ddp.pt", prefixed("module.")),
    ("forms-plain", "ddp.safetensors", prefixed("module.")),
    ("forms-plain", "training_ddp.pt", lambda weights: of_a_training(prefixed("module.")(weights))),
    ("forms-plain", "scale.pt", lambda weights: weights | {"logit_scale": weights["logit_scale"].reshape(1)}),
    ("forms-plain", "half.pt", lambda weights: {name: value.half() for name, value in weights.items()}),
    ("forms-custom-text", "old_names.pt", dict),
    ("forms-with-bias", "no_bias.pt", dict),
    ("forms-with-bias", "bias.pt", lambda weights: weights | {"logit_bias": torch.tensor([-3.0])}),
    ("forms-wide", "small_pictures.pt", dict),
    ("forms-long", "short_texts.pt", dict),
]


def write(content: dict, path: Path) -> Path:
    (save_file if path.suffix == ".safetensors" else torch.save)(content, path)
    return path


def profile_of(name: str, pretrained: str | Path = "x"):
    return load_profile("photos", model__name=name, model__pretrained=str(pretrained))


def assert_equal(found: Weights, expected: Weights) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


@pytest.mark.parametrize("name, file, form", FORMS, ids=[file for _, file, _ in FORMS])
def test_form_is_loaded_as_open_clip_loads_it(name: str, file: str, form: Callable, weights: Weights, tmp_path: Path):
    path = write(form(weights), tmp_path / file)
    expected = open_clip.create_model(name, pretrained=str(path)).state_dict()
    assert_equal(load_encoder(profile_of(name), path).model.state_dict(), expected)


def test_compiled_model_is_loaded_in_a_wrapper_or_without(weights: Weights, tmp_path: Path):
    for prefix in ("_orig_mod.", "module._orig_mod.", "_orig_mod.module."):
        path = write({"state_dict": prefixed(prefix)(weights)}, tmp_path / "compiled.pt")
        assert_equal(load_encoder(profile_of("forms-plain"), path).model.state_dict(), weights)


def test_bias_that_is_missing_is_0(weights: Weights, tmp_path: Path):
    path = write(weights, tmp_path / "no_bias.pt")
    assert load_encoder(profile_of("forms-with-bias"), path).model.logit_bias.item() == 0


def test_resizing_is_told_of(weights: Weights, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = write(weights, tmp_path / "small.pt")
    with caplog.at_level(logging.WARNING, "tpccma"):
        load_encoder(profile_of("forms-wide"), path)
    told = f"visual.positional_embedding of {path} has shape (5, 64) and is resized to the model's, (17, 64)"
    assert [message for message in caplog.messages if "shape" in message] == [told]


def test_a_prefix_of_some_names_is_part_of_them():
    one = torch.ones(1)
    assert without_prefixes({}) == {}
    assert list(without_prefixes({"module.a": one, "b": one})) == ["module.a", "b"]
    assert list(without_prefixes({"module.module.a": one})) == ["a"]


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: {},
        lambda weights: {"positional_embedding": torch.ones(3)},
        lambda weights: weights | {"positional_embedding": torch.ones(12, 17)},
        lambda weights: weights | {"visual.positional_embedding": torch.tensor(1.0)},
        lambda weights: weights | {"visual.positional_embedding": torch.ones(7, 64)},
        lambda weights: weights | {"logit_scale": torch.ones(2)},
        lambda weights: weights | {"logit_bias": torch.ones(1)},
        lambda weights: weights | {"more": torch.ones(1)},
    ],
)
def test_what_does_not_fit_is_named(change: Callable, weights: Weights, tmp_path: Path):
    for name in ("forms-plain", "forms-custom-text"):
        for file in ("odd.pt", "odd.safetensors"):
            path = write(change(weights), tmp_path / file)
            with pytest.raises(ValueError, match=f"{path} does not fit the model of profile 'photos': ."):
                load_encoder(profile_of(name), path)


def test_model_without_open_clips_parts_takes_its_own_weights():
    model = torch.nn.Linear(2, 1)
    load_into(model, {"module.weight": torch.tensor([[1.0, 2.0]]), "module.bias": torch.tensor([3.0])}, "file")
    assert model(torch.tensor([[1.0, 1.0]])).item() == 6
    with pytest.raises(ValueError, match=r"(?s)file does not fit the model: .*bias"):
        load_into(model, {"weight": torch.ones(1, 2)}, "file")


@pytest.mark.parametrize("note", ["{", "3", '"text"', '{"kind": 1', "[" * 100_000], ids=len)
def test_damaged_note_beside_the_weights_is_named(note: str, weights: Weights, tmp_path: Path):
    path = tmp_path / "noted.safetensors"
    for name in ("architecture", "tokenizer"):
        save_file(weights, path, {name: note})
        with pytest.raises(ValueError, match=f"{path} names .* as its {name}, which is damaged; get the file again"):
            load_encoder(profile_of("forms-plain"), path)


def test_damaged_tokenizer_is_named(weights: Weights, tmp_path: Path):
    path = tmp_path / "noted.safetensors"
    for note in ('{"word": []}', '{"words": ["a", "a"]}'):
        save_file(weights, path, {"tokenizer": note})
        with pytest.raises(ValueError, match=f"{path} holds a tokenizer that is damaged .*; get the file again"):
            load_encoder(profile_of("forms-plain"), path)


# ---- names of models


@pytest.mark.parametrize("name, alike", [("ViT-B/32", "perhaps ViT-B-32,"), ("xyzzy", r"open_clip.list_models\(\)")])
def test_unknown_model_is_named_at_every_door(name: str, alike: str, tmp_path: Path):
    profile = profile_of(name, tmp_path / "weights.pt")
    (tmp_path / "weights.pt").touch()
    doors = (
        lambda: build_network(profile.model),
        lambda: image_transform(profile.model),
        lambda: weights_path(profile),
        lambda: load_encoder(profile, tmp_path / "weights.pt"),
    )
    for door in doors:
        with pytest.raises(ValueError, match=f"open_clip knows no model {name!r}: .*{alike}"):
            door()


def test_command_names_an_unknown_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("extends: demo\nname: mine\nmodel: {name: ViT-B/32, pretrained: null}\n")
    result = CliRunner().invoke(app, ["train", "--profile", "mine.yaml"])
    assert result.exit_code == 2 and result.stderr.startswith("error: open_clip knows no model 'ViT-B/32'")
