"""Full disks, at every write, and two processes in one folder."""

import json
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

from torture import events
from torture.forks import in_fork
from torture.kills import SCENARIOS, finish, writes
from torture.outcomes import FAULT, SAME, Door, Outcomes
from torture.world import Scenario, World, armed, begin, differences, digest, fresh

REMEDY = re.compile(r"make room|No space left on device")


def furthest(folder: Path) -> int:
    """Say how far the checkpoints and finished runs below a folder are: steps, a finished run counting as many more."""
    kept = [path for name in ("checkpoint", "checkpoint.old") for path in folder.glob(f"runs/*/*/{name}/step.json")]
    steps = [json.loads(path.read_text())["step"] for path in kept]
    return max([*steps, 0]) + 1000 * len(list(folder.glob("runs/*/*/model.safetensors")))


def full_at(world: World, scenario: Scenario, turn: int) -> Outcomes:
    """Let a write and all after it fail for want of room, look at what is said and lost, and run again with room."""
    number, folder = writes(world.undisturbed(scenario).events)[turn], fresh(world, scenario, "full")
    before = furthest(folder)
    ended = in_fork(lambda: armed(world, folder, scenario, number, events.FULL))
    what = f"disk full from event {number}, {world.undisturbed(scenario).events[number - 1]}"
    wrong = said_wrongly(ended.status, ended.said, folder)
    if furthest(folder) < before:
        wrong.append(f"what was there is lost: {before} steps before, {furthest(folder)} now")
    outcomes = finish(world, folder, scenario, what)
    if wrong and not outcomes.found[FAULT]:
        outcomes.found.clear()
        outcomes.note(FAULT, f"{what}: {'; '.join(wrong)}")
    return outcomes


def said_wrongly(status: int | None, said: str, folder: Path) -> list[str]:
    """Say what is wrong with the words and the exit status of a command that found no room."""
    lines = said.strip().splitlines()
    if "Traceback" in said or status not in (0, 1, 2):
        return [f"it ends with {status}: {lines[-3:]}"]
    told = [line for line in lines if str(folder) in line and REMEDY.search(line)]
    return [] if told or status == 0 else [f"no line names file and remedy: {lines[-3:]}"]


def together(world: World, scenario: Scenario, turn: int) -> Outcomes:
    """Start a command twice, at one moment or a little apart."""
    draw, folder = Random(f"two {scenario.name} {turn}"), fresh(world, scenario, "two")
    own, outcomes = world.undisturbed(scenario), Outcomes()
    delay = draw.choice([0.0, draw.uniform(0, 0.05), draw.uniform(0, own.seconds)])
    first = begin(world, folder, scenario)
    first.is_running(delay)
    ends = [first, begin(world, folder, scenario)]
    statuses = {copy.wait(120).status for copy in ends}
    wrong, left = differences(digest(folder), own.files)
    wrong += [f"they end with {statuses}"] if statuses != {0} else []
    outcomes.note(FAULT if wrong else SAME, f"two, {delay:.3f} s apart: {'; '.join(wrong)}")
    outcomes.left = len(left)
    shutil.rmtree(folder)
    return outcomes


def doors(world: World) -> Iterator[Door]:
    """List what is tried."""
    for name, scenario in SCENARIOS.items():
        total = partial(lambda scenario: len(writes(world.undisturbed(scenario).events)), scenario)
        yield Door("disk full at every write", name, partial(full_at, world, scenario), total, share=3)
        yield Door("two processes in one folder", name, partial(together, world, scenario))
