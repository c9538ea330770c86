"""What came of the cases of a campaign, written down as they end, so that one which is cut off goes on."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

SAME, VALUE, REFUSED, FAULT = "same bytes", "documented value", "named refusal", "FAULT"
SHOWN = 3  # faults of a door that the record keeps


@dataclass
class Outcomes:
    """What came of some cases.

    Args:
        found: how many cases ended how.
        faults: the text of each fault.
        left: files that nobody needs and that were left lying.
    """

    found: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    left: int = 0

    def note(self, how: str, fault: str = "") -> None:
        """Count a case."""
        self.found[how] += 1
        if how == FAULT:
            self.faults.append(fault[:600])

    def add(self, other: "Outcomes") -> None:
        """Count the cases of another."""
        self.found += other.found
        self.faults += other.faults
        self.left += other.left


@dataclass(frozen=True)
class Door:
    """Something that is tried again and again.

    Args:
        campaign: that it belongs to.
        name: of its own.
        turn: tries the cases of one number.
        turns: how many numbers there are; None if without end. Asked when it is first needed.
        share: of the time, against the others.
    """

    campaign: str
    name: str
    turn: Callable[[int], Outcomes]
    turns: Callable[[], int] | None = None
    share: float = 1.0

    def numbers(self) -> Iterable[int]:
        """List the numbers of all turns."""
        return count() if self.turns is None else range(self.turns())


class Ledger:
    """Turns that have ended, a line each in files of a folder.

    Args:
        folder: of all processes that write.
        name: of the file of this one.
    """

    def __init__(self, folder: Path, name: str = "one"):
        self.folder, self.path = folder, folder / f"{name}.jsonl"

    def write(self, door: str, turn: int, seconds: float, outcomes: Outcomes, total: int | None = None) -> None:
        """Write a turn down."""
        line = {"door": door, "turn": turn, "seconds": seconds, "total": total, **vars(outcomes)}
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def lines(self) -> Iterator[dict]:
        """Read all turns; half a line, which a kill leaves, counts as none."""
        for path in sorted(self.folder.glob("*.jsonl")):
            for line in path.read_text().split("\n"):
                if line.endswith("}"):
                    yield json.loads(line)


def total(lines: Iterable[dict]) -> dict[str, dict]:
    """Add up turns by door.

    Returns:
        For each door: ``turns`` that ended, their ``total`` (None if without end), ``seconds``, ``found``, ``left`` and
        the first ``faults``.
    """
    doors: dict[str, dict] = {}
    for line in lines:
        own = doors.setdefault(
            line["door"], {"turns": 0, "total": None, "seconds": 0.0, "found": Counter(), "left": 0, "faults": []}
        )
        own["turns"] += 1
        own["total"] = line["total"]
        own["seconds"] += line["seconds"]
        own["found"] += Counter(line["found"])
        own["left"] += line["left"]
        own["faults"] += [f"turn {line['turn']}: {fault}" for fault in line["faults"]]
    return {name: own | {"found": dict(own["found"]), "faults": own["faults"][:SHOWN]} for name, own in doors.items()}
