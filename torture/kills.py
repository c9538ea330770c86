"""Kills: at every file event and at random moments; the same command again must come to the same bytes."""

import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

from torture import events
from torture.forks import in_fork
from torture.outcomes import FAULT, SAME, Door, Outcomes
from torture.world import Scenario, World, armed, begin, differences, digest, fresh, run

TRAIN = ("train", "--alpha", "0.5")


def half_trained(world: World, folder: Path) -> None:
    """Leave what a kill late in a training leaves: two checkpoints and a log that is ahead of them."""
    own = world.undisturbed(SCENARIOS["training"])
    checkpoints = [number for number, event in enumerate(own.events) if re.match("rename .*checkpoint$", event)]
    in_fork(lambda: armed(world, folder, SCENARIOS["training"], checkpoints[1] + 6, events.KILL))


def trained(world: World, folder: Path) -> None:
    """Leave a finished training without its record."""
    run(world, folder, SCENARIOS["training"])
    shutil.rmtree(folder / "results")
    for path in [*folder.rglob("record.json"), *folder.rglob("captions.json")]:
        path.unlink()


SCENARIOS = {
    each.name: each
    for each in (
        Scenario("training", TRAIN),
        Scenario("resuming", TRAIN, half_trained),
        Scenario("evaluation and record", TRAIN, trained),
        Scenario("sweep", ("sweep",)),
    )
}


def finish(world: World, folder: Path, scenario: Scenario, what: str) -> Outcomes:
    """Run the command again and compare; the folder is removed."""
    ended, outcomes = run(world, folder, scenario), Outcomes()
    wrong, left = differences(digest(folder), world.undisturbed(scenario).files)
    if ended.status != 0:
        wrong.insert(0, f"run again it ends with {ended.status}: {ended.said.strip()[-300:]}")
    outcomes.note(FAULT if wrong else SAME, f"{what}: {'; '.join(wrong)}")
    outcomes.left = len(left)
    shutil.rmtree(folder)
    return outcomes


def moments(world: World, scenario: Scenario) -> list[tuple[int, int]]:
    """List every event, and of those that write the middle too; those within a row of like ones come last."""
    own = world.undisturbed(scenario).events
    before = [(number, events.KILL) for number in range(1, len(own) + 1)]
    within = [(number, events.TEAR) for number in writes(own)]
    return sorted(before + within, key=lambda moment: is_within(own, moment[0]))


def is_within(own: list[str], number: int) -> bool:
    """Say whether an event is neither the first nor the last of a row of like ones."""
    return 1 < number < len(own) and own[number - 2] == own[number - 1] == own[number]


def writes(own: list[str]) -> list[int]:
    """List the events that write, those within a row of like ones last."""
    found = [number for number, event in enumerate(own, 1) if event.startswith("write ")]
    return sorted(found, key=lambda number: is_within(own, number))


def at_event(world: World, scenario: Scenario, turn: int) -> Outcomes:
    """Kill at an event, and run again."""
    number, mode = moments(world, scenario)[turn]
    folder = fresh(world, scenario, "killed")
    in_fork(lambda: armed(world, folder, scenario, number, mode))
    what = world.undisturbed(scenario).events[number - 1]
    where = "within" if mode == events.TEAR else "before"
    return finish(world, folder, scenario, f"killed {where} event {number}, {what}")


def at_random(world: World, scenario: Scenario, turn: int) -> Outcomes:
    """Kill at a random moment, sometimes twice, and run again."""
    draw, folder = Random(f"{scenario.name} {turn}"), fresh(world, scenario, "killed")
    seconds = [draw.uniform(0, world.undisturbed(scenario).seconds) for _ in range(draw.choice([1, 1, 2, 3]))]
    for each in seconds:
        copy = begin(world, folder, scenario)
        if copy.is_running(each):
            copy.kill()
        copy.wait(60)
    return finish(world, folder, scenario, f"killed after {seconds} s")


def doors(world: World) -> Iterator[Door]:
    """List what is tried."""
    for name, scenario in SCENARIOS.items():
        total = partial(lambda scenario: len(moments(world, scenario)), scenario)
        yield Door("kill at every file event", name, partial(at_event, world, scenario), total, share=6)
        yield Door("kill at random moments", name, partial(at_random, world, scenario))
