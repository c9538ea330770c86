"""The record of a campaign."""

import hashlib
import json
import os
from itertools import chain
from pathlib import Path

from torture.outcomes import Ledger, total
from tpccma.files import write_whole
from tpccma.runs.provenance import git_revision, hardware, versions

ROOT = Path(__file__).parents[1]
LIMIT = 30.0  # seconds that a case of a door that reads may take: the machine may be busy
MEMORY = 3 * 2**30  # bytes that it may take
PATIENCE = 60  # seconds within which all processes of a killed command are to be gone: Java looks once it has started


def code() -> str:
    """Name the code that is tried, and that tries it."""
    own = hashlib.sha256()
    for path in sorted(chain.from_iterable((ROOT / name).rglob("*.[pcy]*") for name in ("tpccma", "torture"))):
        if path.suffix in (".py", ".c", ".yaml"):
            own.update(path.read_bytes())
    return own.hexdigest()[:8]


def save(ledger: Ledger, path: Path, jobs: int) -> dict:
    """Record what the ledger says, with machine, commit and minutes."""
    doors = total(ledger.lines())
    record = {
        "git": git_revision(),
        "hardware": hardware() | {"cores": os.cpu_count()},
        "versions": versions(),
        "load": round(os.getloadavg()[0], 2),
        "jobs": jobs,
        "limits": {"seconds": LIMIT, "bytes": MEMORY, "orphans_seconds": PATIENCE},
        "minutes": round(sum(each["seconds"] for each in doors.values()) / 60 / jobs, 1),
        "doors": doors,
    }
    write_whole(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return record
