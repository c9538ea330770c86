"""Records of the benchmarks, as tables for a reader.

A record lies in ``results/benchmarks/``, written by `tpccma.runs.benchmark`, and has tables, lists of rows. The first
entry of a row names its size or its part, ``what`` says of what it is, and the others are values: ``seconds`` and
``cpu_seconds``, medians; ``ratio``, the time as a multiple of the peer's, which the peer itself has none of;
``peak_bytes``, ``bytes_held``, and ``samples_per_second``.
"""

import json
from pathlib import Path

import pandas as pd

from tpccma.evidence.writing import NOTHING, write_revision

VALUES = ("ratio", "seconds", "peak_bytes", "bytes_held", "samples_per_second")
UNITS = ("B", "KiB", "MiB", "GiB")


def read_benchmark(path: str | Path) -> dict:
    """Read a record.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if the file is no such record; the message names it.
    """
    try:
        record = json.loads(Path(path).read_text())
        found = isinstance(record["tables"], dict)
    except (ValueError, KeyError, TypeError, RecursionError):
        found = False
    if not found:
        raise ValueError(f"{path} is not a record of a benchmark; remove it and run `make bench`")
    return record


def speed_table(rows: list[dict], value: str = "ratio") -> pd.DataFrame:
    """Lay out one value of a table: a row a size, a column for each thing that was measured.

    Args:
        rows: of a record.
        value: one of ``VALUES``. In place of the ratio the peer has its time.

    Returns:
        Text, a dash where there is no value; its index is named as the first entry of the rows is.

    Raises:
        ValueError: if no row has the value.
    """
    if not any(value in row for row in rows):
        raise ValueError(f"no row has {value!r}: give one of {', '.join(VALUES)}")
    size = next(iter(rows[0]))
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        cells.setdefault(_write_size(row[size]), {})[row["what"]] = _write(row, value)
    table = pd.DataFrame.from_dict(cells, orient="index").fillna(NOTHING)
    return table.loc[:, (table != NOTHING).any()].rename_axis(size)


def _write_size(size: int | str) -> str:
    return size if isinstance(size, str) else f"{size:,}"


def _write(row: dict, value: str) -> str:
    """Write the value of a row."""
    if value == "ratio" and "ratio" not in row:
        value = "seconds"
    if value == "seconds":
        return write_seconds(row["cpu_seconds"] if "cpu_seconds" in row else row["seconds"])
    if value not in row:
        return NOTHING
    if value == "ratio":
        return f"{row[value]:.{2 if row[value] < 10 else 0}f} ×"
    return f"{row[value]:,.0f}" if value == "samples_per_second" else write_bytes(row[value])


def write_seconds(seconds: float) -> str:
    """Write a time to two digits or more, such as ``2.7 ms``."""
    number, unit = (1000 * seconds, "ms") if seconds < 1 else (seconds, "s")
    return f"{number:.0f} {unit}" if number >= 100 else f"{number:#.2g} {unit}".replace(". ", " ")


def write_bytes(number: float) -> str:
    """Write an amount of memory in the unit that leaves fewer than four digits, such as ``1.1 GiB``."""
    power = 0
    while number >= 1000 and power < len(UNITS) - 1:
        number, power = number / 1024, power + 1
    return f"{number:.0f} {UNITS[power]}" if number >= 10 or not power else f"{number:.1f} {UNITS[power]}"


def describe_machine(record: dict) -> str:
    """Say on what and with what a record was made, in one line; of a record that has a note, the note."""
    if "note" in record:
        return record["note"]
    machine, made_by = record["hardware"], record["versions"]
    threads = f"{machine['threads']} thread{'s' * (machine['threads'] != 1)}"
    revision = write_revision(record.get("git"))
    parts = [machine["device"], f"{threads} of {machine['cores']} cores", f"load {record['load']:g}"]
    return ", ".join([*parts, f"Python {made_by['python']}, torch {made_by['torch']}", f"code {revision}"])


def write_record(record: dict) -> str:
    """Write all tables of a record, as a benchmark prints them."""
    blocks = [f"{record['benchmark']}: {describe_machine(record)}"]
    for name, rows in record["tables"].items():
        for value in (value for value in VALUES if any(value in row for row in rows)):
            blocks.append(f"{name}, {value.replace('_', ' ')}\n{speed_table(rows, value).to_string()}")
    return "\n\n".join(blocks)
