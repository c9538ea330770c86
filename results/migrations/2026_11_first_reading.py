"""The records of ``tpc-cma`` become those of ``tpc-cma-paired``: they were made by the first reading of the objective.

The name tpc-cma goes to the second reading; `tpccma.methods.first_reading` says what the first was and why it went.
The dial, its alpha 0 (plain CLIP at the dial's learning rate) and the ablations get the new name, in the field
``method``, the names of the files and ``learning_rates.csv``; all else stays, fingerprints too.
Then ``results.csv`` is built anew::

    python results/migrations/2026_11_first_reading.py

It has been run; run again, it changes nothing: records of the second reading name the code that made them.
"""

import json
import sys
from pathlib import Path

import pandas as pd

from tpccma.files import write_whole
from tpccma.runs.records import build_csv, load_records, record_path

OLD, NEW = "tpc-cma", "tpc-cma-paired"


def renamed(method: str) -> str:
    """Name a method as it is called now."""
    return method.replace(OLD, NEW, 1) if method.startswith(OLD) and not method.startswith(NEW) else method


def rename_record(record: dict, results_dir: str) -> None:
    """Move a record to its new name, with nothing changed in it but the method."""
    old, new = (
        record_path(record["profile"], method, record["alpha"], record["seed"], results_dir)
        for method in (record["method"], renamed(record["method"]))
    )
    text = old.read_text()
    line, now = (f'\n "method": "{method}",\n' for method in (record["method"], renamed(record["method"])))
    assert text.count(line) == text.count(OLD) == 1, f"{old} was edited"
    moved = text.replace(line, now)
    assert json.loads(moved) == record | {"method": renamed(record["method"])} and not new.exists()
    write_whole(new, moved)
    old.unlink()
    print(old.name, new.name)


def main(results_dir: str = "results") -> None:
    """Rename every record of the first reading, and its learning rates."""
    for record in load_records(results_dir):
        if renamed(record["method"]) != record["method"] and "code" not in record:
            rename_record(record, results_dir)
    build_csv(results_dir)
    path = Path(results_dir) / "learning_rates.csv"
    rates = pd.read_csv(path)
    if NEW not in set(rates.method):
        write_whole(path, rates.assign(method=rates.method.map(renamed)).to_csv(index=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
