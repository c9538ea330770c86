"""Commands and a notebook, in processes of their own, killed at random moments: none is left, and the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random

import nbformat
import psutil
import yaml

from tests.conftest import TINY
from torture.events import end_with_parent
from torture.outcomes import FAULT, SAME, Door, Outcomes
from torture.record import PATIENCE
from torture.world import SMALLER, World, differences, digest
from tpccma import load_profile

ROOT = Path(__file__).parents[1]
CELL = """from tpccma import fine_tune
from tpccma.runs.record import record_run
record = record_run(fine_tune(profile, alpha=alpha, runs_dir="runs"), results_dir="results")"""
SWEEP = """import tpccma.runs.sweep
from torture.world import JOBS
tpccma.runs.sweep.planned_jobs = lambda profile: JOBS
from tpccma.cli import main
main()"""


def write_inputs(world: World) -> None:
    """Write a small profile of a shipped architecture, and a notebook that trains by it."""
    profile = load_profile("demo", **(TINY | SMALLER | {"model__name": "tpccma-demo"}))
    (world.folder / "command.yaml").write_text(yaml.safe_dump(profile.model_dump(mode="json")))
    cells = [nbformat.v4.new_code_cell(f"profile = {str(world.folder / 'command.yaml')!r}\nalpha = 0.5")]
    cells[0].metadata["tags"] = ["parameters"]
    book = nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell(CELL)])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, world.folder / "chapter.ipynb")


def arguments(world: World, name: str) -> list[str]:
    """Write out a command."""
    profile = ["--profile", str(world.folder / "command.yaml")]
    return {
        "training": [sys.executable, "-m", "tpccma", "train", *profile, "--alpha", "0.5"],
        "sweep of two processes": [sys.executable, "-c", SWEEP, "sweep", *profile, "--jobs", "2"],
        "chapter": [sys.executable, "-m", "papermill", str(world.folder / "chapter.ipynb"), "out.ipynb"],
    }[name]


def start(world: World, name: str, folder: Path) -> psutil.Popen:
    """Start a command in a folder, as a shell does, with the library that counts left out."""
    own = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    own |= {"PYTHONPATH": str(ROOT), "JUPYTER_PREFER_ENV_PATH": "1", "PYTHONWARNINGS": "ignore"}
    folder.mkdir(parents=True, exist_ok=True)
    how = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "start_new_session": True}
    how["preexec_fn"] = end_with_parent
    return psutil.Popen(arguments(world, name), cwd=folder, env=own, **how)


def undisturbed(world: World, name: str) -> tuple[dict[str, str], float]:
    """Run a command to its end; return what its files hold, and the seconds that it took."""
    folder, began = world.folder / f"command-{name.replace(' ', '-')}", time.monotonic()
    if not folder.exists():
        write_inputs(world)
        said = start(world, name, folder).communicate(timeout=600)[1]
        seconds = time.monotonic() - began
        (folder / "out.ipynb").unlink(missing_ok=True)
        if not list(folder.glob("results/*/*.json")):
            raise RuntimeError(f"{name} fails undisturbed: {said.decode()[-2000:]}")
        (folder.with_suffix(".seconds")).write_text(str(seconds))
    return digest(folder), float(folder.with_suffix(".seconds").read_text())


def kill(process: psutil.Popen, after: float) -> list[str]:
    """Kill a command after a time; return what of its processes lives on."""
    with suppress(psutil.TimeoutExpired):
        process.wait(after)
    family = [process, *children(process)]
    if process.is_running():
        process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    told = [" ".join(each.cmdline())[:120] for each in alive if each.is_running()]
    for each in alive:
        each.kill()
    return told


def children(process: psutil.Popen) -> list[psutil.Process]:
    """List the processes that a command has started, directly or not."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def killed(world: World, name: str, turn: int) -> Outcomes:
    """Kill a command at a random moment, look for orphans, and run it again."""
    wanted, seconds = undisturbed(world, name)
    folder, outcomes = world.folder / "command-killed", Outcomes()
    shutil.rmtree(folder, ignore_errors=True)
    after = Random(f"command {name} {turn}").uniform(0.3, 1) * seconds
    process = start(world, name, folder)
    wrong = [f"{each} lives on" for each in kill(process, after)]
    process.stderr.close()
    again = start(world, name, folder)
    said = again.communicate(timeout=600)[1].decode(errors="replace")
    (folder / "out.ipynb").unlink(missing_ok=True)
    differ, left = differences(digest(folder), wanted)
    wrong += differ + ([f"run again it ends with {again.returncode}: {said[-300:]}"] if again.returncode else [])
    outcomes.note(FAULT if wrong else SAME, f"killed after {after:.2f} s: {'; '.join(wrong)}")
    outcomes.left = len(left)
    shutil.rmtree(folder)
    return outcomes


def doors(world: World) -> Iterator[Door]:
    """List what is tried."""
    for name in ("training", "sweep of two processes", "chapter"):
        yield Door("kill a command, look for orphans", name, partial(killed, world, name), share=5)
