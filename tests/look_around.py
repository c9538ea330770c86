"""What a process of `tpccma.runs.workers.run_all` is made to do; here, so that it need not load what the tests do."""

import os
import signal

import torch


def look_around(last_words: str | None = None) -> tuple[int, str, str]:
    """Say what threads and settings a process finds, or die of it."""
    if last_words:
        os.kill(os.getpid(), signal.SIGKILL)
    return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"], os.environ["THP_MEM_ALLOC_ENABLE"]
