"""Loss and gradients of `CMALoss` against those of open_clip's `ClipLoss`, in time and in memory.

python benchmarks/loss.py --pairs 256,1024
"""

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
import typer
from open_clip.loss import ClipLoss
from torch import Tensor

from tpccma.evidence.speed import read_benchmark, write_record
from tpccma.loss import CMALoss
from tpccma.runs.benchmark import FOLDER, Calls, against, device, in_turn, peak_bytes, save_benchmark

WIDTH, SCALE = 512, 100.0
PAIRS = {"cpu": "256,1024,2048,4096", "cuda": "256,1024,4096,16384,32768"}
PLAIN_UP_TO = {"cpu": 2_048, "cuda": 16_384}  # above it, the text of the method is slow, or does not fit
PEER = "ClipLoss"


def read_and_weigh(loss: CMALoss, alpha: float, *features: Tensor) -> dict[str, Tensor]:
    """Compute the terms as a step of the curriculum's ramp does, whose alpha hangs on the gradients."""
    read = loss.read(*features)
    read.numbers().tolist()
    return read.terms(alpha)


def differentiate(terms, features: tuple[Tensor, ...]) -> None:
    """Compute a loss and its gradients."""
    torch.autograd.grad(sum(terms(*features).values()), features)


def draw(pairs: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw image and text embeddings, and the inverse temperature."""
    torch.manual_seed(0)
    x, y = (F.normalize(torch.randn(pairs, WIDTH, device=device()), dim=1).requires_grad_() for _ in "xy")
    return x, y, torch.tensor(SCALE, device=device(), requires_grad=True)


def forms(pairs: int) -> Calls:
    """Name what is compared, at a number of pairs."""
    dial = CMALoss(alpha=0.5)
    terms = {
        PEER: partial(ClipLoss(), output_dict=True),
        "alpha 0": partial(CMALoss(alpha=0.0), output_dict=True),
        "alpha 0.5": partial(dial, output_dict=True),
        "alpha 0.5 with the reading": partial(read_and_weigh, dial, 0.5),
        "alpha 0.5, plain form": dial.plain,
    }
    if pairs > PLAIN_UP_TO[device()]:
        del terms["alpha 0.5, plain form"]
    features = draw(pairs)
    return {name: partial(differentiate, form, features) for name, form in terms.items()}


def measure(pairs: int, rounds: int) -> list[dict]:
    """Compare all forms at a number of pairs, once each has run: what compiling takes is no part of time or memory."""
    calls = forms(pairs)
    for call in calls.values():
        call()
    peaks = {name: peak_bytes(call) for name, call in calls.items()}
    rows = against(in_turn(calls, rounds), PEER)
    return [{"pairs": pairs, **row, "peak_bytes": peaks[row["what"]]} for row in rows]


def main(pairs: str = PAIRS[device()], rounds: int = 9, out: Path = FOLDER) -> None:
    """Measure, print and record."""
    rows = [row for count in pairs.split(",") for row in measure(int(count), rounds)]
    print(write_record(read_benchmark(save_benchmark("loss", {"loss": rows}, out))))


if __name__ == "__main__":
    typer.run(main)
