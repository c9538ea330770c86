"""The README's Python runs as it stands there, its commands exist, and it keeps to its length."""

import re
from functools import partial
from pathlib import Path

import open_clip
import pytest
import torch
from typer.testing import CliRunner

import tpccma
from tpccma.cli import app
from tpccma.data import Corpus
from tpccma.models import prepare
from tpccma.profiles import Profile

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_python_blocks_run_one_after_the_other(
    tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    asked = []

    def load_tiny(name: str, **changes) -> Profile:
        tpccma.profiles.load_profile(name, **changes)  # what the README asks for exists
        asked.append(name)
        return tiny_profile

    monkeypatch.setattr(tpccma, "load_profile", load_tiny)
    monkeypatch.setattr(tpccma, "fine_tune", partial(tpccma.fine_tune, corpus=tiny_corpus))
    model = open_clip.create_model("tpccma-demo")
    generator = torch.Generator().manual_seed(0)
    images, tokens = prepare(tiny_corpus.train.images[:16]), torch.randint(1, 50, (16, 20), generator=generator)
    names = {
        "image_features": torch.randn(8, 4, generator=generator),
        "text_features": torch.randn(8, 4, generator=generator),
        "model": model,
        "loader": [(images, tokens)] * 5,
        "optimizer": torch.optim.SGD(model.parameters(), 1e-3),
    }
    for block in BLOCKS:
        exec(block, names)
    assert asked == ["demo"]
    assert names["gap"].raw ** 2 == pytest.approx(names["gap"].centroid ** 2 + names["gap"].distribution ** 2)
    assert names["loss"].alpha == 0.5  # the curriculum has arrived
    loaded, trained = names["model"].state_dict(), names["run"].encoder.model.state_dict()
    assert all(torch.equal(loaded[name], trained[name]) for name in trained)


def test_loss_takes_less_than_15_lines_in_a_bare_loop():
    (block,) = (block for block in BLOCKS if "CMALoss" in block)
    assert len(block.splitlines()) < 15 and "model(images, texts)" in block and "optimizer.step()" in block


def test_commands_and_options_it_names_exist():
    commands = {command.name: command.callback for command in app.registered_commands}
    for name, rest in re.findall(r"^tpccma ([a-z]+)(.*)$", README, re.MULTILINE):
        shown = CliRunner().invoke(app, [name, "--help"], terminal_width=200).output
        assert name in commands and [each for each in re.findall(r"--[a-z-]+", rest) if each not in shown] == []


def test_every_make_target_it_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z-]+)", README)) <= targets


def test_every_file_it_names_exists():
    paths = re.findall(r"\]\((?!https?:)([^)]+)\)", README) + re.findall(r"(?:notebooks|tpccma)/[\w/]+\.\w+", README)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_it_fits_150_lines():
    assert len(README.splitlines()) < 150
