import math
import pickle
import random
import string
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from tpccma import load_profile
from tpccma.data.scenes import make_pairs
from tpccma.models import Encoder, evaluating, prepare, read_metadata, read_weights
from tpccma.models.towers import Heads, ShortTextCLIP, Towers, shorten
from tpccma.training.encoders import build_encoder, load_encoder, weights_path

DEMO = load_profile("demo")
SCENES = make_pairs("test", 12)
TEXTS = ["a red star.", "there is a small moon.", "a circle on a white ground."]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return build_encoder(DEMO, seed=3)


@pytest.fixture(scope="module")
def saved(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "model.safetensors"
    encoder.save(path)
    return path


class Bomb:
    """An object whose unpickling writes a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (Path.write_text, (self.mark, "code ran"))


# ---- texts without padding


def test_short_texts_are_embedded_as_open_clip_does(encoder: Encoder):
    short, tokens = encoder.model, encoder.tokenizer(TEXTS * 14)  # more than one part
    long = open_clip.create_model("tpccma-demo")
    long.load_state_dict(short.state_dict())
    assert (type(short), type(long)) == (ShortTextCLIP, open_clip.CLIP)
    torch.testing.assert_close(short.encode_text(tokens), long.encode_text(tokens), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(short.encode_text(tokens, True), long.encode_text(tokens, True), rtol=1e-4, atol=1e-5)
    assert short.encode_text(tokens[:0]).shape == (0, 128)
    for model in (short, long):
        model.zero_grad()
        model.encode_text(tokens).square().sum().backward()
    for (name, one), other in zip(short.named_parameters(), long.parameters(), strict=True):
        if other.grad is not None:
            largest = other.grad.abs().max()
            torch.testing.assert_close(one.grad / largest, other.grad / largest, rtol=0, atol=1e-5, msg=name)


def test_texts_with_id_0_before_their_end_are_embedded_as_open_clip_does():
    # id 0 is "!" where no letter comes before it, as in "(!" or "'go!'."
    text = {"context_length": 77, "vocab_size": 49_408, "width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 8, "layers": 1, "width": 64, "patch_size": 4}
    torch.manual_seed(0)
    theirs = open_clip.CLIP(embed_dim=8, vision_cfg=vision, text_cfg=text).eval()
    theirs.positional_embedding.data.mul_(20)  # random weights: let positions matter
    draw = random.Random(0)
    captions = ["".join(draw.choices(string.printable, k=draw.randint(1, 80))) for _ in range(1_900)]
    captions += [f"he shouted 'stop!', {word}" for word in [*string.ascii_letters, *"0123456789!;?"]] + ["!", ""]
    tokens = open_clip.tokenize(captions + ["a neon sign: sale!; open", "'go!'."] * 17)
    assert sum(0 in row[: row.argmax()] for row in tokens) > 200
    with torch.no_grad():
        expected = theirs.encode_text(tokens, normalize=True)
        ours = ShortTextCLIP.adopt(theirs)
        together = ours.encode_text(tokens, normalize=True)
        alone = torch.cat([ours.encode_text(row[None], normalize=True) for row in tokens])
    torch.testing.assert_close(together, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(alone, expected, rtol=0, atol=1e-5)


SMALL = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 8, "layers": 1, "width": 64, "patch_size": 4},
    "text_cfg": {"context_length": 77, "vocab_size": 49_408, "width": 16, "heads": 2, "layers": 2},
}


def small_clip() -> open_clip.CLIP:
    """open_clip's own class with random weights, positions made to matter."""
    torch.manual_seed(0)
    model = open_clip.CLIP(**SMALL).eval()
    model.positional_embedding.data.mul_(20)
    return model


def words(count: int) -> str:
    return " ".join("a" * count)


@pytest.mark.parametrize("longest", [*range(8, 80, 8), 77])
def test_texts_cut_to_any_length_are_embedded_as_whole(longest: int):
    model = small_clip()
    tokens = open_clip.tokenize([words(longest - 2), words(longest - 6), "", "!"])  # a start and an end beside
    short = shorten(tokens)
    assert short.shape == (4, min(longest, 77)) and torch.equal(short, tokens[:, :longest])
    with torch.no_grad():
        expected = model.encode_text(tokens, normalize=True)
        encode = ShortTextCLIP.adopt(model)._encode  # as on a GPU, where nothing is cut any more
        found = torch.nn.functional.normalize(encode(short), dim=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("count", "width"), [(0, 8), (6, 8), (7, 16), (14, 16), (15, 24), (70, 72), (71, 77), (90, 77)]
)
def test_texts_are_cut_to_the_next_multiple_of_8(count: int, width: int):
    assert shorten(open_clip.tokenize(["a", words(count)])).shape == (2, width)
    assert shorten(open_clip.tokenize(["a"])[:0]).shape == (0, 77)


def test_text_lengths_break_no_graph():
    towers = Towers(ShortTextCLIP.adopt(small_clip()))
    images, tokens = torch.randn(2, 3, 8, 8), shorten(open_clip.tokenize(["a red star", "a moon"]))
    found = torch._dynamo.explain(towers)(images, tokens)
    assert (found.graph_break_count, found.graph_count) == (0, 1)
    with torch.no_grad():
        compiled = torch.compile(towers, backend="eager", fullgraph=True)(images, tokens)
        torch.testing.assert_close(compiled, towers(images, tokens), rtol=1e-5, atol=1e-5)


def test_encoder_cuts_texts_where_its_tower_allows_it(monkeypatch: pytest.MonkeyPatch):
    model, seen = small_clip(), []
    whole = Encoder(model, open_clip.tokenize).embed_texts(TEXTS)
    tokens = open_clip.tokenize(TEXTS)
    assert Encoder(model, open_clip.tokenize).shorten(tokens) is tokens
    features = torch.randn(3, 77)
    assert Encoder(Heads(4, 77, 8, 3), None).shorten(features) is features
    encoder = Encoder(ShortTextCLIP.adopt(model), open_clip.tokenize)
    encode_text = model.encode_text
    monkeypatch.setattr(
        model, "encode_text", lambda text, normalize: seen.append(text.shape) or encode_text(text, normalize)
    )
    torch.testing.assert_close(encoder.embed_texts(TEXTS, batch_size=2), whole, rtol=0, atol=1e-6)
    _, found = encoder.embed_batch(torch.randn(3, 3, 8, 8), tokens)
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-6)
    assert seen == [(2, 8), (1, 16), (3, 16)]  # of six, seven and nine tokens


@pytest.mark.parametrize("change", [{"no_causal_mask": True}, {"pool_type": "last"}, {"qk_norm": True}])
def test_models_that_read_a_text_in_another_way_stay_as_they_are(change: dict):
    config = open_clip.get_model_config("tpccma-demo")
    config["text_cfg"] |= change
    model = open_clip.CLIP(**config)
    assert type(ShortTextCLIP.adopt(model)) is open_clip.CLIP


# ---- building


def test_building_is_deterministic_by_seed():
    one, again, other = (build_encoder(DEMO, seed).model.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["text_projection"], other["text_projection"])


def test_building_leaves_the_global_random_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    build_encoder(DEMO, seed=5)
    assert torch.equal(torch.rand(3), expected)


def test_demo_model_has_rows_for_every_word_and_starts_at_scale_100(encoder: Encoder):
    rows = encoder.model.token_embedding.weight.shape[0]
    assert rows >= encoder.tokenizer.vocab_size
    assert encoder.model.logit_scale.exp().item() == pytest.approx(100, rel=1e-6)
    assert len(encoder.tokenizer("a red star.")[0]) == encoder.model.context_length


# ---- embedding


def test_embeddings_are_unit_rows_on_the_cpu(encoder: Encoder):
    for features, count in ((encoder.embed_images(SCENES.images), 12), (encoder.embed_texts(TEXTS), 3)):
        assert features.shape == (count, 128)
        assert (features.dtype, features.device.type, features.requires_grad) == (torch.float32, "cpu", False)
        torch.testing.assert_close(features.norm(dim=1), torch.ones(count))


def test_embeddings_do_not_depend_on_the_batch(encoder: Encoder):
    whole, parts = encoder.embed_images(SCENES.images), encoder.embed_images(SCENES.images, batch_size=5)
    torch.testing.assert_close(whole, parts, atol=1e-5, rtol=1e-4)


def test_embedding_changes_neither_batch_norm_statistics_nor_mode(encoder: Encoder):
    encoder.model.train()
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    assert any("running_mean" in name for name in before)
    encoder.embed_images(SCENES.images)
    assert all(torch.equal(value, before[name]) for name, value in encoder.model.state_dict().items())
    assert encoder.model.training


def test_evaluating_restores_the_mode_after_an_error(encoder: Encoder):
    encoder.model.train()
    with pytest.raises(RuntimeError), evaluating(encoder.model) as model:
        assert not model.training and not torch.is_grad_enabled()
        raise RuntimeError
    assert encoder.model.training and torch.is_grad_enabled()


def test_prepare_scales_pixels_and_passes_features():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    # 0 / 127.5 - 1 = -1; 51 / 127.5 - 1 = -0.6; 255 / 127.5 - 1 = 1
    torch.testing.assert_close(prepare(pixels).flatten(), torch.tensor([-1.0, -0.6, 1.0]))
    features = torch.randn(4, 7)
    assert prepare(features) is features


# ---- saving and loading


def test_round_trip_keeps_weights_and_tokenizer(encoder: Encoder, saved: Path):
    loaded = load_encoder(DEMO, saved)
    weights = encoder.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in loaded.model.state_dict().items())
    assert loaded.tokenizer.words == encoder.tokenizer.words
    assert torch.equal(loaded.embed_texts(TEXTS), encoder.embed_texts(TEXTS))
    assert torch.equal(loaded.embed_images(SCENES.images), encoder.embed_images(SCENES.images))


def test_saving_leaves_no_partial_file(saved: Path):
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_open_clip_loads_the_saved_file(encoder: Encoder, saved: Path):
    model = open_clip.create_model("tpccma-demo", pretrained=str(saved)).eval()
    with torch.no_grad():
        images = model.encode_image(prepare(SCENES.images), normalize=True)
        texts = model.encode_text(encoder.tokenizer(TEXTS), normalize=True)
    torch.testing.assert_close(images, encoder.embed_images(SCENES.images), atol=1e-6, rtol=0)
    torch.testing.assert_close(texts, encoder.embed_texts(TEXTS), atol=1e-6, rtol=0)
    assert torch.equal(model.logit_scale, encoder.model.logit_scale)


@pytest.mark.parametrize("wrap", [lambda weights: weights, lambda weights: {"state_dict": weights, "epoch": 3}])
def test_pickle_of_plain_tensors_is_accepted(encoder: Encoder, tmp_path: Path, wrap):
    path = tmp_path / "model.pt"
    torch.save(wrap(encoder.model.state_dict()), path)
    assert torch.equal(load_encoder(DEMO, path).embed_texts(TEXTS), encoder.embed_texts(TEXTS))
    assert read_metadata(path) == {}


def test_bomb_of_these_tests_would_go_off(tmp_path: Path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("write", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing, 2))])
def test_pickle_that_carries_code_is_refused_and_not_run(encoder: Encoder, tmp_path: Path, write):
    path, mark = tmp_path / "model.pt", tmp_path / "mark"
    write({**encoder.model.state_dict(), "bomb": Bomb(mark)}, path)
    for load in (read_weights, lambda p: load_encoder(DEMO, p)):
        with pytest.raises(ValueError, match=r"model\.pt is a pickle that carries code and is not loaded"):
            load(path)
    assert not mark.exists()


def test_pickle_that_calls_itself_safetensors_is_refused_and_not_run(tmp_path: Path):
    path, mark = tmp_path / "model.safetensors", tmp_path / "mark"
    path.write_bytes(pickle.dumps({"bomb": Bomb(mark)}))
    with pytest.raises(ValueError, match=r"model\.safetensors is not a safetensors file"):
        load_encoder(DEMO, path)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
def test_missing_file_is_named(tmp_path: Path, name: str):
    with pytest.raises(FileNotFoundError, match=name):
        load_encoder(DEMO, tmp_path / name)


def test_file_of_another_architecture_is_named(saved: Path):
    with pytest.raises(
        ValueError, match=r"model\.safetensors holds weights of model 'tpccma-demo', and model 'RN50' is asked for"
    ):
        load_encoder(load_profile("demo", model__name="RN50"), saved)


def test_weights_that_do_not_fit_are_named(tmp_path: Path):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"other\.safetensors does not fit the model of profile 'demo'"):
        load_encoder(DEMO, path)


def test_another_starting_point_is_no_other_architecture(saved: Path):
    load_encoder(load_profile("demo", model__pretrained="elsewhere.safetensors"), saved)


# ---- texts


def test_equal_texts_are_embedded_once_and_alike(monkeypatch: pytest.MonkeyPatch, encoder: Encoder):
    seen, tokenizer = [], encoder.tokenizer
    monkeypatch.setattr(encoder, "tokenizer", lambda texts: seen.append(texts) or tokenizer(texts))
    one, other = TEXTS[:2]
    found = encoder.embed_texts([one, other, one, one], batch_size=1)
    assert seen == [[one, other]]
    assert torch.equal(found[[0, 0]], found[2:])
    torch.testing.assert_close(found[:2], encoder.embed_texts(TEXTS)[:2], rtol=0, atol=1e-6)
    assert encoder.embed_texts([]).shape == (0, found.shape[1])


# ---- heads, and where bases lie


def test_heads_behave_like_an_open_clip_model():
    torch.manual_seed(0)
    heads = Heads(image_width=6, text_width=4, hidden_width=8, embed_dim=3)
    images, texts = torch.randn(5, 6), torch.randn(5, 4)
    x, y, scale = heads(images, texts)
    torch.testing.assert_close(x.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(y.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(x, torch.nn.functional.normalize(heads.encode_image(images), dim=1))
    torch.testing.assert_close(y, torch.nn.functional.normalize(heads.encode_text(texts), dim=1))
    assert scale.item() == pytest.approx(100, rel=1e-6)
    assert heads.logit_scale.item() == pytest.approx(math.log(100))


def test_weights_path(tmp_path: Path):
    assert weights_path(DEMO).parts[-3:] == ("tpccma", "assets", "demo_base.safetensors")
    mine = tmp_path / "mine.safetensors"
    profile = load_profile("demo", model__pretrained=str(mine))
    with pytest.raises(FileNotFoundError, match=r"mine\.safetensors"):
        weights_path(profile)
    mine.touch()
    assert weights_path(profile) == mine
