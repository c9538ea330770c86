"""Methods side by side on hand-made results: which runs count, and what is paired."""

import numpy as np
import pytest

from tests.results_by_hand import HALF, one, rows, table_of
from tpccma.evidence.compared import (
    ORDER,
    averages,
    compared_runs,
    effects,
    list_models,
    missing_seeds,
    runs_by_world,
)
from tpccma.evidence.table import BASE, CONTINUED
from tpccma.evidence.verdicts import gain
from tpccma.evidence.writing import spread, write_half
from tpccma.methods import PAIRED
from tpccma.runs.jobs import DIAL, PHOTOGRAPHS, SCENES, SEEDS, planned_jobs


def test_compared_runs_are_ordered_and_leave_out_ablations():
    results = table_of(
        rows("modgap"),
        rows(DIAL, 0.5),
        rows(f"{DIAL}-no-geometry", 0.5),
        rows(DIAL, 0.05, i2t_recall_at_1=0.6, t2i_recall_at_1=0.2),
        rows("clip"),
        rows("base"),
        rows("clip", profile=PHOTOGRAPHS),
        rows(PAIRED, 0.5),
        rows(PAIRED, 0.0),  # continued CLIP a second time
    )
    runs = compared_runs(results, "demo")
    assert list(runs.model.unique()) == ["base", "alpha 0.05", "alpha 0.5", f"{PAIRED}, alpha 0.5", "clip", "modgap"]
    assert runs[runs.model == "alpha 0.05"].recall_at_1.tolist() == pytest.approx([0.4] * 3)
    assert runs[runs.model == "base"].recall_at_1.isna().all()
    assert list(runs_by_world(results)) == ["photographs"]
    assert list(runs_by_world(results.replace({"demo": SCENES}))) == ["scenes", "photographs"]


def test_missing_seeds_are_named():
    jobs = [job for job in planned_jobs(SCENES) if job.method in ORDER]
    results = table_of(*(rows(job.method, job.alpha, (job.seed,)) for job in jobs))
    results["profile"] = SCENES
    assert missing_seeds(results, SCENES).endswith("settings, every seed recorded.")
    cut = results[~((results.alpha == 0.3) & (results.seed > 1)) & (results.method != "fahim")]
    assert missing_seeds(cut, SCENES).endswith(
        f"2 lack seeds: alpha 0.3 (2 of {len(SEEDS)}), fahim (0 of {len(SEEDS)})."
    )


def test_intervals_over_seeds():
    runs = table_of(rows("clip", cider=[1.0, 2.0, 3.0]), rows("modgap", seeds=(0, 1), cider=[1.0, 3.0]))
    clip, modgap = averages(runs, ["cider", "not recorded"]).itertuples(index=False)
    assert clip == pytest.approx(("clip", "cider", 2, 2 - HALF, 2 + HALF, 3))
    assert modgap.ours == 2 and np.isnan(modgap.low) and modgap.n == 2


def test_changes_are_paired_by_seed_and_leave_out_the_reference():
    runs = table_of(
        rows("base", seeds=(0,), cider=1.0),  # the only base stands for every seed
        rows(DIAL, 0.0, cider=[1.0, 2.0, 3.0]),
        rows(DIAL, 0.5, seeds=(2, 1, 0), cider=[6.0, 4.0, 2.0]),  # in another order: twice its reference each
    )
    found = effects(runs, ["cider", "not recorded"], CONTINUED, gain)
    assert list(found.model) == ["base", "alpha 0.5"]
    assert found.iloc[1, 2:].tolist() == pytest.approx([100, 100, 100, 3])
    found = effects(runs, ["cider"], BASE)
    assert list(found.model) == ["alpha 0", "alpha 0.5"]
    assert one(found, model="alpha 0.5").ours == pytest.approx(3.0)  # (5 + 3 + 1) / 3


def test_what_a_reader_sees():
    runs = table_of(rows("clip", cider=1.0), rows("base", cider=2.0, bleu4=0.5))
    shown = spread(averages(runs, ["cider", "bleu4"]), write_half, digits=1)
    assert shown.index.tolist() == ["clip", "base"]
    assert shown.loc["clip"].tolist() == ["1.0 ± 0.0", "–"]
    models = ["base", "alpha 0.5", "alpha 1", f"{PAIRED}, alpha 0.5", f"{PAIRED}, alpha 1", "clip"]
    assert list_models(models) == f"base, clip, alpha 0.5, 1, {PAIRED} at alpha 0.5, 1"
    assert list_models([]) == ""
