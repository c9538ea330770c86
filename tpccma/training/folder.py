"""A run's folder: which code made what lies there, and who may train in it.

``code.json`` says which code has made the weights and checkpoints of a folder. What other code has made is told of and
used, or moved aside and made anew, never reused in silence. A lock keeps two trainings from working in one folder.
"""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from filelock import FileLock, Timeout

from tpccma.files import WEIGHTS, write_whole
from tpccma.training.checkpoint import checkpoints_in, has_checkpoint, remove_checkpoints
from tpccma.training.identity import joined

CODE, LOCK = "code.json", ".lock"
UNKNOWN = "unknown"  # code of what was made before it was noted

logger = logging.getLogger(__name__)


def is_finished(folder: Path) -> bool:
    """Say whether a folder holds the weights of a run."""
    return (folder / WEIGHTS).is_file()


def code_of(folder: Path) -> str:
    """Name the code that has made what lies in a folder: a digest, "unknown", or "" where there is nothing."""
    if not (is_finished(folder) or has_checkpoint(folder)):
        return ""
    noted = folder / CODE
    if not noted.is_file():
        return UNKNOWN
    try:
        return str(json.loads(noted.read_text())["training"])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ValueError(f"{noted} does not say which code has made what lies beside it; remove it") from None


def note_code(folder: Path, code: str) -> None:
    """Write down which code has made what lies in a folder, or will lie there."""
    write_whole(folder / CODE, json.dumps({"training": code, "tpccma": version("tpccma")}) + "\n")


def settle(folder: Path, code: str, fresh: bool = False) -> None:
    """Decide what becomes of what lies in a folder: it is used, told of if other code has made it, or moved aside.

    Args:
        folder: of a run.
        code: that would make it now, see `tpccma.training.identity`.
        fresh: move aside what other code has made.
    """
    found = code_of(folder)
    if found == code:
        return
    if found and fresh:
        move_aside(folder, found)
        found = ""
    if not found:
        note_code(folder, code)
    elif is_finished(folder):
        _tell(folder, found, code, "is used as it is")
    else:
        _tell(folder, found, code, "goes on from its checkpoint")
        note_code(folder, joined(code, found))


def _tell(folder: Path, found: str, code: str, so: str) -> None:
    """Warn of what other code has made; of what was made before code was noted, once."""
    if found == UNKNOWN:
        if (folder / CODE).is_file():
            return
        with suppress(PermissionError):  # finished runs may be lent read-only
            note_code(folder, UNKNOWN)
    logger.warning(
        "%s was made by other code (%s, now %s) and %s; fresh=True, or --fresh, makes it anew and keeps the old one",
        *(folder, found, code, so),
    )


def move_aside(folder: Path, code: str) -> Path:
    """Move all that a folder holds to one beside it, the weights first; return that folder."""
    number, old = 1, folder.with_name(f"{folder.name}.old-{code}")
    while old.exists():
        number += 1
        old = folder.with_name(f"{folder.name}.old-{code}-{number}")
    old.mkdir()
    for path in sorted(folder.iterdir(), key=lambda path: path.name != WEIGHTS):
        if path.name != LOCK:
            shutil.move(path, old / path.name)
    logger.warning("%s was made by other code (%s); it lies in %s now and is made anew", folder, code, old)
    return old


def clear(folder: Path) -> None:
    """Remove the checkpoints that a kill has left beside finished weights, unless somebody works there."""
    if is_finished(folder) and checkpoints_in(folder):
        with suppress(OSError), FileLock(folder / LOCK, timeout=0):  # finished runs may be lent read-only
            if is_finished(folder):
                remove_checkpoints(folder)


def this_process() -> PartialState:
    """Say who this process is among those that train together; started the way that a training starts them."""
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))


@contextmanager
def alone_in(folder: Path) -> Iterator[PartialState]:
    """Let one training at a time work in a folder; of several processes that train together, the first holds the lock.

    The lock is the system's and goes with the process that holds it, however that ends.

    Yields:
        Who is who among the processes that train together.
    """
    processes = this_process()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    if processes.is_main_process:
        _acquire(lock, folder)
    try:
        yield processes
    finally:
        lock.release()


@contextmanager
def abandoned(folder: Path) -> Iterator[None]:
    """Take a folder away again if what begins in it is refused, and nothing else lies there."""
    try:
        yield
    except (ValueError, OSError):
        if {path.name for path in folder.iterdir()} <= {CODE, LOCK}:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _acquire(lock: FileLock, folder: Path) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("another process trains in %s; this one waits until it has ended", folder)
        lock.acquire(poll_interval=0.2)
