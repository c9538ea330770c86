"""Files that are written in whole, and what is left of those that were not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tpccma.files import A_DAY, HOST, whole_file, write_whole


@pytest.fixture
def dead() -> int:
    """The number of a process that lives no longer."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def leave(folder: Path, name: str, age: float = 0.0) -> Path:
    """Leave what a writer of a file leaves when it is killed."""
    place = folder / name
    place.mkdir(parents=True)
    for file in ("partial", ".tmpAbCdEf"):  # safetensors makes the second
        (place / file).write_text("half")
    os.utime(place, (time.time() - age,) * 2)
    return place


def test_next_writer_of_a_folder_removes_what_dead_processes_have_left(dead: int, tmp_path: Path):
    left = leave(tmp_path, f".model.safetensors.{HOST}.{dead}.partial")
    kept = [
        leave(tmp_path, f".model.safetensors.{HOST}.{os.getppid()}.partial"),  # of a process that lives
        leave(tmp_path, f".model.safetensors.elsewhere.{dead}.partial"),  # perhaps too
        leave(tmp_path, f"model.safetensors.{HOST}.{dead}.partial"),  # which no writer here calls a file
        leave(tmp_path, f".model.{dead}.partial"),
        leave(tmp_path / "below", f".model.safetensors.{HOST}.{dead}.partial"),
    ]
    write_whole(tmp_path / "steps.csv", "1")
    assert not left.exists() and all(path.exists() for path in kept)


def test_what_is_older_than_a_day_is_removed_whoever_has_left_it(tmp_path: Path):
    left = [leave(tmp_path, f".a.csv.{host}.{os.getppid()}.partial", A_DAY + 9) for host in (HOST, "elsewhere")]
    kept = [leave(tmp_path, f".b.csv.{host}.{os.getppid()}.partial", A_DAY - 99) for host in (HOST, "elsewhere")]
    single = tmp_path / ".steps.csv.7.partial"  # as they were once
    single.write_text("half")
    os.utime(single, (0, 0))
    write_whole(tmp_path / "steps.csv", "1")
    assert not any(path.exists() for path in (*left, single)) and all(path.exists() for path in kept)


KILLED = """
import os, sys
from pathlib import Path
from tpccma.files import whole_file

with whole_file(Path(sys.argv[1]) / "w.safetensors") as partial:
    partial.write_bytes(b"half")
    partial.with_name(".tmpAbCdEf").write_bytes(b"half")
    os.kill(os.getpid(), 9)
"""


def test_a_killed_writer_leaves_nothing_for_long(tmp_path: Path):
    write_whole(tmp_path / "w.safetensors", "before")
    assert subprocess.run([sys.executable, "-c", KILLED, tmp_path]).returncode == -9
    assert len(list(tmp_path.iterdir())) == 2 and (tmp_path / "w.safetensors").read_text() == "before"
    with whole_file(tmp_path / "w.safetensors") as partial:
        save_file({"a": torch.ones(2)}, partial)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path):
    write_whole(tmp_path / "a.csv", "before")
    with pytest.raises(RuntimeError), whole_file(tmp_path / "a.csv") as partial:
        partial.write_text("half")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"] and (tmp_path / "a.csv").read_text() == "before"
