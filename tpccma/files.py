"""Files that are there in whole or not at all, whatever ends the process or the machine while they are written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a path to write to; when that is done, what stands there takes the place of a file in one step.

    Args:
        path: of the file; its folder is made if it is missing.

    Yields:
        A path beside it, of an empty file. If writing fails, that file is removed, and the one at `path` is what it
        was. Who may read it follows from the umask, as of any file, whoever writes it.

    Raises:
        OSError: naming `path` if writing fails, as on a full disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
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
        partial.unlink(missing_ok=True)
    _sync(path.parent)


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
