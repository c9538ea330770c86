"""The results of all recorded runs as one table, which everything else here rests on."""

from pathlib import Path

import pandas as pd

from tpccma.runs.records import build_csv


def load_results(results_dir: str | Path = "results", profile: str | None = None) -> pd.DataFrame:
    """Read the CSV, all of it or one profile's rows.

    Where records lie beside it, it is built anew if it is not what they say: a row was lost, or a number edited.

    Args:
        results_dir: where ``results.csv`` lies.
        profile: keep this profile only.

    Returns:
        One row a run, and a column ``model`` that names it in figures: "alpha 0.5" for tpc-cma, else the method.

    Raises:
        FileNotFoundError: if there is no CSV.
        ValueError: if the profile has no row.
    """
    path = Path(results_dir) / "results.csv"
    if any(Path(results_dir).glob("*/*.json")):
        build_csv(results_dir)
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: run `python -m tpccma.results` where the folder of records is")
    table = pd.read_csv(path)
    table["model"] = table.method.where(table.method != "tpc-cma", "alpha " + table.alpha.map("{:g}".format))
    if profile is not None:
        table = table[table.profile == profile].reset_index(drop=True)
        if table.empty:
            raise ValueError(f"{path} has no run of profile {profile!r}")
    return table
