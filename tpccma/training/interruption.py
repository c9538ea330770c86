"""Ctrl-C and SIGTERM: while a model is trained, they wait until its checkpoint is written."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise `Terminated`; not in one of several processes that train together, which may be waiting."""
    if not _is_main_thread() or int(os.environ.get("WORLD_SIZE", 1)) > 1:
        yield
        return

    def end(number: int, frame: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@contextmanager
def signals_held() -> Iterator[list[int]]:
    """Hold back the first signal that is to end this process; a second one ends it at once.

    What is done inside looks at the list and ends early; the signal then does what it would have done before: Ctrl-C
    raises KeyboardInterrupt, SIGTERM ends the process or does what its handler says. A signal that was ignored still
    is. Outside a main thread, where Python lets nobody handle signals, none is held.

    Yields:
        A list that is empty until there is a signal, which then stands in it.
    """
    caught: list[int] = []
    before = {number: signal.getsignal(number) for number in SIGNALS} if _is_main_thread() else {}
    held = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

    def let_go() -> None:
        for number, handler in held.items():
            signal.signal(number, handler)

    def note(number: int, frame: object) -> None:
        caught.append(number)
        let_go()

    for number in held:
        signal.signal(number, note)
    try:
        yield caught
    finally:
        let_go()
    if caught:
        signal.raise_signal(caught[0])
        raise KeyboardInterrupt  # of a handler that goes on, though the work has ended


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
