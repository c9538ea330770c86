"""Embeddings in files: one matrix, a row a picture or text, as npy, npz, pt or safetensors.

    >>> images, texts = read_embeddings("images.npy"), read_embeddings("both.safetensors:texts")

Legend: N rows, D width.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from tpccma.data.pictures import reason_of
from tpccma.models.weight_files import unpickle


def read_embeddings(place: str | Path) -> Tensor:
    """Read one matrix; nothing that the file may carry beside numbers is run.

    Args:
        place: path of the file; of one that holds several matrices ``PATH:NAME``. In a list of them, as ``torch.save``
            writes, a matrix's name is its number, from 0.

    Returns:
        (N, D), in the file's own floating-point type.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is of another kind, damaged or carries code, or it is not clear which matrix is meant; the
            message names it.
    """
    path, name = _part(str(place))
    if path.suffix.lower() not in READERS:
        raise ValueError(f"{path}: embeddings are read from files named {', '.join(READERS)}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    return _tensor(_choose(path, _read(path), name))


def _part(place: str) -> tuple[Path, str | None]:
    """Part PATH:NAME, where no file is named like that as a whole."""
    path, _, name = place.rpartition(":")
    named = Path(path).suffix.lower() in READERS and not Path(place).is_file()
    return (Path(path), name) if named else (Path(place), None)


def _read(path: Path) -> dict[str, Any]:
    """Read all that a file holds, by name; what stands there alone has none."""
    found = _load(path)
    if isinstance(found, list | tuple):
        found = dict(enumerate(found))
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {"": found}


def _load(path: Path) -> Any:
    read = READERS[path.suffix.lower()]
    if read is unpickle:
        return unpickle(path)  # which names the file and what is wrong with it
    try:
        return read(path)
    except Exception as error:  # of a damaged file, whatever its bytes lead to
        problem = reason_of(error).split("\n")[0]
        raise ValueError(f"{path} cannot be read ({problem}); write it again, or as another kind of file") from None


def _array(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return np.load(file, allow_pickle=False)


def _members(path: Path) -> dict[str, np.ndarray | None]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return {name: _member(archive, name) for name in archive.files}


def _member(archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray | None:
    try:
        return archive[name]
    except ValueError:  # pickled objects, such as file names, may lie beside a matrix; they are not loaded
        return None


READERS: dict[str, Callable[[Path], Any]] = {
    ".npy": _array,
    ".npz": _members,
    ".pt": unpickle,
    ".pth": unpickle,
    ".safetensors": load_file,
}


def _choose(path: Path, found: dict[str, Any], name: str | None) -> Tensor | np.ndarray:
    matrices = {key: value for key, value in found.items() if _is_matrix(value)}
    if name is None and len(matrices) == 1:
        return next(iter(matrices.values()))
    if name in matrices:
        return matrices[name]
    held = ", ".join(f"{key} {_describe(value)}".strip() for key, value in found.items()) or "nothing"
    wanted = "a matrix (N, D) of floating-point numbers" if name is None else f"such a matrix named {name!r}"
    advice = f"; name one of them as {path}:NAME" if matrices else ""
    raise ValueError(f"{path} holds {held}, where {wanted} is looked for{advice}")


def _is_matrix(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 2 and value.is_floating_point() and value.layout == torch.strided
    return isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind == "f"


def _describe(value: Any) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return f"{tuple(value.shape)} {value.dtype}"
    return "pickled objects" if value is None else type(value).__name__


def _tensor(matrix: Tensor | np.ndarray) -> Tensor:
    """Turn what was read into a plain tensor, in this machine's byte order."""
    if isinstance(matrix, Tensor):
        return matrix.detach()
    size = min(matrix.dtype.itemsize, 8)  # torch has no longer numbers
    return torch.from_numpy(np.ascontiguousarray(matrix, dtype=f"=f{size}"))
