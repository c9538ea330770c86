"""A world so small that the command trains in it within half a second, and what its files hold."""

import csv
import hashlib
import io
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import open_clip
import torch
import yaml

import tpccma.cli
import tpccma.runs.record
import tpccma.runs.shared
import tpccma.runs.sweep
import tpccma.runs.workers
import tpccma.training.run
from tests.conftest import TINY, InThread
from torture import events
from torture.forks import Copy, Ended, in_fork
from tpccma import load_profile
from tpccma.data import Corpus, load_corpus
from tpccma.profiles import Profile
from tpccma.runs.jobs import Job
from tpccma.runs.provenance import git_revision
from tpccma.tasks.evaluation import evaluate_whole
from tpccma.training.encoders import build_encoder
from tpccma.training.identity import evaluation_code, training_code

MODEL = "tpccma-torture"
ARCHITECTURE = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 53, "width": 16, "heads": 2, "layers": 1},
}
SMALLER = {
    "name": "tiny",
    "model__name": MODEL,
    "data__train_pairs": 32,
    "data__val_pairs": 8,
    "data__test_pairs": 16,
    "fine_tune__batch_size": 8,
    "fine_tune__epochs": 2,  # of 4 steps
    "fine_tune__checkpoint_steps": 3,
}
JOBS = [Job("base", 0.0, 0), Job("mean-centering", 0.0, 0), Job("clip", 0.0, 0)]  # of a sweep
TIMED = ("seconds", "samples_per_second", "wall_seconds", "git_revision")  # which somebody may change meanwhile
LEFT = (".partial", "/.tmp", "/checkpoint")  # what may be left lying, and is counted


@dataclass
class World:
    """Where all is tried.

    Args:
        folder: an absolute path, of its own.
        profile: what is trained, also in ``tiny.yaml`` there.
        corpus: its data.
    """

    folder: Path
    profile: Profile
    corpus: Corpus
    made: dict[str, "Undisturbed"] = field(default_factory=dict)

    def undisturbed(self, scenario: "Scenario") -> "Undisturbed":
        """Say what a scenario comes to when nothing happens."""
        if scenario.name not in self.made:
            self.made[scenario.name] = measure(self, scenario)
        return self.made[scenario.name]


@dataclass(frozen=True)
class Scenario:
    """A command, and from what it starts.

    Args:
        name: for the table.
        command: without its places.
        start: makes the folder that it starts from, which is there and empty.
    """

    name: str
    command: tuple[str, ...]
    start: Callable[[World, Path], None] = lambda world, folder: None


@dataclass(frozen=True)
class Undisturbed:
    """What a scenario comes to when nothing happens.

    Args:
        start: the folder that it starts from.
        files: of `digest`, when it has ended.
        events: what it did to files.
        seconds: that it took.
    """

    start: Path
    files: dict[str, str]
    events: list[str]
    seconds: float


def make_world(folder: Path) -> World:
    """Make the world below a folder, and look up once what every command asks."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / "base.safetensors"
    config = folder / f"{MODEL}.json"
    config.write_text(json.dumps(ARCHITECTURE))
    open_clip.add_model_config(config)
    profile = load_profile("demo", model__pretrained=str(base), **(TINY | SMALLER))
    build_encoder(profile).save(base)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(profile.model_dump(mode="json")))
    for ask in (git_revision, training_code, evaluation_code):
        ask()
    torch.set_num_threads(1)
    return World(folder, profile, load_corpus(profile))


def call(world: World, folder: Path, command: tuple[str, ...]) -> None:
    """Be the command `tpccma` on the small world; its data are at hand, and no captions are written."""
    for module in (tpccma.runs.record, tpccma.runs.shared, tpccma.training.run):
        module.load_corpus = lambda profile: world.corpus
    tpccma.runs.record.evaluate_whole = partial(evaluate_whole, tasks=("gap", "zeroshot", "retrieval"))
    tpccma.runs.sweep.planned_jobs = lambda profile: JOBS
    tpccma.runs.workers.start_worker = lambda threads: InThread(1)
    places = ["--runs-dir", str(folder / "runs"), "--results-dir", str(folder / "results")]
    tpccma.cli.app([command[0], "--profile", str(world.folder / "tiny.yaml"), *command[1:], *places])


def armed(world: World, folder: Path, scenario: Scenario, event: int, mode: int) -> list[str]:
    """Be the command of a scenario, something of which happens at an event; return the events."""
    events.watch(folder, event, mode)
    try:
        call(world, folder, scenario.command)
    except SystemExit as end:
        if end.code:
            raise
    return events.noted()


def measure(world: World, scenario: Scenario) -> Undisturbed:
    """Let nothing happen.

    Raises:
        RuntimeError: if the command fails all the same.
    """
    place = scenario.name.replace(" ", "-")
    start, folder = world.folder / f"{place}-start", world.folder / f"{place}-undisturbed"
    for each in (start, folder):
        shutil.rmtree(each, ignore_errors=True)
    start.mkdir()
    scenario.start(world, start)
    shutil.copytree(start, folder)
    began = time.monotonic()
    ended = in_fork(lambda: armed(world, folder, scenario, 0, events.COUNT))
    if ended.status != 0:
        raise RuntimeError(f"{scenario.name} fails undisturbed: {ended.said[-2000:]}")
    return Undisturbed(start, digest(folder), ended.value, time.monotonic() - began)


def run(world: World, folder: Path, scenario: Scenario) -> Ended:
    """Run the command of a scenario to its end."""
    return in_fork(lambda: call(world, folder, scenario.command))


def begin(world: World, folder: Path, scenario: Scenario) -> Copy:
    """Begin it."""
    return Copy(lambda: call(world, folder, scenario.command))


def fresh(world: World, scenario: Scenario, name: str) -> Path:
    """Make a folder from which the scenario starts."""
    folder = world.folder / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(world.undisturbed(scenario).start, folder)
    return folder


def digest(folder: Path) -> dict[str, str]:
    """Name the content of every file below a folder, but for times and locks."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(_timeless(path)).hexdigest()[:16] for path in sorted(files)}


def _timeless(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".safetensors":  # whose header has its names in any order
        start = 8 + int.from_bytes(content[:8], "little")
        return json.dumps(json.loads(content[8:start]), sort_keys=True).encode() + content[start:]
    if path.suffix == ".json" and isinstance(values := json.loads(content), dict):
        return json.dumps({name: value for name, value in values.items() if name not in TIMED}).encode()
    if path.suffix == ".csv":
        rows = csv.DictReader(io.StringIO(content.decode()))
        return repr([{name: row[name] for name in row if name not in TIMED} for row in rows]).encode()
    return content


def differences(found: dict[str, str], wanted: dict[str, str]) -> tuple[list[str], list[str]]:
    """Compare two results of `digest`.

    Returns:
        What is wrong, and which files were merely left lying.
    """
    more = found.keys() - wanted.keys()
    left = sorted(name for name in more if any(mark in f"/{name}" for mark in LEFT))
    wrong = [f"{name} is missing" for name in wanted.keys() - found.keys()]
    wrong += [f"{name} differs" for name in wanted.keys() & found.keys() if wanted[name] != found[name]]
    return sorted(wrong + [f"{name} is there" for name in more - set(left)]), left
