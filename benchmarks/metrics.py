"""The modality gap against reading the embeddings once, ``x.sum(), y.sum()``, whole or in the same batches.

python benchmarks/metrics.py --pairs 200000
"""

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
import typer
from torch import Tensor

from tpccma.evidence.speed import read_benchmark, write_record
from tpccma.metrics import ModalityGap, gap_interval, modality_gap
from tpccma.runs.benchmark import FOLDER, against, device, in_turn, save_benchmark

WIDTH, BATCHES, RESAMPLES = 512, (1_000, 16_000), 100
PAIRS = {"cpu": 200_000, "cuda": 1_000_000}
PEER, INTERVAL = "read once", f"gap_interval, {RESAMPLES} resamples"


def stream(x: Tensor, y: Tensor, size: int) -> None:
    """Measure the gap in batches of a size."""
    gap = ModalityGap().to(x.device)
    for batch in zip(x.split(size), y.split(size), strict=True):
        gap.update(*batch)
    gap.compute()


def read(x: Tensor, y: Tensor, size: int) -> None:
    """Read all in batches of a size."""
    for images, texts in zip(x.split(size), y.split(size), strict=True):
        images.sum(), texts.sum()


def measure(x: Tensor, y: Tensor, rounds: int) -> list[dict]:
    """Compare what takes all pairs at once."""
    calls = {PEER: lambda: (x.sum(), y.sum()), "modality_gap": lambda: modality_gap(x, y)}
    interval = {PEER: calls[PEER], INTERVAL: lambda: gap_interval(x, y, n_resamples=RESAMPLES)}
    in_turn(calls, 1)
    rows = against(in_turn(calls, rounds), PEER) + against(in_turn(interval, 1), PEER)[1:]
    return [{"pairs": len(x), **row} for row in rows]


def measure_stream(x: Tensor, y: Tensor, rounds: int) -> list[dict]:
    """Compare what takes a batch after another, at each size of batch."""
    rows = []
    for size in BATCHES:
        calls = {PEER: partial(read, x, y, size), "ModalityGap": partial(stream, x, y, size)}
        in_turn(calls, 1)
        rows += [{"pairs a batch": size, **row} for row in against(in_turn(calls, rounds), PEER)]
    return rows


def main(pairs: int = PAIRS[device()], rounds: int = 5, out: Path = FOLDER) -> None:
    """Measure, print and record."""
    torch.manual_seed(0)
    x, y = (F.normalize(torch.randn(pairs, WIDTH, device=device()), dim=1) for _ in "xy")
    tables = {"metrics": measure(x, y, rounds), "stream": measure_stream(x, y, rounds)}
    print(write_record(read_benchmark(save_benchmark("metrics", tables, out))))


if __name__ == "__main__":
    typer.run(main)
