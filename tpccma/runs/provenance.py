"""Where and by what a run is made: packages, git revision, hardware; asked when it is first needed, once a process."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("torch", "open_clip_torch", "accelerate", "scikit-learn", "pycocoevalcap", "numpy", "tpccma")
CPUINFO = Path("/proc/cpuinfo")
# What tells one generation of processors from another, by x86 and by ARM; its name alone ("AMD EPYC") may not.
GENERATION = (
    "vendor_id",
    "cpu family",
    "model",
    "stepping",
    "CPU implementer",
    "CPU part",
    "CPU variant",
    "CPU revision",
)


def versions() -> dict[str, str]:
    """Name the versions of Python and of the packages that decide figures."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def hardware() -> dict:
    """Say on what this process computes: machine, threads, device, processor's generation; how many did so together."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else processor_name()
    together = int(os.environ.get("WORLD_SIZE", 1))
    return {
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": device,
        "processor": processor_generation(),
        **({"processes": together} if together > 1 else {}),
    }


def processor_name() -> str:
    """Name the processor as it names itself."""
    return _cpuinfo().get("model name") or platform.processor()


def processor_generation() -> str:
    """Name the processor's family, model and stepping, by which rounding may differ; "" where that is not known."""
    found = _cpuinfo()
    return ", ".join(f"{key} {found[key]}" for key in GENERATION if key in found) or platform.processor()


@cache
def _cpuinfo() -> dict[str, str]:
    """Read what Linux says of the first processor; nothing elsewhere."""
    if not CPUINFO.is_file():
        return {}
    first = CPUINFO.read_text().split("\n\n")[0]
    parts = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in parts}


@cache
def git_revision() -> str | None:
    """Name the commit of this package, with "-dirty" if the package differs from it.

    None where the package lies in no repository of its own: one that it is merely installed in knows nothing of it.
    """
    return revision_of(Path(__file__).parents[1])


def revision_of(package: Path) -> str | None:
    """Name the commit of a package's folder if that is part of a repository, see `git_revision`."""
    # Called by a hook of another repository, git would be told to look there.
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*arguments: str) -> str:
        given = {"cwd": package, "env": surroundings, "capture_output": True, "text": True, "check": True}
        done = subprocess.run(["git", *arguments], **given)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
