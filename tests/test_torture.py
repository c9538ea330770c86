"""The campaign of `make torture` finds what it is to find, and a few cases of each of its kinds pass."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from torture import fuzz
from torture.campaign import deal, go_through
from torture.forks import in_fork
from torture.fuzz import Reader, judge, try_cases, try_reader
from torture.mutate import mutate
from torture.outcomes import FAULT, REFUSED, SAME, VALUE, Door, Ledger, Outcomes, total
from torture.world import differences

ROOT = Path(__file__).parents[1]
FEW = "(kill at every file event|disk full at every write|two processes in one folder): training|damaged files|numbers"


# ---- what ends how


def refuse(said: str, kind: type = ValueError):
    raise kind(said)


@pytest.mark.parametrize(
    ("call", "how", "why"),
    [
        (lambda: 7, VALUE, ""),
        (lambda: refuse("a.pt is damaged; get it again"), REFUSED, ""),
        (lambda: refuse("a.pt is not there; get it again", FileNotFoundError), REFUSED, ""),
        (lambda: refuse("it is damaged; get it again"), FAULT, "does not name it"),
        (lambda: refuse("a.pt is damaged"), FAULT, "names no remedy"),
        (lambda: refuse("a.pt, <object at 0x7f00>; get it again"), FAULT, "address"),
        (lambda: refuse("a.pt; get it again", KeyError), FAULT, "KeyError"),
        (lambda: refuse("", MemoryError), FAULT, "MemoryError"),
    ],
)
def test_outcome_of_a_call(call, how: str, why: str):
    found, fault = judge(call, r"a\.pt", "get it again")
    assert found == how and why in fault


def test_a_case_that_crashes_or_hangs_is_a_fault_and_the_others_are_tried(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fuzz, "LIMIT", 0.5)

    def one(number: int) -> tuple[str, str]:
        if number == 2:
            os.abort()
        if number == 5:
            time.sleep(600)
        return VALUE, ""

    found = try_cases(one, 0, 7)
    assert found.found == {VALUE: 5, FAULT: 2}
    assert [fault.split(":")[:2] for fault in found.faults] == [["case 2", " ends with -6"], ["case 5", " hangs"]]


def test_what_is_written_beside_a_file_is_a_fault(tmp_path: Path):
    def read(path: Path) -> None:
        (path.parent.parent / "beside").write_text("")

    found = try_reader(Reader("a reader", {"a.txt": b"some text"}, read), tmp_path, 0, 2)
    assert found.found == {FAULT: 2} and "beside" in found.faults[0]
    assert not (tmp_path / "beside").exists() and (tmp_path / "a-reader" / "a.txt").read_bytes() == b"some text"


def test_too_much_memory_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fuzz, "MEMORY", 2**26)
    found = try_reader(Reader("a reader", {"a.txt": b"some text"}, lambda path: bytearray(2**28)), tmp_path, 0, 1)
    assert found.found == {FAULT: 1} and "MemoryError" in found.faults[0]


def test_a_copy_tells_how_it_ended():
    assert in_fork(lambda: [1, 2]).value == [1, 2]
    assert in_fork(lambda: sys.exit(143)).status == 143
    failed = in_fork(lambda: refuse("no"))
    assert failed.status == 1 and "ValueError: no" in failed.said and failed.value is None
    assert in_fork(lambda: time.sleep(600), seconds=0.1).status is None


def test_damage_is_repeated_by_its_seed_and_differs():
    whole = bytes(range(256)) + b'{"a": 1}'
    made = [mutate(whole, Random(f"{seed}"), [whole], in_words=True) for seed in (*range(200), *range(200))]
    assert made[:200] == made[200:]
    assert len(set(made)) > 150 and sum(content != whole for content in set(made)) > 150


def test_other_bytes_are_told_from_what_is_left_lying():
    wanted = {"runs/a/steps.csv": "1", "runs/a/model.safetensors": "2"}
    assert differences(wanted, wanted) == ([], [])
    found = {"runs/a/steps.csv": "3", "runs/a/.model.safetensors.7.partial": "2", "runs/b/x": "4"}
    wrong, left = differences(found, wanted)
    assert wrong == ["runs/a/model.safetensors is missing", "runs/a/steps.csv differs", "runs/b/x is there"]
    assert left == ["runs/a/.model.safetensors.7.partial"]


# ---- what is tried when


def note(tried: list, name: str):
    def turn(number: int) -> Outcomes:
        tried.append((name, number))
        return Outcomes(Counter({SAME: 1}))

    return turn


def test_a_campaign_goes_on_where_it_was_cut_off(tmp_path: Path):
    tried: list[tuple[str, int]] = []
    doors = [Door("c", "ends", note(tried, "ends"), lambda: 3), Door("c", "endless", note(tried, "endless"))]
    go_through(doors, Ledger(tmp_path), 600, print, cases=2)
    assert sorted(tried) == [("endless", 0), ("endless", 1), ("ends", 0), ("ends", 1)]
    with (tmp_path / "one.jsonl").open("a") as file:
        file.write('{"door": "c: ends", "tu')  # of a kill
    tried.clear()
    go_through(doors, Ledger(tmp_path, "two"), 600, print, cases=4)
    assert sorted(tried) == [("endless", 2), ("endless", 3), ("ends", 2)]
    found = total(Ledger(tmp_path).lines())
    assert found["c: ends"] | {"seconds": 0} == {
        "turns": 3, "total": 3, "seconds": 0, "found": {SAME: 3}, "left": 0, "faults": [],
    }  # fmt: skip
    assert found["c: endless"]["turns"] == 4 and found["c: endless"]["total"] is None


def test_doors_have_their_share_of_the_time_until_it_is_up(tmp_path: Path):
    tried: list[tuple[str, int]] = []

    def clock() -> float:
        return 0.02345 * len(tried)  # what a turn takes; kept to the millisecond

    doors = [Door("c", "large", note(tried, "large"), share=3), Door("c", "small", note(tried, "small"))]
    go_through(doors, Ledger(tmp_path), 0.46, print, clock=clock)
    assert Counter(name for name, _ in tried) == {"large": 15, "small": 5}
    tried.clear()
    go_through(doors, Ledger(tmp_path), 0.46, print, clock=clock)
    assert tried == []


def test_a_fault_is_told_with_what_repeats_it(tmp_path: Path):
    said: list[str] = []
    door = Door("c", "bad", lambda number: Outcomes(Counter({FAULT: 1}), ["case 3: it breaks"]), lambda: 1)
    go_through([door], Ledger(tmp_path), 600, said.append)
    assert said == ["FAULT c: bad, turn 0: case 3: it breaks"]
    assert total(Ledger(tmp_path).lines())["c: bad"]["faults"] == ["turn 0: case 3: it breaks"]


def test_a_turn_that_breaks_is_a_fault_and_the_others_go_on(tmp_path: Path):
    doors = [Door("c", "broken", lambda number: refuse("no"), lambda: 1), Door("c", "whole", note([], ""), lambda: 2)]
    go_through(doors, Ledger(tmp_path), 600, lambda said: None)
    found = total(Ledger(tmp_path).lines())
    assert found["c: broken"]["faults"] == ["turn 0: the campaign breaks: ValueError: no"]
    assert found["c: whole"]["found"] == {SAME: 2}


def test_processes_share_all_doors():
    doors = [Door("c", f"{i}", note([], ""), share=share) for i, share in enumerate([5, 1, 1, 3])]
    parts = [deal(doors, worker, 2) for worker in range(2)]
    assert [sum(door.share for door in part) for part in parts] == [5, 5]
    assert sorted(door.name for part in parts for door in part) == ["0", "1", "2", "3"]


# ---- the campaign itself, and its page


@pytest.mark.skipif(shutil.which("cc") is None or sys.platform != "linux", reason="needs Linux and a C compiler")
def test_a_few_cases_of_each_kind_pass(tmp_path: Path):
    arguments = ["--jobs", "1", "--cases", "1", "--only", FEW, "--out", str(tmp_path / "torture.json")]
    command = [sys.executable, "-m", "torture", *arguments, "--state", str(tmp_path / "state")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    record = json_of(tmp_path / "torture.json")
    campaigns = Counter(name.split(": ")[0] for name in record["doors"])
    assert campaigns["kill at every file event"] == 1 and campaigns["damaged files"] >= 11 and campaigns["numbers"] >= 8
    assert all(sum(own["found"].values()) == 1 for own in record["doors"].values())
    assert record["doors"]["kill at every file event: training"]["total"] > 200
    tables = tables_of_the_book()
    page = (ROOT / "book" / "torture.md").read_text()
    for campaign in campaigns:
        assert f"{{torture-table}} {campaign}\n" in page
        assert len(tables.rows_of(record, campaign)) == campaigns[campaign] + 1
    assert tables.faults_of(record)[0] == "No fault."
    assert re.match(r"\d+ cases in [\d.]+ minutes, 1 processes; .*3\.0 GiB more", tables.run_of(record))


def json_of(path: Path) -> dict:
    return json.loads(path.read_text())


def tables_of_the_book():
    """Load the extension that lays the record out."""
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    try:
        import torture_tables

        return torture_tables
    finally:
        sys.path.pop(0)


def test_faults_and_what_was_not_reached_are_shown():
    own = {"turns": 2, "total": 5, "found": {FAULT: 1, SAME: 1}, "left": 3, "faults": ["turn 1: it breaks"]}
    tables = tables_of_the_book()
    record = {"doors": {"kills: training": own}}
    assert tables.rows_of(record, "kills") == [
        ["", "cases", "same bytes", "FAULT", "files left"],
        ["training", "2 of 5", "1", "1", "3"],
    ]
    assert tables.faults_of(record) == [
        "kills: training, turn 1: it breaks",
        "Not reached: 3 of 5 cases of “kills: training”.",
    ]


def test_a_published_record_can_be_shown():
    path = ROOT / "results" / "torture.json"
    if path.is_file():
        tables, record = tables_of_the_book(), json_of(path)
        for campaign in re.findall(r"{torture-table} (.+)", (ROOT / "book" / "torture.md").read_text()):
            assert len(tables.rows_of(record, campaign)) > 1
        assert tables.faults_of(record) and tables.run_of(record)
