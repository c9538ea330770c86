"""The book builds from the notebooks' stored outputs; what it refers to is there."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_book_builds_without_a_warning():
    # as `make html` does
    command = [Path(sys.executable).with_name("jupyter-book"), "build", "book/", "--all", "-n", "-W", "--keep-going"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout[-5_000:] + built.stderr[-5_000:]
    assert (ROOT / "book" / "_build" / "html" / "index.html").stat().st_size > 0
