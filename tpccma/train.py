"""Fine-tune a CLIP with one dial, alpha.

    >>> run = fine_tune("demo", alpha=0.5, seed=0)   # 1 to 2 minutes on two cores
    >>> run.encoder.embed_texts(["a red star."]).shape
    torch.Size([1, 128])

Running the same call again loads what is finished and resumes what is not. One process or many (``accelerate launch``)
run the same code.

Legend: B batch size, N training pairs, K captions a picture.
"""

import argparse
import hashlib
import json
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from accelerate import Accelerator, skip_first_batches
from accelerate.utils import set_seed
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from tpccma.curriculum import GradientReading, ThreePhaseCurriculum
from tpccma.data import Corpus, Pairs, load_corpus
from tpccma.loss import CMALoss, check_alpha
from tpccma.models import Encoder, build_model, load_encoder, prepare, weights_path
from tpccma.profiles import Profile, Training, load_profile

METHODS = ("tpc-cma", "clip")


@dataclass
class Run:
    """A finished training.

    Args:
        profile: what it was made from.
        method: its name in `METHODS`, or "base".
        alpha: the alpha_target of tpc-cma, else 0.
        seed: of batches, captions and initial weights.
        folder: where its files lie: ``model.safetensors``, ``steps.csv`` and ``record.json``; of "base" the record
            only.
        encoder: the trained model.
        steps: one row a step: phase, alpha, losses, gradients, learning rate, samples a second; empty for "base".
        fingerprint: checksum of all that decides the training.
    """

    profile: Profile
    method: str
    alpha: float
    seed: int
    folder: Path
    encoder: Encoder
    steps: pd.DataFrame
    fingerprint: str

    @property
    def wall_seconds(self) -> float:
        """Seconds of the training steps, data loading and interruptions excepted; 0 for "base"."""
        return float(self.steps["seconds"].sum()) if len(self.steps) else 0.0

    @property
    def samples_per_second(self) -> float:
        """Median over the steps; 0 for "base"."""
        return float(self.steps["samples_per_second"].median()) if len(self.steps) else 0.0

    @property
    def name(self) -> str:
        """The run's name in file names: ``<method>-a<alpha>-s<seed>``."""
        return run_name(self.method, self.alpha, self.seed)


def run_name(method: str, alpha: float, seed: int) -> str:
    """Name a run ``<method>-a<alpha>-s<seed>``."""
    return f"{method}-a{alpha:g}-s{seed}"


def fine_tune(
    profile: str | Path | Profile = "demo",
    method: str = "tpc-cma",
    alpha: float = 0.5,
    seed: int = 0,
    runs_dir: str | Path = "runs",
    corpus: Corpus | None = None,
) -> Run:
    """Fine-tune all weights of a profile's base model.

    A progress bar with loss, alpha and samples/s is shown on a terminal; ``steps.csv`` in the run's folder grows as the
    run does.

    Args:
        profile: a name, the path of a YAML file, or a `Profile`.
        method: "tpc-cma", or "clip" for continued plain CLIP.
        alpha: alpha_target of tpc-cma, 0 to 1; "clip" takes 0 only.
        seed: of batch order and choice of captions, >= 0.
        runs_dir: checkpoints and logs go to ``<runs_dir>/<profile>/<method>-a<alpha>-s<seed>-<fingerprint>/``.
        corpus: the profile's data, where the caller has it loaded already.

    Returns:
        The `Run`, trained or loaded.

    Raises:
        ValueError: for an unknown profile or method, or an alpha or seed out of range, before any work.
    """
    profile = load_profile(profile)
    alpha, seed = check_alpha(alpha), check_seed(seed)
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: give one of {', '.join(METHODS)}")
    if method == "clip" and alpha != 0:
        raise ValueError(f"method 'clip' is continued plain CLIP and takes alpha=0, got alpha={alpha:g}")
    encoder = base_run(profile, seed, runs_dir, corpus).encoder
    mark = fingerprint(profile, method, alpha, seed)
    folder = Path(runs_dir) / profile.name / f"{run_name(method, alpha, seed)}-{mark}"
    steps = _train(encoder, profile, profile.fine_tune, alpha, seed, folder, corpus)
    return Run(profile, method, alpha, seed, folder, encoder, steps, mark)


def base_run(
    profile: str | Path | Profile = "demo", seed: int = 0, runs_dir: str | Path = "runs", corpus: Corpus | None = None
) -> Run:
    """Load a profile's base model as a run of method "base"; heads have one a seed, trained where it is missing.

    Args as in `fine_tune`. Returns the `Run`; without steps where the weights were there before.
    """
    profile, seed = load_profile(profile), check_seed(seed)
    if profile.model.kind == "heads":
        return train_base(profile, seed, runs_dir, corpus)
    mark = fingerprint(profile, "base", 0.0, seed)
    folder = Path(runs_dir) / profile.name / f"{run_name('base', 0.0, seed)}-{mark}"
    return Run(profile, "base", 0.0, seed, folder, load_encoder(profile, weights_path(profile)), pd.DataFrame(), mark)


def train_base(profile: Profile, seed: int = 0, runs_dir: str | Path = "runs", corpus: Corpus | None = None) -> Run:
    """Train a profile's base model from scratch with plain CLIP, by the recipe in the profile's ``base`` part.

    Args:
        profile: what to train.
        seed: of initial weights, batch order and choice of captions.
        runs_dir: where the work is done.
        corpus: the profile's data, where the caller has it loaded already.

    Returns:
        The `Run`, trained or loaded.
    """
    encoder = build_model(profile, seed)
    mark = fingerprint(profile, "base", 0.0, seed, from_scratch=True)
    folder = Path(runs_dir) / profile.name / f"{run_name('base', 0.0, seed)}-{mark}"
    steps = _train(encoder, profile, profile.base, 0.0, seed, folder, corpus)
    return Run(profile, "base", 0.0, seed, folder, encoder, steps, mark)


def check_seed(seed: int) -> int:
    """Return a seed if it is a whole number from 0 to 2**31 - 1.

    Raises:
        ValueError: naming the value otherwise.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise ValueError(f"seed must be a whole number from 0 to {2**31 - 1}, got {seed!r}")
    return seed


def fingerprint(profile: Profile, method: str, alpha: float, seed: int, from_scratch: bool = False) -> str:
    """Name all that decides a training, paths on this machine excepted, in eight hexadecimal digits.

    The base model counts by its recipe where the recipe is run here (heads, or from_scratch), else by the bytes of its
    weights.
    """
    by_recipe = from_scratch or profile.model.kind == "heads"
    parts = {"data", "model"} | ({"base"} if by_recipe else set())
    if method != "base":
        parts |= {"fine_tune", "loss", "curriculum"}
    settings = profile.model_dump(mode="json", include=parts)
    settings["data"] = {key: value for key, value in settings["data"].items() if not key.endswith("_dir")}
    settings["model"].pop("pretrained", None)
    text = json.dumps([settings, method, alpha, seed], sort_keys=True)
    weights = b"" if by_recipe else weights_path(profile).read_bytes()
    return hashlib.sha256(text.encode() + weights).hexdigest()[:8]


class CaptionedPairs(Dataset):
    """Pairs as the loader reads them: item ``i * K + k`` is picture i with its caption k.

    Args:
        pairs: N pictures with K captions each.
        tokenizer: applied once to all captions.
    """

    def __init__(self, pairs: Pairs, tokenizer):
        self.images = pairs.images
        self.captions = len(pairs.captions[0])
        self.tokens = tokenizer([caption for captions in pairs.captions for caption in captions])

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, items: list[int]) -> tuple[Tensor, Tensor]:
        """Return a batch: (B, 3, H, W) float32 pixels or (B, F) features, and (B, L) tokens or (B, F) features."""
        items = torch.tensor(items)
        return prepare(self.images[items // self.captions]), self.tokens[items]


class EpochSampler(Sampler):
    """Every picture once an epoch, in a new order and with one of its captions, both decided by seed and epoch.

    Args:
        pairs: N, number of pictures.
        captions: K, captions a picture.
        seed: of order and choice.
    """

    def __init__(self, pairs: int, captions: int, seed: int):
        self.pairs, self.captions, self.seed, self.epoch = pairs, captions, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.pairs

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = torch.randperm(self.pairs, generator=generator)
        choice = torch.randint(self.captions, (self.pairs,), generator=generator)
        return iter((order * self.captions + choice).tolist())


def _train(
    encoder: Encoder, profile: Profile, training: Training, alpha: float, seed: int, folder: Path, corpus: Corpus | None
) -> pd.DataFrame:
    """Train an encoder in place, or load what an earlier call has finished; return the log of its steps."""
    final, log = folder / "model.safetensors", folder / "steps.csv"
    if not final.is_file():
        trainer = Trainer(encoder, profile, training, alpha, seed, folder, corpus or load_corpus(profile))
        trainer.run()
        if trainer.accelerator.is_main_process:
            encoder.save(final)
            shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        trainer.accelerator.wait_for_everyone()
    encoder.model = load_encoder(profile, final).model
    return pd.read_csv(log)


class Trainer:
    """One training run: the model, its data, optimiser and curriculum, and the loop over them.

    Args:
        encoder: trained in place.
        profile: names loss and curriculum.
        training: epochs, batch size, optimiser.
        alpha: alpha_target.
        seed: of batch order and choice of captions.
        folder: of ``steps.csv`` and ``checkpoint/``; a checkpoint found there is resumed.
        corpus: whose train split is used.
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
    ):
        self.training, self.folder = training, folder
        self.accelerator = Accelerator(mixed_precision=training.precision)
        set_seed(seed)
        dataset = CaptionedPairs(corpus.train, encoder.tokenizer)
        self.sampler = EpochSampler(len(dataset), dataset.captions, seed)
        loader = DataLoader(
            dataset, training.batch_size, sampler=self.sampler, drop_last=True, collate_fn=lambda batch: batch
        )
        encoder.model.logit_scale.requires_grad_(training.learn_logit_scale)
        optimizer = torch.optim.AdamW(
            parameter_groups(encoder.model, training.weight_decay), training.learning_rate, (0.9, training.beta2)
        )
        self.model, self.optimizer, self.loader = self.accelerator.prepare(encoder.model, optimizer, loader)
        if len(self.loader) == 0:
            raise ValueError(
                f"{len(dataset)} training pairs do not fill one batch of {training.batch_size}; "
                "lower the profile's batch_size"
            )
        self.total_steps = training.epochs * len(self.loader)
        self.curriculum = ThreePhaseCurriculum(alpha, self.total_steps, **profile.curriculum.model_dump())
        self.loss = CMALoss(
            alpha,
            **profile.loss.model_dump(),
            gather_with_grad=True,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
        )
        self.accelerator.register_for_checkpointing(self.curriculum)
        self.step = 0

    def run(self) -> None:
        """Train to the last step, resuming the checkpoint in the folder if there is one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        self.model.train()
        with tqdm(total=self.total_steps, initial=self.step, desc=self.folder.name, unit="step", disable=None) as bar:
            while self.step < self.total_steps:
                epoch, done = divmod(self.step, len(self.loader))
                self.sampler.set_epoch(epoch)
                for images, tokens in skip_first_batches(self.loader, done):
                    row = self._take_step(images, tokens)
                    self._log(row)
                    bar.update()
                    bar.set_postfix({key: f"{row[key]:.3g}" for key in ("loss", "alpha", "samples_per_second")})
                    if self.step % self.training.checkpoint_steps == 0 and self.step < self.total_steps:
                        self._save()

    def _take_step(self, images: Tensor, tokens: Tensor) -> dict:
        began = time.perf_counter()
        rate = self._set_learning_rate()
        x, y, scale = self.model(images, tokens)[:3]
        x, y = x.float(), y.float()
        reading = self._read_gradients(x, y, scale)
        self.loss.alpha = self.curriculum.update(self.step, reading) if reading else 0.0
        losses = self.loss(x, y, scale, output_dict=True)
        total = sum(losses.values())
        if not math.isfinite(total.item()):
            raise FloatingPointError(
                f"loss is {total.item()} at step {self.step} of {self.folder.name}; lower learning_rate in the profile"
            )
        self.accelerator.backward(total)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.training.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._clamp_logit_scale()
        row = {
            "step": self.step,
            "phase": self.curriculum.phase(self.step),
            "alpha": self.loss.alpha,
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
            self.accelerator.unwrap_model(self.model).logit_scale.clamp_(0, math.log(self.training.max_logit_scale))

    def _log(self, row: dict) -> None:
        if self.accelerator.is_main_process:
            columns = [*LOG_COLUMNS]
            with (self.folder / "steps.csv").open("a") as file:
                if file.tell() == 0:
                    file.write(",".join(columns) + "\n")
                file.write(",".join(str(row.get(column, "")) for column in columns) + "\n")

    def _save(self) -> None:
        partial, whole = self.folder / "checkpoint.partial", self.folder / "checkpoint"
        self.accelerator.save_state(str(partial))
        if self.accelerator.is_main_process:
            (partial / "step.json").write_text(json.dumps({"step": self.step}))
            old = self.folder / "checkpoint.old"  # moved aside, then removed: a kill leaves no half of a checkpoint
            shutil.rmtree(old, ignore_errors=True)
            if whole.is_dir():
                whole.rename(old)
            partial.rename(whole)
            shutil.rmtree(old, ignore_errors=True)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        checkpoint, log = self.folder / "checkpoint", self.folder / "steps.csv"
        if checkpoint.is_dir():
            self.accelerator.load_state(str(checkpoint))
            self.step = json.loads((checkpoint / "step.json").read_text())["step"]
        if self.accelerator.is_main_process and log.is_file():
            kept = log.read_text().splitlines()[: self.step + 1]
            log.write_text("\n".join(kept) + "\n" if self.step else "")


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
    "clip_norm",
    "cma_norm",
    "cosine",
    "seconds",
    "samples_per_second",
)


def warmup_cosine(step: int, total_steps: int, warmup: float) -> float:
    """Return the learning rate's factor at a step: linear warm-up over a share of the steps, then cosine to 0."""
    warmup_steps = max(1, round(warmup * total_steps))
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return (1 + math.cos(math.pi * (step - warmup_steps) / max(1, total_steps - warmup_steps))) / 2


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict]:
    """Split trainable parameters as open_clip does: no weight decay for gains, biases and the logit scale."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
    ]


def main(arguments: list[str] | None = None) -> None:
    """Fine-tune, evaluate and record one run from the command line."""
    from tpccma.results import record_path, record_run

    parser = argparse.ArgumentParser(prog="python -m tpccma.train", description=main.__doc__)
    parser.add_argument("--profile", default="demo", help="name, or path of a .yaml file")
    parser.add_argument("--method", default="tpc-cma", choices=("base", *METHODS))
    parser.add_argument("--alpha", type=float, default=0.5, help="0 (plain CLIP) to 1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", help="where the profile's data lie, if it needs any")
    parser.add_argument("--runs-dir", default="runs", help="checkpoints and logs")
    given = parser.parse_args(arguments)
    try:
        profile = load_profile(given.profile, **({"data__data_dir": given.data_dir} if given.data_dir else {}))
        if given.method == "base":
            run = base_run(profile, given.seed, given.runs_dir)
        else:
            run = fine_tune(profile, given.method, given.alpha, given.seed, given.runs_dir)
    except (ValueError, FileNotFoundError) as error:
        parser.exit(2, f"error: {error}\n")
    record = record_run(run)
    print(record_path(record["profile"], record["method"], record["alpha"], record["seed"]))


if __name__ == "__main__":
    main()
