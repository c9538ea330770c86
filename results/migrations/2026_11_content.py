"""Records of the photographs come to name their data: the key ``content``, see `tpccma.data.content`.

Runs of two folders of one shape had one fingerprint and one record. Since then a record says which data it was made
from; those made before lack it, and were all made from one folder. This script adds the key, and nothing else::

    python results/migrations/2026_11_content.py PATH_OF_THE_PHOTOGRAPHS
    tpccma verify 2 --profile fashion --data-dir PATH_OF_THE_PHOTOGRAPHS   # they repeat from there

It has been run; run again, it changes nothing.
"""

import json
import sys
from pathlib import Path

from tpccma import load_profile
from tpccma.data.content import content_of_files
from tpccma.files import write_whole
from tpccma.runs.records import load_records, record_path


def name_the_data(record: dict, content: str) -> dict:
    """Return a record with its content behind its fingerprint, all else as it was and in its order."""
    named = {}
    for key, value in record.items():
        named[key] = value
        if key == "fingerprint":
            named["content"] = content
    assert {key: value for key, value in named.items() if key != "content"} == record
    return named


def main(data_dir: str, results_dir: str = "results") -> None:
    """Name the data of every record of a profile of photographs that does not."""
    content = content_of_files(load_profile("fashion", data__data_dir=data_dir).data)
    for record in load_records(results_dir):
        if record["profile"].startswith("fashion") and "content" not in record:
            path = record_path(record["profile"], record["method"], record["alpha"], record["seed"], results_dir)
            assert path.read_text() == json.dumps(record, indent=1) + "\n", f"{path} was edited"
            write_whole(path, json.dumps(name_the_data(record, content), indent=1) + "\n")
            print(Path(path).name, content)


if __name__ == "__main__":
    main(*sys.argv[1:])
