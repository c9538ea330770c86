"""The results of all recorded runs as one table, which everything else here rests on, and the runs of one setting."""

from pathlib import Path

import numpy as np
import pandas as pd

from tpccma.methods import FULL, PAIRED
from tpccma.profiles import profile_names
from tpccma.runs.jobs import DIAL
from tpccma.runs.records import csv_now, record_path, record_paths
from tpccma.runs.tables import RESULT, read_table

SCALE_FREE = "distribution_gap_scale_free"
TEST_PAIRS = {"demo": 1_000, "fashion": 1_500}  # of the profiles, and the variants that ship, with records that lack it
BASE, CONTINUED = "base", "continued CLIP"
DIALS = (FULL, PAIRED)  # the second reading of the method and the first


def load_results(results_dir: str | Path = "results", profile: str | None = None) -> pd.DataFrame:
    """Read the CSV, all of it or one profile's rows.

    Where records lie beside it, it is built anew if it is not what they say: a row was lost, or a number edited; in a
    folder that cannot be written to, they are read in its place. Where a record was made before the scale-free
    distribution gap was measured, the gap is worked out from what it holds.

    Args:
        results_dir: where ``results.csv`` lies.
        profile: keep this profile only.

    Returns:
        One row a run, and two columns more: ``model``, which names it in figures, see `named`; and
        ``record``, the path of its record where that lies beside the CSV, else empty.

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
    table["model"] = [named(*setting) for setting in zip(table.method, table.alpha, strict=True)]
    table["record"] = _records_of(table, {str(path) for path in record_paths(results_dir)}, results_dir)
    table[SCALE_FREE] = table.get(SCALE_FREE, scale_free_gap(table)).fillna(scale_free_gap(table))
    if profile is not None:
        table = table[table.profile == profile].reset_index(drop=True)
        if table.empty:
            raise ValueError(f"{path} has no run of profile {profile!r}")
    return table


def named(method: str, alpha: float) -> str:
    """Name a setting in words: "alpha 0.5" of ``DIAL``, "tpc-cma-paired, alpha 0.5" of that one, else the method."""
    if method not in DIALS:
        return method
    return f"{'' if method == DIAL else f'{method}, '}alpha {alpha:g}"


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


def pick_references(runs: pd.DataFrame, against: str, chosen: pd.DataFrame, dial: str = DIAL) -> pd.DataFrame:
    """Pick the reference of each of some runs.

    Args:
        runs: rows of the results, of one profile.
        against: ``BASE``, or ``CONTINUED``: the dial with alpha 0, which is plain CLIP with the same learning rate.
        chosen: runs indexed by seed, as `pick` gives them.
        dial: whose alpha 0 is meant.

    Returns:
        Rows indexed by the seeds of ``chosen``, NaN for a run without a reference; see `bases_of`.
    """
    return pick(runs, dial, 0).reindex(chosen.index) if against == CONTINUED else bases_of(pick(runs, BASE, 0), chosen)


def bases_of(bases: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    """Give each run its base: the record of the weights that its ``base`` names, of the same seed where there is one.

    Runs whose base is not named, as in the first round, have the base of their seed, or the only one there is.

    Args:
        bases: records of base models, indexed by seed.
        chosen: runs, indexed by seed.

    Returns:
        Rows indexed as ``chosen``, NaN for a run whose base has no record.
    """
    names = chosen.get("base", pd.Series(np.nan, chosen.index)).items()
    places = [_place_of_base(bases, seed, name) for seed, name in names]
    return bases.reset_index(drop=True).reindex(places).set_axis(chosen.index)


def _place_of_base(bases: pd.DataFrame, seed: int, name: str | float) -> int:
    """Find a run's base among the rows; -1 for none."""
    named = pd.notna(name) and "base" in bases and bool(bases.base.notna().any())
    places = np.flatnonzero(bases.base == name) if named else np.arange(len(bases))
    own = places[bases.index[places] == seed]
    stand_ins = places if named or len(bases) == 1 else places[:0]
    return int(next(iter([*own, *stand_ins]), -1))


def _records_of(table: pd.DataFrame, known: set[str], results_dir: str | Path) -> list[str]:
    paths = (str(record_path(*key, results_dir)) for key in table[[*RESULT]].itertuples(index=False))
    return [path if path in known else "" for path in paths]
