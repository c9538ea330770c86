"""What the weights in a file are, whatever the file's bytes: their order, compression and notes decide nothing."""

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path

import torch
from open_clip.pretrained import get_pretrained_cfg
from torch import Tensor

from tpccma.models.weight_files import check_exists, read_note, read_weights


def weights_identity(path: str | Path) -> str:
    """Name the model that a file holds, in 16 hexadecimal digits: equal weights have one name in whatever file.

    What counts is every tensor by name, type, shape and values, and what the file says of architecture and tokenizer.
    Of what the weights were made from only a tag of open_clip counts, which decides how pictures are prepared; where a
    file lay does not.

    Args:
        path: of any form that `tpccma.models.read_weights` reads.

    Returns:
        The digits, computed once for as long as the file is not written to.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, or holds tensors that are no plain numbers.
    """
    check_exists(path)
    state = os.stat(path)
    return _identity(Path(path).absolute(), state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


@lru_cache(maxsize=64)
def _identity(path: Path, *state: int) -> str:
    weights = sorted(read_weights(path).items())
    notes = {"architecture": _architecture(path), "tokenizer": read_note(path, "tokenizer")}
    shapes = [(name, str(value.dtype), list(value.shape)) for name, value in weights]
    whole = hashlib.sha256(json.dumps([notes, shapes], sort_keys=True).encode())
    for name, value in weights:
        whole.update(_numbers(path, name, value))
    return whole.hexdigest()[:16]


def _architecture(path: Path) -> dict:
    """Read what a file says of its model; left out are settings that are not set, and the place of other weights."""
    said = {key: value for key, value in read_note(path, "architecture").items() if value is not None}
    if not get_pretrained_cfg(str(said.get("name")), str(said.get("pretrained"))):
        said.pop("pretrained", None)
    return said


def _numbers(path: Path, name: str, value: Tensor) -> memoryview:
    try:
        return value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data
    except (RuntimeError, TypeError) as error:  # of sparse and quantised ones, and those without values
        raise ValueError(
            f"{path} holds {name!r}, a tensor of type {value.dtype} that is no plain array; have its owner save it "
            f"with safetensors ({str(error).strip().splitlines()[0]})"
        ) from None
