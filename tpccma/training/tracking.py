"""Trackers beside the log, as accelerate has them: TensorBoard, Weights & Biases and others; none unless asked for.

    >>> fine_tune(load_profile("demo", track="tensorboard"))   # tensorboard --logdir runs

What goes there is every number of a step's row of ``steps.csv``: loss and terms, alpha, learning rate, gradients; and
now and then, from before the first step on, the modality gap on validation pairs as ``val_raw_gap`` and so on. A
training takes the same steps whether it is tracked or not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, filter_trackers

from tpccma.metrics import modality_gap
from tpccma.training.checkpoint import Checkpoints, has_checkpoint
from tpccma.training.folder import this_process

if TYPE_CHECKING:
    from tpccma.data import Corpus
    from tpccma.models import Encoder
    from tpccma.training.loop import Trainer
    from tpccma.training.run import Run

PROJECT = "tpccma"
LOOKED_AT = 1_000  # validation pairs, the first ones


def check_tracker(name: str | None) -> None:
    """See to it that a tracker can be had, before any work.

    Args:
        name: as accelerate names it; None is none.

    Raises:
        ValueError: if accelerate knows no such tracker.
        ImportError: if its package is not installed; the message names the remedy.
    """
    if name is None:
        return
    if name not in LOGGER_TYPE_TO_CLASS:
        raise ValueError(f"unknown tracker {name!r}: give one of {', '.join(sorted(LOGGER_TYPE_TO_CLASS))}")
    this_process()  # accelerate says what it leaves out only to one that has begun
    if not filter_trackers(name, "."):
        package = name.replace("_", "-")
        raise ImportError(f"tracker {name!r} needs a package that is not installed: pip install {package}")


class Tracked(Checkpoints):
    """Checkpoints and log of a training, whose rows a tracker gets too.

    Args:
        trainer: whose checkpoints these are from now on.
    """

    def __init__(self, trainer: "Trainer"):
        own, training = trainer.checkpoints, trainer.training
        super().__init__(own.folder, own.accelerator, own.columns)
        self.encoder, self.corpus, self.last = trainer.watch.encoder, trainer.watch.corpus, trainer.total_steps
        self.every = training.watch_steps or training.checkpoint_steps  # steps from one look at the gap to the next

    def log(self, row: dict) -> None:
        """Append a row to the log, and send its numbers to the tracker."""
        super().log(row)
        if not self.accelerator.is_main_process:
            return
        numbers = {name: row[name] for name in self.columns if isinstance(row.get(name), (int, float))}
        after = row["step"] + 1
        looks = after % self.every == 0 or after == self.last
        gap = gap_on_validation(self.encoder, self.corpus) if looks else {}
        self.accelerator.log(numbers | gap, step=after)


def gap_on_validation(encoder: "Encoder", corpus: "Corpus") -> dict[str, float]:
    """Measure the gap of validation pictures and their first captions; {} where there are fewer than two."""
    captions = [own[0] for own in corpus.val.captions[:LOOKED_AT]]
    if len(captions) < 2:
        return {}
    parts = (corpus.val.images[rows] for rows in torch.arange(len(captions)).split(200))
    images = torch.cat([encoder.embed_images(part) for part in parts])
    gap = modality_gap(images, encoder.embed_texts(captions))
    return {f"val_{name}_gap": value for name, value in gap._asdict().items()}


@contextmanager
def tracking(trainer: "Trainer", run: "Run") -> Iterator[None]:
    """Let the tracker that a run's profile names have what its training logs, if there is one."""
    name, accelerator, training = run.profile.track, trainer.accelerator, trainer.training
    if name is None:
        yield
        return
    accelerator.log_with = filter_trackers(name, run.folder)
    accelerator.project_configuration.logging_dir = str(run.folder)
    settings = {"profile": run.profile.name, "method": run.method, "alpha": run.alpha, "seed": run.seed}
    own = {"wandb": {"name": f"{run.profile.name} {run.name}", "dir": str(run.folder)}}
    accelerator.init_trackers(PROJECT, settings | training.model_dump(exclude_none=True), own)
    trainer.checkpoints = Tracked(trainer)
    try:
        if accelerator.is_main_process and not has_checkpoint(run.folder):
            accelerator.log(gap_on_validation(run.encoder, trainer.watch.corpus), step=0)
        yield
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()
