"""Fingerprints come to name a base model by its weights, and records to name their base: `tpccma.models.identity`.

The bytes of a file were hashed, which differ from one writing to the next where the weights are the same: a base model
made anew to the last digit would have voided every record that starts from it. This script shows of each record of a
base that ships that its fingerprint was that of the same settings with the bytes of that very file, puts in its place
the one with the file's weights, and adds the key ``base``. Records of bases that were trained on the way keep their
fingerprints, which name a recipe, and it is not known any more what weights came of it. Then both ``results.csv`` are
built anew::

    python results/migrations/2026_11_weights.py

It has been run; run again, it changes nothing.
"""

import hashlib
import json
import sys
from pathlib import Path

from tpccma import load_profile
from tpccma.files import write_whole
from tpccma.models.identity import weights_identity
from tpccma.profiles import Profile
from tpccma.runs.records import build_csv, load_records, record_path
from tpccma.training.encoders import weights_path
from tpccma.training.identity import fingerprint, mark_of, settings_of

SHIPPED = "672b223d18ce00803f93421bd2edb30266cbe720bc22f9aef8ed313792c407cc"  # sha256 of the demo's base model


def rename(record: dict, profile: Profile) -> dict:
    """Return a record with the other name of the same settings and of its base, all else as it was and in its order."""
    key, path = (record["method"], record["alpha"], record["seed"]), weights_path(profile)
    content = path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHIPPED, f"{path} is not the file that the records started from"
    settings, base = settings_of(profile, *key, by_recipe=False), weights_identity(path)
    assert record["fingerprint"] == mark_of(settings, content), f"{key} was made by other settings"
    assert fingerprint(profile, *key) == mark_of(settings, base.encode())
    renamed = {}
    for name, value in record.items():
        renamed |= {name: fingerprint(profile, *key), "base": base} if name == "fingerprint" else {name: value}
    assert {name: value for name, value in renamed.items() if name != "base"} == record | {
        "fingerprint": renamed["fingerprint"]
    }
    return renamed


def main(*folders: str) -> None:
    """Rename the settings of every record of a base that ships, and name that."""
    for folder in folders or ("results", "results/trials"):
        for record in load_records(folder):
            if record["profile"] == "demo" and "base" not in record:
                path = record_path("demo", record["method"], record["alpha"], record["seed"], folder)
                assert path.read_text() == json.dumps(record, indent=1) + "\n", f"{path} was edited"
                renamed = rename(record, load_profile("demo"))
                write_whole(path, json.dumps(renamed, indent=1) + "\n")
                print(Path(folder).name, path.name, record["fingerprint"], renamed["fingerprint"])
        build_csv(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
