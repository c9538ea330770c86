"""What a training may ask for beside its numbers: SigLIP's models, bf16, torch.compile, all GPUs from a notebook."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import open_clip
import pandas as pd
import pytest
import torch

from tpccma import load_profile
from tpccma.data import Corpus, Pairs
from tpccma.profiles import Profile
from tpccma.runs.launch import launch
from tpccma.training.encoders import build_encoder
from tpccma.training.loop import Trainer

MODEL = "tpccma-biased-test"
CONFIG = {
    "embed_dim": 16,
    "init_logit_scale": math.log(10),
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """A profile of a small model with the logit bias of SigLIP's."""
    path = tmp_path_factory.mktemp("model") / f"{MODEL}.json"
    path.write_text(json.dumps(CONFIG))
    open_clip.add_model_config(path)
    return load_profile(
        "photos",
        model={"kind": "open_clip", "name": MODEL, "pretrained": None},
        fine_tune__batch_size=8,
        fine_tune__learning_rate=1e-3,
    )


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (32, 3, 16, 16), generator=generator).to(torch.uint8)
    pairs = Pairs(pixels, [[f"thing {i}"] for i in range(32)], torch.full((32,), -1))
    return Corpus(pairs, pairs, pairs)


def train(profile: Profile, corpus: Corpus, folder: Path) -> tuple[pd.DataFrame, torch.nn.Module]:
    """Train from the same weights every time; return the steps and the model."""
    encoder = build_encoder(profile, seed=0)
    Trainer(encoder, profile, profile.fine_tune, 0.5, 0, folder, corpus).run()
    return pd.read_csv(folder / "steps.csv"), encoder.model


def test_logit_bias_stays_as_it_is(siglip: Profile, corpus: Corpus, tmp_path: Path):
    steps, model = train(siglip, corpus, tmp_path)
    assert isinstance(model, open_clip.CustomTextCLIP)
    assert model.logit_bias.item() == -10 and not model.logit_bias.requires_grad
    assert steps.logit_scale.iloc[0] == pytest.approx(10) and steps.logit_scale.iloc[-1] != steps.logit_scale.iloc[0]


def test_tokenizer_that_cannot_be_had_is_named(siglip: Profile, monkeypatch: pytest.MonkeyPatch):
    def fail(name: str) -> None:
        raise ImportError("aiohttp is not there")

    monkeypatch.setattr(open_clip, "get_tokenizer", fail)
    with pytest.raises(FileNotFoundError, match=rf"of model '{MODEL}' .*\(aiohttp is not there\).*pip install"):
        build_encoder(siglip)


def test_scale_above_the_limit_is_said(siglip: Profile, corpus: Corpus, tmp_path: Path, caplog):
    steps, _ = train(load_profile(siglip, fine_tune__max_logit_scale=9), corpus, tmp_path)
    assert steps.logit_scale.iloc[0] == pytest.approx(10) and steps.logit_scale.iloc[1] <= 9 + 1e-5
    assert "starts with a logit scale of 10.0, above max_logit_scale 9" in caplog.text


def test_bf16_is_near_and_weights_stay_whole(siglip: Profile, corpus: Corpus, tmp_path: Path):
    whole, _ = train(siglip, corpus, tmp_path / "whole")
    half, model = train(load_profile(siglip, fine_tune__precision="bf16"), corpus, tmp_path / "half")
    again, _ = train(siglip, corpus, tmp_path / "again")
    assert half.loss.iloc[0] == pytest.approx(whole.loss.iloc[0], rel=0.02)
    assert half.loss.iloc[0] != whole.loss.iloc[0]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    pd.testing.assert_series_equal(again.loss, whole.loss)  # nothing of bf16 is left


@pytest.mark.deep
def test_compiled_model_trains_alike(siglip: Profile, corpus: Corpus, tmp_path: Path):
    plain, _ = train(siglip, corpus, tmp_path / "plain")
    compiled, model = train(load_profile(siglip, fine_tune__compile="eager"), corpus, tmp_path / "compiled")
    pd.testing.assert_series_equal(compiled.loss, plain.loss, rtol=1e-4)
    assert not any(name.startswith("_orig_mod") for name in model.state_dict())


SCRIPT = """
import sys
import torch
from tpccma import load_profile
from tpccma.runs.launch import launch

torch.set_num_threads(2)
torch.randn(1000, 1000).softmax(1) @ torch.randn(1000, 1000)  # so that threads are there before the fork
profile = load_profile("demo", data__train_pairs=64, data__val_pairs=8, data__test_pairs=8,
                       fine_tune__epochs=1, fine_tune__batch_size=32)
run = launch(profile, "tpc-cma", 0.5, 0, runs_dir=sys.argv[1], processes=2)
print("steps", len(run.steps), "alpha", run.steps.alpha.iloc[-1])
"""


@pytest.mark.deep
def test_launch_from_one_process_trains_in_two(tmp_path: Path):
    settings = os.environ | {"ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, env=settings, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "Launching training on 2" in done.stdout
    assert "steps 2 alpha 0.5" in done.stdout


def test_launch_of_an_impossible_run_starts_nothing(tmp_path: Path):
    with pytest.raises(ValueError, match="method 'clip' has no dial"):
        launch("demo", "clip", 0.5, 0, runs_dir=tmp_path, processes=2)
    unmeasured = load_profile("demo", expected={"zeroshot_top1": 0.95})
    with pytest.raises(FileNotFoundError, match="measure the base model first"):
        launch(unmeasured, "clip", 0.0, 0, runs_dir=tmp_path, processes=2, results_dir=tmp_path)
    assert not list(tmp_path.iterdir())
