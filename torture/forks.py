"""Work in copies of this process, which may be killed, crash or hang without harm to it."""

import faulthandler
import mmap
import os
import pickle
import select
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torture.events import end_with_parent

PLACE = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())


@dataclass
class Ended:
    """How a copy ended.

    Args:
        status: its exit status; below 0 the signal that killed it; None if it was killed because its time was up.
        value: what the work returned; None if it did not come to that.
        said: what it wrote to stdout and stderr.
    """

    status: int | None
    value: Any
    said: str


class Copy:
    """A copy of this process at its work.

    Args:
        work: what it does; its result can be pickled. A SystemExit gives the exit status.
    """

    def __init__(self, work: Callable[[], object]):
        self.words = tempfile.TemporaryFile(dir=PLACE)  # noqa: SIM115  closed in `wait`
        self.result = tempfile.TemporaryFile(dir=PLACE)  # noqa: SIM115
        with warnings.catch_warnings(action="ignore"):  # of threads: none of them is at work when this is called
            self.pid = os.fork()
        if self.pid == 0:
            self._work(work)
        self.handle = os.pidfd_open(self.pid)

    def _work(self, work: Callable[[], object]) -> None:
        status = 1
        try:
            os.setsid()
            end_with_parent()
            for stream in (1, 2):
                os.dup2(self.words.fileno(), stream)
            faulthandler.enable(file=2)
            status = 0
            self.result.write(pickle.dumps(work()))
            self.result.flush()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            status = 1
            os.write(2, traceback.format_exc().encode(errors="replace"))
        finally:
            os._exit(status)

    def is_running(self, seconds: float) -> bool:
        """Wait a while; say whether it is still at work."""
        return not select.select([self.handle], [], [], max(0, seconds))[0]

    def kill(self) -> None:
        """Kill it and what it has started, which is nothing before it has a group of its own."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, seconds: float) -> Ended:
        """Wait for its end, which comes after a time in any case."""
        late = self.is_running(seconds)
        if late:
            self.kill()
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.handle)
        with self.words, self.result:
            self.words.seek(0)
            self.result.seek(0)
            value = (
                pickle.load(self.result)
                if status == 0 and not late and os.fstat(self.result.fileno()).st_size
                else None
            )
            return Ended(None if late else status, value, self.words.read().decode(errors="replace"))


def in_fork(work: Callable[[], object], seconds: float = 120) -> Ended:
    """Do work in a copy of this process, and wait for its end."""
    return Copy(work).wait(seconds)


class Progress:
    """Where a copy is, told to the process that waits for it: the number of a case, and how many bytes it has grown."""

    def __init__(self):
        self.memory = mmap.mmap(-1, 8)

    def tell(self, number: int) -> None:
        """Say which case begins."""
        self.memory[:8] = number.to_bytes(8, "little")

    def read(self) -> int:
        """Say which case began last."""
        return int.from_bytes(self.memory[:8], "little")

    def watch(self, copy: Copy, limit: float) -> bool:
        """Wait for the end of a copy; say whether it came, or a case took longer than a limit in seconds."""
        case, since = self.read(), time.monotonic()
        while copy.is_running(0.2):
            if self.read() != case:
                case, since = self.read(), time.monotonic()
            elif time.monotonic() - since > limit:
                return False
        return True
