"""The paper's claims C1 to C8 beside what was measured here, each with a verdict computed from the records alone::

    tpccma claims            # prints the table
    tpccma claims --readme   # writes it into README.md and draws its figure

A claim has one primary reading and others that fold under it (`tpccma.evidence.primary`). Each is set against two
references: the base model, as in the paper, and continued plain CLIP of the same seed, which keeps the gain of mere
further training apart. The rules of the verdicts are in `tpccma.evidence.verdicts`, the intervals and p values in
`tpccma.evidence.intervals`. C1 to C5 are judged for either reading of the method, ``tpc-cma`` and ``tpc-cma-paired``.
"""

import numpy as np
import pandas as pd

from tpccma.evidence.intervals import Tested, estimate_effect, holm
from tpccma.evidence.prediction import prediction_readings
from tpccma.evidence.primary import CENTRING, PRIMARY, READINGS, Reading
from tpccma.evidence.table import BASE, CONTINUED, DIALS, pick, pick_references
from tpccma.evidence.verdicts import MIN_SEEDS, NONE, Estimate, direction, judge, reduction
from tpccma.runs.jobs import DIAL, WORLDS

PROFILES = (*WORLDS, "paper")
PAIRS = "test pairs"
MEASURED = {column for reading in READINGS for column in reading.columns}
BOUNDS = {f"{column}_{end}" for column in MEASURED for end in ("low", "high")}
NEEDED = {"method", "alpha", "seed", "base", "record", *MEASURED, *BOUNDS}


def claims_table(results: pd.DataFrame, profiles: tuple[str, ...] = PROFILES, method: str = DIAL) -> pd.DataFrame:
    """Set every reading of every claim against the results.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        profiles: which profiles.
        method: the dial that is judged: "tpc-cma" or "tpc-cma-paired".

    Returns:
        One row a profile, claim, reading and reference, in this order: profile, method, claim, reading, primary,
        against, paper, ours, low, high, n, ratio (ours over the paper's), unit, verdict, direction, over (what the
        interval rests on), p (two-sided), holm (p adjusted for the eight primary readings of the profile), note.
        Percentages are 0 to 100; what was not run has NaN, or no interval.
    """
    return _claims(results, profiles, (method,))


def both_readings(results: pd.DataFrame, profiles: tuple[str, ...] = PROFILES) -> pd.DataFrame:
    """Return the `claims_table` of ``tpc-cma`` and of ``tpc-cma-paired``, one below the other."""
    return _claims(results, profiles, DIALS)


def _claims(results: pd.DataFrame, profiles: tuple[str, ...], methods: tuple[str, ...]) -> pd.DataFrame:
    runs = {profile: results[results.profile == profile] for profile in profiles}
    predicted = {profile: [_row(*each) for each in prediction_readings(own)] for profile, own in runs.items()}
    tables = [_profile_table(runs[name], name, method, predicted[name]) for method in methods for name in profiles]
    return pd.concat(tables, ignore_index=True)


def _profile_table(runs: pd.DataFrame, profile: str, method: str, predicted: list[dict]) -> pd.DataFrame:
    runs = runs.loc[:, runs.columns.isin(NEEDED)]
    effects = [_effect_row(reading, runs, against, method) for reading in READINGS for against in reading.references]
    table = pd.DataFrame(sorted([*effects, *predicted], key=lambda row: row["claim"]))
    main = table.primary & (table.against != CONTINUED)
    table["holm"] = holm(table.p[main]).reindex(table.index)
    table["note"] = table.pop("note")
    table.insert(0, "profile", profile)
    table.insert(1, "method", method)
    return table


def _effect_row(reading: Reading, runs: pd.DataFrame, against: str, method: str) -> dict:
    found = estimate(reading, runs, against, method)
    if _rests_on_pairs(reading, found.estimate):
        found = estimate_over_pairs(reading, runs)
    note = _what_lacks(reading, runs, found.estimate, method) if np.isnan(found.estimate.low) else ""
    paper = reading.paper if reading.stated else NONE
    named = (reading.claim, reading.name, against, paper)
    return _row(*named, found, reading.unit, judge(reading.rule, found.estimate, reading.paper), note)


def _row(
    claim: str, reading: str, against: str, paper: float, found: Tested, unit: str, verdict: str, note: str
) -> dict:
    own = found.estimate
    named = {"claim": claim, "reading": reading, "primary": PRIMARY[claim] == reading, "against": against}
    named |= {"paper": paper, **own._asdict(), "ratio": own.ours / paper, "unit": unit, "verdict": verdict}
    sided = unit != "R²" and np.isfinite(paper)  # an R² has no other side, and a share of a gain is judged by its half
    return {**named, "direction": direction(own) if sided else "", "over": found.over, "p": found.p, "note": note}


def _bounds(reading: Reading) -> tuple[str, str]:
    """Name the columns of a gap's interval over test pairs, where that was recorded."""
    return f"{reading.columns[0]}_low", f"{reading.columns[0]}_high"


def _rests_on_pairs(reading: Reading, found: Estimate) -> bool:
    """Say whether a reading is about mean-centring of a model that no seed changes, so that seeds give no interval."""
    alike = found.n == 1 or bool(np.isclose(found.low, found.high))
    return reading.method == CENTRING and reading.whole is None and alike


def _what_lacks(reading: Reading, runs: pd.DataFrame, found: Estimate, method: str) -> str:
    if reading.method == CENTRING and reading.whole is None and len(runs):
        return "chapter 02 shows it on one model"
    if reading.whole is not None and found.n >= MIN_SEEDS:
        return f"alpha {reading.whole:g} gains nothing"
    return f"{found.n} of {MIN_SEEDS} seeds" if found.n else "no runs"


def estimate(reading: Reading, runs: pd.DataFrame, against: str, method: str = DIAL) -> Tested:
    """Estimate the effect of a reading over seeds, and over test pictures where all records of it hold them.

    Args:
        reading: one of ``READINGS``.
        runs: rows of the results, of one profile.
        against: one of the reading's references.
        method: the dial that is judged.

    Returns:
        The effect, paired by seed; nothing where a measure was not recorded.
    """
    own = pick(runs, reading.method or method, reading.alpha)
    parts = [own, pick_references(runs, against, own, method)]
    parts += [] if reading.whole is None else [pick(runs, method, reading.whole).reindex(own.index)]
    return estimate_effect(reading.effect, parts, reading.columns, reading.null)


def estimate_over_pairs(reading: Reading, runs: pd.DataFrame) -> Tested:
    """Estimate the effect of mean-centring on a gap where it is of a model that no seed changes, an only base.

    Args:
        reading: one of ``READINGS``.
        runs: rows of the results, of one profile, with one or more of the reading's.

    Returns:
        The effect over seeds, but with an interval over test pairs: the effect at either bound of the gap, no p. No
        interval either where the bounds were not recorded.
    """
    ours = estimate(reading, runs, BASE).estimate
    if not set(_bounds(reading)) <= set(runs):
        return Tested(Estimate(ours.ours, n=ours.n))
    model = pick(runs, CENTRING, reading.alpha).iloc[:1]
    reference = pick_references(runs, BASE, model)[reading.columns[0]]
    low, high = sorted(float(reading.effect(model[bound], reference).item()) for bound in _bounds(reading))
    return Tested(ours._replace(low=low, high=high), over=PAIRS)


def measured(results: pd.DataFrame, profile: str, method: str, alpha: float, column: str) -> float:
    """Average a measure over the seeds of one setting.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        profile: as in the results.
        method: as in the results.
        alpha: as in the results.
        column: the measure.

    Returns:
        The mean.

    Raises:
        ValueError: if the results hold no such measure; the message names it.
    """
    return float(_by_seed(results, profile, method, alpha, column).mean())


def reduced(results: pd.DataFrame, profile: str, method: str, alpha: float, column: str) -> float:
    """Average over seeds the per cent by which a measure lies below the base's. Args and Raises as in `measured`."""
    values = _by_seed(results, profile, method, alpha, column)
    _by_seed(results, profile, "base", 0, column)
    runs = results[results.profile == profile]
    references = pick_references(runs, BASE, pick(runs, method, alpha).loc[values.index])[column]
    return float(reduction(values, references).mean())


def _by_seed(results: pd.DataFrame, profile: str, method: str, alpha: float, column: str) -> pd.Series:
    runs = pick(results[results.profile == profile], method, alpha)
    if column not in runs or runs[column].isna().all():
        raise ValueError(f"no {column!r} of profile {profile!r}, method {method!r}, alpha {alpha:g} in the results")
    return runs[column].dropna()
