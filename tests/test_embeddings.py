"""Matrices of embeddings in every kind of file, and files that are none. All written here."""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tpccma.data.embeddings import read_embeddings

IMAGES = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
TEXTS = IMAGES.flip(0) + 1


def write(path: Path, **matrices: Tensor) -> Path:
    """Write matrices by name, or one alone where its kind of file has no names."""
    arrays = {name: matrix.numpy() for name, matrix in matrices.items() if matrix.dtype != torch.bfloat16}
    if path.suffix == ".npy":
        np.save(path, next(iter(arrays.values())))
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".safetensors":
        save_file(matrices, path)
    else:
        torch.save(matrices, path)
    return path


@pytest.mark.parametrize("kind", ["npy", "npz", "pt", "pth", "safetensors", "NPZ"])
def test_matrix_that_stands_alone_needs_no_name(tmp_path: Path, kind: str):
    path = write(tmp_path / f"images.{kind.lower()}", images=IMAGES).rename(tmp_path / f"images.{kind}")
    assert torch.equal(read_embeddings(path), IMAGES)
    assert torch.equal(read_embeddings(str(path)), IMAGES)


@pytest.mark.parametrize("kind", ["npz", "pt", "safetensors"])
def test_one_of_several_is_named(tmp_path: Path, kind: str):
    path = write(tmp_path / f"both.{kind}", images=IMAGES, texts=TEXTS)
    assert torch.equal(read_embeddings(f"{path}:texts"), TEXTS)
    with pytest.raises(ValueError, match=rf"both\.{kind} holds images \(5, 3\).*texts \(5, 3\).*name one of them as"):
        read_embeddings(path)
    with pytest.raises(ValueError, match="where such a matrix named 'text' is looked for; name one of them"):
        read_embeddings(f"{path}:text")


def test_what_else_lies_beside_a_matrix_is_no_matter(tmp_path: Path):
    names, labels = np.array(["a.jpg", None], dtype=object), np.arange(6).reshape(2, 3)
    np.savez(tmp_path / "set.npz", names=names, labels=labels, features=IMAGES.numpy(), scale=np.float32(100))
    assert torch.equal(read_embeddings(tmp_path / "set.npz"), IMAGES)
    torch.save({"labels": torch.arange(6).view(2, 3), "features": IMAGES, "model": "ViT-B-32"}, tmp_path / "set.pt")
    assert torch.equal(read_embeddings(tmp_path / "set.pt"), IMAGES)
    with pytest.raises(ValueError, match=r"names pickled objects, labels \(2, 3\) int64.*scale \(\) float32"):
        read_embeddings(f"{tmp_path / 'set.npz'}:names")


def test_tensor_alone_and_list_of_tensors(tmp_path: Path):
    torch.save(torch.nn.Parameter(IMAGES), tmp_path / "alone.pt")
    alone = read_embeddings(tmp_path / "alone.pt")
    assert torch.equal(alone, IMAGES) and not alone.requires_grad
    torch.save((IMAGES, TEXTS), tmp_path / "both.pt")
    assert torch.equal(read_embeddings(f"{tmp_path / 'both.pt'}:1"), TEXTS)


TYPES = (torch.float16, torch.float32, torch.float64)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [*((kind, dtype) for kind in ("npy", "npz") for dtype in TYPES),  # numpy has no bfloat16
     *((kind, dtype) for kind in ("pt", "safetensors") for dtype in (torch.bfloat16, *TYPES))],
)  # fmt: skip
def test_type_of_the_file_is_kept(tmp_path: Path, kind: str, dtype: torch.dtype):
    found = read_embeddings(write(tmp_path / f"images.{kind}", images=IMAGES.to(dtype)))
    assert found.dtype == dtype and torch.equal(found, IMAGES.to(dtype))


def test_order_of_bytes_and_of_entries_is_that_of_the_file(tmp_path: Path):
    np.save(tmp_path / "big.npy", np.asfortranarray(IMAGES.numpy().astype(">f8")))
    assert torch.equal(read_embeddings(tmp_path / "big.npy"), IMAGES.double())


def test_colon_in_a_files_name_is_no_name_of_a_matrix(tmp_path: Path):
    path = write(tmp_path / "ViT.npy:v2.npy", images=IMAGES)
    assert torch.equal(read_embeddings(path), IMAGES)
    assert torch.equal(read_embeddings(write(tmp_path / "a:b.npy", images=TEXTS)), TEXTS)


class Ran:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize(
    ("kind", "save", "message"),
    [
        ("npy", lambda path, ran: np.save(path, np.array([[ran]])), "cannot be read .*allow_pickle"),
        ("npy", lambda path, ran: path.write_bytes(pickle.dumps(ran)), "cannot be read"),
        ("npz", lambda path, ran: np.savez(path, images=np.array([[ran]])), "images pickled objects"),
        ("pt", lambda path, ran: torch.save({"images": ran}, path), "carries code and is not loaded"),
        ("pt", lambda path, ran: path.write_bytes(pickle.dumps(ran, protocol=2)), "carries code and is not loaded"),
        ("safetensors", lambda path, ran: torch.save(ran, path), "cannot be read"),
    ],
)
def test_code_in_a_file_is_not_run(tmp_path: Path, kind: str, save: Callable, message: str):
    path, mark = tmp_path / f"images.{kind}", tmp_path / "ran"
    save(path, Ran(mark))
    with pytest.raises(ValueError, match=rf"{path} .*{message}"):
        read_embeddings(path)
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["npy", "npz", "pt", "safetensors"])
@pytest.mark.parametrize("damage", ["nothing", "noise", "half", "flipped"])
def test_damaged_file_is_named(tmp_path: Path, kind: str, damage: str):
    path = write(tmp_path / f"images.{kind}", images=torch.ones(500, 30))
    content = path.read_bytes()
    changed = {
        "nothing": b"",
        "noise": b"no embeddings",
        "half": content[: len(content) // 2],
        "flipped": bytes(byte ^ 255 for byte in content[:400]) + content[400:],
    }
    path.write_bytes(changed[damage])
    with pytest.raises(ValueError, match=rf"{path} (cannot be read|is a pickle)"):
        read_embeddings(path)


def test_damage_is_told_without_addresses_in_memory(tmp_path: Path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((2, 3)))
    path.write_bytes(path.read_bytes().replace(b"(2, 3)", b"(a, 3)"))
    with pytest.raises(ValueError, match=r"x\.npy cannot be read") as caught:
        read_embeddings(str(path))
    assert " at 0x" not in str(caught.value)


def test_damage_inside_an_archive_is_named(tmp_path: Path):
    path = tmp_path / "images.npz"
    np.savez_compressed(path, images=IMAGES.numpy())
    with zipfile.ZipFile(path) as archive:
        start = archive.infolist()[0].header_offset + 60
    content = bytearray(path.read_bytes())
    content[start : start + 60] = bytes(60)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"images\.npz cannot be read"):
        read_embeddings(path)


@pytest.mark.parametrize("kind", ["npy", "npz", "pt", "safetensors"])
@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (torch.ones(4), r"\(4,\) .*float32"),
        (torch.ones(4, 1, 3), r"\(4, 1, 3\) .*float32"),
        (torch.ones(4, 3, dtype=torch.int64), r"\(4, 3\) .*int64"),
        (torch.ones(4, 3, dtype=torch.bool), r"\(4, 3\) .*bool"),
    ],
)
def test_what_is_no_matrix_of_numbers_is_described(tmp_path: Path, kind: str, matrix: Tensor, said: str):
    path = write(tmp_path / f"images.{kind}", images=matrix)
    with pytest.raises(ValueError, match=rf"{path} holds .*{said}, where a matrix \(N, D\) of floating-point"):
        read_embeddings(path)


def test_other_contents_are_described(tmp_path: Path):
    np.save(tmp_path / "names.npy", np.array([["a", "b"]]))
    with pytest.raises(ValueError, match=r"names\.npy holds \(1, 2\) <U1, where"):
        read_embeddings(tmp_path / "names.npy")
    torch.save({"state_dict": {"weight": IMAGES}}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt holds state_dict dict, where"):
        read_embeddings(tmp_path / "model.pt")
    np.savez(tmp_path / "none.npz")
    with pytest.raises(ValueError, match=r"none\.npz holds nothing, where"):
        read_embeddings(tmp_path / "none.npz")


@pytest.mark.parametrize("place", ["gone.npy", "gone.npz:images"])
def test_missing_file_is_named(tmp_path: Path, place: str):
    with pytest.raises(FileNotFoundError, match=rf"there is no file {tmp_path}/gone\.np.$"):
        read_embeddings(tmp_path / place)


@pytest.mark.parametrize("name", ["images.csv", "images", "images.npy.gz", "captions.txt:images"])
def test_other_kinds_of_file_are_refused(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match=rf"{name}: embeddings are read from files named \.npy, \.npz, \.pt, \.pth, "):
        read_embeddings(tmp_path / name)
