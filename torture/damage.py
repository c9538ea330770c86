"""Files of a run, damaged one at a time: the command that finds them goes on to the same bytes, or refuses them."""

import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

from torture.kills import SCENARIOS
from torture.mutate import mutate
from torture.outcomes import FAULT, REFUSED, SAME, VALUE, Door, Outcomes
from torture.world import Scenario, World, differences, digest, fresh, run

REMEDY = re.compile(r"remove|make room|rebuild|build it anew")


def finished(world: World, folder: Path) -> None:
    """Leave a finished and recorded training."""
    run(world, folder, SCENARIOS["training"])


FINISHED = Scenario("finished run", SCENARIOS["training"].command, finished)


def damage_one(folder: Path, pattern: str, draw: Random) -> Path:
    """Damage, empty or remove one of the files whose place below a folder a pattern matches."""
    files = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    chosen = draw.choice([path for path in files if re.search(pattern, str(path.relative_to(folder)))])
    how = draw.random()
    if how < 0.05:
        chosen.unlink()
    elif how < 0.1:
        chosen.write_bytes(b"")
    else:
        chosen.write_bytes(
            mutate(files[chosen], draw, list(filter(None, files.values())), chosen.suffix in (".json", ".csv"))
        )
    return chosen


def found_damaged(world: World, scenario: Scenario, pattern: str, same: bool, turn: int) -> Outcomes:
    """Damage a file, run the command and judge.

    Args:
        world: the small world.
        scenario: whose start is damaged.
        pattern: of the places of files that are.
        same: whether a command that does not refuse must come to the same bytes.
        turn: number of the case.
    """
    folder, outcomes = fresh(world, scenario, "damaged"), Outcomes()
    path = damage_one(folder, pattern, Random(f"damage {scenario.name} {turn}"))
    ended = run(world, folder, scenario)
    lines = ended.said.strip().splitlines() or [""]
    wrong, left = differences(digest(folder), world.undisturbed(scenario).files) if same else ([], [])
    if ended.status == 0:
        how, why = (FAULT if wrong else SAME if same else VALUE), "; ".join(wrong)
    else:
        told = ended.status == 2 and lines[-1].startswith("error: ") and str(folder) in lines[-1]
        how, why = REFUSED if told and REMEDY.search(lines[-1]) else FAULT, f"it ends with {ended.status}: {lines[-3:]}"
    outcomes.note(how, f"{path.relative_to(folder)} damaged: {why}")
    outcomes.left = len(left)
    shutil.rmtree(folder)
    return outcomes


def doors(world: World) -> Iterator[Door]:
    """List what is tried."""
    resuming, anywhere = SCENARIOS["resuming"], r"^(runs|results)/"
    for name, given in {
        "checkpoints": (resuming, r"/checkpoint/", True),
        "what a finished run has left": (FINISHED, anywhere, False),
    }.items():
        yield Door("damaged files", name, partial(found_damaged, world, *given), share=2)
