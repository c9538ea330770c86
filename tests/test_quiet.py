"""After set-up nothing asks for a network, and the same run leaves the same bytes.

Python's own sockets and look-ups are forbidden by quiet/sitecustomize.py, in every process that a run starts. Where the
system lets us have a network of our own, that has no device that is up: Java and libraries in C find none either.
"""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import yaml

import tpccma.runs.workers
from tpccma import load_profile
from tpccma.profiles import Profile
from tpccma.runs.jobs import Job
from tpccma.runs.record import run_job
from tpccma.runs.records import load_records
from tpccma.runs.workers import run_all

ROOT = Path(__file__).parents[1]
TIMES = ["wall_seconds", "samples_per_second"]  # of a record
# Jupyter talks to a chapter's kernel by files instead of ports; all else of the run is as papermill does it.
CHAPTER = """
import sys
import papermill
from jupyter_client.manager import AsyncKernelManager

class ByFiles(AsyncKernelManager):
    def __init__(self, **given):
        super().__init__(**given)
        self.transport = "ipc"

settings = {"kernel_name": "python3", "progress_bar": False, "kernel_manager_class": ByFiles}
papermill.execute_notebook(sys.argv[1], "executed.ipynb", cwd=sys.argv[2], **settings)
"""


@cache
def own_network() -> tuple[str, ...]:
    """Return what starts a command in a network without devices; nothing where the system refuses that."""
    command = ("unshare", "--map-root-user", "--net")
    try:
        return command if subprocess.run([*command, "true"], capture_output=True).returncode == 0 else ()
    except FileNotFoundError:
        return ()


def start_quietly(folder: Path, *given: str | Path, seed: int = 0) -> subprocess.Popen:
    """Start a Python without a network in a folder, which is made; `seed` is of the order in which sets are walked."""
    folder.mkdir()
    settings = {
        "ASKED_FOR_THE_NETWORK": str(folder / "asked"),
        "PYTHONPATH": f"{ROOT / 'tests/quiet'}{os.pathsep}{ROOT}",
        "PYTHONHASHSEED": str(seed),
        "OMP_NUM_THREADS": "1",
        "JUPYTER_RUNTIME_DIR": str(folder),
    }
    command = [*own_network(), sys.executable, *map(str, given)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=os.environ | settings, **pipes)


def end_quietly(process: subprocess.Popen, folder: Path) -> str:
    """Wait for a process that has to succeed; return what it asked of the network, with the lines that did."""
    said, _ = process.communicate(timeout=600)
    asked = folder / "asked"
    found = asked.read_text() if asked.exists() else ""
    assert process.returncode == 0, said + found
    return found


def run_quietly(folder: Path, *given: str | Path) -> str:
    return end_quietly(start_quietly(folder, *given), folder)


# ---- without a network

LEFT = {"model.safetensors", "steps.csv", "record.json", "captions.json", "shipped.safetensors", "results.csv"}


def run_each(profile: Profile, place: Path, *names: str) -> list[tuple[Path, str]]:
    """Run `tests.one_of_each` in folders of these names at the same time; return what each asked of the network."""
    base = load_profile(profile, model__pretrained=None, data__base_pairs=256, base__epochs=1, base__batch_size=32)
    files = [place / "given.yaml", place / "base.yaml"]
    for file, each in zip(files, (profile, base), strict=True):
        file.write_text(yaml.safe_dump(each.model_dump(mode="json") | {"name": f"quiet-{file.stem}"}))
    folders = [place / name for name in names]
    started = [start_quietly(folder, "-m", "tests.one_of_each", *files, seed=i) for i, folder in enumerate(folders)]
    return [(folder, end_quietly(process, folder)) for folder, process in zip(folders, started, strict=True)]


def check_quiet(folder: Path, asked: str) -> None:
    assert asked == ""
    [record] = load_records(folder / "results")
    assert {"cider", "meteor"} <= record["metrics"].keys()  # whose programs are Java's
    assert {Path(name).name for name in contents(folder)} > LEFT | {"minilm-l6-v2.safetensors"}


def test_training_evaluation_and_record_ask_for_no_network(tiny_profile: Profile, tmp_path: Path):
    [(folder, asked)] = run_each(tiny_profile, tmp_path, "one")
    check_quiet(folder, asked)


@pytest.mark.parametrize("chapter", ["15_claims", pytest.param("01_gap_decomposition", marks=pytest.mark.deep)])
def test_chapter_asks_for_no_network(chapter: str, tmp_path: Path):
    assert run_quietly(tmp_path / "book", "-c", CHAPTER, ROOT / f"notebooks/{chapter}.ipynb", ROOT) == ""
    assert (tmp_path / "book" / "executed.ipynb").is_file()


PLANTED = {
    "hub": "import huggingface_hub\nhuggingface_hub.get_session().get('https://huggingface.co/timm')",
    "address": "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9/')",
    "look-up": "import socket\nsocket.gethostbyname('huggingface.co')",
    "child": "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import socket; socket.socket()'])",
}


@pytest.mark.parametrize("request_", PLANTED.values(), ids=PLANTED)
def test_planted_request_is_seen_though_its_error_is_caught(request_: str, tmp_path: Path):
    lines = "\n".join(f"    {line}" for line in request_.splitlines())
    asked = run_quietly(tmp_path / "planted", "-c", f"try:\n{lines}\nexcept Exception:\n    pass")
    assert asked.startswith("socket.")


# ---- the same bytes twice


def without_times(path: Path) -> bytes:
    """Read a file, without the seconds that its run has taken."""
    if path.name == "steps.csv":
        return pd.read_csv(path, dtype=str).drop(columns=["seconds", "samples_per_second"]).to_csv().encode()
    if path.name == "results.csv":
        return pd.read_csv(path, dtype=str).drop(columns=TIMES, errors="ignore").to_csv().encode()
    if path.suffix == ".json" and path.name != "captions.json":
        found = json.loads(path.read_text())
        return json.dumps({name: value for name, value in found.items() if name not in TIMES}).encode()
    return path.read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): without_times(path) for path in files}


def assert_same_bytes(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []


@pytest.mark.deep
def test_same_run_leaves_the_same_bytes_in_another_process(tiny_profile: Profile, tmp_path: Path):
    found = run_each(tiny_profile, tmp_path, "one", "two")
    for folder, asked in found:
        check_quiet(folder, asked)
    assert_same_bytes(*(contents(folder) for folder, _ in found))


@pytest.mark.deep
def test_short_demo_leaves_the_same_bytes_in_another_process(tmp_path: Path):
    short = {"data__train_pairs": 2_048, "data__val_pairs": 256, "data__test_pairs": 256, "fine_tune__epochs": 1}
    found = run_each(load_profile("demo", **short, evaluation__decoder__steps=50), tmp_path, "one", "two")
    assert [asked for _, asked in found] == ["", ""]
    assert_same_bytes(*(contents(folder) for folder, _ in found))


@pytest.mark.deep
def test_sweep_of_two_processes_leaves_the_bytes_of_one(
    tiny_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    jobs = [Job("tpc-cma", 0.5, 0), Job("clip", 0.0, 1), Job("mean-centering", 0.0, 0)]
    profile = load_profile(tiny_profile, fine_tune__epochs=1)
    for processes, place in ((1, "one"), (2, "two")):
        monkeypatch.setattr(tpccma.runs.workers.os, "cpu_count", lambda: processes)  # noqa: B023  a thread for each
        folder = tmp_path / place
        given = {job.name: (profile, job, folder / "runs", folder / "results") for job in jobs}
        assert not [found for _, found in run_all(run_job, given, processes) if isinstance(found, BaseException)]
    assert_same_bytes(contents(tmp_path / "one"), contents(tmp_path / "two"))
