"""Weights by tag and by path, and the guard against weights that meet the wrong activation."""

import hashlib
import json
from pathlib import Path

import open_clip
import open_clip.pretrained
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import tpccma.pretrained
import tpccma.weight_files
from tpccma import load_profile
from tpccma.models import load_encoder, weights_path
from tpccma.pretrained import check_activation, find_weights, other_activation
from tpccma.profiles import OpenClipModel, Profile
from tpccma.weight_files import checksum, is_openai_archive, read_weights

CONFIG = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 8, "layers": 1, "width": 64, "patch_size": 4},
    "text_cfg": {"context_length": 20, "vocab_size": 53, "width": 8, "heads": 2, "layers": 1},
}
PLAIN, QUICK = "tpccma-test", "tpccma-test-quickgelu"


@pytest.fixture(scope="module", autouse=True)
def two_activations(tmp_path_factory: pytest.TempPathFactory):
    """One small architecture under two names, known to open_clip."""
    folder = tmp_path_factory.mktemp("configs")
    for name, config in ((PLAIN, CONFIG), (QUICK, {**CONFIG, "quick_gelu": True})):
        (folder / f"{name}.json").write_text(json.dumps(config))
        open_clip.add_model_config(folder / f"{name}.json")


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return open_clip.create_model(QUICK).state_dict()


@pytest.fixture
def checkpoint(weights: dict[str, torch.Tensor], tmp_path: Path) -> Path:
    """A file that says nothing of its architecture."""
    path = tmp_path / "weights.safetensors"
    save_file(weights, path)
    return path


def offer(monkeypatch: pytest.MonkeyPatch, **config):
    """Let open_clip offer weights "mine" of the model, under both names as it does with OpenAI's."""
    entry = {"url": "", "hf_hub": "", "quick_gelu": True, **config}
    for name in (PLAIN, QUICK):
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, {"mine": entry})


def model(name: str, pretrained: str | Path, quick_gelu: bool | None = None) -> OpenClipModel:
    return OpenClipModel(kind="open_clip", name=name, pretrained=str(pretrained), quick_gelu=quick_gelu)


def profile(name: str, pretrained: str | Path, quick_gelu: bool | None = None) -> Profile:
    return load_profile("demo", model__name=name, model__pretrained=str(pretrained), model__quick_gelu=quick_gelu)


def test_the_two_activations_differ(weights: dict[str, torch.Tensor]):
    images, found = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), []
    for name in (PLAIN, QUICK):
        built = open_clip.create_model(name)
        built.load_state_dict(weights)  # fits both, without a warning
        found.append(built.eval().encode_image(images))
    assert (found[0] - found[1]).abs().max() > 1e-4


@pytest.mark.parametrize("name", [PLAIN, QUICK])
def test_other_activation(name: str):
    assert {name, other_activation(name)} == {PLAIN, QUICK}


# ---- by tag


def test_tag_that_needs_the_other_activation_is_refused_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch):
    offer(monkeypatch)
    monkeypatch.setattr(tpccma.pretrained, "download_pretrained", lambda config: pytest.fail("fetched"))
    with pytest.raises(ValueError, match=f"'mine' was trained with QuickGELU.*name the model '{QUICK}'"):
        weights_path(profile(PLAIN, "mine"))


def test_openais_tag_wants_the_quickgelu_model():
    with pytest.raises(ValueError, match=r"'openai' was trained with QuickGELU.*name the model 'ViT-B-32-quickgelu'"):
        find_weights(model("ViT-B-32", "openai"))


def test_tag_of_plain_gelu_is_no_tag_of_the_other_model():
    with pytest.raises(FileNotFoundError, match="no tag of model 'ViT-B-32-quickgelu', which has openai, "):
        find_weights(model("ViT-B-32-quickgelu", "laion2b_s34b_b79k"))


def test_tag_is_fetched_and_loaded(monkeypatch: pytest.MonkeyPatch, checkpoint: Path):
    offer(monkeypatch, file=str(checkpoint))  # open_clip's own way to name a file that is there already
    assert weights_path(profile(QUICK, "mine")) == checkpoint


def test_tag_that_cannot_be_fetched_says_where_it_is_to_be_had(monkeypatch: pytest.MonkeyPatch):
    offer(monkeypatch, hf_hub="someone/mine/")

    def fail(config):
        raise OSError("no network")

    monkeypatch.setattr(tpccma.pretrained, "download_pretrained", fail)
    with pytest.raises(FileNotFoundError, match=r"\(no network\); get them from https://huggingface.co/someone/mine/"):
        find_weights(model(QUICK, "mine"))


# ---- by path


def test_unknown_file_must_be_explained(checkpoint: Path):
    with pytest.raises(ValueError, match=r"does not say whether .* Say model\.quick_gelu: true or false"):
        load_encoder(profile(PLAIN, checkpoint), checkpoint)


@pytest.mark.parametrize("name, needed", [(PLAIN, True), (QUICK, False)])
def test_file_for_the_other_activation_is_refused(checkpoint: Path, name: str, needed: bool):
    with pytest.raises(ValueError, match=f"{checkpoint} was trained with .*name the model '{other_activation(name)}'"):
        load_encoder(profile(name, checkpoint, needed), checkpoint)


@pytest.mark.parametrize("name, needed", [(PLAIN, False), (QUICK, True)])
def test_explained_file_is_loaded(checkpoint: Path, weights: dict[str, torch.Tensor], name: str, needed: bool):
    loaded = load_encoder(profile(name, checkpoint, needed), checkpoint).model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in weights.items())


@pytest.mark.parametrize("url", ["https://x/{whole}/weights.pt", "https://x/v0.2-weights/weights-{short}.pt"])
def test_file_that_open_clip_offers_is_known_by_its_checksum(monkeypatch, checkpoint: Path, url: str):
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    offer(monkeypatch, url=url.format(whole=digest, short=digest[:8]))
    check_activation(model(QUICK, checkpoint), checkpoint)
    with pytest.raises(ValueError, match="was trained with QuickGELU"):
        check_activation(model(PLAIN, checkpoint, quick_gelu=False), checkpoint)  # what is known outweighs what is said


def test_model_with_one_activation_needs_no_explanation(checkpoint: Path):
    check_activation(model("tpccma-demo", checkpoint), checkpoint)


class Settings(nn.Module):
    """A module as OpenAI archives it: weights, and three settings among them."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(3.0))
        self.register_buffer("context_length", torch.tensor(77))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
def test_openais_archive_needs_quickgelu_and_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, pickle = tmp_path / "ViT-B-32.pt", tmp_path / "plain.pt"
    torch.jit.trace(Settings(), torch.ones(3)).save(path)
    torch.save({"weight": torch.ones(1)}, pickle)
    monkeypatch.setattr(tpccma.weight_files, "OPENAI_CHECKSUMS", {checksum(path)})
    assert (is_openai_archive(path), is_openai_archive(pickle)) == (True, False)
    with pytest.raises(ValueError, match="was trained with QuickGELU"):
        check_activation(model(PLAIN, path), path)
    check_activation(model(QUICK, path), path)
    found = read_weights(path)
    assert list(found) == ["weight"] and found["weight"].tolist() == [0, 1, 2]
