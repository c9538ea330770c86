"""Fine-tune from a notebook on all GPUs of this machine, as ``accelerate launch -m tpccma train`` does from a shell."""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import notebook_launcher
from torch.distributed.elastic.multiprocessing.api import SignalException

from tpccma.curriculum import check_alpha
from tpccma.data import Corpus
from tpccma.methods import check_method
from tpccma.profiles import Profile, load_profile
from tpccma.runs.record import check_base
from tpccma.training.interruption import end_by
from tpccma.training.run import Run, check_seed, fine_tune

# By torch's launcher, as far as a system has them.
TAKEN = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)]


def launch(
    profile: str | Path | Profile,
    method: str,
    alpha: float,
    seed: int,
    runs_dir: str | Path = "runs",
    corpus: Corpus | None = None,
    processes: int | None = None,
    results_dir: str | Path = "results",
) -> Run:
    """Fine-tune in one process for each GPU; with one GPU or none, in this process.

    No GPU may have been used before in the notebook. The base model is checked first, see ``check_base``. Ctrl-C ends
    all processes after one step, with a checkpoint of it, from which the same call goes on.

    Args:
        profile: as `tpccma.fine_tune` takes it, like all up to ``corpus``.
        method: likewise.
        alpha: likewise.
        seed: likewise.
        runs_dir: likewise.
        corpus: used where no processes are started, which load their own.
        processes: to start; None starts one for each GPU.
        results_dir: where the record of the base lies.

    Returns:
        The `~tpccma.training.run.Run`, loaded here.

    Raises:
        ValueError: as `tpccma.fine_tune` does, before a process is started; or if the base is not as expected.
        FileNotFoundError: if the profile expects something of its base, and that has not been measured.
    """
    profile = load_profile(profile)
    check_method(method, check_alpha(alpha))
    check_seed(seed)
    check_base(profile, results_dir)
    processes = torch.cuda.device_count() if processes is None else processes
    given = (profile, method, alpha, seed, runs_dir)
    if processes > 1:
        with _signals_given_back():
            notebook_launcher(_fine_tune_only, given, num_processes=processes, use_port=str(_free_port()))
    return fine_tune(*given, corpus)


@contextmanager
def _signals_given_back() -> Iterator[None]:
    """Let signals do after torch's launcher, which takes them, what they did before; one that came does it now."""
    in_main = threading.current_thread() is threading.main_thread()  # elsewhere nobody can take them
    before = {number: signal.getsignal(number) for number in TAKEN} if in_main else {}
    came = None
    try:
        yield
    except SignalException as error:
        came = error.sigval
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
    if came is not None:
        end_by(came)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _fine_tune_only(*given) -> None:
    """Fine-tune in a process that was started for it; the run is on disk and need not be sent back."""
    torch.set_num_threads(1)  # a forked process waits for ever on OpenMP threads that stayed behind
    fine_tune(*given)
