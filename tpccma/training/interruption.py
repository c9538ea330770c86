"""Ctrl-C and SIGTERM: while a model is trained, they wait until its checkpoint is written.

Of several processes that train together, one that is sent a signal tells the others, and all end at one step.
"""

import os
import signal
import threading
from collections.abc import Iterator, MutableSequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import Accelerator, PartialState

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise `Terminated`; it ends one of several processes that train together, which may be waiting."""
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
def signals_held(together: bool = False) -> Iterator[list[int]]:
    """Hold back the first signal that is to end this process; a second one ends it at once.

    What is done inside looks at the list and ends early; the signal then does what it would have done before: Ctrl-C
    raises KeyboardInterrupt, SIGTERM ends the process or does what its handler says. A signal that was ignored still
    is. Outside a main thread, where Python lets nobody handle signals, none is held.

    Args:
        together: this is one of several processes that train together. Then a second signal is held as well, since
            their launcher and whoever stops it may send one each, and SIGTERM raises `Terminated`.

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
        if not together:
            let_go()

    for number in held:
        signal.signal(number, note)
    try:
        yield caught
    finally:
        let_go()
    if caught:
        end_by(caught[0], together)


def end_by(number: int, together: bool = False) -> None:
    """Let a signal that was held back do what it does; of processes that train together, SIGTERM raises `Terminated`.

    Raises:
        KeyboardInterrupt: if it does nothing.
    """
    if together and number == signal.SIGTERM:
        raise Terminated
    signal.raise_signal(number)
    raise KeyboardInterrupt  # of a handler that goes on, though the work has ended


def are_to_stop(caught: MutableSequence[int], processes: "Accelerator | PartialState") -> bool:
    """Say whether a signal was caught by any of the processes that train together; all have to ask, and agree.

    They reduce one number, which takes less than a millisecond; a process alone asks nobody.

    Args:
        caught: of `signals_held` in this process; where it is empty, another's signal is put into it.
        processes: who is who among them.
    """
    if processes.num_processes == 1:
        return bool(caught)
    import torch  # not by commands that train nothing

    latest = torch.tensor(max(caught, default=0), device=processes.device)
    torch.distributed.all_reduce(latest, op=torch.distributed.ReduceOp.MAX)
    number = int(latest)
    if number and not caught:
        caught.append(number)
    return number > 0


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
