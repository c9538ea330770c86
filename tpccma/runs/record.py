"""Measure a run, and put together all there is to say of it."""

import json
import math
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch

from tpccma.data import Corpus, load_corpus
from tpccma.files import write_whole
from tpccma.methods import METHODS
from tpccma.profiles import Profile
from tpccma.runs.records import check_free, read_record, record_path, save_record
from tpccma.tasks.evaluation import evaluate
from tpccma.training.run import Run

PACKAGES = ("torch", "open_clip_torch", "accelerate", "scikit-learn", "pycocoevalcap", "numpy", "tpccma")


def record_run(run: Run, corpus: Corpus | None = None, results_dir: str | Path = "results") -> dict:
    """Evaluate a run, or load what an earlier call has measured, and see to it that there is a published record.

    The record goes to ``record.json`` in the run's folder, and to ``<results_dir>`` where no run of the same
    fingerprint is recorded yet.

    Args:
        run: a finished run.
        corpus: the profile's data, where the caller has it loaded already.
        results_dir: where the published records lie.

    Returns:
        The record, see `make_record`; ``data`` in it says what was read, left out and chosen, where that is not fixed.

    Raises:
        ValueError: see `check_free`.
    """
    check_free(run.profile, (run.method, run.alpha, run.seed), run.content, results_dir)
    own = run.folder / "record.json"
    settings = run.profile.model_dump(mode="json")["evaluation"]
    if own.is_file() and read_record(own).get("evaluation") == settings:
        record = read_record(own)
    else:
        scale = run.encoder.model.logit_scale.exp().item()
        corpus = corpus or load_corpus(run.profile)
        record = make_record(run, evaluate(run, corpus) | {"logit_scale": scale}) | {"evaluation": settings}
        if read := corpus.report | _streamed(run):
            record["data"] = read
        write_whole(own, json.dumps(record, indent=1) + "\n")
    save_record(record, results_dir)
    return record


def make_record(run: Run, metrics: dict[str, float]) -> dict:
    """Put together all there is to say of a run.

    Args:
        run: a finished run.
        metrics: what `tpccma.evaluate` returned.

    Returns:
        A dictionary that JSON can hold: the keys of the run, its fingerprint, the content of its data where they lie in
        files, how it was trained (None if it was not), versions, git revision, hardware, wall seconds and samples a
        second of its training, and the metrics.

    Raises:
        ValueError: if a metric is not finite; the message names it.
    """
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise ValueError(f"{run.name}: metric {name} is {value!r}; the run is not recorded")
    return {
        "profile": run.profile.name,
        "method": run.method,
        "alpha": run.alpha,
        "seed": run.seed,
        "fingerprint": run.fingerprint,
        **({"content": run.content} if run.content else {}),
        "training": _training(run),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "git_revision": REVISION,
        "hardware": {"machine": platform.machine(), "threads": torch.get_num_threads(), "device": _device()},
        "wall_seconds": round(run.wall_seconds, 1),
        "samples_per_second": round(run.samples_per_second, 1),
        "metrics": {name: round(float(value), 6) for name, value in metrics.items()},
    }


def _streamed(run: Run) -> dict:
    """Say what a training has read from its stream, if it had one."""
    path = run.folder / "data.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _training(run: Run) -> dict | None:
    how = METHODS.get(run.method)
    if not (how and how.trained):
        return None
    settings = run.profile.training_of(run.method).model_dump(mode="json", exclude_none=True)
    if how.loss and "sentences" in how.loss.inputs:
        settings["sentence_embeddings"] = "MiniLM" if run.profile.model.kind == "heads" else "frozen base text encoder"
    return settings


def check_base(profile: Profile, results_dir: str | Path = "results") -> pd.DataFrame:
    """See to it that the base model does what the profile expects of it, before anything is trained on top.

    Wrong weights, activation, prompts or splits show here, in minutes.

    Args:
        profile: its ``expected`` names measures and their values; of one without, nothing is asked.
        results_dir: where the record of the base lies.

    Returns:
        A table with a row for each measure that is expected: expected, measured, ok.

    Raises:
        FileNotFoundError: if the base has no record yet.
        ValueError: if a measure is off by more than ``expected_within``.
    """
    if not profile.expected:
        return pd.DataFrame(columns=["expected", "measured", "ok"])
    path = record_path(profile.name, "base", 0.0, 0, results_dir)
    if not path.is_file():
        raise FileNotFoundError(
            f"no {path}: measure the base model first, `python -m tpccma.train --profile {profile.name} --method base`"
        )
    table = pd.DataFrame({"expected": profile.expected}).assign(measured=pd.Series(read_record(path)["metrics"]))
    table["ok"] = (table.measured - table.expected).abs() <= profile.expected_within
    if not table.ok.all():
        found = "; ".join(f"{row.Index} {row.measured:.3f}, expected {row.expected:.3f}" for row in table.itertuples())
        raise ValueError(
            f"{path}: the base model is off by more than {profile.expected_within:g} ({found}). Look at the weights, "
            "their activation, the data's splits and the prompts before training; a profile for another model has "
            "figures of its own in `expected`, or none"
        )
    return table


def _git_revision() -> str | None:
    """Name the commit; "-dirty" if the package differs from it."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


REVISION = _git_revision()  # of the code that this process has loaded, whatever is committed while it runs


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else _cpu_name()


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.is_file()
        else []
    )
    return names[0] if names else platform.processor()
