"""Whether a profile's base model does what it is known to do, asked before anything is trained on top of it."""

from pathlib import Path

import pandas as pd

from tpccma.profiles import Profile
from tpccma.runs.jobs import BASE
from tpccma.runs.records import read_record, record_path


def check_base(profile: Profile, results_dir: str | Path = "results") -> pd.DataFrame:
    """See to it that the base model does what the profile expects of it, before anything is trained on top.

    Wrong weights, activation, prompts or splits show here, in minutes.

    Args:
        profile: its ``expected`` names measures and their values; of one without, nothing is asked.
        results_dir: where the record of the base lies.

    Returns:
        A table with a row for each measure that is expected: expected, measured, ok.

    Raises:
        FileNotFoundError: if the base has no record yet.
        ValueError: if a measure is off by more than ``expected_within``.
    """
    if not profile.expected:
        return pd.DataFrame(columns=["expected", "measured", "ok"])
    path = record_path(profile.name, BASE, 0.0, 0, results_dir)
    if not path.is_file():
        raise FileNotFoundError(
            f"no {path}: measure the base model first, `tpccma train --profile {profile.name} --method base`"
        )
    table = pd.DataFrame({"expected": profile.expected}).assign(measured=pd.Series(read_record(path)["metrics"]))
    table["ok"] = (table.measured - table.expected).abs() <= profile.expected_within
    if not table.ok.all():
        found = "; ".join(f"{row.Index} {row.measured:.3f}, expected {row.expected:.3f}" for row in table.itertuples())
        raise ValueError(
            f"{path}: the base model is off by more than {profile.expected_within:g} ({found}). Look at the weights, "
            "their activation, the data's splits and the prompts before training; a profile for another model has "
            "figures of its own in `expected`, or none"
        )
    return table
