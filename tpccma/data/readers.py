"""Processes that read pictures ahead."""

import signal


def leave_interrupts(reader: int) -> None:
    """Let Ctrl-C, which a terminal sends to every process, be answered by the first one: it ends its readers.

    Args:
        reader: its number, as torch gives it to a DataLoader's ``worker_init_fn``.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
