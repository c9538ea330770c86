import json
from collections import Counter
from pathlib import Path

import pytest

import tpccma.runs.sweep
import tpccma.runs.workers
from tests.conftest import CENTRED
from tpccma import load_profile
from tpccma.evidence.table import load_results
from tpccma.methods import ABLATION_ALPHA, ABLATIONS, METHODS, SECOND_ABLATIONS
from tpccma.profiles import Profile, profile_names
from tpccma.runs.jobs import ALPHAS, Job, first_round, planned_jobs, second_round
from tpccma.runs.record import run_job
from tpccma.runs.records import load_records, record_path
from tpccma.runs.sweep import recorded, sweep
from tpccma.training.loop import Trainer

VARIANTS = sorted({name for name in profile_names() if "-" in name} - {"demo-shift", "demo-bases"})


def is_recorded(profile: Profile, job: Job, results_dir: Path) -> bool:
    return job in recorded(profile, [job], results_dir)


def note_tasks(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Let `run_all` do nothing but note its tasks."""
    noted: list[dict] = []
    monkeypatch.setattr(tpccma.runs.sweep, "run_all", lambda work, tasks, jobs: noted.append(tasks) or [])
    return noted


def change(record: dict, results_dir: Path, **values) -> dict:
    """Replace top-level values of a record's file."""
    path = record_path(record["profile"], record["method"], record["alpha"], record["seed"], results_dir)
    changed = json.loads(path.read_text()) | values
    path.write_text(json.dumps(changed))
    return changed


# ---- the plan


WORLDS = {
    "photographs": planned_jobs("fashion"),
    "scenes": list(dict.fromkeys(planned_jobs("demo") + planned_jobs("demo-bases"))),  # a profile for each round
}


@pytest.mark.parametrize("jobs", WORLDS.values(), ids=WORLDS)
def test_plan_has_five_seeds_of_every_method_and_alpha(jobs: list[Job]):
    seeds = Counter((job.method, job.alpha) for job in jobs)
    alphas = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0)
    others = {"base", "clip", "mean-centering", "align-clip", "m2-mix", "clip-refine", "cs-aligner"}
    others |= {"mind-the-gap", "i0t-async", "realign", "fahim", "modgap"}
    wanted = {(method, alpha) for method in ("tpc-cma", "tpc-cma-paired") for alpha in alphas}
    wanted |= {(method, 0.0) for method in others}
    wanted |= {(f"tpc-cma-{name}", alpha) for name in ("paired-second-curriculum", "floor") for alpha in (0.05, 0.5)}
    assert wanted <= set(seeds)
    assert set(seeds) - wanted == {(method, 0.5) for method in (*ABLATIONS, *SECOND_ABLATIONS)}
    assert all(seeds[setting] == 5 for setting in wanted) and {job.seed for job in jobs} == set(range(5))
    assert len(set(jobs)) == len(jobs)


@pytest.mark.parametrize("jobs", WORLDS.values(), ids=WORLDS)
def test_plan_has_three_or_more_seeds_of_every_ablation_of_the_first_reading_and_five_of_the_second(jobs: list[Job]):
    seeds = Counter((job.method, job.alpha) for job in jobs)
    assert ABLATION_ALPHA in ALPHAS
    assert min(seeds[name, ABLATION_ALPHA] for name in ABLATIONS) >= 3
    assert {seeds[name, ABLATION_ALPHA] for name in SECOND_ABLATIONS} == {5}


@pytest.mark.parametrize("jobs", WORLDS.values(), ids=WORLDS)
def test_plan_leaves_no_method_out(jobs: list[Job]):
    assert {job.method for job in jobs} == {"base", *METHODS}


@pytest.mark.parametrize("profile", ["demo", "fashion-masked"])
def test_second_round_comes_after_the_first_and_repeats_nothing(profile: str):
    first, second = first_round(profile), second_round(profile)
    assert planned_jobs(profile) == [*first, *second] and not set(first) & set(second)
    assert {job.method for job in first} & {"tpc-cma", *SECOND_ABLATIONS} == set()


@pytest.mark.parametrize(
    "jobs, ablations", [(first_round("demo"), ABLATIONS), (second_round("demo-bases"), SECOND_ABLATIONS)]
)
def test_round_goes_seed_by_seed_ablations_last(jobs: list[Job], ablations: tuple[str, ...]):
    late = {*ablations, "tpc-cma-paired-second-curriculum", "tpc-cma-floor"}
    parts = [[job.seed for job in jobs if (job.method in late) == ablation] for ablation in (False, True)]
    assert all(parts) and all(seeds == sorted(seeds) for seeds in parts)
    assert [job.method in late for job in jobs] == [False] * len(parts[0]) + [True] * len(parts[1])


@pytest.mark.parametrize("profile", ["demo-bases", "fashion"])
def test_run_is_planned_after_the_one_whose_steps_it_goes_by(profile: str):
    jobs = planned_jobs(profile)
    traced = [(job, METHODS[job.method].trace) for job in jobs if job.method != "base" and METHODS[job.method].trace]
    assert {job.method for job, _ in traced} == {
        f"tpc-cma-{name}"
        for name in ("yoked", "linear-ramp", "fixed-alpha", "fixed-alpha-rate-3", "fixed-alpha-rate-10")
    }
    for job, trace in traced:
        assert jobs.index(Job(trace.method, job.alpha, trace.seed_of(job.seed))) < jobs.index(job)


def test_plan_of_the_narrower_world_by_hand():
    # five seeds of the base, tpc-cma at three alphas, the first reading's loss at two, and modgap
    seeds = Counter((job.method, job.alpha) for job in planned_jobs("demo-shift"))
    full = {("tpc-cma", alpha): 5 for alpha in (0.0, 0.05, 0.5)}
    paired = {("tpc-cma-paired-second-curriculum", alpha): 5 for alpha in (0.05, 0.5)}
    assert seeds == {("base", 0.0): 5, ("modgap", 0.0): 5, **full, **paired}


@pytest.mark.parametrize("profile", VARIANTS)
def test_plan_of_a_variant_has_what_the_claims_need(profile: str):
    seeds = Counter((job.method, job.alpha) for job in planned_jobs(profile))
    both = ("tpc-cma", "tpc-cma-paired")
    assert seeds == {("base", 0.0): 5, **{(method, alpha): 5 for method in both for alpha in (0.0, 0.05, 0.5)}}


def test_there_are_variants_of_both_profiles():
    scales = {f"{parent}-scale-{scale}" for parent in ("demo", "fashion") for scale in ("20", "50", "learned")}
    assert set(VARIANTS) == {"fashion-masked", *scales}  # and two with plans of their own


def test_plan_of_bases_by_seed_is_the_second_round_with_base_and_baselines_anew():
    seeds = Counter((job.method, job.alpha) for job in planned_jobs("demo-bases"))
    baselines = {(name, 0.0) for name, method in METHODS.items() if not method.dial}
    second = {(job.method, job.alpha) for job in second_round("fashion")}
    first = {("tpc-cma-paired", alpha) for alpha in (0.0, 0.05, 0.5)}
    assert set(seeds) == second | baselines | first | {("base", 0.0)} and set(seeds.values()) == {5}
    assert second_round("demo") == []


# ---- what is recorded


def test_job_is_recorded_by_its_own_record(record: dict, tiny_profile: Profile, tmp_path: Path):
    results = tmp_path / "results"
    assert is_recorded(tiny_profile, CENTRED, results)
    others = (Job("mean-centering", 0.0, 2), Job("realign", 0.0, 1), Job("tpc-cma", 0.05, 1))
    assert not any(is_recorded(tiny_profile, job, results) for job in others)
    assert not is_recorded(tiny_profile, CENTRED, tmp_path / "elsewhere")
    assert not is_recorded(load_profile("fashion"), CENTRED, results)


def test_record_of_other_settings_does_not_count(record: dict, tiny_profile: Profile, tmp_path: Path):
    results = tmp_path / "results"
    assert not is_recorded(load_profile(tiny_profile, data__train_pairs=128), CENTRED, results)
    assert not is_recorded(load_profile(tiny_profile, evaluation__kmeans_restarts=3), CENTRED, results)
    assert is_recorded(load_profile(tiny_profile, fine_tune__epochs=9), CENTRED, results)  # nothing is trained here
    change(record, results, fingerprint="0123abcd")
    assert not is_recorded(tiny_profile, CENTRED, results)


def test_record_without_its_evaluation_does_not_count(record: dict, tiny_profile: Profile, tmp_path: Path):
    change(record, tmp_path / "results", evaluation=None)
    assert not is_recorded(tiny_profile, CENTRED, tmp_path / "results")


@pytest.mark.parametrize("job", [Job("base", 0.0, 3), Job("clip", 0.0, 0)])
def test_job_leaves_the_record_of_its_run(job: Job, tiny_profile: Profile, tmp_path: Path, quick):
    profile = load_profile(tiny_profile, fine_tune__epochs=1)
    record = run_job(profile, job, tmp_path / "runs", tmp_path / "results")
    assert [record[key] for key in ("profile", "method", "alpha", "seed")] == ["demo", job.method, job.alpha, job.seed]
    assert is_recorded(profile, job, tmp_path / "results")
    assert load_records(tmp_path / "results") == [record]


# ---- the sweep


@pytest.mark.deep
def test_sweep_records_what_is_missing_in_a_process_and_then_does_nothing(
    record: dict, tiny_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.setattr(tpccma.runs.workers.os, "cpu_count", lambda: 1)
    runs, results = tmp_path / "runs", tmp_path / "results"
    monkeypatch.setattr(tpccma.runs.sweep, "planned_jobs", lambda name: [Job("base", 0.0, 0), CENTRED])
    assert sweep(tiny_profile, 1, runs, results) == []  # CENTRED is recorded, as if an earlier sweep had been killed
    shown = capsys.readouterr().err
    assert "profile demo: 1 runs recorded, 1 to do" in shown
    assert "1/1 demo base-a0-s0 done; 0 running, 0 waiting, 0 min left" in shown
    table = load_results(results)
    assert list(zip(table.method, table.seed, strict=True)) == [("base", 0), ("mean-centering", 1)]
    base, centred = table[["raw_gap", "clustering_ari", "cider"]].to_numpy()
    assert (centred == 0.25).all() and (base != 0.25).all()  # the process knows nothing of what stands in here

    before = {path: path.read_bytes() for path in results.rglob("*.*")}
    tasks = note_tasks(monkeypatch)
    assert sweep(tiny_profile, 1, runs, results) == []
    assert tasks == [{}]
    assert "profile demo: 2 runs recorded, 0 to do" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in results.rglob("*.*")} == before


def test_sweep_goes_on_after_a_run_that_fails(
    tiny_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick, in_threads, capsys
):
    jobs = [Job("clip", 0.5, 0), CENTRED]  # clip takes no alpha
    monkeypatch.setattr(tpccma.runs.sweep, "planned_jobs", lambda name: jobs)
    assert sweep(tiny_profile, 1, tmp_path / "runs", tmp_path / "results") == ["demo clip-a0.5-s0"]
    assert load_results(tmp_path / "results").method.tolist() == ["mean-centering"]
    assert "1/2 demo clip-a0.5-s0 FAILED: ValueError: method 'clip' has no dial" in capsys.readouterr().err
    jobs[0] = Job("realign", 0.0, 0)
    tasks = note_tasks(monkeypatch)
    assert sweep(tiny_profile, 1, tmp_path / "runs", tmp_path / "results") == []
    assert [list(noted) for noted in tasks] == [["demo realign-a0-s0"]]


def test_sweep_trains_the_base_before_the_runs_that_need_it(
    tiny_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick, in_threads
):
    small = {"base__epochs": 1, "base__batch_size": 64, "fine_tune__epochs": 1}
    profile = load_profile(tiny_profile, model__pretrained=None, data__base_pairs=128, **small)
    trained: list[str] = []
    run = Trainer.run
    monkeypatch.setattr(Trainer, "run", lambda trainer: trained.append(trainer.folder.name[:4]) or run(trainer))
    monkeypatch.setattr(tpccma.runs.sweep, "planned_jobs", lambda name: [Job("clip", 0.0, 1), Job("base", 0.0, 1)])
    assert sweep(profile, 1, tmp_path / "runs", tmp_path / "results") == []
    assert trained == ["base", "clip"]
    assert len(load_records(tmp_path / "results")) == 2


def test_sweep_leaves_records_of_other_code_alone_until_they_are_to_be_made_anew(
    record: dict, tiny_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_threads, capsys
):
    base = Job("base", 0.0, 1)
    monkeypatch.setattr(tpccma.runs.sweep, "planned_jobs", lambda name: [CENTRED, base])
    given = (tiny_profile, 1, tmp_path / "runs", tmp_path / "results")
    assert sweep(*given) == []  # the base is recorded beside CENTRED, both by this code
    assert "other code" not in capsys.readouterr().err
    assert sweep(*given, fresh=True) == []
    assert "2 runs recorded, 0 to do" in capsys.readouterr().err

    kept = change(record, tmp_path / "results", code=record["code"] | {"evaluation": "0123456789abcdef"})
    assert sweep(*given) == []
    shown = capsys.readouterr().err
    assert "2 runs recorded, 0 to do" in shown
    assert "1 were recorded by other code and are left alone; --fresh makes them anew" in shown
    assert load_records(tmp_path / "results")[1] == kept
    assert sweep(*given, fresh=True) == []
    assert "1 runs recorded, 1 to do\n1 were recorded by other code and are made anew" in capsys.readouterr().err
    assert load_records(tmp_path / "results")[1]["code"] == record["code"]

    old = {key: value for key, value in record.items() if key != "code"}  # as of the first 422 records
    record_path("demo", "mean-centering", 0.0, 1, tmp_path / "results").write_text(json.dumps(old))
    assert sweep(*given, fresh=True) == []
    assert "2 runs recorded, 0 to do" in capsys.readouterr().err
    assert load_records(tmp_path / "results")[1] == old


def test_records_of_the_book_are_valid_and_those_that_name_their_code_of_one():
    records = load_records(Path(__file__).parents[1] / "results")
    named = [record["code"] for record in records if "code" in record]  # those of the first round name none
    assert len(records) >= 422 and named
    assert len({code["training"] for code in named} - {""}) == 1  # "" of a base that was not trained for them
    assert len({code["evaluation"] for code in named}) == 1
