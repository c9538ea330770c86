"""The training loop under `tpccma.fine_tune`: batches, optimiser, curriculum, checkpoints, and a log of every step.

Legend: B batch size.
"""

import copy
import json
import math
import shutil
import time
from collections.abc import Iterable
from contextlib import nullcontext
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator, skip_first_batches
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from tpccma.curriculum import GradientReading, ThreePhaseCurriculum
from tpccma.data import Corpus
from tpccma.files import sync_folder, write_whole
from tpccma.loss import CMALoss
from tpccma.methods import METHODS, Method
from tpccma.models import Encoder
from tpccma.models.towers import Towers
from tpccma.profiles import Profile, Training
from tpccma.training.batches import CaptionedPairs, EpochSampler, as_it_is
from tpccma.training.optimizer import check_scale, parameter_groups, warmup_cosine

LOG_COLUMNS = (
    "step",
    "phase",
    "alpha",
    "learning_rate",
    "logit_scale",
    "loss",
    "contrastive_loss",
    "reweighted_loss",
    "geometry_loss",
    "centroid_loss",
    "paired_loss",
    "separation_loss",
    "mix_loss",
    "reference_loss",
    "distillation_loss",
    "divergence_loss",
    "uniformity_loss",
    "alignment_loss",
    "clip_norm",
    "cma_norm",
    "cosine",
    "seconds",
    "samples_per_second",
)


class Trainer:
    """One training run: the model, its data, optimiser and curriculum, and the loop over them.

    Args:
        encoder: trained in place.
        profile: names loss and curriculum.
        training: epochs, batch size, optimiser.
        alpha: alpha_target.
        seed: of batch order and choice of captions.
        folder: of ``steps.csv`` and ``checkpoint/``; a checkpoint found there is resumed.
        corpus: whose stream is used, or train split where there is none.
        method: its loss replaces `CMALoss`.
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
        self.training, self.folder, self.seed = training, folder, seed
        AcceleratorState._reset_state()  # an earlier training of this process may have had another precision
        self.accelerator = Accelerator(
            mixed_precision=training.precision,
            dynamo_backend=training.compile,
            dataloader_config=DataLoaderConfiguration(split_batches=True),  # batch_size is that of all processes
        )
        if training.init_logit_scale is not None:
            encoder.model.logit_scale.data.fill_(math.log(training.init_logit_scale))
        encoder.model.logit_scale.requires_grad_(training.learn_logit_scale)
        if getattr(encoder.model, "logit_bias", None) is not None:  # SigLIP's; it adds nothing to a softmax
            encoder.model.logit_bias.requires_grad_(False)
        check_scale(encoder.model.logit_scale.exp().item(), training.max_logit_scale)
        optimizer = torch.optim.AdamW(
            parameter_groups(encoder.model, training.weight_decay), training.learning_rate, (0.9, training.beta2)
        )
        self.model, self.optimizer = self.accelerator.prepare(Towers(encoder.model), optimizer)
        self.stream = corpus.stream
        self._open_pairs(corpus, encoder) if self.stream is None else self._open_stream(encoder)
        self.total_steps = training.epochs * self.steps_per_epoch
        self.curriculum = ThreePhaseCurriculum(alpha, self.total_steps, **profile.curriculum.model_dump())
        shared = {
            "gather_with_grad": True,
            "rank": self.accelerator.process_index,
            "world_size": self.accelerator.num_processes,
        }
        self.loss = method.loss(**shared) if method.loss else CMALoss(alpha, **profile.loss.model_dump(), **shared)
        self.needed = getattr(self.loss, "inputs", ())
        self.teacher = None
        self.text_features_given = profile.model.kind == "heads"
        if "teacher" in self.needed or ("sentences" in self.needed and not self.text_features_given):
            self.teacher = copy.deepcopy(encoder.model).eval().requires_grad_(False).to(self.accelerator.device)
        self.accelerator.register_for_checkpointing(self.curriculum)
        self.step = 0

    def _open_pairs(self, corpus: Corpus, encoder: Encoder) -> None:
        """Prepare to read pairs that are all at hand, epoch by epoch."""
        dataset, size = CaptionedPairs(corpus.train, encoder.tokenizer), self.training.batch_size
        self.sampler = EpochSampler(len(dataset), dataset.captions, self.seed)
        loader = DataLoader(
            dataset,
            size,
            sampler=self.sampler,
            drop_last=True,
            collate_fn=as_it_is,
            num_workers=getattr(corpus.train.images, "workers", 0),
        )
        self.loader = self.accelerator.prepare(loader)
        self._count_steps(len(self.loader), len(dataset))

    def _open_stream(self, encoder: Encoder) -> None:
        """Prepare to read an endless stream of which this process has a part of its own."""
        size, processes = self.training.batch_size, self.accelerator.num_processes
        if size % processes:
            raise ValueError(f"batch_size {size} must be a multiple of the {processes} processes that share it")
        self.pairs = self.stream.open(encoder.tokenizer, self.seed, self.accelerator.process_index, processes)
        self.loader = self.pairs.batches(size // processes, self.stream.workers)
        self._count_steps(self.stream.pairs // size, self.stream.pairs)

    def _count_steps(self, steps: int, pairs: int) -> None:
        if steps == 0:
            raise ValueError(
                f"{pairs} training pairs do not fill one batch of {self.training.batch_size}; "
                "lower the profile's batch_size"
            )
        self.steps_per_epoch = steps

    def _batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Read on from the step that is next: to the end of the epoch, or of a stream to the end of the training."""
        epoch, done = divmod(self.step, self.steps_per_epoch)
        if self.stream is None:
            self.sampler.epoch = epoch
            return skip_first_batches(self.loader, done)
        left = islice(self.loader, self.step, self.total_steps)
        return ((images.to(self.accelerator.device), tokens.to(self.accelerator.device)) for images, tokens in left)

    def run(self) -> None:
        """Train to the last step, resuming the checkpoint in the folder if there is one.

        Of a stream, ``data.json`` in the folder says afterwards how many pairs were read and how many were skipped.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        self.model.train()
        with tqdm(total=self.total_steps, initial=self.step, desc=self.folder.name, unit="step", disable=None) as bar:
            while self.step < self.total_steps:
                for images, tokens in self._batches():
                    row = self._take_step(images, tokens)
                    self._log(row)
                    bar.update()
                    bar.set_postfix({key: f"{row[key]:.3g}" for key in ("loss", "alpha", "samples_per_second")})
                    if self.step % self.training.checkpoint_steps == 0 and self.step < self.total_steps:
                        self._save()

        if self.stream is not None:
            self._report_data()

    def _report_data(self) -> None:
        tally = torch.tensor(list(self.pairs.tally().values()), device=self.accelerator.device)
        total = self.accelerator.reduce(tally, reduction="sum")
        if self.accelerator.is_main_process:
            read = dict(zip(self.pairs.tally(), total.tolist(), strict=True))
            known = {"pairs": self.stream.pairs, "missing_shards": self.stream.missing_shards}
            write_whole(self.folder / "data.json", json.dumps(known | read, indent=1) + "\n")

    def _take_step(self, images: Tensor, tokens: Tensor) -> dict:
        began = time.perf_counter()
        torch.manual_seed(self.seed * 1_000_003 + self.step)  # the same draws after a resume, on every process
        rate = self._set_learning_rate()
        raw, scale = self._embed(images, tokens)
        x, y = (F.normalize(features, dim=-1) for features in raw)
        reading = self._read_gradients(x, y, scale)
        alpha = self.curriculum.update(self.step, reading) if reading else 0.0
        self.loss.alpha = alpha
        losses = self.loss(x, y, scale, output_dict=True, **self._inputs(images, tokens, raw))
        total = sum(losses.values())
        if not math.isfinite(total.item()):
            raise FloatingPointError(
                f"loss is {total.item()} at step {self.step} of {self.folder.name}; lower learning_rate in the profile"
            )
        self.accelerator.backward(total)
        if self.training.micro_batch_size:
            self._backward_parts(images, tokens, raw, scale)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.training.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._clamp_logit_scale()
        row = {
            "step": self.step,
            "phase": self.curriculum.phase(self.step),
            "alpha": alpha,
            "learning_rate": rate,
            "logit_scale": scale.item(),
            "loss": total.item(),
            **{name: value.item() for name, value in losses.items()},
            **(vars(reading) if reading else {}),
        }
        row["seconds"] = time.perf_counter() - began
        row["samples_per_second"] = len(images) * self.accelerator.num_processes / row["seconds"]
        self.step += 1
        return row

    def _embed(self, images: Tensor, tokens: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Embed a batch: embeddings before normalisation, and the inverse temperature.

        In micro-batches nothing is kept for the backward pass: the embeddings are leaves, whose gradients
        `_backward_parts` takes through the towers in a second pass (GradCache, arXiv 2101.06983).
        """
        if not self.training.micro_batch_size:
            *raw, scale = self.model(images, tokens)
            return tuple(features.float() for features in raw), scale
        with torch.no_grad():
            parts = [self.model(*part) for part in self._parts(images, tokens)]
        raw = tuple(torch.cat([part[i].float() for part in parts]).requires_grad_() for i in (0, 1))
        return raw, parts[0][2].detach().requires_grad_()

    def _backward_parts(self, images: Tensor, tokens: Tensor, raw: tuple[Tensor, Tensor], scale: Tensor) -> None:
        """Take the gradients of the embeddings through the towers, micro-batch by micro-batch."""
        parts = self._parts(images, tokens, raw[0].grad, raw[1].grad)
        for i, (*part, x_gradient, y_gradient) in enumerate(parts, start=1):
            last = i == len(parts)
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                x, y, own_scale = self.model(*part)
                pairs = [(x, x_gradient.to(x.dtype)), (y, y_gradient.to(y.dtype))]
                if own_scale.requires_grad:
                    pairs.append((own_scale, scale.grad if last else torch.zeros_like(scale)))
                torch.autograd.backward(*zip(*((t, g) for t, g in pairs if t.requires_grad), strict=True))

    def _parts(self, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
        return list(zip(*(tensor.split(self.training.micro_batch_size) for tensor in tensors), strict=True))

    @torch.no_grad()
    def _inputs(self, images: Tensor, tokens: Tensor, raw: tuple[Tensor, Tensor]) -> dict:
        """Give a `tpccma.methods.losses.BaselineLoss` what it names in `inputs`."""
        provide = {
            "epoch": lambda: self.step // self.steps_per_epoch,
            "raw": lambda: raw,
            "sentences": lambda: self._sentences(tokens),
            "teacher": lambda: (
                self.teacher.encode_image(images, normalize=True),
                self.teacher.encode_text(tokens, normalize=True),
                self.teacher.logit_scale.exp(),
            ),
        }
        return {name: provide[name]() for name in self.needed}

    def _sentences(self, tokens: Tensor) -> Tensor:
        """Embed captions by meaning: MiniLM where its features are the model's input, else the frozen base model."""
        if self.text_features_given:
            return F.normalize(tokens, dim=1)
        return self.teacher.encode_text(tokens, normalize=True)

    def _read_gradients(self, x: Tensor, y: Tensor, scale: Tensor) -> GradientReading | None:
        if self.curriculum.alpha_target == 0:
            return None
        g_clip, g_cma = self.loss.embedding_gradients(x, y, scale)
        return GradientReading.of(*(self.accelerator.gather(g).flatten() for g in (g_clip, g_cma)))

    def _set_learning_rate(self) -> float:
        rate = self.training.learning_rate * warmup_cosine(self.step, self.total_steps, self.training.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _clamp_logit_scale(self) -> None:
        with torch.no_grad():
            self.accelerator.unwrap_model(self.model).model.logit_scale.clamp_(
                0, math.log(self.training.max_logit_scale)
            )

    def _log(self, row: dict) -> None:
        if self.accelerator.is_main_process:
            columns = [*LOG_COLUMNS]
            with (self.folder / "steps.csv").open("a") as file:
                if file.tell() == 0:
                    file.write(",".join(columns) + "\n")
                file.write(",".join(str(row.get(column, "")) for column in columns) + "\n")

    def _save(self) -> None:
        """Write a checkpoint and the log up to it, in whole or not at all."""
        partial, whole = self.folder / "checkpoint.partial", self.folder / "checkpoint"
        self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()  # every process has written its random state
        if self.accelerator.is_main_process:
            (partial / "step.json").write_text(json.dumps({"step": self.step}))
            if (self.folder / "steps.csv").is_file():
                shutil.copyfile(self.folder / "steps.csv", partial / "steps.csv")
            sync_folder(partial)
            old = self.folder / "checkpoint.old"  # moved aside, then removed: a kill leaves one that is whole
            shutil.rmtree(old, ignore_errors=True)
            if whole.is_dir():
                whole.rename(old)
            partial.rename(whole)
            shutil.rmtree(old, ignore_errors=True)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        """Go on from the last checkpoint, the log from what it was then; without one, start anew."""
        checkpoint, log = self.folder / "checkpoint", self.folder / "steps.csv"
        if self.accelerator.is_main_process:
            if not checkpoint.is_dir() and (self.folder / "checkpoint.old").is_dir():
                (self.folder / "checkpoint.old").rename(checkpoint)
            if (checkpoint / "steps.csv").is_file():
                write_whole(log, (checkpoint / "steps.csv").read_text())
            else:
                log.unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()
        if checkpoint.is_dir():
            self.accelerator.load_state(str(checkpoint))
            self.step = json.loads((checkpoint / "step.json").read_text())["step"]
