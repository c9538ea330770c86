"""The training loop under `tpccma.fine_tune`.

Legend: B batch size of a process.
"""

import json
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration
from torch import Tensor, nn
from tqdm import tqdm

from tpccma.data import Corpus
from tpccma.files import write_whole
from tpccma.methods import METHODS, Method
from tpccma.models import Encoder
from tpccma.models.towers import Towers
from tpccma.profiles import Profile, Training
from tpccma.training.batches import open_batches
from tpccma.training.checkpoint import Checkpoints, log_columns
from tpccma.training.gradcache import MicroBatches, WholeBatch
from tpccma.training.interruption import are_to_stop
from tpccma.training.objective import Objective
from tpccma.training.optimizer import make_optimizer, prepare_scale, warmup_cosine
from tpccma.training.watch import Watch


def start_accelerator(training: Training) -> Accelerator:
    """Start what runs a training on this machine's devices and processes."""
    AcceleratorState._reset_state()  # an earlier training of this process may have had another precision
    return Accelerator(
        mixed_precision=training.precision,
        dynamo_backend=training.compile,
        dataloader_config=DataLoaderConfiguration(
            split_batches=True, non_blocking=True
        ),  # batch_size: of all processes
    )


class Trainer:
    """One training run: model, optimiser, batches, loss and curriculum, and the loop over them.

    Args:
        encoder: trained in place.
        profile: names loss and curriculum.
        training: epochs, batch size, optimiser.
        alpha: alpha_target.
        seed: of batch order and choice of captions.
        folder: of ``steps.csv`` and ``checkpoint/``; a checkpoint found there is resumed.
        corpus: whose stream is used, or train split where there is none.
        method: gives loss and curriculum.
    """

    def __init__(
        self,
        encoder: Encoder,
        profile: Profile,
        training: Training,
        alpha: float,
        seed: int,
        folder: Path,
        corpus: Corpus,
        method: Method = METHODS["clip"],
    ):
        self.training, self.folder, self.seed, self.step = training, folder, seed, 0
        self.caught: list[int] = []  # signals, see `tpccma.training.interruption`
        self.stopped = False
        self.accelerator = start_accelerator(training)
        prepare_scale(encoder.model, training)
        optimizer = make_optimizer(encoder.model, training)
        self.model, self.optimizer = self.accelerator.prepare(Towers(encoder.model), optimizer)
        size = training.micro_batch_size
        self.towers = MicroBatches(self.model, size, self.accelerator) if size else WholeBatch(self.model)
        self.batches = open_batches(corpus, encoder, training.batch_size, seed, self.accelerator)
        self.total_steps = training.epochs * self.batches.steps_per_epoch
        self.curriculum = method.curriculum(profile, alpha, self.total_steps)
        self.objective = Objective(method, profile, alpha, encoder, self.accelerator)
        self.objective.measure_base(encoder, corpus, seed)
        self.accelerator.register_for_checkpointing(self.curriculum)
        self.watch = Watch(encoder, corpus, training.watch_steps)
        columns = (*log_columns(self.objective.columns), *self.watch.columns)
        self.checkpoints = Checkpoints(folder, self.accelerator, columns)

    def run(self) -> None:
        """Train to the last step, resuming the checkpoint in the folder if there is one.

        Of a stream, ``data.json`` in the folder says afterwards how many pairs were read and how many were skipped.
        Once a signal stands in ``caught``, a checkpoint is written, and the training is ``stopped`` where it is.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.resume()
        self.model.train()
        with tqdm(total=self.total_steps, initial=self.step, desc=self.folder.name, unit="step", disable=None) as bar:
            for images, tokens in self.batches.between(self.step, self.total_steps):
                row = self._take_step(images, tokens)
                if self.accelerator.is_main_process:
                    row |= self.watch.look(self.step)
                self.checkpoints.log(row)
                bar.update()
                bar.set_postfix({key: f"{row[key]:.3g}" for key in ("loss", "alpha", "samples_per_second")})
                self.stopped = are_to_stop(self.caught, self.accelerator) and self.step < self.total_steps
                if self.stopped or (self.step % self.training.checkpoint_steps == 0 and self.step < self.total_steps):
                    self.save()
                    if self.stopped:
                        return
        self._check_weights()
        self._report()

    def _report(self) -> None:
        report = self.batches.report()
        if report and self.accelerator.is_main_process:
            write_whole(self.folder / "data.json", json.dumps(report, indent=1) + "\n")

    def save(self) -> None:
        """Write a checkpoint."""
        self.checkpoints.save(self.step, self.batches.read())

    def resume(self) -> None:
        """Go on from the last checkpoint; without one, start anew."""
        self.step, read = self.checkpoints.resume()
        if self.step:
            self.batches.resume(read)

    def _take_step(self, images: Tensor, tokens: Tensor) -> dict:
        began = time.perf_counter()
        torch.manual_seed(self.seed * 1_000_003 + self.step)  # the same draws after a resume, on every process
        rate = self._set_learning_rate()
        log = self._take_gradients(images, tokens)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.training.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._clamp_logit_scale()
        row = log()
        self._check_finite(row["loss"])
        row |= {"step": self.step, "phase": self.curriculum.phase(self.step), "learning_rate": rate}
        row["seconds"] = time.perf_counter() - began
        row["samples_per_second"] = len(images) * self.accelerator.num_processes / row["seconds"]
        self.step += 1
        return row

    def _take_gradients(self, images: Tensor, tokens: Tensor) -> Callable[[], dict]:
        """Embed a batch and take the gradients of its loss; return what gives the log's part of it."""
        raw, scale = embedded = self.towers.embed(images, tokens)
        x, y = (F.normalize(features, dim=-1) for features in raw)
        inputs = self.objective.inputs(images, tokens, raw, self.step // self.batches.steps_per_epoch)
        taken = self.objective.take(x, y, scale, self.curriculum, self.step, inputs)
        self.accelerator.backward(taken.total)
        self.towers.backward(images, tokens, embedded)
        return taken.log

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"loss is {loss} at step {self.step} of {self.folder.name}; lower learning_rate in the profile"
            )

    def _check_weights(self) -> None:
        """See what the last step has made, whose loss nobody computes."""
        if not all(weights.isfinite().all() for weights in self.model.parameters()):
            raise FloatingPointError(
                f"weights are not finite after the last step of {self.folder.name}; lower learning_rate in the profile"
            )

    def _set_learning_rate(self) -> float:
        rate = self.training.learning_rate * warmup_cosine(self.step, self.total_steps, self.training.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _clamp_logit_scale(self) -> None:
        with torch.no_grad():
            scale = self.accelerator.unwrap_model(self.model).model.logit_scale
            scale.clamp_(0, math.log(self.training.max_logit_scale))


def warn_of_batch_norm(model: nn.Module, processes: Accelerator) -> None:
    """Say that several processes are not as one where a model has batch norm, which torch joins on GPUs alone."""
    with_statistics = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules())
    if with_statistics and processes.num_processes > 1 and processes.is_main_process:
        warnings.warn(
            f"the model has batch norm: its statistics are of each process's own pairs, so {processes.num_processes} "
            "processes do not give what one gives",
            stacklevel=2,
        )
