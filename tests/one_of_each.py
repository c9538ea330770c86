"""One of each thing that a user does after set-up, in a process of its own: see test_quiet.py.

    python -m tests.one_of_each PROFILE.yaml BASE.yaml

leaves in the working folder a trained run with its record, a base trained by its recipe, and a cache of features.
"""

import sys
from hashlib import sha256
from pathlib import Path

import torch

from tpccma import load_profile
from tpccma.data.features import TextFeatures
from tpccma.runs.jobs import Job
from tpccma.runs.record import run_job
from tpccma.training.run import base_recipe, train_base


def describe(texts: list[str]) -> torch.Tensor:
    """Stand for MiniLM: 384 numbers that a text decides."""
    rows = [torch.tensor(list(sha256(text.encode()).digest() * 12)) for text in texts]
    return torch.stack(rows).float()


def main(profile: str, base: str) -> None:
    """Do it all."""
    torch.set_num_threads(1)
    run_job(load_profile(profile), Job("tpc-cma", 0.5, 0))
    trained = train_base(base_recipe(load_profile(base)))
    trained.encoder.save(trained.folder / "shipped.safetensors")
    TextFeatures(Path("cache"), load=lambda: describe)([f"text {number % 50}" for number in range(80)])


if __name__ == "__main__":
    main(*sys.argv[1:])
