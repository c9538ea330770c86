"""File events of this process: counted, or the end of it at a chosen one; see events.c, which does it."""

import ctypes
import os
import signal
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("events.c")
PDEATHSIG = 1  # of prctl
COUNT, KILL, TEAR, FULL = range(4)  # do nothing; kill before the event; within a write; let it and later writes fail


def build(folder: Path) -> Path:
    """Compile the library that counts.

    Args:
        folder: where it goes.

    Returns:
        Its path, for LD_PRELOAD.

    Raises:
        FileNotFoundError: if there is no C compiler.
    """
    library = folder / "events.so"
    if not library.is_file() or library.stat().st_mtime < SOURCE.stat().st_mtime:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"events.{os.getpid()}.so"
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", partial, SOURCE, "-ldl"], check=True)
        partial.replace(library)
    return library


def is_loaded() -> bool:
    """Say whether this process was started with the library."""
    return hasattr(ctypes.CDLL(None), "noted_events")


def watch(folder: Path, event: int = 0, mode: int = COUNT) -> None:
    """From here on, count what this process does to files below a folder.

    Args:
        folder: an absolute path.
        event: the number, from 1, of the one at which something is to happen.
        mode: what.
    """
    ctypes.CDLL(None).watch(str(folder).encode(), ctypes.c_long(event), mode)


def noted() -> list[str]:
    """List the events since `watch`, each as kind and path below the folder."""
    library = ctypes.CDLL(None)
    library.noted_events.restype = ctypes.c_char_p
    return library.noted_events().decode(errors="replace").splitlines()


def end_with_parent() -> None:
    """Let this process be killed when the one that started it ends."""
    ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGKILL)
