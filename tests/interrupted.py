"""Trainings that are sent a signal in the middle of a step, for processes of their own: see test_interruption.py."""

import os
import sys
import time
from pathlib import Path

import tpccma.cli
import tpccma.runs.workers
from tpccma import fine_tune
from tpccma.runs.workers import run_all
from tpccma.training.interruption import terminable
from tpccma.training.loop import Trainer

STEP = 7  # the periodic checkpoints stand at 5, 10 and 15


def signal_in_a_step(number: int, whom: int) -> None:
    """Send a process a signal while step `STEP` is taken; where it is another one, wait for what it does."""
    take_step = Trainer._take_step

    def signalled(trainer: Trainer, *batch) -> dict:
        if trainer.step == STEP:
            os.kill(whom, number)
            while not trainer.caught and whom != os.getpid():
                time.sleep(0.01)
        return take_step(trainer, *batch)

    Trainer._take_step = signalled


def train(number: int, profile: str) -> None:
    """Train by the command, which is sent a signal."""
    signal_in_a_step(number, os.getpid())
    tpccma.cli.app(["train", "--profile", profile, "--runs-dir", "runs", "--results-dir", "results"])


def train_in_worker(number: int, profile: str) -> None:
    """Train in a process of a sweep, whose first process is sent a signal."""
    signal_in_a_step(number, os.getppid())
    fine_tune(Path(profile), runs_dir="runs")


def sweep(number: int, profile: str) -> None:
    """Start that process."""
    tpccma.runs.workers.os.cpu_count = lambda: int(os.environ["OMP_NUM_THREADS"])  # as many threads, the same bits
    with terminable():
        list(run_all(train_in_worker, {"one": (number, profile)}, 1))


if __name__ == "__main__":
    {"train": train, "sweep": sweep}[sys.argv[1]](int(sys.argv[2]), sys.argv[3])
