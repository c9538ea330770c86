"""Time things against each other, and record that with the machine it was done on.

What is compared takes turns in one process, and a ratio is the median of the ratios within a round: a machine that is
slow for a while is slow for all. On a CPU ratios are of processor time, to which other processes of the machine add
little; on a GPU of the time until all is done.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from tqdm import tqdm

from tpccma.files import write_whole
from tpccma.runs.provenance import git_revision, hardware, versions
from tpccma.runs.records import BENCHMARKS

FOLDER = Path("results") / BENCHMARKS

Calls = Mapping[str, Callable[..., object]]


class Turn(NamedTuple):
    """What a call took: seconds on the clock, and of processor time, that of its own processes included."""

    seconds: float
    cpu_seconds: float

    @property
    def counted(self) -> float:
        """The seconds that ratios are taken of."""
        return self.seconds if torch.cuda.is_available() else self.cpu_seconds


def device() -> str:
    """Name what torch computes on here, "cuda" or "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def in_turn(calls: Calls, rounds: int, ready: Callable[[str], tuple] = lambda name: ()) -> dict[str, list[Turn]]:
    """Time calls by turns.

    Args:
        calls: by name.
        rounds: how often each has its turn, >= 1.
        ready: gives the arguments of a call by its name, anew for each; what it takes is not counted.

    Returns:
        For each name one `Turn` a round.
    """
    turns: dict[str, list[Turn]] = {name: [] for name in calls}
    for name, call in tqdm(list(calls.items()) * rounds, desc="timing", unit="turn", leave=False, disable=None):
        turns[name].append(_time(call, ready(name)))
    return turns


def _time(call: Callable[..., object], arguments: tuple) -> Turn:
    _wait()
    others, began, own = _seconds_of_children(), time.perf_counter(), time.process_time()
    call(*arguments)
    _wait()
    own, ended = time.process_time() - own, time.perf_counter()
    return Turn(ended - began, own + _seconds_of_children() - others)


def _seconds_of_children() -> float:
    """Add up the processor time of this process's children, those that live and those that have ended."""
    ended, seconds = os.times(), 0.0
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            seconds += sum(child.cpu_times()[:2])
    return seconds + ended.children_user + ended.children_system


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def against(turns: Mapping[str, list[Turn]], peer: str) -> list[dict]:
    """Sum up what was timed in turn.

    Args:
        turns: of `in_turn`.
        peer: the name of what the others are set against.

    Returns:
        A row each: ``what``, the medians ``seconds`` and on a CPU ``cpu_seconds``, and but for the peer ``ratio``, the
        median of the ratios to it.
    """
    rows = []
    for name, own in turns.items():
        row: dict = {"what": name, "seconds": median(turn.seconds for turn in own)}
        if not torch.cuda.is_available():
            row["cpu_seconds"] = median(turn.cpu_seconds for turn in own)
        if name != peer:
            row["ratio"] = median(turn.counted / other.counted for turn, other in zip(own, turns[peer], strict=True))
        rows.append(row)
    return rows


def peak_bytes(call: Callable[[], object]) -> int:
    """Measure the most bytes that are taken at one time by tensors which a call makes.

    On a GPU that is what its allocator says. On a CPU operations are watched: what one needs within itself is not seen.
    """
    if not torch.cuda.is_available():
        with LiveStorages() as live:
            call()
        return live.peak
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return torch.cuda.max_memory_allocated() - before


class LiveStorages(TorchDispatchMode):
    """Adds up the storages that operations make, as long as they live; ``peak`` is the most bytes so far."""

    def __init__(self):
        super().__init__()
        self.peak = 0
        self.sizes: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self._note((arguments, keywords), made=False)
        made = function(*arguments, **(keywords or {}))
        self._note(made, made=True)
        self.sizes = {key: known for key, known in self.sizes.items() if not known[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.sizes.values()))
        return made

    def _note(self, values: object, made: bool) -> None:
        for tensor in tree_leaves(values):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                reference = StorageWeakRef(storage)
                self.sizes.setdefault(reference.cdata, (reference, storage.nbytes() if made else 0))


def save_benchmark(name: str, tables: Mapping[str, list[dict]], folder: str | Path = FOLDER) -> Path:
    """Record what was measured, with hardware, versions and how busy the machine was.

    Args:
        name: of the benchmark.
        tables: rows by the name of a table, see `tpccma.evidence.speed`.
        folder: where the record goes, as ``<name>-<device>.json``.

    Returns:
        Its path.
    """
    record = {
        "benchmark": name,
        "device": device(),
        "git": git_revision(),
        "hardware": hardware() | {"cores": os.cpu_count()},
        "versions": versions(),
        "load": round(os.getloadavg()[0], 2),
        "tables": dict(tables),
    }
    path = Path(folder) / f"{name}-{device()}.json"
    write_whole(path, json.dumps(record, indent=1) + "\n")
    return path
