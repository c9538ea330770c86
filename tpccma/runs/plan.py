"""What a profile's runs take before any is started: ``tpccma plan --profile paper``.

Every figure names its source: counted in data that are there, computed from the profile, measured on the model here, or
given on the command line. What is none of these is said to be unknown, with the way to find it out.

Legend: B pairs in a batch of all processes together, G processes, one a GPU.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import open_clip
import pandas as pd
import torch
import torch.nn.functional as F
from torch.autograd.graph import saved_tensors_hooks

from tpccma.curriculum import ThreePhaseCurriculum
from tpccma.data.shard_files import find_shards
from tpccma.loss import CMALoss
from tpccma.methods import ABLATION_ALPHA, ABLATIONS, METHODS
from tpccma.models.towers import Towers
from tpccma.profiles import Profile, load_profile
from tpccma.runs.jobs import ALPHAS, DIAL, SEEDS, Job, first_round
from tpccma.training.encoders import build_encoder

GIB = 2**30
ADAM_BYTES = 16  # a trained parameter: weight, gradient and AdamW's two moments, 4 bytes each
PROBED = (2, 4)  # pairs put through the towers to measure what each keeps
LOSS_PROBE = 256  # pairs for which the loss is measured


@dataclass(frozen=True)
class Figure:
    """One figure of a plan: what it is, its value, and where it comes from."""

    what: str
    value: str
    source: str


def plan(
    profile: str | Profile = "paper",
    pairs: int | None = None,
    samples_per_second: float | None = None,
    gpus: int = 1,
    batch_sizes: tuple[int, ...] = (),
) -> pd.DataFrame:
    """Plan the runs of a profile; nothing is trained.

    Args:
        profile: a name, the path of a YAML file, or a `~tpccma.profiles.Profile`.
        pairs: training pairs in an epoch, where they cannot be counted here.
        samples_per_second: of all GPUs together, as a first run's ``steps.csv`` tells; None leaves hours unknown.
        gpus: G, >= 1.
        batch_sizes: B for which memory is said; none takes the profile's.

    Returns:
        A table with a row for each figure: what it is, its value, its source.

    Raises:
        ValueError: if a number is not positive or the batch does not divide among the GPUs.
    """
    profile = load_profile(profile)
    for name, value in (("pairs", pairs), ("samples_per_second", samples_per_second), ("gpus", gpus)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive, got {value!r}")
    sizes = batch_sizes or (profile.fine_tune.batch_size,)
    for size in sizes:
        if size < 2 * gpus or size % gpus:
            raise ValueError(f"batch size {size} does not divide among {gpus} GPUs, with 2 pairs or more for each")
    count, source = (pairs, "given") if pairs else count_pairs(profile)
    steps = _steps(profile, count, source)
    figures = [*steps, *_time(profile, count, samples_per_second, gpus), *_storage(profile, gpus, sizes)]
    return pd.DataFrame(figures).set_index("what")


def count_pairs(profile: Profile) -> tuple[int | None, str]:
    """Count the training pairs in an epoch, as far as that is possible here; and say how."""
    data = profile.data
    if data.kind == "demo":
        return data.train_pairs, "data.train_pairs"
    if data.kind != "paper":
        return None, "not known here: give --pairs"
    if data.pairs:
        return data.pairs, "data.pairs"
    if data.data_dir is None:
        return None, "not known here: give --data-dir or --pairs"
    found = find_shards(str(data.data_dir / data.shards), data.skip_missing)
    return found.pairs, f"_stats.json of {len(found.paths)} shards" if found.pairs else "no _stats.json: give --pairs"


def _steps(profile: Profile, pairs: int | None, source: str) -> list[Figure]:
    training = profile.fine_tune
    figures = [Figure("pairs in an epoch", f"{pairs:,}" if pairs else "unknown", source)]
    if not pairs:
        return [*figures, Figure("steps of a run", "unknown", "needs the number of pairs")]
    total = training.epochs * (pairs // training.batch_size)
    curriculum = ThreePhaseCurriculum(ABLATION_ALPHA, max(total, 1), **profile.curriculum.model_dump())
    phases = pd.Series([curriculum.phase(step) for step in range(total)]).value_counts()
    share = ", ".join(f"{name} {phases.get(name, 0):,}" for name in ("anchor", "ramp", "stabilize"))
    epochs = f"{training.epochs} epoch{'s' * (training.epochs > 1)}"
    made_of = f"{epochs} of {pairs // training.batch_size:,} batches of {training.batch_size:,}"
    return [*figures, Figure("steps of a run", f"{total:,}", made_of), Figure("of these", share, "curriculum")]


def _time(profile: Profile, pairs: int | None, samples_per_second: float | None, gpus: int) -> list[Figure]:
    runs = len(sweep_runs())
    made_of = f"methods, alphas and {len(SEEDS)} seeds; other commands only measure"
    figures = [Figure("trainings of the sweep", f"{runs}", made_of)]
    if not pairs or not samples_per_second:
        wanted = "needs the number of pairs" if not pairs else "give --samples-per-second, from a first run's steps.csv"
        return [*figures, Figure("GPU hours of a training", "unknown", wanted)]
    hours = training_hours(profile, pairs, samples_per_second)
    rate = f"{samples_per_second:g} samples/s of {gpus} GPUs together, given; evaluation not counted"
    return [
        *figures,
        Figure("hours of a training", f"{hours:.2f}", rate),
        Figure("GPU hours of a training", f"{hours * gpus:.2f}", "hours x GPUs"),
        Figure("GPU hours of the sweep's trainings", f"{hours * gpus * runs:,.1f}", "GPU hours x runs"),
    ]


def training_hours(profile: Profile, pairs: int, samples_per_second: float) -> float:
    """Compute how long one training takes, evaluation not counted: epochs x pairs / rate, in hours."""
    return profile.fine_tune.epochs * pairs / samples_per_second / 3600


def _storage(profile: Profile, gpus: int, sizes: tuple[int, ...]) -> list[Figure]:
    parameters, per_pair, width = _measure(load_profile(profile, fine_tune__micro_batch_size=None).model_dump_json())
    runs, one = len(sweep_runs()), 4 * parameters / GIB
    figures = [
        _data_disk(profile),
        Figure("parameters", f"{parameters:,}", "the model, counted"),
        Figure("disk of a finished run", f"{one:.2f} GiB", "its weights, 4 bytes a parameter"),
        Figure("disk of a run under way", f"{6 * one:.2f} GiB", "two checkpoints of weights and two moments"),
        Figure("disk of the sweep's runs", f"{(runs + 6) * one:.1f} GiB", "finished runs, and one under way"),
        Figure("memory of weights", f"{ADAM_BYTES * parameters / GIB:.2f} GiB", "with gradients and AdamW's moments"),
    ]
    for size in sizes:
        own = size // gpus
        at_once = min(own, profile.fine_tune.micro_batch_size or own)
        towers, loss = per_pair * at_once, loss_bytes(profile, size, width)
        total = (ADAM_BYTES * parameters + towers + loss) / GIB
        what = f"memory of each GPU at batch {size:,}"
        parts = f"weights, {at_once:,} pairs in the towers ({towers / GIB:.2f}), loss ({loss / GIB:.2f})"
        figures.append(Figure(what, f"{total:.1f} GiB", f"{parts}; measured here, without the library's own buffers"))
    return figures


@lru_cache(maxsize=4)
def _measure(written: str) -> tuple[int, float, int]:
    """Count of a profile's model the parameters, the bytes that it keeps of a pair, and the numbers of an embedding."""
    profile = Profile.model_validate_json(written)
    model = Towers(build_encoder(profile).model)
    with torch.no_grad():
        width = model(*_probe(profile, 2))[0].shape[1]
    return sum(p.numel() for p in model.parameters()), tower_bytes(model, profile), width


def _data_disk(profile: Profile) -> Figure:
    folder = getattr(profile.data, "data_dir", None) or getattr(profile.data, "images_dir", None)
    if folder is None:
        return Figure("disk of the data", "unknown", "none are here: give --data-dir, or see what there is to fetch")
    held = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Figure("disk of the data", f"{held / GIB:.2f} GiB", f"files of {folder}")


def tower_bytes(model: Towers, profile: Profile) -> float:
    """Measure what the towers keep of one pair for the backward pass, in bytes, in the profile's precision.

    Texts count with the model's full context length.
    """
    kept = []
    for count in PROBED:
        inputs = _probe(profile, count)
        bf16 = profile.fine_tune.precision == "bf16"

        def forward(inputs=inputs, bf16=bf16):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                return model(*inputs)

        kept.append(kept_bytes(forward, {p.data_ptr() for p in model.parameters()}))
    return (kept[1] - kept[0]) / (PROBED[1] - PROBED[0])


def loss_bytes(profile: Profile, batch_size: int, width: int) -> float:
    """Measure what the loss keeps of a whole batch, in bytes.

    It is measured for up to ``LOSS_PROBE`` pairs; from there it grows in proportion.
    """
    count = min(batch_size, LOSS_PROBE)
    x, y = (F.normalize(torch.randn(count, width), dim=1).requires_grad_() for _ in range(2))
    loss = CMALoss(ABLATION_ALPHA, **profile.loss.model_dump())
    return kept_bytes(lambda: loss(x, y, torch.tensor(100.0)), set()) * batch_size / count


def kept_bytes(forward: Callable, known: set[int]) -> int:
    """Count the bytes that autograd keeps of a forward pass, storages that are ``known`` by address left out."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        result = forward()  # held until the count is done, so that no address is used twice
    del result
    return sum(kept.values())


def _probe(profile: Profile, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    if profile.model.kind == "heads":
        return torch.randn(count, profile.model.image_width), torch.randn(count, profile.model.text_width)
    config = open_clip.get_model_config(profile.model.name)
    size, text = config["vision_cfg"]["image_size"], config["text_cfg"]
    tokens = torch.ones(count, text.get("context_length", 77), dtype=torch.long)
    tokens[:, -1] = text.get("vocab_size", 49408) - 1  # the largest id, where a text ends: shorter ones take less
    return torch.randn(count, 3, size, size), tokens


def sweep_runs() -> list[Job]:
    """List the trainings that the book rests on, ablations excepted."""
    trained = {name for name, method in METHODS.items() if method.trained and name not in ABLATIONS}
    return [job for job in first_round("paper") if job.method in trained]


def sweep_commands(profile: str, gpus: int = 1, seeds: tuple[int, ...] = SEEDS) -> list[str]:
    """Write the commands of the sweep: the base first, then the dial, then the other methods."""
    one = "tpccma train"
    many = one if gpus == 1 else f"accelerate launch --num_processes {gpus} -m tpccma train"
    profile = shlex.quote(profile)
    commands = [f"{one} --profile {profile} --method base"]
    for seed in seeds:
        commands += [f"{many} --profile {profile} --method {DIAL} --alpha {alpha:g} --seed {seed}" for alpha in ALPHAS]
        commands += [
            f"{many if method.trained else one} --profile {profile} --method {name} --seed {seed}"
            for name, method in METHODS.items()
            if not method.dial
        ]
    return commands
