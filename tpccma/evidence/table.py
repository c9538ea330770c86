"""The results of all recorded runs as one table, which everything else here rests on, and the runs of one setting."""

from pathlib import Path

import numpy as np
import pandas as pd

from tpccma.profiles import profile_names
from tpccma.runs.jobs import DIAL
from tpccma.runs.records import csv_now, record_paths
from tpccma.runs.tables import read_table

SCALE_FREE = "distribution_gap_scale_free"
TEST_PAIRS = {"demo": 1_000, "fashion": 1_500}  # of the profiles, and the variants that ship, with records that lack it
BASE, CONTINUED = "base", "continued CLIP"


def load_results(results_dir: str | Path = "results", profile: str | None = None) -> pd.DataFrame:
    """Read the CSV, all of it or one profile's rows.

    Where records lie beside it, it is built anew if it is not what they say: a row was lost, or a number edited; in a
    folder that cannot be written to, they are read in its place. Where a record was made before the scale-free
    distribution gap was measured, the gap is worked out from what it holds.

    Args:
        results_dir: where ``results.csv`` lies.
        profile: keep this profile only.

    Returns:
        One row a run, and a column ``model`` that names it in figures: "alpha 0.5" for `DIAL`, else the method.

    Raises:
        FileNotFoundError: if there is no CSV.
        ValueError: if the profile has no row; or see `tpccma.runs.records.load_records` and
            `tpccma.runs.tables.read_table`.
    """
    path = Path(results_dir) / "results.csv"
    text = csv_now(results_dir) if record_paths(results_dir) else None
    if text is None and not path.is_file():
        raise FileNotFoundError(f"no {path} and no records there: name their folder, or record runs by `tpccma sweep`")
    table = read_table(path, text=text)
    table["model"] = table.method.where(table.method != DIAL, "alpha " + table.alpha.map("{:g}".format))
    table[SCALE_FREE] = table.get(SCALE_FREE, scale_free_gap(table)).fillna(scale_free_gap(table))
    if profile is not None:
        table = table[table.profile == profile].reset_index(drop=True)
        if table.empty:
            raise ValueError(f"{path} has no run of profile {profile!r}")
    return table


def scale_free_gap(table: pd.DataFrame) -> pd.Series:
    """Work out the scale-free distribution gap of recorded runs.

    The mean cosine c of distinct rows, ``cone_image`` or ``cone_text``, gives the variance of N rows of length 1 about
    their mean m: ||m||^2 = (1 + (N - 1) c) / N, so that 1 - ||m||^2 = (1 - 1 / N) (1 - c).

    Args:
        table: rows of the results.

    Returns:
        The gap of each run, NaN where a profile's number of test pairs is not known here. Its intervals would need the
        embeddings and stay empty. Source: [ours].
    """
    known = {name: TEST_PAIRS.get(name.split("-")[0]) for name in profile_names()}
    pairs = table.profile.map(known).astype(float)
    held = table.reindex(columns=["distribution_gap", "cone_image", "cone_text"]).astype(float)
    return held.distribution_gap / ((1 - 1 / pairs) * (2 - held.cone_image - held.cone_text)) ** 0.5


def pick(runs: pd.DataFrame, method: str, alpha: float) -> pd.DataFrame:
    """Pick the runs of one method and alpha.

    Args:
        runs: rows of the results, of one profile.
        method: as in the results.
        alpha: as in the results.

    Returns:
        Those rows, indexed by seed.
    """
    return runs[(runs.method == method) & np.isclose(runs.alpha, alpha)].set_index("seed")


def pick_references(runs: pd.DataFrame, against: str, seeds: pd.Index) -> pd.DataFrame:
    """Pick the reference of each seed.

    Args:
        runs: rows of the results, of one profile.
        against: `BASE`, or `CONTINUED`: `DIAL` with alpha 0, which is plain CLIP with the same learning rate.
        seeds: wanted.

    Returns:
        Rows indexed by seed, NaN for a seed without a reference; a base that is the only one stands for every seed.
    """
    return pick(runs, DIAL, 0).reindex(seeds) if against == CONTINUED else bases_of(pick(runs, "base", 0), seeds)


def bases_of(bases: pd.DataFrame, seeds: pd.Index) -> pd.DataFrame:
    """Give each seed its base: its own, or the only one there is; NaN where it has none."""
    return bases.iloc[[0] * len(seeds)].set_axis(seeds) if len(bases) == 1 else bases.reindex(seeds)
