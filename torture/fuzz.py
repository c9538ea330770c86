"""Readers of files, tried with damaged ones: the documented value, or a sentence that names file and remedy."""

import re
import resource
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

from torture.forks import Copy, Progress
from torture.mutate import mutate
from torture.outcomes import FAULT, REFUSED, VALUE, Door, Outcomes
from torture.record import LIMIT, MEMORY

ADDRESS = re.compile(r" at 0x[0-9a-f]+>")


@dataclass(frozen=True)
class Reader:
    """What reads a kind of file.

    Args:
        name: for the table.
        files: whole files by name, each of which is damaged in turn while the others stand beside it.
        read: takes the path of the damaged one; an AssertionError says that it gives what is no documented value.
        named: what a refusal names, beside the file; a pattern.
        remedy: what it says; a pattern.
        in_words: whether the files are text.
        beside: files that are not damaged.
        cases: of a turn.
        share: of the time.
    """

    name: str
    files: dict[str, bytes]
    read: Callable[[Path], object]
    named: str = r"(?!)"
    remedy: str = ""
    in_words: bool = False
    beside: dict[str, bytes] = field(default_factory=dict)
    cases: int = 200
    share: float = 1.0


def judge(call: Callable[[], object], named: str, remedy: str = "") -> tuple[str, str]:
    """Call something and say what came of it.

    Args:
        call: to be tried.
        named: a pattern that a refusal must hold.
        remedy: another.

    Returns:
        One of the outcomes, and of a fault what is wrong.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            call()
        return VALUE, ""
    except (ValueError, OSError) as error:
        said = str(error)
        wrong = [] if re.search(named, said) else ["does not name it"]
        wrong += [] if re.search(remedy, said) else ["names no remedy"]
        wrong += ["names an address in memory"] if ADDRESS.search(said) else []
        return (FAULT, f"{type(error).__name__} {', '.join(wrong)}: {said[:300]!r}") if wrong else (REFUSED, "")
    except BaseException as error:
        *_, last = traceback.extract_tb(error.__traceback__)
        return FAULT, f"{type(error).__name__}: {str(error)[:200]!r} in {Path(last.filename).name}:{last.lineno}"


def try_cases(one: Callable[[int], tuple[str, str]], first: int, last: int) -> Outcomes:
    """Try cases in a copy of this process; one that crashes or hangs it is a fault, and the others are tried apart.

    Args:
        one: tries a case by its number.
        first: number.
        last: number, itself left out.
    """
    if first >= last:
        return Outcomes()
    progress = Progress()
    progress.tell(first)

    def work() -> Outcomes:
        outcomes = Outcomes()
        limit_memory()
        for number in range(first, last):
            progress.tell(number)
            how, fault = one(number)
            outcomes.note(how, f"case {number}: {fault}")
        return outcomes

    copy = Copy(work)
    in_time = progress.watch(copy, LIMIT)
    ended = copy.wait(5 if in_time else 0)
    if ended.value is not None:
        return ended.value
    number = progress.read()
    outcomes = try_cases(one, first, number)
    outcomes.note(FAULT, f"case {number}: {f'ends with {ended.status}' if in_time else 'hangs'}: {ended.said[-300:]}")
    outcomes.add(try_cases(one, number + 1, last))
    return outcomes


def limit_memory() -> None:
    """Let this process take some memory more, and no more."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))


def damaged(reader: Reader, turn: int, number: int) -> tuple[str, bytes]:
    """Make a case: the name of a file and what it holds."""
    draw = Random(f"{reader.name} {turn} {number}")
    name = draw.choice(sorted(reader.files))
    return name, mutate(reader.files[name], draw, list(reader.files.values()), reader.in_words)


def write_all(reader: Reader, folder: Path) -> None:
    """Write the whole files of a reader."""
    for name, content in (reader.files | reader.beside).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def listing(folder: Path) -> set[Path]:
    """List what lies in a folder and in the one above."""
    return {*folder.rglob("*"), *folder.parent.glob("*")}


def try_reader(reader: Reader, folder: Path, turn: int, cases: int | None = None) -> Outcomes:
    """Try the cases of a turn; whatever a file does beside being read is a fault."""
    folder = folder / reader.name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    write_all(reader, folder)
    before = listing(folder)

    def one(number: int) -> tuple[str, str]:
        name, content = damaged(reader, turn, number)
        path = folder / name
        path.write_bytes(content)
        found = judge(lambda: reader.read(path), f"{re.escape(Path(name).name)}|{reader.named}", reader.remedy)
        path.write_bytes(reader.files[name])
        if more := listing(folder) - before:
            found = FAULT, f"{sorted(map(str, more))} were written"
            for each in sorted(more, reverse=True):
                each.rmdir() if each.is_dir() else each.unlink()
        return found[0], f"{name}: {found[1]}"

    return try_cases(one, 0, min(reader.cases, cases or reader.cases))


def door_of(reader: Reader, folder: Path, cases: int | None = None) -> Door:
    """Make a door of a reader; its turns have so many cases at most."""
    return Door("damaged files", reader.name, partial(try_reader, reader, folder, cases=cases), share=reader.share)
