"""Files of weights, read without running code that they may carry.

Three forms are read: safetensors, pickles of plain tensors, and the TorchScript archives in which OpenAI published its
weights. Loading TorchScript runs what is in it, so that form is read of nobody but OpenAI, and known by its checksums.
"""

import hashlib
import io
import json
import os
import re
import shutil
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath

import open_clip
import torch
from open_clip.pretrained import get_pretrained_url
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tpccma.files import whole_file

OPENAI_SETTINGS = ("input_resolution", "context_length", "vocab_size")  # in OpenAI's archives, beside the weights
NOTES = "__metadata__"  # as the header of a safetensors file calls them
CHECKSUM = "tpccma_checksum"  # the note in a safetensors file that says what all else in it is
NAMED = re.compile(r"GLOBAL ([A-Za-z_][\w.]*\w)(?!\S)", re.ASCII)  # random bytes name nothing
# The SHA-256 of each of them; OpenAI published it as the last folder of the file's address.
OPENAI_CHECKSUMS = frozenset(
    PurePosixPath(get_pretrained_url(name, "openai")).parent.name
    for name in open_clip.list_pretrained_models_by_tag("openai")
)


def read_metadata(path: str | Path) -> dict[str, str]:
    """Read the metadata of a safetensors file, without the checksum of it; empty for any other file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is called safetensors and is none.
    """
    if Path(path).suffix != ".safetensors":
        return {}
    check_exists(path)
    try:
        with safe_open(path, framework="pt") as file:
            notes = file.metadata() or {}
    except SafetensorError as error:
        raise _not_safetensors(path, error) from None
    return {name: note for name, note in notes.items() if name != CHECKSUM}


def read_note(path: str | Path, name: str) -> dict:
    """Read what this package has written about a model beside its weights, by name; {} of any other file.

    Raises:
        FileNotFoundError, ValueError: as `tpccma.models.read_metadata`; and if the note is damaged.
    """
    text = read_metadata(path).get(name, "{}")
    try:
        return dict(json.loads(text))
    except (TypeError, ValueError, RecursionError):
        raise ValueError(f"{path} names {text!r:.200} as its {name}, which is damaged; get the file again") from None


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a checkpoint's tensors without running any code it may carry.

    Args:
        path: a safetensors file, OpenAI's own TorchScript archive, or a pickle of plain tensors.

    Returns:
        The tensors by name.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file carries code, is damaged, or holds anything else; the message names it and what to do.
            Of a file that this package has written one turned bit is seen.
    """
    check_exists(path)
    if Path(path).suffix == ".safetensors":
        return _read_safetensors(path)
    if is_openai_archive(path):
        weights = torch.jit.load(path, map_location="cpu").state_dict()
        return {name: value for name, value in weights.items() if name not in OPENAI_SETTINGS}
    return _named_tensors(path, unpickle(path))


def _read_safetensors(path: str | Path) -> dict[str, Tensor]:
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise _not_safetensors(path, error) from None
    if is_as_written(path):
        return weights
    raise ValueError(
        f"{path} is damaged: by its checksum it is not what was written; get it again or make it anew (whoever changes "
        f"such a file saves it without the note {CHECKSUM})"
    )


def is_openai_archive(path: str | Path) -> bool:
    """Say whether a file is one of the TorchScript archives that OpenAI published, by its checksum.

    Raises:
        ValueError: if it is any other TorchScript archive. Nothing in it has been unpickled.
    """
    if not _is_torchscript(path):
        return False
    if checksum(path) in OPENAI_CHECKSUMS:
        return True
    raise ValueError(
        f"{path} is a TorchScript archive, which may run code when it is loaded, and by its checksum none of those "
        "that OpenAI published; it is not loaded; have its owner save it with safetensors, or get OpenAI's own file "
        "(the profile's model.pretrained: openai fetches it)"
    )


def checksum(path: str | Path) -> str:
    """Compute the SHA-256 of a file, once for as long as it is not written to."""
    path, state = Path(path).resolve(), os.stat(path)
    return _sha256(path, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, *state: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_file_of(config: dict, digest: str) -> bool:
    """Say whether open_clip offers a file of this checksum: some addresses hold it, as a folder or after the name."""
    url = PurePosixPath(config.get("url", ""))
    return url.parent.name == digest or url.stem.endswith(f"-{digest[:8]}")


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Say what a failed write was: of a full disk, torch says that a position was unexpected, and neither names a file.

    Raises:
        OSError: naming ``path``, the room on its disk and the remedy, if writing fails.
    """
    try:
        yield
    except (RuntimeError, SafetensorError, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        reason = str(error).strip().split("\n")[0]
        free = shutil.disk_usage(Path(path).parent).free / 1e6
        raise OSError(
            f"{path} could not be written ({reason}); {free:.0f} MB are free on its disk: make room and run again"
        ) from None


def save_weights(weights: dict[str, Tensor], path: str | Path, notes: dict[str, str]) -> None:
    """Write a safetensors file, in whole or not at all; the same weights and notes give the same bytes.

    Args:
        weights: tensors by name.
        path: of the file.
        notes: its metadata.

    Raises:
        OSError: naming ``path``, the room on its disk and the remedy, if it cannot be written.
    """
    weights = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    with whole_file(path) as partial, writing(path):
        save_file(weights, partial, notes | {CHECKSUM: "0" * 64})
        _seal(partial)


def is_as_written(path: str | Path) -> bool:
    """Say whether a safetensors file is what `save_weights` wrote; files of others have no checksum, and pass."""
    with open(path, "rb", buffering=0) as file:
        header, _ = _read_header(file)
        said = _notes(header).get(CHECKSUM)
        return said is None or said == _checksum_of(header, file)


def _seal(path: Path) -> None:
    """Put the metadata of a safetensors file in order, which its writer does not, with the checksum of all else."""
    with path.open("r+b", buffering=0) as file:
        header, size = _read_header(file)
        header[NOTES] = dict(sorted((_notes(header) | {CHECKSUM: _checksum_of(header, file)}).items()))
        file.seek(8)
        file.write(json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(size))


def _read_header(file: io.FileIO) -> tuple[dict, int]:
    (size,) = struct.unpack("<Q", file.read(8))
    return json.loads(file.read(size)), size


def _notes(header: dict) -> dict[str, str]:
    return header.get(NOTES) or {}


def _checksum_of(header: dict, file: io.FileIO) -> str:
    """Compute the SHA-256 of a header, but for the checksum in it, and of what is left to read of its file."""
    notes = {name: note for name, note in _notes(header).items() if name != CHECKSUM}
    digest = hashlib.sha256(json.dumps(header | {NOTES: notes}, sort_keys=True).encode())
    return hashlib.file_digest(file, lambda: digest).hexdigest()


def check_exists(path: str | Path) -> None:
    """See to it that there is a checkpoint.

    Raises:
        FileNotFoundError: naming it otherwise.
    """
    if not Path(path).is_file():
        check_no_run(path)
        raise FileNotFoundError(f"no checkpoint at {path}: give a file, or a run's folder")


def check_no_run(path: str | Path) -> None:
    """See to it that weights which are not there are not those of a run that has none.

    Raises:
        FileNotFoundError: saying why it has none.
    """
    if why := _why_not(Path(path).parent):
        raise FileNotFoundError(f"no checkpoint at {path}{why}")


def _why_not(folder: Path) -> str:
    """Say why a run's folder holds no weights; nothing of another."""
    if (folder / "record.json").is_file():
        return ": a base that was not trained lies where its profile says, give that file"
    return ": the run is not finished, give its command again" if (folder / "code.json").is_file() else ""


def _is_torchscript(path: str | Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(PurePosixPath(member).name == "constants.pkl" for member in archive.namelist())
    except Exception:  # of no archive, or a damaged one: that is for torch.load to say, which never loads TorchScript
        return False


def unpickle(path: str | Path) -> object:
    """Read what ``torch.save`` wrote, tensors and plain values in lists and dictionaries; no code in it is run.

    Raises:
        ValueError: if it carries code or is damaged; the message names it and what to do.
    """
    with open(path, "rb") as file:
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # of a damaged file, whatever its bytes lead to
            raise ValueError(f"{path} {_complaint(error)}") from None


def _complaint(error: Exception) -> str:
    if code := NAMED.search(str(error)):
        return (
            "is a pickle that carries code and is not loaded; have its owner save it with safetensors "
            f"(it asks for {code[1]})"
        )
    # torch's words without those before, on how it reads, and after, on how to load the file all the same
    reason = str(error).split("WeightsUnpickler error:")[-1].strip().split("\n")[0].split(". ")[0]
    return (
        "cannot be read as a pickle of plain tensors and is not loaded; get it again if it is damaged, or have its "
        f"owner save it with safetensors, in a file named so ({type(error).__name__}: {reason or 'no more is said'})"
    )


def _named_tensors(path: str | Path, content: object) -> dict[str, Tensor]:
    weights = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(weights, dict):
        raise ValueError(f"{path} holds a {type(weights).__name__}, where tensors by name belong; save a state_dict")
    for name, value in weights.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            raise ValueError(
                f"{path} holds {name!r} of type {type(value).__name__} among its weights, where tensors by name "
                "belong; save a state_dict"
            )
    return weights


def _not_safetensors(path: str | Path, error: SafetensorError) -> ValueError:
    return ValueError(f"{path} is not a safetensors file: {error}; get it again, or save it with safetensors")
