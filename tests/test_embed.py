"""Pictures of a folder embedded by a model of open_clip, into files and into the gap. All made here."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

import tpccma.practice.embed
from tests.test_shards import write_shard
from tpccma import load_profile
from tpccma.cli import app
from tpccma.data.scenes import make_pairs
from tpccma.metrics import modality_gap
from tpccma.models import prepare
from tpccma.practice.arrays import open_rows
from tpccma.training.encoders import load_encoder, weights_path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """25 scenes of the demo's test split as png, with their captions."""
    folder = tmp_path_factory.mktemp("folder")
    (folder / "pictures").mkdir()
    pairs = make_pairs("test", 25, seed=0)
    rows = [("image", "caption")]
    for number, (pixels, captions) in enumerate(zip(pairs.images, pairs.captions, strict=True)):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / "pictures" / f"{number:02}.png")
        rows += [(f"{number:02}.png", caption) for caption in captions]
    with (folder / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    torch.save((pairs.images, [own[0] for own in pairs.captions]), folder / "pairs.bin")
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """What the demo's base makes of the pixels themselves."""
    profile = load_profile("demo")
    encoder = load_encoder(profile, weights_path(profile))
    images, captions = torch.load(folder / "pairs.bin")
    return encoder.embed_images(prepare(images)), encoder.embed_texts(captions)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def options(folder: Path) -> list[str | Path]:
    model = ["--model", "tpccma-demo", "--pretrained", weights_path(load_profile("demo"))]
    return [*model, "--images", folder / "pictures", "--captions", folder / "captions.csv"]


def test_gap_of_a_model_is_that_of_its_embeddings(folder: Path, expected):
    shown = run("gap", *options(folder), "--json", "--resamples", "20")
    assert json.loads(shown.stdout)["raw"] == pytest.approx(modality_gap(*expected).raw, abs=1e-5)


def test_embeddings_are_written_with_names(folder: Path, expected, tmp_path: Path):
    result = run("embed", tmp_path / "all", *options(folder))
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'all'}: 25 pairs of width 128\n")
    for name, rows in zip(("images", "texts"), expected, strict=True):
        assert np.load(tmp_path / "all" / f"{name}.npy") == pytest.approx(rows.numpy(), abs=1e-5)
    with (tmp_path / "all" / "pairs.csv").open(newline="") as file:
        assert list(csv.reader(file))[3] == [
            str(folder / "pictures" / "02.png"),
            torch.load(folder / "pairs.bin")[1][2],
        ]
    assert not list(tmp_path.glob("*.parts"))


def test_killed_and_run_again_it_goes_on(folder: Path, expected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tpccma.practice.embed.parts_of_folder, "__defaults__", (10,))
    embed, made = tpccma.practice.embed._embed, []

    def stop(encoder, part):
        made.append(len(part.pairs))
        if len(made) == 2:
            raise KeyboardInterrupt
        return embed(encoder, part)

    monkeypatch.setattr(tpccma.practice.embed, "_embed", stop)
    out = tmp_path / "all.safetensors"
    assert run("embed", out, *options(folder)).exit_code == 130 and not out.exists()
    assert run("embed", out, *options(folder)).exit_code == 0 and made == [10, 10, 10, 5]
    assert np.asarray(open_rows(f"{out}:images")) == pytest.approx(expected[0].numpy(), abs=1e-5)


def test_pictures_alone_are_embedded_by_name(folder: Path, expected, tmp_path: Path):
    given = options(folder)
    assert run("embed", tmp_path / "alone.safetensors", *given[: given.index("--captions")]).exit_code == 0
    assert open_rows(tmp_path / "alone.safetensors").numpy() == pytest.approx(expected[0].numpy(), abs=1e-5)


@pytest.fixture(scope="module")
def shards(folder: Path) -> str:
    """The same scenes in shards of 15, 10 and 2; of the last one picture is damaged, and one has no caption."""
    images, captions = torch.load(folder / "pairs.bin")
    for shard, rows in enumerate([range(15), range(15, 25), range(2)]):
        samples = {}
        for row in rows:
            file = io.BytesIO()
            Image.fromarray(images[row].permute(1, 2, 0).numpy()).save(file, "png")
            samples[f"{row:02}"] = {"png": file.getvalue(), "txt": captions[row].encode()}
        if shard == 2:
            samples = {"00": samples["00"] | {"png": b"no picture"}, "01": {"png": samples["01"]["png"]}}
        write_shard(folder / "shards" / f"{shard:05}.tar", samples)
    return str(folder / "shards" / "{00000..00002}.tar")


@pytest.mark.parametrize("workers", [0, 2])
def test_shards_are_embedded_in_their_order_and_what_is_damaged_is_counted(
    workers: int, folder: Path, shards: str, expected, tmp_path: Path
):
    given = [*options(folder)[:4], "--shards", shards, "--workers", workers]
    result = run("embed", tmp_path / "all", *given)
    said = f"{tmp_path / 'all'}: 25 pairs of width 128; left out: 1 without text, 1 unreadable image\n"
    assert (result.exit_code, result.stdout) == (0, said)
    for name, rows in zip(("images", "texts"), expected, strict=True):
        assert np.load(tmp_path / "all" / f"{name}.npy") == pytest.approx(rows.numpy(), abs=1e-5)
    with (tmp_path / "all" / "pairs.csv").open(newline="") as file:
        named = list(csv.reader(file))
    assert named[16] == [f"15 of {folder / 'shards' / '00001.tar'}", torch.load(folder / "pairs.bin")[1][15]]
    assert len(named) == 26 and not list(tmp_path.glob("*.parts"))


def test_what_to_embed_is_asked_for(folder: Path, shards: str, tmp_path: Path):
    model = options(folder)[:4]
    asked = "say what to embed: --images DIR, with --captions FILE or without, or --shards PATTERN alone"
    for given in ([], [*options(folder)[4:], "--shards", shards]):
        result = run("embed", tmp_path / "out", *model, *given)
        assert result.exit_code == 2 and asked in result.stderr
    damaged = run("embed", tmp_path / "out", *model, "--shards", folder / "shards" / "00002.tar")
    assert (
        damaged.exit_code == 2 and "hold no usable pair, {'without_text': 1, 'unreadable_image': 1}" in damaged.stderr
    )
    assert not (tmp_path / "out").exists()


def test_missing_pictures_are_left_out_where_asked(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "captions.csv").write_text((folder / "captions.csv").read_text() + "99.png,a star.\n")
    given = [*options(folder)[:-1], tmp_path / "captions.csv", "--json", "--resamples", "2"]
    refused = run("gap", *given)
    assert refused.exit_code == 2 and "99.png" in refused.stderr and "--skip-missing" in refused.stderr
    assert json.loads(run("gap", *given, "--skip-missing").stdout)["pairs"] == 25
    assert "26 pictures, of which left out: 1 without a file" in caplog.text


def test_damaged_pictures_are_left_out_where_asked(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "pictures").mkdir()
    for picture in (folder / "pictures").iterdir():
        content = b"no picture" if picture.name == "03.png" else picture.read_bytes()
        (tmp_path / "pictures" / picture.name).write_bytes(content)
    given = [*options(folder)[:4], "--images", tmp_path / "pictures", "--captions", folder / "captions.csv"]
    for command in (["gap"], ["gap", "--workers", "2"], ["embed", tmp_path / "all"]):
        refused = run(*command, *given)
        picture = tmp_path / "pictures" / "03.png"
        assert refused.exit_code == 2 and refused.stderr.startswith(f"error: {picture} is no readable picture (its con")
        assert refused.stderr.endswith("or leave such pictures out: --skip-missing\n")
    assert json.loads(run("gap", *given, "--json", "--resamples", "2", "--skip-missing").stdout)["pairs"] == 24
    assert "left out: 1 of 25 pictures, which cannot be read" in caplog.text
    said = run("embed", tmp_path / "all", *given, "--skip-missing").stdout
    assert said == f"{tmp_path / 'all'}: 24 pairs of width 128; left out: 1 unreadable image\n"


@pytest.mark.parametrize("name", ["all", "all.safetensors"])
def test_gap_takes_what_embed_wrote(name: str, folder: Path, tmp_path: Path):
    run("embed", tmp_path / name, *options(folder))
    parts = [tmp_path / name / f"{part}.npy" for part in ("images", "texts")]
    if name.endswith("safetensors"):
        parts = [f"{tmp_path / name}:{part}" for part in ("images", "texts")]
    found = run("gap", tmp_path / name, "--resamples", "20")
    assert found.exit_code == 0 and found.stdout == run("gap", *parts, "--resamples", "20").stdout
    absent = run("gap", tmp_path / "none")
    assert absent.exit_code == 2 and absent.stderr == f"error: there is no file or folder {tmp_path / 'none'}\n"
    twice = run("gap", parts[0], parts[0])
    assert twice.exit_code == 2 and "is given twice: the second is to hold the embeddings of the texts" in twice.stderr


def test_how_pictures_are_prepared_can_be_said(folder: Path):
    given = ["gap", *options(folder), "--json", "--resamples", "2"]
    as_it_is, told, other = (
        json.loads(run(*given, *how).stdout)["raw"]
        for how in ([], ["--preprocess", "{interpolation: bicubic}"], ["--preprocess", "{mean: [.1, .1, .1]}"])
    )
    assert as_it_is == told != other
    why = {
        "{mean: red}": " (mean: Input",
        "{colour: .5}": " (colour: Extra",
        "{": ": write some of {mean:",
        "mean": " (",
    }
    for wrong, told in why.items():
        refused = run(*given, "--preprocess", wrong)
        assert refused.exit_code == 2 and f"--preprocess {wrong!r} is not understood{told}" in refused.stderr
        assert "write some of {mean: [" in refused.stderr


def test_embeddings_are_not_written_among_the_pictures(folder: Path):
    refused = run("embed", folder / "pictures", *options(folder))
    assert refused.exit_code == 2 and "holds the pictures: name another folder for their embeddings" in refused.stderr
    assert len(list((folder / "pictures").iterdir())) == 25


@pytest.mark.parametrize("name", ["all.npz", "all.parquet"])
def test_folder_is_not_named_as_a_file(name: str, folder: Path, tmp_path: Path):
    refused = run("embed", tmp_path / name, *options(folder))
    assert refused.exit_code == 2 and "to a file named .safetensors, or into a folder" in refused.stderr


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"--model": "ViT-B-23"}, "open_clip knows no model 'ViT-B-23'"),
        ({"--pretrained": "none"}, "no checkpoint at none"),
        ({"--images": "nowhere"}, "nowhere"),
        ({"--captions": "none.csv"}, "none.csv"),
    ],
)
def test_what_is_not_there_is_named(change: dict[str, str], named: str, folder: Path, tmp_path: Path):
    given = options(folder)
    for option, value in change.items():
        given[given.index(option) + 1] = value
    result = run("embed", tmp_path / "out", *given)
    assert result.exit_code == 2 and named in result.stderr and result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
