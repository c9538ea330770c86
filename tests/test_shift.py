"""The world with a shift, on hand-made results."""

from tests.results_by_hand import one, rows, table_of
from tpccma.evidence.shift import MEASURES, MODELS, REFERENCES, shift_changes, shift_levels
from tpccma.methods import FULL, SECOND_CURRICULUM
from tpccma.runs.jobs import SHIFT, planned_jobs

RESULTS = table_of(
    rows("base", profile=SHIFT, zeroshot_top1=0.95),
    rows(FULL, 0.0, profile=SHIFT, zeroshot_top1=0.7),
    rows(FULL, 0.5, profile=SHIFT, zeroshot_top1=[0.6, 0.65, 0.7]),
    rows(SECOND_CURRICULUM, 0.5, profile=SHIFT, zeroshot_top1=0.72),
    rows(FULL, 0.5, zeroshot_top1=0.99),  # without the shift
)


def test_every_planned_run_is_shown():
    planned = {(job.method, job.alpha) for job in planned_jobs(SHIFT)}
    assert {(each.method, each.alpha) for each in MODELS.values()} == planned


def test_the_price_of_alignment_is_taken_against_what_was_trained_as_narrowly():
    found = shift_changes(RESULTS, "continued CLIP")
    assert set(found.model) == set(MODELS) - set(REFERENCES)
    assert round(one(found, model="alpha 0.5", measure="zeroshot_top1").ours, 6) == -0.05
    assert round(one(shift_changes(RESULTS, "base"), model="alpha 0.5", measure="zeroshot_top1").ours, 6) == -0.3
    assert one(found, model="modgap", measure="zeroshot_top1").n == 0


def test_levels_are_of_the_shifted_world_alone():
    found = shift_levels(RESULTS)
    assert round(one(found, model="alpha 0.5", measure="zeroshot_top1").ours, 6) == 0.65
    assert len(found) == len(MODELS) * len(MEASURES)
