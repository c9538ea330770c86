"""Training steps of a plain open_clip loop against those of `tpccma.fine_tune` without the dial and with it.

On a CPU the demo's model and data; on a GPU ViT-B/32 in bf16. python benchmarks/step.py --batches 256 --steps 10
"""

import math
import tempfile
from dataclasses import replace
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
import typer
from open_clip.loss import ClipLoss

from tpccma import load_profile
from tpccma.data import Corpus, load_corpus
from tpccma.evidence.speed import read_benchmark, write_record
from tpccma.methods import METHODS
from tpccma.models import prepare
from tpccma.profiles import Profile
from tpccma.runs.benchmark import FOLDER, Turn, against, device, in_turn, save_benchmark
from tpccma.training.encoders import build_encoder
from tpccma.training.loop import Trainer
from tpccma.training.optimizer import parameter_groups, warmup_cosine

BATCHES = {"cpu": "256", "cuda": "256,1024"}
GPU = {"model__name": "ViT-B-32", "model__pretrained": None, "fine_tune__precision": "bf16"}
PEER, WITHOUT = "plain open_clip loop", "alpha 0"
ALPHAS = {WITHOUT: 0.0, "alpha 0.5": 0.5}


class PlainLoop:
    """A training with open_clip and torch alone, on pairs that are all at hand.

    Args:
        profile: whose model is trained, from random weights, by the recipe of its ``fine_tune``.
        corpus: whose training pairs are used, each with its first caption.
    """

    def __init__(self, profile: Profile, corpus: Corpus):
        self.training, self.images = profile.fine_tune, corpus.train.images
        self.tokens = build_encoder(profile).tokenizer([captions[0] for captions in corpus.train.captions])
        self.model = open_clip.CLIP(**open_clip.get_model_config(profile.model.name)).to(device()).train()
        groups = parameter_groups(self.model, self.training.weight_decay)
        betas = (0.9, self.training.beta2)
        self.optimizer = torch.optim.AdamW(groups, self.training.learning_rate, betas)
        self.loss = ClipLoss()
        self.towers = torch.compile(self.model) if self.training.compile else self.model

    def run(self) -> None:
        """Train to the last step."""
        batches = torch.randperm(len(self.tokens)).split(self.training.batch_size)
        steps = self.training.epochs * len(batches)
        for step in range(steps):
            rows = batches[step % len(batches)]
            rate = self.training.learning_rate * warmup_cosine(step, steps, self.training.warmup)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.take_step(prepare(self.images[rows].to(device())), self.tokens[rows].to(device()))

    def take_step(self, images: torch.Tensor, tokens: torch.Tensor) -> None:
        """Take one step, as open_clip's training script does."""
        with torch.autocast(device(), torch.bfloat16, enabled=self.training.precision == "bf16"):
            total = self.loss(*self.towers(images, tokens)[:3])
        self.optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.training.clip_norm)
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(100))


def profile_of(batch: int, steps: int, compiled: bool) -> Profile:
    """Make the profile that is trained: two batches of data, seen again and again."""
    changes = {"fine_tune__batch_size": batch, "fine_tune__epochs": max(1, steps // 2), "data__train_pairs": 2 * batch}
    changes |= {"data__val_pairs": 32, "data__test_pairs": 32, "fine_tune__checkpoint_steps": 10**6}
    changes |= GPU if device() == "cuda" else {"model__pretrained": None}
    changes |= {"fine_tune__compile": "inductor"} if compiled else {}
    return load_profile("demo", **changes)


def load_pairs(profile: Profile) -> Corpus:
    """Load the data, the pictures as large as the model takes them."""
    corpus, size = load_corpus(profile), open_clip.get_model_config(profile.model.name)["vision_cfg"]["image_size"]
    images = F.interpolate(corpus.train.images.float(), (size, size)).to(torch.uint8)
    return replace(corpus, train=replace(corpus.train, images=images))


def measure(batch: int, steps: int, rounds: int, compiled: bool = False) -> tuple[dict[str, list[Turn]], int]:
    """Run each loop in its turn, from the start; return what they took and how many samples each has seen."""
    profile = profile_of(batch, steps, compiled)
    corpus = load_pairs(profile)
    with tempfile.TemporaryDirectory() as folder:

        def ready(name: str) -> tuple[PlainLoop | Trainer]:
            if name == PEER:
                return (PlainLoop(profile, corpus),)
            given = (
                profile,
                profile.fine_tune,
                ALPHAS[name],
                0,
                Path(tempfile.mkdtemp(dir=folder)),
                corpus,
                METHODS["tpc-cma"],
            )
            return (Trainer(build_encoder(profile), *given),)

        calls = dict.fromkeys((PEER, *ALPHAS), run)
        in_turn(calls, 1, ready)
        return in_turn(calls, rounds, ready), profile.fine_tune.epochs * 2 * batch


def run(loop: PlainLoop | Trainer) -> None:
    """Run a loop to its end."""
    loop.run()


def tabulate(batches: list[int], steps: int, rounds: int, compiled: bool = False) -> dict[str, list[dict]]:
    """Set all loops against the plain one, and the dial against none."""
    tables: dict[str, list[dict]] = {"step": [], "dial": []}
    for batch in batches:
        turns, samples = measure(batch, steps, rounds, compiled)
        for row in against(turns, PEER):
            row["samples_per_second"] = samples / row.get("cpu_seconds", row["seconds"])
            tables["step"].append({"batch": batch, **row})
        own = {name: turns[name] for name in ALPHAS}
        tables["dial"] += [{"batch": batch, **row} for row in against(own, WITHOUT)]
    return tables


def main(
    batches: str = BATCHES[device()],
    steps: int = 10,
    rounds: int = 3,
    compiled: bool = device() == "cuda",
    out: Path = FOLDER,
) -> None:
    """Measure, print and record."""
    sizes = [int(size) for size in batches.split(",")]
    tables = tabulate(sizes, steps, rounds)
    if compiled:
        tables |= {f"{name}-compiled": rows for name, rows in tabulate(sizes, steps, rounds, compiled).items()}
    print(write_record(read_benchmark(save_benchmark("step", tables, out))))


if __name__ == "__main__":
    typer.run(main)
