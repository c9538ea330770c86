"""Files that are there in whole or not at all, whatever ends the process or the machine while they are written."""

import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

HOST = socket.gethostname().replace(".", "-")
PARTIAL = re.compile(r"\..+\.([^.]+)\.(\d+)\.partial")  # a file that is being written, on which machine, by whom
A_DAY = 86_400.0  # seconds; nothing is being written for so long

WEIGHTS = "model.safetensors"  # in the folder of a run
OPEN_CLIP_WEIGHTS = "open_clip_model.safetensors"  # in a folder that open_clip loads
LOCAL_DIR = "local-dir:"  # what open_clip has before the path of such a folder


def file_in(given: str | Path) -> Path:
    """Say which file of weights is meant by whom names it or the folder of a run or an export; it may be missing."""
    path = Path(str(given).removeprefix(LOCAL_DIR)).expanduser()
    if not path.is_dir():
        return path
    return path / (OPEN_CLIP_WEIGHTS if (path / OPEN_CLIP_WEIGHTS).is_file() else WEIGHTS)


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a path to write to; when that is done, what stands there takes the place of a file in one step.

    What processes that live no longer have left half-written in its folder is removed.

    Args:
        path: of the file; its folder is made if it is missing.

    Yields:
        The path of an empty file, in a folder of its own beside `path`, which is removed with all that is left in it;
        safetensors, for one, writes beside what it is given. If writing fails, the file at `path` is what it was. Who
        may read it follows from the umask, as of any file, whoever writes it.

    Raises:
        OSError: naming `path` if writing fails, as on a full disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left(path.parent)
    place = path.with_name(f".{path.name}.{HOST}.{os.getpid()}.partial")
    partial = place / "partial"
    try:
        place.mkdir(exist_ok=True)
        partial.touch()
        mode = partial.stat().st_mode
        yield partial
        partial.chmod(mode)  # safetensors makes files that their owner alone may read
        _sync(partial)
        partial.replace(path)
    except OSError as error:
        if error.filename is None and error.errno is not None:  # of a full disk
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        shutil.rmtree(place, ignore_errors=True)
    _sync(path.parent)


def remove_left(folder: Path) -> None:
    """Remove what processes that live no longer have left half-written in a folder, and whatever is older than a day.

    Of another machine, or one whose number another process has now, it is not known whether it lives.
    """
    for place in folder.glob(".*.partial"):
        if whose := PARTIAL.fullmatch(place.name):
            dead = whose[1] == HOST and not psutil.pid_exists(int(whose[2]))
            with suppress(OSError):  # another one removes it as well, or may alone
                if dead or time.time() - place.stat().st_mtime > A_DAY:
                    shutil.rmtree(place) if place.is_dir() else place.unlink()


def write_whole(path: str | Path, text: str) -> None:
    """Write a text file by way of `whole_file`."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def sync_folder(folder: str | Path) -> None:
    """See to it that a folder and all that lies below it are on the disk."""
    for path in [*Path(folder).rglob("*"), Path(folder)]:
        _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
