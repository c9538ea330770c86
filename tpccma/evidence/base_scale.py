"""What the logit scale of the base model decides: gaps, effects and verdicts on bases at several scales.

Each family, "scenes" or "photographs", has bases whose logit scale was fixed at 20, 50 or 100, or learned. Those at 100
are the ones of the other chapters; of the scenes' other scales the seeds share one base.
"""

import pandas as pd

from tpccma.evidence.claims import claims_table
from tpccma.evidence.estimates import OUTCOMES, Setting, changes, levels
from tpccma.evidence.paper import R_SQUARED
from tpccma.evidence.prediction import PREDICTED, main_models, predict
from tpccma.evidence.verdicts import judge
from tpccma.evidence.writing import write
from tpccma.runs.jobs import DIAL, PHOTOGRAPHS, SCENES

FAMILIES = {
    "scenes": {"20": "demo-scale-20", "50": "demo-scale-50", "100": SCENES, "learned": "demo-scale-learned"},
    "photographs": {
        "20": "fashion-scale-20",
        "50": "fashion-scale-50",
        "100": PHOTOGRAPHS,
        "learned": "fashion-scale-learned",
    },
}
SCALES = tuple(FAMILIES["scenes"])
MODELS = {"base": ("base", 0.0), "continued CLIP": (DIAL, 0.0), "alpha 0.05": (DIAL, 0.05)}
MODELS |= {"alpha 0.5": (DIAL, 0.5)}
CLAIMS_RUN = ("C1", "C2", "C3", "C4", "C5")


def scale_settings(family: str) -> dict[str, dict[str, Setting]]:
    """Return the settings of a family: scale to model to setting."""
    return {
        scale: {model: Setting(profile, *setting) for model, setting in MODELS.items()}
        for scale, profile in FAMILIES[family].items()
    }


def scale_levels(results: pd.DataFrame, family: str, measures: dict[str, str] = OUTCOMES) -> pd.DataFrame:
    """Average measures over seeds for every base and what was fine-tuned from it.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        family: "scenes" or "photographs".
        measures: columns of the results, to their labels.

    Returns:
        A tidy table, see `tpccma.evidence.writing`, with a column ``scale``.
    """
    named = scale_settings(family).items()
    return pd.concat([levels(results, models, measures).assign(scale=scale) for scale, models in named])


def scale_changes(
    results: pd.DataFrame, family: str, against: str, measures: dict[str, str] = OUTCOMES
) -> pd.DataFrame:
    """Take what alpha 0.05 and 0.5 change on every base.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        family: "scenes" or "photographs".
        against: "base" or "continued CLIP", of the same scale.
        measures: columns of the results, to their labels.

    Returns:
        A tidy table, see `tpccma.evidence.writing`; models such as "alpha 0.5, scale 20".
    """
    pairs = {
        f"{model}, scale {scale}": (models[model], models[against])
        for model in ("alpha 0.05", "alpha 0.5")
        for scale, models in scale_settings(family).items()
    }
    return changes(results, pairs, measures)


def verdicts_by_scale(results: pd.DataFrame, family: str) -> pd.DataFrame:
    """Judge claims C1 to C5 on every base of a family.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        family: "scenes" or "photographs".

    Returns:
        Verdicts; a row a claim, reading and reference, a column a scale.
    """
    profiles = {profile: scale for scale, profile in FAMILIES[family].items()}
    table = claims_table(results, tuple(profiles))
    table = table[table.claim.isin(CLAIMS_RUN)].assign(scale=table.profile.map(profiles))
    index = ["claim", "reading", "against"]
    order = table[index].drop_duplicates()
    wide = table.pivot(index=index, columns="scale", values="verdict")
    return wide.reindex(index=pd.MultiIndex.from_frame(order), columns=list(SCALES)).rename_axis(columns="base's scale")


def changed_verdicts(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of `verdicts_by_scale` whose verdict changes with the scale; one that was not run is no change."""
    return verdicts[verdicts.replace("not run", pd.NA).nunique(axis=1) > 1]


def describe_verdicts(verdicts: pd.DataFrame, against: str) -> str:
    """Count the verdicts that change with the scale of the base.

    Args:
        verdicts: from `verdicts_by_scale`.
        against: "base" or "continued CLIP".

    Returns:
        Text such as "3 of 13 readings change their verdict with the scale: C1 1 of 5, C2 0 of 2, C3 2 of 6".
    """
    own = verdicts[verdicts.index.get_level_values("against") == against]
    own = own[(own != "not run").sum(axis=1) > 1]
    if own.empty:
        return "fewer than two scales were run"
    asked = own.groupby(level="claim").size()
    changed = changed_verdicts(own).groupby(level="claim").size().reindex(asked.index, fill_value=0)
    parts = ", ".join(f"{claim} {changed[claim]} of {asked[claim]}" for claim in asked.index)
    return f"{changed.sum()} of {len(own)} readings change their verdict with the scale: {parts}"


def pooled_predictions(results: pd.DataFrame, family: str) -> pd.DataFrame:
    """Measure how well the gaps predict tasks over the bases of a family pooled, a further reading of C6 and C7.

    Args:
        results: from `tpccma.evidence.table.load_results`.
        family: "scenes" or "photographs".

    Returns:
        Strings; one row a task and choice of models: the four models that every base has, or all models of every base.
        R² of the paired distribution gap and of the raw gap, their difference, with intervals, and the verdict on C6.
    """
    runs = results[results.profile.isin(FAMILIES[family].values())]
    four = runs[pd.MultiIndex.from_frame(runs[["method", "alpha"]]).isin(MODELS.values())]
    rows = []
    for models, part in (("four of every base", four), ("all of every base", main_models(runs))):
        for task, quality in PREDICTED.items():
            found = predict(part, "distribution_gap", quality)
            verdict = judge("size", found.measure, R_SQUARED["distribution_gap"])
            numbers = [write(found.measure, 2), write(found.raw, 2), write(found.difference, 2, sign=True)]
            rows.append((models, task, found.measure.n, *numbers, verdict))
    columns = ["models", "task", "settings", "distribution gap", "raw gap", "distribution minus raw", "verdict on C6"]
    return pd.DataFrame(rows, columns=columns).set_index(["models", "task"])
