"""Independent work in processes of its own."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool

from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.backend import resource_tracker

GRACE = 60  # seconds that a process has for a checkpoint when it is to end


def run_all(work: Callable, tasks: dict[str, tuple], jobs: int) -> Iterator[tuple[str, object]]:
    """Do independent tasks in processes of their own, with a line for each and an estimate of the time left.

    A task whose process dies, as for want of memory, has failed; the others go on.

    Args:
        work: a function at the top of a module, so that another process finds it.
        tasks: name to its arguments.
        jobs: processes; they share the machine's cores.

    Yields:
        Name and result of each task as it ends, or the exception that ended it.
    """
    threads, began = max(1, (os.cpu_count() or 1) // jobs), time.perf_counter()
    waiting = list(reversed(tasks.items()))
    idle = [start_worker(threads) for _ in range(min(jobs, len(tasks)))]
    busy: dict[Future, tuple[str, Executor]] = {}
    try:
        for done in range(1, len(tasks) + 1):
            while waiting and idle:
                name, arguments = waiting.pop()
                worker = idle.pop()
                busy[worker.submit(work, *arguments)] = (name, worker)
            future = wait(busy, return_when=FIRST_COMPLETED).done.pop()
            name, worker = busy.pop(future)
            problem = _problem(future)
            idle.append(start_worker(threads) if isinstance(problem, BrokenProcessPool) else worker)
            running = min(jobs, len(tasks) - done)
            _tell(name, problem, (done, running, len(tasks)), began)
            yield name, problem or future.result()
    finally:
        for worker in idle:
            worker.shutdown()
        _stop([worker for _, worker in busy.values()])


def _stop(workers: list[Executor]) -> None:
    """End processes at their work; a training leaves a checkpoint first."""
    processes = [process for worker in workers for process in list(getattr(worker, "_processes", {}).values())]
    for process in processes:
        process.terminate()
    latest = time.monotonic() + GRACE
    for process in processes:
        process.join(max(0, latest - time.monotonic()))
    for worker in workers:
        worker.shutdown(kill_workers=True)


def start_worker(threads: int) -> Executor:
    """Make a process that takes one task at a time; of its own, so that it is known which task it died of."""
    _start_tracker()
    # THP_MEM_ALLOC_ENABLE: huge pages take 0.9 of the time
    settings = {"OMP_NUM_THREADS": str(threads), "THP_MEM_ALLOC_ENABLE": "1"}
    return ProcessPoolExecutor(1, initializer=_prepare, initargs=(threads, os.getpid()), env=settings)


def _start_tracker() -> None:
    """Start what tidies up behind this process; of the semaphores that it finds when that is killed, it is silent."""
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [before, "ignore:resource_tracker"]))
    try:
        resource_tracker.ensure_running()
    finally:
        del os.environ["PYTHONWARNINGS"]
        if before is not None:
            os.environ["PYTHONWARNINGS"] = before


def _prepare(threads: int, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one ends the others
    import torch  # not by whoever merely starts processes

    torch.set_num_threads(threads)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone, however that ended; a training leaves a checkpoint."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)


def _problem(future: Future) -> BaseException | None:
    problem = future.exception()
    if isinstance(problem, BrokenProcessPool):
        return BrokenProcessPool("its process died: it was killed, as it is for want of memory, or crashed")
    return problem


def _tell(name: str, problem: BaseException | None, counts: tuple[int, int, int], began: float) -> None:
    done, running, count = counts
    left = (time.perf_counter() - began) / done * (count - done)
    state = f"FAILED: {type(problem).__name__}: {problem}" if problem else "done"
    ahead = f"{running} running, {count - done - running} waiting, {left / 60:.0f} min left"
    print(f"{done}/{count} {name} {state}; {ahead}", file=sys.stderr, flush=True)
