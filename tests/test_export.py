"""A model handed on: open_clip loads the folder to the last bit, and the card says what was measured."""

import json
import shutil
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file
from torchvision.transforms.functional import to_pil_image
from typer.testing import CliRunner, Result

from tests.test_embed import folder, options  # noqa: F401
from tpccma import load_profile
from tpccma.cli import app
from tpccma.models import prepare, read_weights
from tpccma.practice.export import export_model
from tpccma.profiles import Preprocessing
from tpccma.training.encoders import load_encoder, weights_path

MIXED = {"t": 0.3, "base": "00ff", "aligned": "ff00"}


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """The folder of a run: the demo's base, with a record."""
    (tmp_path / "run").mkdir()
    shutil.copy(weights_path(load_profile("demo")), tmp_path / "run" / "model.safetensors")
    key = {"profile": "demo", "method": "tpc-cma", "alpha": 0.5, "seed": 1}
    record = key | {"training": {"epochs": 2}, "metrics": {"raw_gap": 0.7512, "other": 1}}
    (tmp_path / "run" / "record.json").write_text(json.dumps(record))
    return tmp_path / "run"


def test_open_clip_loads_the_folder_to_the_last_bit(finished: Path, tmp_path: Path):
    result = run("export", finished, tmp_path / "out")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'out'}\n")
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'out'}")
    expected = read_weights(finished / "model.safetensors")
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert model.state_dict().keys() == expected.keys()
    pixels = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert transform(to_pil_image(pixels)) == pytest.approx(prepare(pixels[None])[0], abs=1e-6)


def test_card_says_what_was_measured(finished: Path, tmp_path: Path):
    card = (export_model(finished, tmp_path / "out") / "README.md").read_text()
    assert "# tpccma-demo, fine-tuned by tpccma" in card
    assert "Fine-tuned: profile demo, method tpc-cma, alpha 0.5, seed 1" in card
    assert "| modality gap, raw | 0.7512 |" in card and "other" not in card and "means" not in card
    assert not (tmp_path / "out" / "means.safetensors").exists()
    assert "one of words" in card and "get_tokenizer" not in card  # which would give ids of other words


def test_card_of_a_mixture_says_of_what_and_how_far(finished: Path, tmp_path: Path):
    weights = finished / "model.safetensors"
    load_encoder(load_profile("demo"), weights).save(tmp_path / "half.safetensors", mixture=MIXED)
    card = (export_model(tmp_path / "half.safetensors", tmp_path / "out") / "README.md").read_text()
    assert "t = 0.3 of the way from the weights `00ff` (base) to `ff00`" in card


def test_export_of_an_export_tells_the_same(finished: Path, tmp_path: Path):
    weights = finished / "model.safetensors"
    load_encoder(load_profile("demo"), weights).save(weights, mixture=MIXED)
    first = export_model(finished, tmp_path / "first")
    again = export_model(first, tmp_path / "again")
    for name in ("README.md", "open_clip_model.safetensors", "open_clip_config.json"):
        assert (first / name).read_bytes() == (again / name).read_bytes()
    card = (again / "README.md").read_text()
    assert "# tpccma-demo, mixed by tpccma" in card and "method tpc-cma" in card and "t = 0.3 of the way" in card


def test_means_go_with_an_export(finished: Path, tmp_path: Path):
    means = {name: torch.rand(128) for name in ("images", "texts")}
    first = export_model(finished, tmp_path / "first", means)
    for out in (tmp_path / "again", first):  # onto itself too
        assert load_file(export_model(first, out) / "means.safetensors")["texts"].equal(means["texts"])
        assert "means.safetensors" in (out / "README.md").read_text()


def test_what_was_not_trained_is_not_called_so(finished: Path, tmp_path: Path):
    record = json.loads((finished / "record.json").read_text()) | {"method": "base", "training": None}
    (finished / "record.json").write_text(json.dumps(record))
    card = (export_model(finished, tmp_path / "out") / "README.md").read_text()
    assert "# tpccma-demo, written by tpccma" in card and "Written: profile demo, method base" in card


def test_gap_takes_what_was_exported(finished: Path, tmp_path: Path, folder: Path):  # noqa: F811
    out, pairs = export_model(finished, tmp_path / "out"), options(folder)[4:]
    given = ["gap", "--model", "tpccma-demo", *pairs, "--json", "--resamples", "2", "--pretrained"]
    of_run, of_folder, of_open_clip = (run(*given, place).stdout for place in (finished, out, f"local-dir:{out}"))
    assert of_run == of_folder == of_open_clip and json.loads(of_run)["pairs"] == 25
    place = run("gap", "--model", f"local-dir:{out}", "--pretrained", out, *pairs)
    assert place.exit_code == 2 and "is a place, not a model" in place.stderr


def test_scaling_that_a_run_was_trained_with_goes_with_its_weights(finished: Path, tmp_path: Path, folder: Path):  # noqa: F811
    """Wherever they are given: the file, the folders of run and export."""
    weights, stated = finished / "model.safetensors", {"mean": (0.4,) * 3, "std": (0.25,) * 3}
    encoder = load_encoder(load_profile("demo"), weights)
    encoder.architecture = encoder.architecture.model_copy(update={"preprocess": Preprocessing(**stated)})
    encoder.save(weights)
    places = [weights, finished, export_model(finished, tmp_path / "out")]
    given = ["gap", "--model", "tpccma-demo", *options(folder)[4:], "--json", "--resamples", "2", "--pretrained"]
    raws = [json.loads(run(*given, place).stdout)["raw"] for place in places]
    assert raws[0] == raws[1] == raws[2] != pytest.approx(0.87, abs=0.005)  # as the demo's own scaling would have it
    profile = load_profile("photos", model={"kind": "open_clip", "name": "tpccma-demo", "pretrained": str(finished)})
    assert profile.model.preprocess.mean == stated["mean"]
    other = load_profile(profile, model__preprocess={"mean": (0.5,) * 3})
    with pytest.raises(ValueError, match="state the former"):
        load_encoder(other, weights)


def test_export_replaces_an_export_and_nothing_else(finished: Path, tmp_path: Path, folder: Path):  # noqa: F811
    places = "--images", folder / "pictures", "--captions", folder / "captions.csv"
    out = tmp_path / "out"
    assert run("export", finished, out, *places).exit_code == 0 and (out / "means.safetensors").is_file()
    assert run("export", finished, out).exit_code == 0 and not (out / "means.safetensors").exists()
    refused = run("export", finished, folder / "pictures")
    assert refused.exit_code == 2 and "holds 00.png and so is no export" in refused.stderr


def test_what_was_not_uploaded_is_said_in_a_line(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*given, **named):
        raise RuntimeError("no network")

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", fail)
    refused = run("export", finished, tmp_path / "out", "--push", "foo/bar")
    assert refused.exit_code == 2 and "is written, but was not uploaded to 'foo/bar': no network" in refused.stderr


def test_pictures_give_the_means_and_the_gap(finished: Path, tmp_path: Path, folder: Path):  # noqa: F811
    places = "--images", folder / "pictures", "--captions", folder / "captions.csv"
    assert run("export", finished, tmp_path / "out", *places).exit_code == 0
    profile, (images, captions) = load_profile("demo"), torch.load(folder / "pairs.bin")
    encoder, means = load_encoder(profile, weights_path(profile)), load_file(tmp_path / "out" / "means.safetensors")
    assert means["images"] == pytest.approx(encoder.embed_images(prepare(images)).mean(0), abs=1e-5)
    assert means["texts"] == pytest.approx(encoder.embed_texts(captions).mean(0), abs=1e-5)
    assert "25 pairs of width 128" in (tmp_path / "out" / "README.md").read_text()


def test_what_cannot_be_exported_is_named(finished: Path, tmp_path: Path):
    half = run("export", finished, tmp_path / "out", "--images", tmp_path)
    none = run("export", tmp_path / "none", tmp_path / "out")
    (finished / "record.json").write_text("[[")
    damaged = run("export", finished, tmp_path / "out")
    for result, named in ((half, "both --images DIR and"), (none, "none"), (damaged, "record.json is damaged")):
        assert (result.exit_code, result.stdout) == (2, "") and named in result.stderr
