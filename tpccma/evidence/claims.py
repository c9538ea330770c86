"""The paper's claims C1 to C8 beside what was measured here, each with a verdict computed from ``results.csv`` alone::

    python -m tpccma.claims            # prints the table
    python -m tpccma.claims --readme   # writes it into README.md and draws its figure

A claim has several readings where the paper leaves open what it measured, and each reading is set against two
references: the base model, as in the paper, and continued plain CLIP of the same seed, which keeps the gain of mere
further training apart. Effects are taken seed by seed; where a profile has one base model only, it is the reference of
every seed, and intervals do not cover the base's own seed. The rules of the verdicts are in `tpccma.evidence.verdicts`.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tpccma.evidence.prediction import DISTRIBUTION, Prediction, main_models, predict
from tpccma.evidence.table import load_results
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

PROFILES = ("demo", "fashion", "paper")
BASE, CONTINUED = "base", "continued CLIP"
# Source: abstract of arXiv 2604.00279v1 [paper]; alpha is its alpha_target.
CLAIMS = {
    "C1": ("gap reduction at alpha 0.05", "66.6 %"),
    "C2": ("accuracy drop at alpha 0.05", "4.84 %"),
    "C3": ("gap reduction at alpha 0.5", "82.3 %"),
    "C4": ("joint clustering ARI, base to alpha 0.5", "0.318 to 0.516"),
    "C5": ("captioning CIDEr, base to alpha 0.5", "+57.1 %"),
    "C6": ("R² of the distribution gap against task quality", "0.986"),
    "C7": ("R² of the raw gap against task quality", "0.691"),
    "C8": ("mean-centring removes the centroid gap, leaves the distribution gap", "stated"),
}


@dataclass(frozen=True)
class Reading:
    """One way to read a claim.

    Args:
        claim: key of `CLAIMS`.
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
    method: str = "tpc-cma"

    @property
    def references(self) -> tuple[str, ...]:
        """What the effect is taken against."""
        return (BASE, CONTINUED) if self.method == "tpc-cma" else (BASE,)


def _gap_readings(claim: str, alpha: float, paper: float) -> tuple[Reading, ...]:
    return (
        Reading(claim, "raw", alpha, "raw_gap", reduction, paper),
        Reading(claim, "raw squared", alpha, "raw_gap", squared_reduction, paper),
        Reading(claim, "centroid", alpha, "centroid_gap", reduction, paper),
        Reading(claim, "distribution", alpha, "distribution_gap", reduction, paper),
    )


READINGS = (
    *_gap_readings("C1", 0.05, 66.6),
    Reading("C2", "absolute", 0.05, "zeroshot_top1", points_lost, 4.84, "points", "cost"),
    Reading("C2", "relative", 0.05, "zeroshot_top1", reduction, 4.84, "%", "cost"),
    *_gap_readings("C3", 0.5, 82.3),
    Reading("C4", "relative", 0.5, "clustering_ari", gain, 100 * (0.516 / 0.318 - 1)),
    Reading("C4", "absolute", 0.5, "clustering_ari", difference, 0.516 - 0.318, "ARI"),
    Reading("C5", "raw-fed", 0.5, "cider", gain, 57.1),
    Reading("C5", "memory", 0.5, "cider_memory", gain, 57.1),
    Reading("C5", "centred", 0.5, "cider_centred", gain, 57.1),
    Reading("C8", "centroid removed", 0, "centroid_gap", reduction, 90, rule="statement", method="mean-centering"),
    Reading(
        "C8", "distribution left", 0, "distribution_gap", share_left, 50, rule="statement", method="mean-centering"
    ),
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
    verdict = judge(reading.rule, found, reading.paper)
    note = "" if verdict != "not run" else f"{found.n} of {MIN_SEEDS} seeds" if found.n else "no runs"
    if note and reading.claim == "C8" and len(runs):
        note = "chapter 02 shows it on one model"
    paper = NONE if reading.rule == "statement" else reading.paper
    return _row(reading.claim, reading.name, against, paper, found, reading.unit, verdict, note)


def _prediction_rows(runs: pd.DataFrame) -> list[dict]:
    """Judge C6 under every reading of the distribution gap, and C7 by the paired one, for every task."""
    models, rows = main_models(runs), []
    for task, quality in PREDICTED.items():
        readings = {name: predict(models, measure, quality) for measure, name in DISTRIBUTION.items()}
        for name, found in readings.items():
            reached = found.measure.high >= 0.986
            rows.append(_prediction_row("C6", f"{task} by {name}", found, found.measure, reached, 0.986))
        found = readings["paired"]
        rows.append(_prediction_row("C7", task, found, found.raw, found.raw.low <= 0.691, 0.691))
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
    """Estimate the effect of a reading.

    Args:
        reading: one of `READINGS`.
        runs: rows of the results, of one profile.
        against: one of the reading's references.

    Returns:
        The `Estimate`, paired by seed. For a statement on a model that no seed changes, such as mean-centring of the
        demo's one base, the interval is over test pairs: the effect at either bound of the gap that its record holds.
    """
    if reading.column not in runs:
        return Estimate()
    chosen = pick(runs, reading.method, reading.alpha)
    reference = pick_references(runs, against, chosen.index)[reading.column]
    found = seed_interval(reading.effect(chosen[reading.column], reference))
    bounds = [f"{reading.column}_{side}" for side in ("low", "high")]
    by_seed = found.n > 1 and not np.isclose(found.low, found.high)
    if reading.rule != "statement" or not found.n or by_seed or not set(bounds) <= set(runs):
        return found
    low, high = sorted(float(reading.effect(chosen[bound], reference).iloc[0]) for bound in bounds)
    return found._replace(low=low, high=high)


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
        against: `BASE`, or `CONTINUED`: "tpc-cma" with alpha 0, which is plain CLIP with the same learning rate.
        seeds: wanted.

    Returns:
        Rows indexed by seed, NaN for a seed without a reference; a base that is the only one stands for every seed.
    """
    if against == CONTINUED:
        return pick(runs, "tpc-cma", 0).reindex(seeds)
    found = pick(runs, "base", 0)
    return found.iloc[[0] * len(seeds)].set_axis(seeds) if len(found) == 1 else found.reindex(seeds)


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


def main(arguments: list[str] | None = None) -> None:
    """Print the claims table, or write it into README.md and draw the figure beside it."""
    from tpccma.evidence.readme import plain_text, summary_table, write_readme

    parser = argparse.ArgumentParser(prog="python -m tpccma.claims", description=main.__doc__)
    parser.add_argument("--readme", action="store_true", help="write README.md's table and figure instead of printing")
    parser.add_argument("--results-dir", default="results", help="where results.csv lies")
    options = parser.parse_args(arguments)
    table = claims_table(load_results(options.results_dir))
    if options.readme:
        write_readme(table)
    else:
        print(plain_text(summary_table(table)))


if __name__ == "__main__":
    main()
