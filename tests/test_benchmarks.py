"""Benchmarks run and record what the book's page reads, at sizes at which no time means anything."""

import json
import re
from pathlib import Path

import pytest
import torch

from benchmarks import evaluation, loss, metrics, pipeline, step
from tpccma.evidence.speed import (
    describe_machine,
    read_benchmark,
    speed_table,
    write_bytes,
    write_record,
    write_seconds,
)
from tpccma.profiles import Profile
from tpccma.runs.benchmark import Turn, against, device, in_turn, peak_bytes, save_benchmark

ROOT = Path(__file__).parents[1]
SHOWN = re.findall(r"{speed-table} ([\w-]+) ([\w-]+) (\w+)", (ROOT / "book" / "how_fast.md").read_text())


def run_tiny(name: str, out: Path, monkeypatch: pytest.MonkeyPatch, profile: Profile) -> dict:
    """Run a benchmark at small sizes; return its record."""
    monkeypatch.setattr(evaluation, "load_profile", lambda name: profile)
    if name == "loss":
        loss.main(pairs="4,8", rounds=1, out=out)
    elif name == "step":
        step.main(batches="4", steps=2, rounds=1, compiled=False, out=out)
    elif name == "metrics":
        metrics.main(pairs=50, rounds=1, out=out)
    elif name == "pipeline":
        pipeline.main(pictures=100, buffer=8, rounds=1, out=out)
    else:
        evaluation.main(out=out)
    return read_benchmark(out / f"{name}-{device()}.json")


DEEP = pytest.param("evaluation", marks=pytest.mark.deep)


@pytest.mark.parametrize("name", ["loss", "step", "metrics", "pipeline", DEEP])
def test_a_benchmark_records_all_that_the_page_shows_of_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_profile: Profile, capsys: pytest.CaptureFixture
):
    record = run_tiny(name, tmp_path, monkeypatch, tiny_profile)
    assert record["hardware"]["threads"] == torch.get_num_threads()
    assert capsys.readouterr().out.startswith(f"{name}: {describe_machine(record)}\n")
    wanted = [(table, value) for stem, table, value in SHOWN if stem == f"{name}-cpu"]
    assert wanted != []
    published = read_benchmark(ROOT / "results" / "benchmarks" / f"{name}-cpu.json")
    for table, value in wanted:
        found, shown = (speed_table(each["tables"][table], value) for each in (record, published))
        assert found.index.name == shown.index.name and list(found) == list(shown)
    for rows in record["tables"].values():
        assert all(row["seconds"] > 0 for row in rows)


def test_the_recorded_tables_of_the_page_can_be_laid_out():
    for stem, name, value in SHOWN:
        path = ROOT / "results" / "benchmarks" / f"{stem}.json"
        if path.is_file():
            assert len(speed_table(read_benchmark(path)["tables"][name], value)) >= 1
    assert {stem for stem, *_ in SHOWN} >= {"loss-cpu", "step-cpu", "metrics-cpu", "pipeline-cpu", "evaluation-cpu"}


def test_the_code_before_is_named():
    record = read_benchmark(ROOT / "results" / "benchmarks" / "h200-before.json")
    assert record["git"] == "5d2a1c6" and record["git"] in describe_machine(record)


# ---- timing


def test_calls_take_turns_and_are_given_what_is_made_ready():
    order = []
    turns = in_turn({"a": lambda x: order.append(x), "b": lambda x: order.append(x)}, 2, lambda name: (name * 2,))
    assert order == ["aa", "bb", "aa", "bb"]
    assert {name: len(own) for name, own in turns.items()} == {"a": 2, "b": 2}


def test_a_ratio_is_the_median_of_those_within_a_round(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    peer, ours = [Turn(9, 1), Turn(9, 10), Turn(9, 4)], [Turn(9, 3), Turn(9, 20), Turn(9, 4)]  # 3, 2 and 1 times
    assert against({"peer": peer, "ours": ours}, "peer") == [
        {"what": "peer", "seconds": 9, "cpu_seconds": 4},
        {"what": "ours", "seconds": 9, "cpu_seconds": 4, "ratio": 2},
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU's allocator rounds")
def test_peak_memory_counts_what_lives_at_one_time_and_not_what_was_there_before():
    given = torch.ones(100, requires_grad=True)

    def forget() -> None:
        for _ in range(3):
            given.detach() + 1  # 400 bytes, gone at once

    def keep() -> None:
        (given * 2).exp().sum().backward()

    assert peak_bytes(lambda: given.view(10, 10)) == 0
    assert peak_bytes(forget) in (400, 800)  # with the one before, until its name is taken
    # exp keeps its result: 400; the product lives with it, and the gradients of both in the backward pass
    assert 800 <= peak_bytes(keep) <= 1_608


# ---- tables


ROWS = [
    {"pairs": 1_024, "what": "peer", "seconds": 2.0, "cpu_seconds": 0.0123, "peak_bytes": 2048},
    {"pairs": 1_024, "what": "ours", "seconds": 3.0, "cpu_seconds": 0.02, "ratio": 1.628, "peak_bytes": 3 * 2**30},
    {"pairs": 4_096, "what": "peer", "seconds": 4.0, "cpu_seconds": 1.25, "samples_per_second": 4356.7},
]


def test_table_of_ratios_has_the_time_of_the_peer_and_a_dash_for_what_is_not_there():
    table = speed_table(ROWS)
    assert table.index.name == "pairs" and list(table.index) == ["1,024", "4,096"]
    assert table.values.tolist() == [["12 ms", "1.63 ×"], ["1.2 s", "–"]]


def test_tables_of_other_values():
    assert speed_table([ROWS[0], ROWS[1] | {"ratio": 562.76}]).ours.tolist() == ["563 ×"]
    assert speed_table(ROWS, "peak_bytes").values.tolist() == [["2.0 KiB", "3.0 GiB"], ["–", "–"]]
    samples = speed_table(ROWS, "samples_per_second")
    assert samples.columns.tolist() == ["peer"] and samples.peer.tolist() == ["–", "4,357"]
    with pytest.raises(ValueError, match="no row has 'bytes_held': give one of ratio"):
        speed_table(ROWS, "bytes_held")


def test_times_and_amounts_are_written_short():
    assert [write_seconds(t) for t in (0.0027, 0.385, 1.25, 39.2, 250)] == [
        "2.7 ms",
        "385 ms",
        "1.2 s",
        "39 s",
        "250 s",
    ]
    assert [write_bytes(n) for n in (12, 2048, 20 * 2**20, 1600 * 2**20)] == ["12 B", "2.0 KiB", "20 MiB", "1.6 GiB"]


def test_what_is_no_record_is_named(tmp_path: Path):
    path = tmp_path / "loss-cpu.json"
    for text in ("[]", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"loss-cpu\.json is not a record of a benchmark"):
            read_benchmark(path)
    with pytest.raises(FileNotFoundError):
        read_benchmark(tmp_path / "none.json")


def test_a_record_says_what_it_was_made_on(tmp_path: Path):
    record = read_benchmark(save_benchmark("loss", {"loss": ROWS}, tmp_path))
    assert record["device"] == device() and json.loads(json.dumps(record["tables"])) == {"loss": ROWS}
    record |= {"hardware": {"device": "a chip", "threads": 1, "cores": 2}, "load": 0.5, "git": "0123456789abcdef"}
    record["versions"] = {"python": "3.12.1", "torch": "2.8.0"}
    said = "a chip, 1 thread of 2 cores, load 0.5, Python 3.12.1, torch 2.8.0, code 0123456789ab"
    assert describe_machine(record) == said
    assert write_record(record).startswith(f"loss: {said}\n\nloss, ratio\n")
