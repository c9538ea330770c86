"""Weight files of every form: what is read, and that nothing else runs or fails without naming the file."""

import hashlib
import os
import pickle
import random
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.pretrained import get_pretrained_cfg
from safetensors.torch import save_file
from torch import nn

import tpccma.models.weight_files
from tpccma import fine_tune, load_profile
from tpccma.models.pretrained import find_weights
from tpccma.models.weight_files import OPENAI_CHECKSUMS, checksum, is_openai_archive, read_metadata, read_weights
from tpccma.training.encoders import load_encoder, weights_path

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b.c": torch.tensor([1, 2]), "half": torch.ones(2).half()}
TORCHSCRIPT = pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
REFUSED = r"{} is a TorchScript archive.* have its owner save it with safetensors, or get OpenAI's own file"


class Writing(nn.Module):
    """A module that makes a file when it is loaded."""

    def __init__(self, mark: str):
        super().__init__()
        self.mark, self.weight = mark, nn.Parameter(torch.ones(2))

    @torch.jit.export
    def __getstate__(self) -> tuple[str, torch.Tensor, bool]:
        return self.mark, self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, torch.Tensor, bool]):
        self.mark, _, self.training = state
        self.weight = torch.from_file(self.mark, True, 2)  # made if it is missing


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"


@pytest.fixture
def torchscript(tmp_path: Path, mark: Path) -> Path:
    path = tmp_path / "ViT-B-32.pt"
    torch.jit.script(Writing(str(mark))).save(path)
    return path


def rezip(path: Path, rename: Callable[[str], str]) -> Path:
    """Write an archive anew with other names of its members."""
    other = path.with_name(f"other-{path.name}")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(rename(name), old.read(name))
    return other


# ---- TorchScript


def test_openais_checksums_are_the_nine_that_it_published():
    assert len(OPENAI_CHECKSUMS) == 9
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in OPENAI_CHECKSUMS)
    for name in open_clip.list_pretrained_models_by_tag("openai"):
        assert any(f"/{digest}/" in get_pretrained_cfg(name, "openai")["url"] for digest in OPENAI_CHECKSUMS)


@TORCHSCRIPT
def test_torchscript_of_these_tests_would_go_off(torchscript: Path, mark: Path):
    assert not mark.exists()
    torch.jit.load(torchscript)
    assert mark.exists()


@TORCHSCRIPT
@pytest.mark.parametrize(
    "load",
    [
        read_weights,
        lambda path: load_encoder(load_profile("demo"), path),
        lambda path: load_encoder(load_profile("demo", model__quick_gelu=False), path),
        lambda path: load_encoder(load_profile("photos", model__pretrained=str(path)), path),
        lambda path: read_weights(find_weights(load_profile("photos", model__pretrained=str(path)).model)),
        lambda path: (
            (profile := load_profile("demo", model__pretrained=str(path)))
            and load_encoder(profile, weights_path(profile))
        ),
        lambda path: fine_tune(load_profile("demo", model__pretrained=str(path)), runs_dir=path.parent / "runs"),
    ],
)
def test_torchscript_is_refused_and_not_run(torchscript: Path, mark: Path, load: Callable):
    with pytest.raises(ValueError, match=REFUSED.format(torchscript)):
        load(torchscript)
    assert not mark.exists()


@TORCHSCRIPT
@pytest.mark.parametrize("name", ["model.bin", "model.zip", "model", "model.SAFETENSORS"])
def test_torchscript_is_refused_under_any_name(torchscript: Path, mark: Path, name: str):
    path = torchscript.rename(torchscript.with_name(name))
    with pytest.raises(ValueError, match=REFUSED.format(path)):
        read_weights(path)
    assert not mark.exists()


@TORCHSCRIPT
@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"deeper/{name}",
        lambda name: name.partition("/")[2],
        lambda name: name.replace("constants.pkl", "CONSTANTS.PKL"),
        lambda name: name.replace("constants.pkl", "constants.pkl.old"),
        lambda name: name.replace("code/", "other/"),
    ],
)
def test_rearranged_torchscript_is_refused_and_not_run(torchscript: Path, mark: Path, rename: Callable):
    path = rezip(torchscript, rename)
    with pytest.raises(ValueError, match=f"{path} .*have its owner save it with safetensors"):
        read_weights(path)
    assert not mark.exists()


@TORCHSCRIPT
def test_torchscript_behind_other_bytes_is_refused_and_not_run(torchscript: Path, mark: Path):
    for content in (b"#" * 100 + torchscript.read_bytes(), torchscript.read_bytes() + b"#" * 100):
        torchscript.write_bytes(content)
        with pytest.raises(ValueError, match=str(torchscript)):
            read_weights(torchscript)
    assert not mark.exists()


@TORCHSCRIPT
def test_torchscript_by_checksum_is_run(torchscript: Path, mark: Path, monkeypatch: pytest.MonkeyPatch):
    # so the checksum alone decides, and one changed byte is enough to be refused
    digest = hashlib.sha256(torchscript.read_bytes()).hexdigest()
    monkeypatch.setattr(tpccma.models.weight_files, "OPENAI_CHECKSUMS", {digest})
    assert is_openai_archive(torchscript)
    assert list(read_weights(torchscript)) == ["weight"]
    mark.unlink()
    with torchscript.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\1")
    with pytest.raises(ValueError, match=str(torchscript)):
        read_weights(torchscript)
    assert not mark.exists()


def test_checksum_follows_the_content(tmp_path: Path):
    path = tmp_path / "file"
    for content in (b"one", b"other"):
        path.write_bytes(content)
        assert checksum(path) == checksum(str(path)) == hashlib.sha256(content).hexdigest()


# ---- all other forms


def write_legacy(content: object, path: Path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [torch.save, write_legacy])
@pytest.mark.parametrize("wrap", [dict, lambda weights: {"state_dict": weights, "epoch": 3}])
def test_pickle_of_plain_tensors_is_read(tmp_path: Path, write: Callable, wrap: Callable):
    path = tmp_path / "model.pt"
    write(wrap(WEIGHTS), path)
    found = read_weights(path)
    assert list(found) == list(WEIGHTS)
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in WEIGHTS.items())


class Asks:
    """An object whose unpickling asks for a function, harmless or not."""

    def __reduce__(self):
        return (os.getcwd, ())


@pytest.mark.parametrize("write", [torch.save, write_legacy])
def test_pickle_that_carries_code_is_named_with_what_it_asks_for(tmp_path: Path, write: Callable):
    path = tmp_path / "model.pt"
    write({**WEIGHTS, "more": Asks()}, path)
    with pytest.raises(ValueError, match=rf"{path} is a pickle that carries code .*\(it asks for posix\.getcwd\)"):
        read_weights(path)


def damaged(path: Path, kind: str):
    """Write a file that is no checkpoint."""
    content = {
        "empty": b"",
        "text": b"<html>404</html>",
        "random": random.Random(0).randbytes(1000),
        "pickle that asks for a key it has not": b"\x80\x02h\x07.",
        "pickle that ends early": b"\x80\x02}q\x00(",
        "pickle of protocol 4": pickle.dumps({"a": 1}, 4),
        "pickle with nothing before it": b"\x80\x02a.",
        "random bytes that ask for no name": b"c313Rqbt\n)]\x02.",
    }
    if kind in content:
        path.write_bytes(content[kind])
    elif kind == "tar":
        with tarfile.open(path, "w") as tar:
            tar.add(__file__, "storages")
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "nothing")
    else:  # a large one ends where torch looks for the archive's contents with an OSError
        torch.save(WEIGHTS if kind != "half of a large one" else {"a": torch.ones(500, 30)}, path)
        whole = path.read_bytes()
        path.write_bytes(
            whole[: len(whole) // 2] if kind.startswith("half") else whole.replace(b"data.pkl", b"date.pkl")
        )


DAMAGED = [
    *("empty", "text", "random", "tar", "zip", "half", "without data.pkl", "pickle of protocol 4"),
    *("pickle that asks for a key it has not", "pickle that ends early", "pickle with nothing before it"),
    *("half of a large one", "random bytes that ask for no name"),
]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_file_is_named_and_not_said_to_carry_code(tmp_path: Path, kind: str):
    path = tmp_path / "model.pt"
    damaged(path, kind)
    with pytest.raises(
        ValueError, match=f"{path} cannot be read as a pickle of plain tensors.* get it again"
    ) as caught:
        read_weights(path)
    assert "carries code" not in str(caught.value)
    assert "Re-running" not in str(caught.value)  # as torch advises, with the guard off


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_safetensors_file_is_named(tmp_path: Path, kind: str):
    path = tmp_path / "model.safetensors"
    damaged(path, kind)
    for read in (read_metadata, read_weights):
        with pytest.raises(ValueError, match=f"{path} is not a safetensors file: .*get it again"):
            read(path)


@pytest.mark.parametrize(
    "content, named",
    [
        (torch.ones(2), "holds a Tensor"),
        ([torch.ones(2)], "holds a list"),
        ({"state_dict": [1]}, "holds a list"),
        ({"epoch": 3, "model": WEIGHTS}, "holds 'epoch' of type int"),
        ({1: torch.ones(2)}, "holds 1 of type Tensor"),
    ],
)
def test_pickle_of_something_else_is_named(tmp_path: Path, content: object, named: str):
    path = tmp_path / "model.pt"
    torch.save(content, path)
    with pytest.raises(ValueError, match=f"{path} {named}.*tensors by name"):
        read_weights(path)


def test_mutated_files_are_read_or_named(tmp_path: Path):
    draw, sources = random.Random(0), []
    for name, write in (("z.pt", torch.save), ("l.pt", write_legacy), ("s.safetensors", save_file)):
        write(WEIGHTS, tmp_path / name)
        sources.append(tmp_path / name)
    for _ in range(150):
        source = draw.choice(sources)
        content, path = bytearray(source.read_bytes()), tmp_path / f"mutated{source.suffix}"
        for _ in range(draw.randint(1, 5)):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(content[: draw.choice([len(content), draw.randrange(len(content))])])
        try:
            assert all(isinstance(value, torch.Tensor) for value in read_weights(path).values())
        except ValueError as error:
            assert type(error) is ValueError and str(error).startswith(str(path))


def test_file_that_is_missing_or_a_folder_is_named(tmp_path: Path):
    (tmp_path / "folder.pt").mkdir()
    for name in ("none.pt", "none.safetensors", "folder.pt"):
        with pytest.raises(FileNotFoundError, match=f"no checkpoint at {tmp_path / name}"):
            read_weights(tmp_path / name)


def test_link_into_a_cache_is_followed(tmp_path: Path):
    save_file(WEIGHTS, tmp_path / "blob")
    (tmp_path / "open_clip_model.safetensors").symlink_to(tmp_path / "blob")  # as the hub's cache has it
    assert set(read_weights(tmp_path / "open_clip_model.safetensors")) == set(WEIGHTS)
