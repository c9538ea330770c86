"""The record of a run: one JSON file each, and one CSV built from all of them.

``python -m tpccma.results`` rebuilds ``results/results.csv`` from them.
"""

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
from tpccma.tasks.evaluation import evaluate
from tpccma.training.run import Run

KEYS = ("profile", "method", "alpha", "seed")
SCHEMA = (
    *KEYS,
    "raw_gap",
    "centroid_gap",
    "distribution_gap",
    "linear_separability",
    "modality_mixing",
    "effective_rank_image",
    "effective_rank_text",
    "zeroshot_top1",
    "i2t_recall_at_1",
    "i2t_recall_at_5",
    "t2i_recall_at_1",
    "t2i_recall_at_5",
    "clustering_ari",
    "clustering_nmi",
    "cider",
    "cider_memory",
    "bleu4",
    "meteor",
    "rouge_l",
    "wall_seconds",
)
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
    if own.is_file() and _read(own).get("evaluation") == settings:
        record = _read(own)
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
    table = pd.DataFrame({"expected": profile.expected}).assign(measured=pd.Series(_read(path)["metrics"]))
    table["ok"] = (table.measured - table.expected).abs() <= profile.expected_within
    if not table.ok.all():
        found = "; ".join(f"{row.Index} {row.measured:.3f}, expected {row.expected:.3f}" for row in table.itertuples())
        raise ValueError(
            f"{path}: the base model is off by more than {profile.expected_within:g} ({found}). Look at the weights, "
            "their activation, the data's splits and the prompts before training; a profile for another model has "
            "figures of its own in `expected`, or none"
        )
    return table


def check_free(
    profile: Profile, key: tuple[str, float, int], content: str, results_dir: str | Path = "results"
) -> None:
    """See to it that a record does not take the place of one that was made from other data.

    Args:
        profile: of the run.
        key: its method, alpha and seed.
        content: names its data, see `tpccma.data.content`.
        results_dir: where the records lie.

    Raises:
        ValueError: if the record that is there has other data; the message says how to keep both.
    """
    path = record_path(profile.name, *key, results_dir)
    if path.is_file() and (found := _read(path).get("content", "")) != content:
        raise ValueError(
            f"{path} was recorded on other data (content {found or 'not stated'}, now {content or 'not stated'}); to "
            "keep both, give the profile a name of its own (name: in its file) or say another --results-dir"
        )


def save_record(record: dict, results_dir: str | Path = "results") -> Path:
    """Write a record to ``<results_dir>/<profile>/<method>-a<alpha>-s<seed>.json`` and complete the CSV.

    A record that is there already and has the same fingerprint and evaluation is left alone: the run repeats it.

    Args:
        record: from `make_record`.
        results_dir: where the records lie.

    Returns:
        The path of the JSON file.
    """
    path = record_path(record["profile"], record["method"], record["alpha"], record["seed"], results_dir)
    same = ("fingerprint", "evaluation")
    if not path.is_file() or any(_read(path).get(key) != record.get(key) for key in same):
        write_whole(path, json.dumps(record, indent=1) + "\n")
    build_csv(results_dir)
    return path


def record_path(profile: str, method: str, alpha: float, seed: int, results_dir: str | Path = "results") -> Path:
    """Say where the record of a run lies."""
    return Path(results_dir) / profile / f"{method}-a{alpha:g}-s{seed}.json"


def load_records(results_dir: str | Path = "results") -> list[dict]:
    """Read all records, sorted by profile, method, alpha and seed.

    Raises:
        ValueError: if a file is not a record; the message names it.
    """
    records = [_read(path) for path in Path(results_dir).glob("*/*.json")]
    return sorted(records, key=lambda record: tuple(record[key] for key in KEYS))


def build_csv(results_dir: str | Path = "results") -> Path:
    """Build ``results.csv`` where it is not what the records say: `SCHEMA`, then every other metric by name."""
    rows = [
        {**{key: record[key] for key in (*KEYS, "wall_seconds")}, **record["metrics"]}
        for record in load_records(results_dir)
    ]
    table = pd.DataFrame(rows)
    table = table.reindex(columns=[*SCHEMA, *sorted(set(table.columns) - set(SCHEMA))])
    path, text = Path(results_dir) / "results.csv", table.to_csv(index=False)
    if not path.is_file() or path.read_text() != text:
        write_whole(path, text)
    return path


def load_results(results_dir: str | Path = "results", profile: str | None = None) -> pd.DataFrame:
    """Read the CSV, all of it or one profile's rows.

    Where records lie beside it, it is built anew if it is not what they say: a row was lost, or a number edited.

    Args:
        results_dir: where ``results.csv`` lies.
        profile: keep this profile only.

    Returns:
        One row a run, and a column ``model`` that names it in figures: "alpha 0.5" for tpc-cma, else the method.

    Raises:
        FileNotFoundError: if there is no CSV.
        ValueError: if the profile has no row.
    """
    path = Path(results_dir) / "results.csv"
    if any(Path(results_dir).glob("*/*.json")):
        build_csv(results_dir)
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: run `python -m tpccma.results` where the folder of records is")
    table = pd.read_csv(path)
    table["model"] = table.method.where(table.method != "tpc-cma", "alpha " + table.alpha.map("{:g}".format))
    if profile is not None:
        table = table[table.profile == profile].reset_index(drop=True)
        if table.empty:
            raise ValueError(f"{path} has no run of profile {profile!r}")
    return table


def _read(path: Path) -> dict:
    try:
        record = dict(json.loads(path.read_text()))
        missing = [key for key in (*KEYS, "fingerprint", "wall_seconds", "metrics") if key not in record]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a record: {error}; remove it and run again") from None
    if missing:
        raise ValueError(f"{path} is not a record: it lacks {', '.join(missing)}; remove it and run again")
    return record


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


if __name__ == "__main__":
    print(build_csv())
