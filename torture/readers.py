"""The readers of files of this package, each with whole files of its kinds, hostile ones among them."""

import contextlib
import io
import json
import pickle
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save
from torchvision.transforms.functional import to_tensor
from typer.testing import CliRunner

from tests.odd_pictures import BLOCKS, DAMAGED, ODD, encode, oriented
from tests.test_embeddings import Ran
from tests.test_record_schema import RECORD
from tests.test_shards import pair, write_shard
from torture.fuzz import Reader
from tpccma import load_profile
from tpccma.cli import app
from tpccma.data.cache import FeatureCache
from tpccma.data.captions import read_captions
from tpccma.data.pictures import open_picture
from tpccma.data.shard_files import find_shards
from tpccma.data.shards import PairStream
from tpccma.evidence.speed import read_benchmark
from tpccma.models.weight_files import read_metadata, read_weights
from tpccma.profiles import Profile
from tpccma.runs.records import KEYS, SCHEMA, csv_of, read_record
from tpccma.runs.tables import RATE, WORDS, read_table
from tpccma.training.encoders import load_encoder
from tpccma.training.folder import code_of

ROOT = Path(__file__).parents[1]
CANARY = Path(tempfile.gettempdir()) / "tpccma-torture-ran"  # what hostile files make if they are run
WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b.c": torch.tensor([1, 2]), "half": torch.ones(2).half()}


def not_run(read: Callable[[Path], object]) -> Callable[[Path], object]:
    """Let a reader fail if what it reads was run."""

    def watched(path: Path) -> object:
        try:
            return read(path)
        finally:
            if CANARY.exists():
                CANARY.unlink()
                raise RuntimeError("code in the file was run")

    return watched


def torch_saved(content: object, **how) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **how)
    return file.getvalue()


def arrays_saved(save: Callable, *arrays: np.ndarray, **named: np.ndarray) -> bytes:
    file = io.BytesIO()
    save(file, *arrays, **named)
    return file.getvalue()


# ---- weights


def pickles(weights: dict) -> dict[str, bytes]:
    hostile = weights | {"more": Ran(CANARY)}
    return {
        "archive.pt": torch_saved(weights),
        "legacy.pth": torch_saved(weights, _use_new_zipfile_serialization=False),
        "training.pt": torch_saved({"state_dict": weights, "epoch": 3}),
        "hostile.pt": torch_saved(hostile),
        "hostile-legacy.pt": torch_saved(hostile, _use_new_zipfile_serialization=False),
        "bare.bin": pickle.dumps(Ran(CANARY), protocol=2),
    }


def read_all_weights(path: Path) -> None:
    note, weights = read_metadata(path), read_weights(path)
    assert all(isinstance(key, str) for pair in note.items() for key in pair)
    assert all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in weights.items())


def weights() -> Reader:
    files = pickles(WEIGHTS) | {"plain.safetensors": save(WEIGHTS, {"architecture": "{}"})}
    remedy = "get it again|get OpenAI's own|save"
    return Reader("weights", files, not_run(read_all_weights), remedy=remedy, share=3)


def models(profile: Profile) -> Reader:
    def read(path: Path) -> None:
        assert load_encoder(profile, path).model.logit_scale.ndim == 0

    whole = Path(profile.model.pretrained).read_bytes()
    plain = read_weights(profile.model.pretrained)
    files = {"model.safetensors": whole, "model.pt": torch_saved(plain), "hostile.pt": pickles(plain)["hostile.pt"]}
    return Reader("weights taken up by a model", files, not_run(read), share=2, cases=50)


# ---- pictures, captions, shards


def read_picture(path: Path) -> None:
    for upright in (False, True):
        assert open_picture(path, upright=upright).mode == "RGB"


def pictures() -> Reader:
    kinds = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "PPM": "ppm"}
    files = {f"picture.{ending}": encode(BLOCKS, kind) for kind, ending in kinds.items()}
    files |= {f"odd{i}.img": content for i, (content, _) in enumerate(ODD.values())}
    files |= {f"damaged{i}.img": content for i, content in enumerate(DAMAGED.values()) if content}
    files |= {f"turned{i}.png": oriented(i) for i in range(1, 9)}
    for kind in ("ICO", "TGA", "PCX", "SGI", "DDS", "JPEG2000"):
        with contextlib.suppress(OSError, KeyError):
            files[f"rare-{kind}.img"] = encode(Image.fromarray(BLOCKS), kind)
    return Reader("pictures", files, read_picture, remedy="get it again or take it out", share=4)


def captions() -> Reader:
    names, said = ["a.jpg", "b.jpg"], ["a red dog", "two cats, asleep", 'he says "stay"']
    coco = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [{"image_id": i, "caption": text} for i in (0, 1) for text in said],
    }
    karpathy = {
        "images": [
            {"filepath": "", "filename": name, "split": "test", "sentences": [{"raw": text} for text in said]}
            for name in names
        ]
    }
    rows = [(name, i, text) for name in names for i, text in enumerate(said)]
    quoted = [(name, text.replace('"', '""')) for name, _, text in rows]
    files = {
        "captions_val.json": json.dumps(coco),
        "dataset_coco.json": json.dumps(karpathy),
        "captions.txt": "image,caption\n" + "".join(f'{name},"{text}"\n' for name, text in quoted),
        "plain.csv": "image,caption,id\n" + "".join(f"{name},{text},{i}\n" for name, i, text in rows),
        "results.csv": "image_name| comment_number| comment\n" + "".join(f"{n}| {i}| {t}\n" for n, i, t in rows),
        "results.token": "".join(f"{name}#{i}\t{text}\n" for name, i, text in rows),
    }

    def read(path: Path) -> None:
        for skip in (True, False):
            split = "test" if path.name == "dataset_coco.json" else None
            found, _ = read_captions(path, path.parent / "images", split, 2, skip)
            assert all(picture.parent.name == "images" for picture in found.paths)
            assert all(len(own) == 2 and all(isinstance(text, str) for text in own) for own in found.captions)

    beside = {f"images/{name}": encode(BLOCKS[:4, :4]) for name in names}
    encoded = {name: text.encode() for name, text in files.items()}
    return Reader("captions", encoded, read, in_words=True, beside=beside, share=2)


def shards() -> Reader:
    with tempfile.TemporaryDirectory() as folder:
        shard = write_shard(Path(folder) / "shard.tar", {f"{n:04d}": pair(n) for n in range(6)})
        zipped = write_shard(Path(folder) / "zipped.tar", {f"{n:04d}": pair(n) for n in range(6)}, mode="w:gz")
        files = {"shard.tar": shard.read_bytes(), "zipped.tar": zipped.read_bytes()}
        files["shard_stats.json"] = shard.with_name("shard_stats.json").read_bytes()

    def tokenizer(texts: list[str]) -> torch.Tensor:
        return torch.zeros(len(texts), 1)

    def read(path: Path) -> None:
        place = path.with_name("shard.tar") if path.suffix == ".json" else path
        found = find_shards(str(place))
        for skip in (True, False):
            stream = PairStream(found.paths, to_tensor, tokenizer, buffer=3, skip_bad=skip)
            for pixels, tokens in islice(stream.batches(1), 7):
                assert pixels.ndim == 4 and tokens.shape == (1, 1)

    return Reader("shards", files, read, named=r"(shard|zipped)(\.tar|_stats\.json)", share=2, cases=100)


# ---- profiles, records, tables


def profiles(profile: Profile) -> Reader:
    small = {"extends": "demo", "name": "mine", "fine_tune": {"epochs": 1}, "learning_rates": {"clip": 1e-3}}
    files = {
        "whole.yaml": yaml.safe_dump(profile.model_dump(mode="json")),
        "small.yaml": yaml.safe_dump(small) + "loss: {hardness: 1.0}\nexpected: {raw_gap: 0.5}\n",
        "merged.yml": "extends: demo\nname: mine\nbase: &one {epochs: 5, batch_size: 64}\nfine_tune: {<<: *one}\n",
        "photos.yaml": "extends: photos\nname: mine\ndata: {captions: c.csv, images_dir: i}\nmodel: {name: ViT-B-32}\n",
    }

    def read(path: Path) -> None:
        assert load_profile(path).model_dump_json()

    return Reader("profiles", {name: text.encode() for name, text in files.items()}, read, in_words=True, share=2)


def records() -> Reader:
    whole = next((ROOT / "results" / "demo").glob("tpc-cma-paired-a0.5-s0.json"))
    files = {"mine/clip-a0-s3.json": json.dumps(RECORD).encode(), f"demo/{whole.name}": whole.read_bytes()}

    def read(path: Path) -> None:
        assert {*KEYS, "metrics"} <= read_record(path).keys()

    return Reader("records", files, read, remedy="remove it", in_words=True, share=2)


def tables() -> Reader:
    rows = [RECORD | {"seed": seed, "metrics": {"raw_gap": 0.5, "zebra": seed / 7}} for seed in range(4)]
    rates = "profile,method,learning_rate,score\ndemo,clip,0.001,0.5\ndemo,clip,0.002,0.25\n"
    files = {"results.csv": csv_of(rows).encode(), "learning_rates.csv": rates.encode()}

    def read(path: Path) -> None:
        table = read_table(path, RATE if path.name.startswith("learning") else KEYS)
        measures = {*SCHEMA} & {*table} - {*KEYS, *WORDS}
        assert not len(table) or all(table[name].dtype.kind in "iuf" for name in measures)

    return Reader("results.csv and learning_rates.csv", files, read, remedy="build it anew", in_words=True, share=2)


def benchmarks() -> Reader:
    files = {path.name: path.read_bytes() for path in (ROOT / "results" / "benchmarks").glob("*-cpu.json")}

    def read(path: Path) -> None:
        assert isinstance(read_benchmark(path)["tables"], dict)

    return Reader("records of benchmarks", files, read, remedy="remove it", in_words=True, share=0.3)


# ---- embeddings, caches, runs


def embeddings() -> Reader:
    rows = np.eye(5, 3, dtype=np.float32)
    rows[3:] = [0, 0, 1]
    hostile = np.array([[Ran(CANARY)]], dtype=object)
    files = {
        "plain.npy": arrays_saved(np.save, rows),
        "double.npy": arrays_saved(np.save, np.asfortranarray(rows.astype(">f8"))),
        "hostile.npy": arrays_saved(np.save, hostile),
        "both.npz": arrays_saved(np.savez, images=rows, names=np.array(["a", "b"])),
        "packed.npz": arrays_saved(np.savez_compressed, images=rows),
        "hostile.npz": arrays_saved(np.savez, images=rows, more=hostile),
        "plain.safetensors": save({"images": torch.from_numpy(rows).bfloat16()}),
        **{name: content for name, content in pickles({"a": torch.from_numpy(rows)}).items() if name != "bare.bin"},
    }
    runner = CliRunner()

    def read(path: Path) -> None:
        normalize = ["--normalize"] if len(path.name) % 2 else []
        done = runner.invoke(app, ["gap", str(path), str(path.with_name("texts.npy")), "--resamples", "2", *normalize])
        if done.exit_code == 2:
            assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
            raise ValueError(done.stderr)
        assert done.exit_code == 0 and done.stdout.startswith("5 pairs of width 3\n"), repr(done.exception)

    beside = {"texts.npy": arrays_saved(np.save, rows[::-1].copy())}
    said = r"\b[xy] (has|holds|is)|of [xy] |[xy] (and|has) "
    return Reader("embeddings for tpccma gap", files, not_run(read), named=said, beside=beside, share=2)


def caches() -> Reader:
    note = {"made_by": json.dumps({"network": "one"})}
    content = {"keys": torch.arange(96, dtype=torch.uint8).reshape(3, 32), "values": torch.ones(3, 4)}

    def read(path: Path) -> None:
        cache = FeatureCache(path, 4, made_by={"network": "one"})
        assert cache.stack(list(cache._rows)).shape == (len(cache), 4)

    return Reader("caches of features", {"cache.safetensors": save(content, note)}, read, remedy="delete it", share=1)


def codes() -> Reader:
    """Read what says which code has made a run."""
    files = {"run/code.json": b'{"training": "0123abcd", "tpccma": "0.1.0"}'}

    def read(path: Path) -> None:
        assert isinstance(code_of(path.parent), str)

    beside = {"run/model.safetensors": b""}
    return Reader("code.json of a run", files, read, remedy="remove it", in_words=True, beside=beside)


def all_readers(profile: Profile) -> Iterator[Reader]:
    """List the readers; two need the profile of a small model."""
    for make in (weights, pictures, captions, shards, records, tables, benchmarks, embeddings, caches, codes):
        yield make()
    yield models(profile)
    yield profiles(profile)
