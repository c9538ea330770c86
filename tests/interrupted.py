"""Trainings that are sent a signal in the middle of a step, for processes of their own: see test_interruption.py."""

import os
import signal
import sys
import time
from pathlib import Path

import torch

import tpccma.cli
import tpccma.runs.workers
from tpccma import fine_tune
from tpccma.runs.launch import launch
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
    train_by_command(profile)


def train_by_command(profile: str) -> None:
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


def launched(number: int, profile: str) -> None:
    """Train by the command as one of several processes, of which the first sends their launcher a signal."""
    if os.environ["RANK"] == "0":
        signal_in_a_step(number, os.getppid())
    train_by_command(profile)


def together(number: int, profile: str) -> None:
    """Train as one of two processes: undisturbed, then by the command, the second sent a signal, then to the end."""
    torch.set_num_threads(1)
    fine_tune(Path(profile), runs_dir="undisturbed")
    take_step = Trainer._take_step
    if os.environ["RANK"] == "1":
        signal_in_a_step(number, os.getpid())
    try:
        train_by_command(profile)
    except SystemExit as end:
        [checkpoint] = Path("runs").glob("*/*/checkpoint/step.json")
        print(end.code, checkpoint.read_text(), sep="\n")
    Trainer._take_step = take_step
    fine_tune(Path(profile), runs_dir="runs")
    torch.distributed.destroy_process_group()


def notebook(processes: int, profile: str) -> None:
    """Launch a training as a notebook does; say how it ended, and what Ctrl-C does now."""
    try:
        launch(Path(profile), "clip", 0.0, 0, runs_dir="runs", processes=processes)
    except BaseException as end:
        print(type(end).__name__, signal.getsignal(signal.SIGINT).__name__, flush=True)


if __name__ == "__main__":
    what = {"train": train, "sweep": sweep, "launched": launched, "together": together, "notebook": notebook}
    what[sys.argv[1]](int(sys.argv[2]), sys.argv[3])
