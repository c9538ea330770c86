"""All doors of a campaign, tried in turn until the time is up."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from torture import commands, damage, disks, fuzz, kills, numbers
from torture.outcomes import FAULT, Door, Ledger, Outcomes
from torture.readers import all_readers
from torture.world import make_world


def all_doors(folder: Path, cases: int | None = None) -> list[Door]:
    """List all that is tried, in a world made below a folder; what is tried many times a turn, so often at most."""
    world = make_world(folder)
    readers = [fuzz.door_of(reader, folder / "files", cases) for reader in all_readers(world.profile)]
    return [
        *kills.doors(world),
        *disks.doors(world),
        *commands.doors(world),
        *damage.doors(world),
        *readers,
        *numbers.doors(cases),
    ]


def title(door: Door) -> str:
    """Name a door for certain."""
    return f"{door.campaign}: {door.name}"


def deal(doors: list[Door], worker: int, workers: int) -> list[Door]:
    """Give a worker its part of the doors, so that all have about the same share of the time."""
    parts: list[list[Door]] = [[] for _ in range(workers)]
    for door in sorted(doors, key=lambda door: -door.share):
        min(parts, key=lambda part: sum(each.share for each in part)).append(door)
    return parts[worker]


def go_through(
    doors: Iterable[Door],
    ledger: Ledger,
    seconds: float,
    tell: Callable[[str], None],
    cases: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Try doors by turns, the one whose share is most behind first, from where the ledger ends.

    Args:
        doors: to be tried.
        ledger: of what was tried already; each turn is added as it ends.
        seconds: that all may take together, those before included.
        tell: is given a line for each fault.
        cases: of one door at most; None for no bound.
        clock: tells the time, in seconds.
    """
    done: dict[str, set[int]] = {}
    spent: dict[str, float] = {}
    tried: dict[str, int] = {}
    for line in ledger.lines():
        done.setdefault(line["door"], set()).add(line["turn"])
        spent[line["door"]] = spent.get(line["door"], 0.0) + line["seconds"]
        tried[line["door"]] = tried.get(line["door"], 0) + sum(line["found"].values())
    doors = {title(door): door for door in doors}
    waiting = {name: (n for n in door.numbers() if n not in done.get(name, ())) for name, door in doors.items()}
    while waiting and sum(spent.get(name, 0.0) for name in doors) < seconds:
        name = min(waiting, key=lambda name: spent.get(name, 0.0) / doors[name].share)
        number = next(waiting[name], None)
        if number is None or (cases is not None and tried.get(name, 0) >= cases):
            del waiting[name]
            continue
        began = clock()
        outcomes = try_turn(doors[name], number)
        took = round(clock() - began, 3)  # as the ledger keeps it, so that going on sees the time that was spent here
        ledger.write(name, number, took, outcomes, doors[name].turns and doors[name].turns())
        spent[name] = spent.get(name, 0.0) + took
        tried[name] = tried.get(name, 0) + sum(outcomes.found.values())
        for fault in outcomes.faults:
            tell(f"{FAULT} {name}, turn {number}: {fault}")


def try_turn(door: Door, number: int) -> Outcomes:
    """Try a turn; if that breaks, it is a fault as well, of the code that is tried or of the campaign."""
    try:
        return door.turn(number)
    except Exception as error:
        outcomes = Outcomes()
        outcomes.note(FAULT, f"the campaign breaks: {type(error).__name__}: {error}")
        return outcomes


def try_one(doors: Iterable[Door], name: str, turn: int) -> Outcomes:
    """Try one turn of one door again.

    Raises:
        ValueError: if there is no such door.
    """
    named = {title(door): door for door in doors}
    if name not in named:
        raise ValueError(f"there is no door {name!r}: give one of {', '.join(named)}")
    return named[name].turn(turn)
