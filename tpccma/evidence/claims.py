"""The paper's claims C1 to C8 beside what was measured here, each with a verdict computed from ``results.csv`` alone::

    tpccma claims            # prints the table
    tpccma claims --readme   # writes it into README.md and draws its figure

A claim has several readings where the paper leaves open what it measured, and each reading is set against two
references: the base model, as in the paper, and continued plain CLIP of the same seed, which keeps the gain of mere
further training apart. Effects are taken seed by seed; where a profile has one base model only, it is the reference of
every seed, and intervals do not cover the base's own seed. The rules of the verdicts are in `tpccma.evidence.verdicts`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tpccma.evidence.paper import ACCURACY_DROP, ARI, CIDER_GAIN, GAP_REDUCTION, R_SQUARED
from tpccma.evidence.prediction import DISTRIBUTION, Prediction, main_models, predict
from tpccma.evidence.table import BASE, CONTINUED, pick, pick_references
from tpccma.evidence.verdicts import (
    MIN_SEEDS,
    MIN_SETTINGS,
    NONE,
    Estimate,
    difference,
    gain,
    judge,
    judge_prediction,
    points_lost,
    reduction,
    seed_interval,
    share_left,
    squared_reduction,
)
from tpccma.runs.jobs import DIAL

PROFILES = ("demo", "fashion", "paper")


@dataclass(frozen=True)
class Reading:
    """One way to read a claim.

    Args:
        claim: key of the claims in `tpccma.evidence.paper`.
        name: of the reading.
        alpha: of the runs it is about.
        column: of the results.
        effect: computed from runs and their references.
        paper: the paper's effect; of a statement, which names none, the bound that it is read as [ours].
        unit: of the effect.
        rule: "gain", "cost" or "statement", see `tpccma.evidence.verdicts`.
        method: of the runs it is about.
    """

    claim: str
    name: str
    alpha: float
    column: str
    effect: Callable[[pd.Series, pd.Series], pd.Series]
    paper: float
    unit: str = "%"
    rule: str = "gain"
    method: str = DIAL

    @property
    def references(self) -> tuple[str, ...]:
        """What the effect is taken against."""
        return (BASE, CONTINUED) if self.method == DIAL else (BASE,)

    @property
    def bounds(self) -> tuple[str, str]:
        """The columns of its interval over test pairs, where that was recorded."""
        return f"{self.column}_low", f"{self.column}_high"


def _gap_readings(claim: str, alpha: float) -> tuple[Reading, ...]:
    paper = GAP_REDUCTION[alpha]
    return (
        Reading(claim, "raw", alpha, "raw_gap", reduction, paper),
        Reading(claim, "raw squared", alpha, "raw_gap", squared_reduction, paper),
        Reading(claim, "centroid", alpha, "centroid_gap", reduction, paper),
        Reading(claim, "distribution", alpha, "distribution_gap", reduction, paper),
    )


def _statement(name: str, column: str, effect: Callable, bound: float) -> Reading:
    return Reading("C8", name, 0, column, effect, bound, rule="statement", method="mean-centering")


READINGS = (
    *_gap_readings("C1", 0.05),
    Reading("C2", "absolute", 0.05, "zeroshot_top1", points_lost, ACCURACY_DROP, "points", "cost"),
    Reading("C2", "relative", 0.05, "zeroshot_top1", reduction, ACCURACY_DROP, "%", "cost"),
    *_gap_readings("C3", 0.5),
    Reading("C4", "relative", 0.5, "clustering_ari", gain, 100 * (ARI[1] / ARI[0] - 1)),
    Reading("C4", "absolute", 0.5, "clustering_ari", difference, ARI[1] - ARI[0], "ARI"),
    Reading("C5", "raw-fed", 0.5, "cider", gain, CIDER_GAIN),
    Reading("C5", "memory", 0.5, "cider_memory", gain, CIDER_GAIN),
    Reading("C5", "centred", 0.5, "cider_centred", gain, CIDER_GAIN),
    _statement("centroid removed", "centroid_gap", reduction, 90),
    _statement("distribution left", "distribution_gap", share_left, 50),
)
PREDICTED = {"ARI": "clustering_ari", "CIDEr raw-fed": "cider"}


def claims_table(results: pd.DataFrame, profiles: tuple[str, ...] = PROFILES) -> pd.DataFrame:
    """Set every reading of every claim against the results.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        profiles: which profiles.

    Returns:
        One row a profile, claim, reading and reference, in this order: profile, claim, reading, against, paper, ours,
        low, high, n, unit, verdict, note. Percentages are 0 to 100; what was not run has NaN, or no interval.
    """
    rows = []
    for profile in profiles:
        runs = results[results.profile == profile]
        effects = [_effect_row(reading, runs, against) for reading in READINGS for against in reading.references]
        ordered = sorted([*effects, *_prediction_rows(runs)], key=lambda row: row["claim"])
        rows += [{"profile": profile, **row} for row in ordered]
    return pd.DataFrame(rows)


def _effect_row(reading: Reading, runs: pd.DataFrame, against: str) -> dict:
    found = estimate(reading, runs, against)
    if _rests_on_pairs(reading, found) and set(reading.bounds) <= set(runs):
        found = estimate_over_pairs(reading, runs, against)
    verdict = judge(reading.rule, found, reading.paper)
    note = _what_lacks(reading, runs, found) if verdict == "not run" else ""
    paper = NONE if reading.rule == "statement" else reading.paper
    return _row(reading.claim, reading.name, against, paper, found, reading.unit, verdict, note)


def _rests_on_pairs(reading: Reading, found: Estimate) -> bool:
    """Say whether a statement is about a model that is the same in every seed, so that seeds give no interval."""
    return reading.rule == "statement" and (found.n == 1 or bool(np.isclose(found.low, found.high)))


def _what_lacks(reading: Reading, runs: pd.DataFrame, found: Estimate) -> str:
    if reading.claim == "C8" and len(runs):
        return "chapter 02 shows it on one model"
    return f"{found.n} of {MIN_SEEDS} seeds" if found.n else "no runs"


def _prediction_rows(runs: pd.DataFrame) -> list[dict]:
    models, rows = main_models(runs), []
    figure, raw_figure = R_SQUARED["distribution_gap"], R_SQUARED["raw_gap"]
    for task, quality in PREDICTED.items():
        readings = {name: predict(models, measure, quality) for measure, name in DISTRIBUTION.items()}
        for name, found in readings.items():
            reached = found.measure.high >= figure
            rows.append(_prediction_row("C6", f"{task} by {name}", found, found.measure, reached, figure))
        found = readings["paired"]
        rows.append(_prediction_row("C7", task, found, found.raw, found.raw.low <= raw_figure, raw_figure))
    return rows


def _prediction_row(claim: str, reading: str, found: Prediction, own: Estimate, reached: bool, paper: float) -> dict:
    verdict = judge_prediction(found.difference, reached)
    needs = f"needs the full sweep: {own.n} of {MIN_SETTINGS} settings so far" if own.n else "no runs"
    return _row(claim, reading, "", paper, own, "R²", verdict, needs if verdict == "not run" else "")


def _row(
    claim: str, reading: str, against: str, paper: float, found: Estimate, unit: str, verdict: str, note: str
) -> dict:
    named = {"claim": claim, "reading": reading, "against": against, "paper": paper}
    return {**named, **found._asdict(), "unit": unit, "verdict": verdict, "note": note}


def estimate(reading: Reading, runs: pd.DataFrame, against: str) -> Estimate:
    """Estimate the effect of a reading over seeds.

    Args:
        reading: one of `READINGS`.
        runs: rows of the results, of one profile.
        against: one of the reading's references.

    Returns:
        The `Estimate`, paired by seed; nothing where the measure was not recorded.
    """
    if reading.column not in runs:
        return Estimate()
    chosen = pick(runs, reading.method, reading.alpha)
    references = pick_references(runs, against, chosen.index)
    return seed_interval(reading.effect(chosen[reading.column], references[reading.column]))


def estimate_over_pairs(reading: Reading, runs: pd.DataFrame, against: str) -> Estimate:
    """Estimate the effect of a reading on a model that no seed changes, such as mean-centring of an only base.

    Args:
        reading: one of `READINGS`, its bounds recorded.
        runs: rows of the results, of one profile, with one or more of the reading's.
        against: one of the reading's references.

    Returns:
        The `Estimate` over seeds, but with an interval over test pairs: the effect at either bound of the gap.
    """
    model = pick(runs, reading.method, reading.alpha).iloc[:1]
    reference = pick_references(runs, against, model.index)[reading.column]
    low, high = sorted(float(reading.effect(model[bound], reference).item()) for bound in reading.bounds)
    return estimate(reading, runs, against)._replace(low=low, high=high)


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
    references = pick_references(results[results.profile == profile], BASE, values.index)[column]
    return float(reduction(values, references).mean())


def _by_seed(results: pd.DataFrame, profile: str, method: str, alpha: float, column: str) -> pd.Series:
    runs = pick(results[results.profile == profile], method, alpha)
    if column not in runs or runs[column].isna().all():
        raise ValueError(f"no {column!r} of profile {profile!r}, method {method!r}, alpha {alpha:g} in the results")
    return runs[column].dropna()
