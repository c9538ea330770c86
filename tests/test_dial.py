"""`tpccma dial`, as a shell calls it."""

import json
from pathlib import Path

import open_clip
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

import tpccma.runs.dial
from tpccma import evaluate, interpolate, load_profile
from tpccma.cli import app
from tpccma.data.scenes import make_pairs
from tpccma.models import Encoder, read_metadata, read_weights
from tpccma.models.identity import weights_identity
from tpccma.models.towers import Heads
from tpccma.profiles import HeadsModel, OpenClipModel
from tpccma.runs.dial import open_model, pictures_in, some_of, tasks_for, weights_in
from tpccma.runs.rates import validation_of
from tpccma.training.encoders import build_encoder
from tpccma.training.folder import WEIGHTS

ENDS = ("base.safetensors", "aligned.safetensors")
HALF = ("--t", "0.5", "--out", "half.safetensors")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["dial", *map(str, arguments)], catch_exceptions=False)


def refused(named: str, *arguments: str | Path) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and named in result.stderr


@pytest.fixture(scope="module")
def encoders() -> tuple[Encoder, Encoder]:
    return build_encoder(load_profile("demo"), seed=1), build_encoder(load_profile("demo"), seed=2)


@pytest.fixture
def ends(encoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The files of two models, where the shell is."""
    monkeypatch.chdir(tmp_path)
    for encoder, name in zip(encoders, ENDS, strict=True):
        encoder.save(name)
    return ENDS


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures" / "below"
    folder.mkdir(parents=True)
    for number, shade in enumerate((0, 100, 200)):
        Image.new("RGB", (40, 50), (shade, 50, 9)).save(folder / f"{number}.png")
    (folder / "notes.txt").touch()
    return folder.parent


def state(path: str | Path) -> dict:
    return open_clip.create_model("tpccma-demo", pretrained=str(path)).state_dict()


# ---- at a given t


def test_model_between_two_files_is_one_that_open_clip_loads(ends, encoders):
    result = run(*ends, *HALF)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "half.safetensors\n", "")
    expected = interpolate(*encoders, 0.5).model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in state("half.safetensors").items())
    notes = read_metadata("half.safetensors")
    names = {name: weights_identity(f"{name}.safetensors") for name in ("base", "aligned")}
    assert json.loads(notes.pop("mixture")) == {"t": 0.5, **names}
    assert notes == read_metadata("base.safetensors")


def test_json_names_the_file(ends):
    assert json.loads(run(*ends, *HALF, "--json").stdout) == {"t": 0.5, "out": "half.safetensors"}


def test_run_folders_are_taken(ends, encoders, tmp_path: Path):
    for encoder, name in zip(encoders, ("a", "b"), strict=True):
        encoder.save(tmp_path / name / WEIGHTS)
    assert run("a", "b", *HALF).exit_code == 0
    assert run(*ends, "--t", "0.5", "--out", "same.safetensors").exit_code == 0
    assert Path("same.safetensors").read_bytes() == Path("half.safetensors").read_bytes()


def test_ends_that_are_swapped_are_refused(ends, encoders, tmp_path: Path):
    encoders[1].save(tmp_path / "run" / WEIGHTS)
    record = {"base": weights_identity("base.safetensors")}
    (tmp_path / "run" / "record.json").write_text(json.dumps(record))
    refused("was fine-tuned from base.safetensors: name them the other way round", "run", ends[0], *HALF)
    assert run(ends[0], "run", *HALF).exit_code == 0
    for other in ("[]", "{", json.dumps({"base": "00ff"})):
        (tmp_path / "run" / "record.json").write_text(other)
        assert run("run", ends[0], *HALF).exit_code == 0


def test_statistics_that_are_mixed_are_told_of(ends, pictures: Path, caplog: pytest.LogCaptureFixture):
    for given in (["--t", "0", "--out", "half.safetensors"], [*HALF, "--images", pictures]):
        assert run(*ends, *given).exit_code == 0 and "batch norm" not in caplog.text
    assert run(*ends, *HALF).exit_code == 0
    assert "batch norm's statistics are mixed like weights, which costs accuracy; --images or" in caplog.text


def test_weights_that_do_not_name_their_model_need_it(ends, encoders):
    plain = ("one.safetensors", "two.safetensors")
    for encoder, name in zip(encoders, plain, strict=True):
        save_file(encoder.model.state_dict(), name)
    refused("one.safetensors does not say which model its weights are of: name it, --model", *plain, *HALF)
    assert run(*plain, *HALF, "--model", "tpccma-demo").exit_code == 0
    weights = read_weights("half.safetensors")
    expected = interpolate(*encoders, 0.5).model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in expected.items())
    refused("perhaps", *plain, *HALF, "--model", "RN5")


@pytest.mark.parametrize("said, spread", [(True, 0.25), (False, 0.5)])  # the demo's model sees -1..1
def test_statistics_by_pictures_of_a_folder(ends, encoders, pictures: Path, said: bool, spread: float):
    names = ("one.safetensors", "two.safetensors")
    scaled = {"mean": (0.5,) * 3, "std": (spread,) * 3} if said else None
    model = OpenClipModel(kind="open_clip", name="tpccma-demo", pretrained=None, preprocess=scaled)
    for encoder, name in zip(encoders, names, strict=True):
        Encoder(encoder.model, encoder.tokenizer, model).save(name)
    assert run(*names, *HALF, "--images", pictures).exit_code == 0
    first = encoders[0].model.visual.conv1.weight * 0.5 + encoders[1].model.visual.conv1.weight * 0.5
    transform = open_clip.image_transform(32, False, mean=(0.5,) * 3, std=(spread,) * 3)
    seen = torch.stack([transform(Image.open(path)) for path in sorted(pictures.rglob("*.png"))])
    mean = torch.nn.functional.conv2d(seen, first, stride=2, padding=1).mean((0, 2, 3))
    torch.testing.assert_close(state("half.safetensors")["visual.bn1.running_mean"], mean, rtol=1e-4, atol=1e-5)


TAGGED = ("mine", "aligned.safetensors", *HALF, "--model", "tpccma-tagged")


@pytest.fixture
def tagged(encoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's architecture by a name whose weights "mine" open_clip offers, and has fetched."""
    monkeypatch.chdir(tmp_path)
    config = json.dumps(open_clip.get_model_config("tpccma-demo"))
    (tmp_path / "tpccma-tagged.json").write_text(config)
    open_clip.add_model_config(tmp_path / "tpccma-tagged.json")
    for encoder, name in zip(encoders, ("kept.safetensors", "aligned.safetensors"), strict=True):
        save_file(encoder.model.state_dict(), name)
    offered = {"url": "", "hf_hub": "", "file": "kept.safetensors", "mean": (0.5,) * 3, "std": (0.25,) * 3}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tpccma-tagged", {"mine": offered})


def test_tag_of_open_clip_is_taken_as_a_file_is(tagged, encoders):
    assert run(*TAGGED).exit_code == 0
    expected = interpolate(*encoders, 0.5).model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in read_weights("half.safetensors").items())
    note = json.loads(read_metadata("half.safetensors")["architecture"])
    assert (note["name"], note["pretrained"]) == ("tpccma-tagged", "mine")


def test_tag_says_how_pictures_are_prepared(tagged, encoders, pictures: Path):
    assert run(*TAGGED, "--images", pictures).exit_code == 0
    transform = open_clip.image_transform(32, False, mean=(0.5,) * 3, std=(0.25,) * 3)
    seen = torch.stack([transform(Image.open(path)) for path in sorted(pictures.rglob("*.png"))])
    expected = interpolate(*encoders, 0.5, seen).model.visual.bn1.running_mean
    found = read_weights("half.safetensors")["visual.bn1.running_mean"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_tag_with_a_profile_is_one_of_its_model(ends, encoders, tiny_profile, tiny_corpus, monkeypatch):
    offered = {"url": "", "hf_hub": "", "file": ENDS[0]}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tpccma-demo", {"mine": offered})
    Path("tiny.yaml").write_text(yaml.safe_dump(tiny_profile.model_dump(mode="json")))
    assert run("mine", ENDS[1], *HALF, "--profile", "tiny.yaml").exit_code == 0
    expected = interpolate(*encoders, 0.5, tiny_corpus.train.images).model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in state("half.safetensors").items())
    refused("no checkpoint at yours, and no tag of model 'tpccma-demo', which has mine", "yours", ENDS[1], *HALF,
            "--profile", "tiny.yaml")  # fmt: skip


def test_tag_that_cannot_be_is_refused_in_a_line(ends):
    refused("give a file of weights, the folder of a run that was trained, or open_clip's tag with --model", "openai",
            ENDS[1], *HALF)  # fmt: skip
    refused("no checkpoint at openay, and no tag of model 'ViT-B-32-quickgelu', which has openai", "openay", ENDS[1],
            *HALF, "--model", "ViT-B-32-quickgelu")  # fmt: skip
    refused("'openai' was trained with QuickGELU, but model 'ViT-B-32' computes GELU", "openai", ENDS[1], *HALF,
            "--model", "ViT-B-32")  # fmt: skip
    refused("open_clip knows no model 'ViT-B-33': give", "openai", ENDS[1], *HALF, "--model", "ViT-B-33")
    assert sorted(path.name for path in Path().iterdir()) == sorted(ENDS)


def test_statistics_by_the_pictures_of_a_profile(ends, encoders, tiny_profile, tiny_corpus):
    Path("tiny.yaml").write_text(yaml.safe_dump(tiny_profile.model_dump(mode="json")))
    assert run(*ends, *HALF, "--profile", "tiny.yaml").exit_code == 0
    expected = interpolate(*encoders, 0.5, tiny_corpus.train.images).model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in state("half.safetensors").items())


def test_heads_are_interpolated_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    architecture = HeadsModel(kind="heads", image_width=6, text_width=4, hidden_width=8, embed_dim=3)
    heads = [Heads(6, 4, 8, 3) for _ in ENDS]
    for head, name in zip(heads, ENDS, strict=True):
        Encoder(head, None, architecture).save(name)
    assert run(*ENDS, *HALF).exit_code == 0
    expected = interpolate(*heads, 0.5).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in read_weights("half.safetensors").items())
    refused("heads take features and have no batch norm", *ENDS, *HALF, "--images", tmp_path)
    refused("holds the weights of heads on frozen features, not of RN50", *ENDS, *HALF, "--model", "RN50")


# ---- within a budget


@pytest.fixture
def tiny(ends, tiny_profile, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(tpccma.runs.dial, "STEPS", (0.0, 0.5, 1.0))
    Path("tiny.yaml").write_text(yaml.safe_dump(tiny_profile.model_dump(mode="json")))
    return [*ends, "--profile", "tiny.yaml"]


GAPS = {0.0: (1.0, 0.5), 0.5: (0.6, 0.495), 1.0: (0.4, 0.4)}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list:
    """Let a front cost nothing; what was asked for is listed."""
    asked, steps = [], iter(GAPS.values())

    def evaluate(model, corpus, tasks, **given):
        asked.append((len(corpus.test), tasks, given["seed"]))
        return dict(zip(("raw_gap", "zeroshot_top1"), next(steps), strict=True))

    monkeypatch.setattr(tpccma.runs.dial, "evaluate", evaluate)
    return asked


def test_budget_chooses_on_validation_data_and_writes(tiny, measured, encoders, tiny_corpus):
    result = run(*tiny, "--budget", "zeroshot_top1 -1 points", "--out", "new.safetensors", "--seed", "3")
    assert result.exit_code == 0, result.stderr
    assert measured == [(32, ("gap", "zeroshot"), 3)] * 3  # the tiny profile has 32 pairs to validate on, 64 to test
    assert result.stdout.endswith("t = 0.5: raw_gap falls by 40.0 % within zeroshot_top1 -1 points\nnew.safetensors\n")
    assert result.stderr.splitlines() == [f"t = {t}: point {n} of 3" for n, t in enumerate(("0", "0.5", "1"), 1)]
    expected = interpolate(*encoders, 0.5, tiny_corpus.train.images).model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in state("new.safetensors").items())


def test_budget_as_json(tiny, measured):
    found = json.loads(run(*tiny, "--budget", "zeroshot_top1 -0.1 points", "--json").stdout)
    assert (found["t"], found["out"]) == (0, None) and "no other point keeps" in found["said"]
    assert found["front"][1] == {
        "t": 0.5,
        "gained": pytest.approx(40),
        "zeroshot_top1": pytest.approx(-0.5),
        "kept": False,
    }
    assert sorted(path.name for path in Path().glob("*.safetensors")) == sorted(ENDS)  # nothing is written


def test_front_is_measured_for_real(tiny, encoders, tiny_profile, tiny_corpus):
    found = json.loads(run(*tiny, "--budget", "effective_rank_text -99%", "--json").stdout)["front"]
    assert [point["t"] for point in found] == [0, 0.5, 1]
    models = [interpolate(*encoders, t, tiny_corpus.train.images) for t in (0, 0.5)]
    base, half = (evaluate(model, validation_of(tiny_corpus), ["gap"]) for model in models)
    assert found[1]["gained"] == pytest.approx(100 * (1 - half["raw_gap"] / base["raw_gap"]))
    assert found[1]["effective_rank_text"] == pytest.approx(
        100 * (half["effective_rank_text"] / base["effective_rank_text"] - 1)
    )


def test_measure_that_is_unknown_is_refused_at_the_first_point(tiny, measured):
    result = run(*tiny, "--budget", "zeroshot_topp -1%")
    assert result.exit_code == 2 and len(measured) == 1
    assert "the front has no 'zeroshot_topp'" in result.stderr.splitlines()[-1]


def test_tasks_follow_from_the_measures():
    assert tasks_for(["raw_gap", "effective_rank_text"]) == ("gap",)
    assert tasks_for(["cider_memory", "bleu4", "i2t_recall_at_1"]) == ("gap", "captioning", "retrieval")
    assert tasks_for(["zeroshot_top1", "clustering_ari"]) == ("gap", "zeroshot", "clustering")


# ---- what cannot be done


@pytest.mark.parametrize(
    "options, named",
    [
        ([], "say how far to turn the dial: --t 0.3, or --budget"),
        (["--t", "0.5", "--budget", "cider -2%"], "one of them"),
        (["--t", "1.5", "--out", "x.safetensors"], "--t must be a number, from 0 to 1, got 1.5"),
        (["--t", "0.5"], "say where the model is to go: --out"),
        (["--t", "0.5", "--out", "x.pt"], "x.pt is to be a safetensors file"),
        (["--t", "0.5", "--out", "aligned.safetensors"], "aligned.safetensors holds one of the two models"),
        (["--budget", "cider 2%", "--profile", "demo"], "budget 'cider 2%' is not understood"),
        (["--budget", "cider -2%"], "name the profile that has them, --profile demo"),
        ([*HALF, "--profile", "demo", "--images", "."], "leave --model and --images out"),
        ([*HALF, "--profile", "nowhere"], "nowhere"),
        ([*HALF, "--profile", "demo", "--data-dir", "."], "takes no --data-dir"),
        ([*HALF, "--model", "RN50"], "holds the weights of tpccma-demo, not of RN50: leave --model out"),
        ([*HALF, "--images", "nowhere"], "there is no folder nowhere, which --images names"),
        ([*HALF, "--images", "."], "holds no picture"),
    ],
)
def test_options_that_cannot_be_are_refused_in_a_line(ends, options: list[str], named: str):
    refused(named, *ends, *options)
    assert sorted(path.name for path in Path().iterdir()) == sorted(ENDS)


def test_files_that_cannot_be_are_refused_in_a_line(ends, encoders, tmp_path: Path, pictures: Path):
    refused("no checkpoint at nowhere: give a file of weights", "nowhere", ENDS[1], *HALF)
    refused(f"no checkpoint at pictures/{WEIGHTS}", ENDS[0], "pictures", *HALF)
    Encoder(
        Heads(6, 4, 8, 3), None, HeadsModel(kind="heads", image_width=6, text_width=4, hidden_width=8, embed_dim=3)
    ).save("heads.safetensors")
    refused("two architectures", ENDS[0], "heads.safetensors", *HALF)
    Path("text.safetensors").write_text("no weights")
    refused("text.safetensors is not a safetensors file", ENDS[0], "text.safetensors", *HALF)


def test_damaged_notes_are_refused(ends, encoders):
    weights = encoders[0].model.state_dict()
    save_file(weights, "odd.safetensors", {"architecture": '{"kind": "open_clip", "weird": 1}'})
    with pytest.raises(ValueError, match=r"odd\.safetensors was made from .* does not know$"):
        open_model("odd.safetensors")
    note = read_metadata(ENDS[0])["architecture"]
    save_file(weights, "words.safetensors", {"architecture": note, "tokenizer": '{"wurds": []}'})
    with pytest.raises(ValueError, match=r"words\.safetensors holds a tokenizer that is damaged"):
        open_model("words.safetensors")


def test_openai_s_activation_is_guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tpccma.models.pretrained._known_need", lambda path: True)
    save_file({"weight": torch.zeros(2)}, tmp_path / "openai.safetensors")
    with pytest.raises(ValueError, match="was trained with QuickGELU, but model 'RN50' computes GELU"):
        open_model(tmp_path / "openai.safetensors", "RN50")


def test_pictures_are_drawn_alike_each_time_and_not_too_many(pictures: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tpccma.runs.dial, "PICTURES", 2)
    architecture = OpenClipModel(kind="open_clip", name="RN50", pretrained=None)
    found = pictures_in(pictures, architecture)
    assert len(found) == 2 and found.paths == pictures_in(pictures, architecture).paths
    assert [part.shape for part in some_of(found, 1).split(5)] == [(1, 3, 224, 224)]
    images = make_pairs("test", 4).images
    assert torch.equal(some_of(images, 3), images[:3])


def test_weights_in_a_folder_are_those_of_its_run(tmp_path: Path):
    (tmp_path / WEIGHTS).touch()
    assert weights_in(tmp_path) == weights_in(tmp_path / WEIGHTS) == tmp_path / WEIGHTS
