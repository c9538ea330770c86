"""Weights by tag and by path, and the guard against weights that meet the wrong activation."""

import hashlib
import json
import socket
from pathlib import Path

import huggingface_hub.constants
import open_clip
import open_clip.pretrained
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms import Compose, Normalize, Resize, ToTensor
from torchvision.transforms.functional import to_pil_image, to_tensor

import tpccma.models.pretrained
import tpccma.models.weight_files
from tpccma import load_profile
from tpccma.models import prepare
from tpccma.models.pretrained import check_activation, find_weights, hubs, other_activation
from tpccma.models.transforms import Scaling, image_transform, split_transform
from tpccma.models.weight_files import checksum, is_openai_archive, read_weights
from tpccma.profiles import OpenClipModel, Preprocessing, Profile
from tpccma.training.encoders import build_encoder, load_encoder, weights_path
from tpccma.training.identity import fingerprint

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
    monkeypatch.setattr(tpccma.models.pretrained, "download_pretrained", lambda config: pytest.fail("fetched"))
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

    monkeypatch.setattr(tpccma.models.pretrained, "download_pretrained", fail)
    with pytest.raises(FileNotFoundError, match=r"\(no network\); get them from https://huggingface.co/someone/mine/"):
        find_weights(model(QUICK, "mine"))


@pytest.mark.parametrize(
    "config",
    [{"hf_hub": "someone/mine/"}, {"hf_hub": "someone/mine/a.pt"}, {"url": "https://openaipublic.example/a.pt"}],
)
def test_tag_is_not_asked_for_without_the_profiles_leave(config: dict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    offer(monkeypatch, **config)
    monkeypatch.setattr(socket, "socket", lambda *given, **named: pytest.fail("asked the network"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **named: pytest.fail("asked for a name"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"'mine' .* are not on this disk; let .*download: true.* or get them from"
    ):
        weights_path(profile(QUICK, "mine"))


def test_tag_that_is_kept_is_taken_without_leave(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    offer(monkeypatch, url="https://openaipublic.example/kept.pt")
    monkeypatch.setenv("HOME", str(tmp_path))
    kept = tmp_path / ".cache/clip/kept.pt"
    kept.parent.mkdir(parents=True)
    kept.touch()
    asked = []
    monkeypatch.setattr(tpccma.models.pretrained, "download_pretrained", lambda config: asked.append(config) or kept)
    assert weights_path(profile(QUICK, "mine")) == kept and len(asked) == 1


def test_leave_to_ask_hubs_is_given_by_the_profile_and_taken_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    for download in (True, False):
        with hubs(download):
            assert huggingface_hub.constants.HF_HUB_OFFLINE is not download
        assert huggingface_hub.constants.HF_HUB_OFFLINE is False
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # as by the variable of that name
    with hubs(True):
        assert huggingface_hub.constants.HF_HUB_OFFLINE is True
    assert [load_profile(name).download for name in ("demo", "fashion", "paper", "photos")] == [
        False,
        False,
        True,
        True,
    ]


# ---- by path


def test_unknown_file_must_be_explained(checkpoint: Path):
    with pytest.raises(
        ValueError,
        match=r"does not say whether .* Say --quick-gelu or --gelu, or model\.quick_gelu: true or false in a profile",
    ):
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
    monkeypatch.setattr(tpccma.models.weight_files, "OPENAI_CHECKSUMS", {checksum(path)})
    assert (is_openai_archive(path), is_openai_archive(pickle)) == (True, False)
    with pytest.raises(ValueError, match="was trained with QuickGELU"):
        check_activation(model(PLAIN, path), path)
    check_activation(model(QUICK, path), path)
    found = read_weights(path)
    assert list(found) == ["weight"] and found["weight"].tolist() == [0, 1, 2]


# ---- how pictures are prepared

SQUASH = {"resize_mode": "squash"}
GREY = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
NOWHERE = "/nowhere/open_clip_model.safetensors"


def offer_tags(monkeypatch: pytest.MonkeyPatch, **tags: dict):
    """Let open_clip offer weights of the small model by several tags, of which some prepare pictures otherwise."""
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, PLAIN, {tag: {"url": "", **tags[tag]} for tag in tags})


def expected(size: int = 8, **settings) -> str:
    return str(image_transform_v2(PreprocessCfg(size=size, **settings), is_train=False))


def prepared(pretrained: str | Path | None, name: str = PLAIN, **preprocess) -> str:
    architecture = OpenClipModel(kind="open_clip", name=name, pretrained=pretrained and str(pretrained))
    return str(image_transform(OpenClipModel(**{**architecture.model_dump(), "preprocess": preprocess or None})))


def made_from(path: Path, architecture: OpenClipModel) -> Path:
    """Write a checkpoint as this package does, but for its weights."""
    save_file({"weight": torch.zeros(1)}, path, {"architecture": architecture.model_dump_json()})
    return path


def test_every_tag_of_open_clip_is_prepared_as_open_clip_does_and_no_file_as_anothers():
    refused = set()
    for name in open_clip.list_models():
        size = open_clip.get_model_config(name)["vision_cfg"]["image_size"]
        theirs = {}
        for tag in open_clip.list_pretrained_tags_by_model(name):
            config = open_clip.pretrained.get_pretrained_cfg(name, tag)
            settings = {key: value for key, value in config.items() if key in vars(PreprocessCfg())}
            theirs[tag] = expected(**{"size": size, **settings})
            assert prepared(tag, name) == theirs[tag], (name, tag)
        if len(set(theirs.values())) < 2:
            assert {prepared(NOWHERE, name)} == (set(theirs.values()) or {expected(size)}), name
            continue
        refused.add(name)
        with pytest.raises(ValueError, match=f"{NOWHERE}: .*tags of model '{name}' differ") as caught:
            prepared(NOWHERE, name)
        assert all(tag in str(caught.value) for tag in theirs)
    assert "ViT-L-14" in refused  # so that both kinds have been seen


def test_tags_of_a_quickgelu_model_are_among_its_twins():
    for name in open_clip.list_models():
        if name.endswith("-quickgelu") and other_activation(name) in open_clip.list_models():
            twins = open_clip.list_pretrained_tags_by_model(other_activation(name))
            for tag in open_clip.list_pretrained_tags_by_model(name):
                assert tag in twins and open_clip.pretrained.get_pretrained_cfg(name, tag)["quick_gelu"]


def test_resize_modes_show_in_the_pixels():
    # 16 wide, 8 high, the outer quarters white: squashed they are the outer 2 of 8 columns, cropped they are lost
    image = Image.new("RGB", (16, 8), "white")
    image.paste("black", (4, 0, 12, 8))
    for mode, white in (("squash", 4), ("shortest", 0)):
        said = {"mean": (0, 0, 0), "std": (1, 1, 1), "interpolation": "bilinear", "resize_mode": mode}
        found = image_transform(OpenClipModel(kind="open_clip", name=PLAIN, pretrained=None, preprocess=said))(image)
        assert found.shape == (3, 8, 8)
        assert (found > 0.5).sum((1, 2)).tolist() == [8 * white] * 3


@pytest.mark.parametrize(
    "preprocess", [{}, {"mean": (0.5, 0.4, 0.3), "std": (0.1, 0.2, 0.3), "resize_mode": "longest"}]
)
def test_transform_in_two_steps_gives_the_same_pixels(preprocess: dict):
    architecture = OpenClipModel(kind="open_clip", name=PLAIN, pretrained=None, preprocess=preprocess or None)
    transform = image_transform(architecture)
    values = torch.arange(3 * 20 * 30).remainder(256).reshape(20, 30, 3).to(torch.uint8)
    pictures = [Image.fromarray(values.numpy()), Image.new("RGB", (8, 8), "red")]
    pixels, scale = split_transform(transform)
    read = torch.stack([pixels(picture) for picture in pictures])
    assert (read.shape, read.dtype) == ((2, 3, 8, 8), torch.uint8)
    found = scale(read)
    assert torch.equal(found, torch.stack([transform(picture) for picture in pictures]))
    assert scale(found) is found


def test_every_value_of_a_pixel_is_scaled_as_torchvision_does():
    values = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    for mean, std in ((0.5, 0.5), (0.48145466, 0.26862954)):
        expected = Normalize([mean] * 3, [std] * 3)(to_tensor(values[0].permute(1, 2, 0).numpy()))
        assert torch.equal(Scaling([mean] * 3, [std] * 3)(values)[0], expected)
        if mean == 0.5:
            assert torch.equal(prepare(values)[0], expected)  # as the demo's pixels are


def test_transform_of_ones_own_stays_whole():
    for transform in (to_tensor, Compose([Normalize([0.5], [0.5])]), Compose([ToTensor(), Resize(3)])):
        assert split_transform(transform) == (transform, prepare)


def test_tag_without_settings_has_open_clips_defaults(monkeypatch: pytest.MonkeyPatch):
    offer_tags(monkeypatch, bare={"mean": None}, grey=GREY)
    assert prepared("bare") == expected()
    assert prepared("grey") == expected(**GREY)


def test_model_without_tags_or_weights_has_open_clips_defaults():
    assert prepared(NOWHERE) == prepared(None) == expected()
    assert prepared(None, "ViT-B-16-SigLIP") == expected(224)


def test_files_of_tags_that_agree_are_prepared_alike(monkeypatch: pytest.MonkeyPatch, checkpoint: Path):
    offer_tags(monkeypatch, one={**GREY, **SQUASH}, other={"std": [0.5, 0.5, 0.5], "mean": [0.5, 0.5, 0.5], **SQUASH})
    assert prepared(checkpoint) == prepared(NOWHERE) == expected(**GREY, **SQUASH)


def test_file_of_tags_that_differ_is_refused(monkeypatch: pytest.MonkeyPatch, checkpoint: Path):
    offer_tags(monkeypatch, one=SQUASH, other={"interpolation": "bilinear"}, third=SQUASH)
    message = (
        f"{checkpoint}: .* model '{PLAIN}' differ; interpolation is bicubic with one, third, or bilinear with other; "
        r"resize_mode is squash with one, third, or shortest with other\. Say model\.preprocess\.interpolation and "
        r"model\.preprocess\.resize_mode in a profile, or --preprocess with interpolation and resize_mode, or name "
    )
    with pytest.raises(ValueError, match=message):
        prepared(checkpoint)


def test_profile_decides_setting_by_setting(monkeypatch: pytest.MonkeyPatch, checkpoint: Path):
    offer_tags(monkeypatch, one={**SQUASH, **GREY}, other=GREY)
    assert prepared(checkpoint, resize_mode="longest") == expected(**GREY, resize_mode="longest")
    assert prepared("one", interpolation="bilinear") == expected(**GREY, **SQUASH, interpolation="bilinear")
    assert prepared(None, mean=(0.1, 0.2, 0.3)) == expected(mean=(0.1, 0.2, 0.3))
    with pytest.raises(ValueError, match=r"Say model\.preprocess\.resize_mode in"):
        prepared(checkpoint, mean=(0.1, 0.2, 0.3))


@pytest.mark.parametrize("url", ["https://x/{whole}/weights.pt", "https://x/v0.2-weights/weights-{short}.pt"])
def test_checksum_decides_where_tags_differ(monkeypatch: pytest.MonkeyPatch, checkpoint: Path, url: str):
    digest = checksum(checkpoint)
    offer_tags(monkeypatch, one=GREY, mine={**SQUASH, "url": url.format(whole=digest, short=digest[:8])}, third={})
    assert prepared(checkpoint) == expected(**SQUASH)
    assert prepared(checkpoint, mean=(0.1, 0.2, 0.3)) == expected(**SQUASH, mean=(0.1, 0.2, 0.3))


def test_file_that_has_a_tags_name_is_a_file(monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tmp_path: Path):
    # as find_weights has it
    offer_tags(monkeypatch, one=SQUASH, other=GREY)
    monkeypatch.chdir(tmp_path)
    checkpoint.rename("one")
    with pytest.raises(ValueError, match="differ"):
        prepared("one")


def test_checkpoint_is_prepared_as_what_it_was_made_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    offer_tags(monkeypatch, one=SQUASH, other=GREY)
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    build_encoder(load_profile("demo", model__name=PLAIN, model__pretrained="other")).save(first)
    assert prepared(first) == expected(**GREY)
    said = OpenClipModel(kind="open_clip", name=PLAIN, pretrained=str(first), preprocess={"interpolation": "bilinear"})
    made_from(second, said)
    assert prepared(second) == expected(**GREY, interpolation="bilinear")
    assert prepared(second, interpolation="bicubic", **SQUASH) == expected(**GREY, **SQUASH)
    assert prepared(made_from(first, model(PLAIN, "x").model_copy(update={"pretrained": None}))) == expected()


def test_own_model_sees_pictures_in_files_as_the_demo_s_pixels():
    own = {"kind": "open_clip", "name": "tpccma-demo", "pretrained": "demo_base.safetensors"}
    photos = load_profile("photos", model=own)
    pixels = torch.arange(3 * 32 * 32).reshape(1, 3, 32, 32).remainder(256).to(torch.uint8)
    seen = image_transform(photos.model)(to_pil_image(pixels[0]))
    torch.testing.assert_close(seen, prepare(pixels)[0], rtol=0, atol=1e-6)
    assert photos == load_profile("photos", model=own | {"preprocess": GREY})


def test_what_a_profile_says_of_pictures_goes_before_the_own_model_s_way():
    own = {"kind": "open_clip", "name": "tpccma-demo", "pretrained": None}
    said = load_profile("photos", model=own | {"preprocess": SQUASH | {"std": (0.25,) * 3}}).model.preprocess
    assert said == Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3, resize_mode="squash")
    assert [load_profile(name).model.preprocess for name in ("photos", "demo", "paper")] == [None] * 3


def test_checkpoint_whose_origin_is_gone_names_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    path = made_from(tmp_path / "mine.safetensors", model(PLAIN, NOWHERE))
    assert prepared(path) == expected()
    offer_tags(monkeypatch, one=SQUASH, other={})
    with pytest.raises(ValueError, match=f"{path}, made from {NOWHERE}: .*resize_mode is squash with one"):
        prepared(path)


def test_checkpoint_that_lies_where_its_origin_lay_is_prepared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    path = tmp_path / "mine.safetensors"
    made_from(path, model(PLAIN, path))  # a circle
    offer_tags(monkeypatch, one=SQUASH, other=SQUASH)
    assert prepared(path) == expected(**SQUASH)


@pytest.mark.parametrize("architecture", ["ViT-B-32", '["ViT-B-32"]', '{"kind": "heads"}', "null"])
def test_others_metadata_are_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, architecture: str):
    path = tmp_path / "theirs.safetensors"
    save_file({"weight": torch.zeros(1)}, path, {"architecture": architecture})
    offer_tags(monkeypatch, one=SQUASH)
    assert prepared(path) == expected(**SQUASH)


def test_checkpoint_of_a_later_version_is_named(tmp_path: Path):
    path = tmp_path / "later.safetensors"
    values = {**model(PLAIN, "x").model_dump(), "colours": 4}
    save_file({"weight": torch.zeros(1)}, path, {"architecture": json.dumps(values)})
    with pytest.raises(ValueError, match=rf"(?s){path} was made from .*colours.* does not know"):
        prepared(path)


def test_preprocessing_makes_no_other_architecture(tmp_path: Path):
    path, plain = tmp_path / "mine.safetensors", load_profile("demo")
    squashed = load_profile("demo", model__preprocess=SQUASH)
    build_encoder(squashed).save(path)
    assert load_encoder(plain, path).architecture == plain.model
    assert (
        load_encoder(squashed, weights_path(plain)).architecture == squashed.model
    )  # saved before there was such a part


def test_preprocessing_counts_in_the_fingerprint():
    marks = {
        fingerprint(load_profile("demo", model__preprocess=said), "tpc-cma", 0.5, 0)
        for said in (None, SQUASH, {"mean": (0.5, 0.5, 0.5)})
    }
    assert len(marks) == 3 and fingerprint(load_profile("demo"), "tpc-cma", 0.5, 0) in marks


@pytest.mark.parametrize(
    "said, named",
    [
        ({"mean": [0.5, 0.5]}, "mean"),
        ({"mean": [0.5, 0.5, 128]}, r"mean\.2: .* got 128"),
        ({"std": [0.5, 0.0, 0.5]}, r"std\.1: .* got 0\.0"),
        ({"std": [0.5, 0.5, float("inf")]}, r"std\.2: .* got inf"),
        ({"interpolation": "random"}, "interpolation: .* got 'random'"),
        ({"resize_mode": "crop"}, "resize_mode: .* got 'crop'"),
        ({"size": 224}, "size: Extra inputs"),
    ],
)
def test_bad_preprocessing_is_named(said: dict, named: str):
    with pytest.raises(ValueError, match=rf"model\.open_clip\.preprocess\.{named}"):
        load_profile("demo", model__preprocess=said)
