"""Kill, fill, crowd and feed with damage all that reads and writes here; `make torture`.

python -m torture --minutes 20
python -m torture --door "numbers: measures" --turn 3   # one turn again, as a line FAULT names it
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from torture.events import build, end_with_parent, is_loaded

ROOT = Path(__file__).parents[1]


def main(
    minutes: Annotated[float, typer.Option(help="that it may take, those before included; run again, it goes on")] = 20,
    jobs: Annotated[int, typer.Option(help="processes")] = 2,
    cases: Annotated[int | None, typer.Option(help="of each door at most")] = None,
    only: Annotated[str, typer.Option(help="doors in whose names this pattern is found")] = "",
    out: Annotated[Path, typer.Option(help="the record")] = ROOT / "results" / "torture.json",
    state: Annotated[Path, typer.Option(help="where what was tried is noted")] = ROOT / ".make" / "torture",
    door: Annotated[str, typer.Option(help="try one turn of this door again")] = "",
    turn: Annotated[int, typer.Option(help="which turn")] = 0,
    worker: Annotated[int, typer.Option(hidden=True)] = 0,
) -> None:
    """Try all doors and record what came of it; exit status 1 says that there are faults."""
    if is_loaded():
        end_with_parent()
        return repeat(door, turn) if door else work(worker, jobs, state, minutes, cases, only)
    numbers = range(1 if door else jobs)
    library = build(state)
    failed = [process.wait() for process in [start(library, number) for number in numbers]]
    raise typer.Exit(max(failed) or (0 if door else report(state, out, jobs)))


def start(library: Path, worker: int) -> subprocess.Popen:
    """Start this program again, in front of the C library what counts file events."""
    own = {"LD_PRELOAD": str(library.resolve()), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "torture", *sys.argv[1:], "--worker", f"{worker}"]
    return subprocess.Popen(command, env=os.environ | own)


def repeat(door: str, turn: int) -> None:
    """Try one turn of a door and print what comes of it."""
    from torture.campaign import all_doors, try_one
    from torture.forks import PLACE

    with tempfile.TemporaryDirectory(prefix="tpccma-torture-", dir=PLACE) as folder:
        found = try_one(all_doors(Path(folder)), door, turn)
    print(dict(found.found), *found.faults, sep="\n")


def work(worker: int, jobs: int, state: Path, minutes: float, cases: int | None, only: str) -> None:
    """Be one of the processes that try doors."""
    from torture.campaign import all_doors, deal, go_through, title
    from torture.forks import PLACE
    from torture.outcomes import Ledger
    from torture.record import code

    with tempfile.TemporaryDirectory(prefix="tpccma-torture-", dir=PLACE) as folder:
        doors = [door for door in all_doors(Path(folder), cases) if re.search(only, title(door))]
        go_through(deal(doors, worker, jobs), Ledger(state / code(), f"{worker}"), 60 * minutes, print, cases)


def report(state: Path, out: Path, jobs: int) -> int:
    """Record and print all outcomes; return 1 if there are faults."""
    from torture.outcomes import FAULT, Ledger
    from torture.record import code, save

    record = save(Ledger(state / code()), out, jobs)
    for name, own in record["doors"].items():
        turns = f"{own['turns']} of {own['total']} turns" if own["total"] else f"{own['turns']} turns"
        print(f"{name}: {own['found']}, {turns}, {own['left']} files left, {own['seconds']:.0f} s")
    return int(any(own["found"].get(FAULT) for own in record["doors"].values()))


if __name__ == "__main__":
    typer.run(main)
