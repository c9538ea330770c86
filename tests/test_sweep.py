import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml

import tpccma.runs.record
import tpccma.runs.records
import tpccma.runs.sweep
import tpccma.runs.workers
from tpccma import load_profile
from tpccma.evidence.table import load_results
from tpccma.methods import ABLATION_ALPHA, ABLATIONS, METHODS
from tpccma.profiles import Profile, profile_names
from tpccma.runs.jobs import ALPHAS, Job, planned_jobs
from tpccma.runs.records import load_records, record_path
from tpccma.runs.sweep import DRIFT, is_recorded, main, run_job, sweep, verify
from tpccma.training.loop import Trainer

VARIANTS = sorted(name for name in profile_names() if "-" in name)
CENTRED = Job("mean-centering", 0.0, 1)  # takes no training
FOUND = {name: 0.25 for name in (*DRIFT, "zeroshot_top5")}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run be evaluated at no cost: every measure is 0.25."""
    monkeypatch.setattr(tpccma.runs.record, "evaluate", lambda run, corpus: dict(FOUND))


@pytest.fixture
def record(tiny_profile: Profile, tmp_path: Path, quick) -> dict:
    """One recorded job, its record in results/."""
    return run_job(tiny_profile, CENTRED, tmp_path / "runs", tmp_path / "results")


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


@pytest.mark.parametrize("profile", ["demo", "fashion"])
def test_plan_has_five_seeds_of_every_method_and_alpha(profile: str):
    jobs = planned_jobs(profile)
    seeds = Counter((job.method, job.alpha) for job in jobs)
    alphas = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0)
    others = {"base", "clip", "mean-centering", "align-clip", "m2-mix", "clip-refine", "cs-aligner"}
    others |= {"mind-the-gap", "i0t-post", "i0t-async", "realign", "fahim", "modgap"}
    wanted = {("tpc-cma", alpha) for alpha in alphas} | {(method, 0.0) for method in others}
    assert wanted <= set(seeds)
    assert {method for method, _ in set(seeds) - wanted} == set(ABLATIONS)
    assert all(seeds[setting] == 5 for setting in wanted) and {job.seed for job in jobs} == set(range(5))
    assert len(set(jobs)) == len(jobs)


@pytest.mark.parametrize("profile", ["demo", "fashion"])
def test_plan_has_three_or_more_seeds_of_every_ablation(profile: str):
    seeds = Counter((job.method, job.alpha) for job in planned_jobs(profile) if job.method in ABLATIONS)
    assert set(seeds) == {(name, ABLATION_ALPHA) for name in ABLATIONS}
    assert min(seeds.values()) >= 3 and ABLATION_ALPHA in ALPHAS


def test_plan_leaves_no_method_out():
    assert {job.method for job in planned_jobs("demo")} == {"base", *METHODS}


def test_plan_goes_seed_by_seed_ablations_last():
    parts = [
        [job.seed for job in planned_jobs("demo") if (job.method in ABLATIONS) == ablation]
        for ablation in (False, True)
    ]
    assert all(seeds == sorted(seeds) for seeds in parts)
    assert [job.method in ABLATIONS for job in planned_jobs("demo")] == [False] * len(parts[0]) + [True] * len(parts[1])


@pytest.mark.parametrize("profile", VARIANTS)
def test_plan_of_a_variant_has_what_the_claims_need(profile: str):
    seeds = Counter((job.method, job.alpha) for job in planned_jobs(profile))
    assert seeds == {("base", 0.0): 5, ("tpc-cma", 0.0): 5, ("tpc-cma", 0.05): 5, ("tpc-cma", 0.5): 5}


def test_there_are_variants_of_both_profiles():
    scales = {f"{parent}-scale-{scale}" for parent in ("demo", "fashion") for scale in ("20", "50", "learned")}
    assert set(VARIANTS) == {"fashion-masked", *scales}


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


def test_sweep_records_what_is_missing_in_a_process_and_then_does_nothing(
    record: dict, tiny_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(tpccma.runs.workers.os, "cpu_count", lambda: 1)
    runs, results = tmp_path / "runs", tmp_path / "results"
    monkeypatch.setattr(tpccma.runs.sweep, "planned_jobs", lambda name: [Job("base", 0.0, 0), CENTRED])
    assert sweep(tiny_profile, 1, runs, results) == []  # CENTRED is recorded, as if an earlier sweep had been killed
    shown = capsys.readouterr().out
    assert "profile demo: 1 runs recorded, 1 to do" in shown
    assert "1/1 demo base-a0-s0 done; 0 min left" in shown
    table = load_results(results)
    assert list(zip(table.method, table.seed, strict=True)) == [("base", 0), ("mean-centering", 1)]
    base, centred = table[["raw_gap", "clustering_ari", "cider"]].to_numpy()
    assert (centred == 0.25).all() and (base != 0.25).all()  # the process knows nothing of what stands in here

    before = {path: path.read_bytes() for path in results.rglob("*.*")}
    tasks = note_tasks(monkeypatch)
    assert sweep(tiny_profile, 1, runs, results) == []
    assert tasks == [{}]
    assert "profile demo: 2 runs recorded, 0 to do" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in results.rglob("*.*")} == before


def test_sweep_goes_on_after_a_run_that_fails(
    tiny_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick, in_threads, capsys
):
    jobs = [Job("clip", 0.5, 0), CENTRED]  # clip takes no alpha
    monkeypatch.setattr(tpccma.runs.sweep, "planned_jobs", lambda name: jobs)
    assert sweep(tiny_profile, 1, tmp_path / "runs", tmp_path / "results") == ["demo clip-a0.5-s0"]
    assert load_results(tmp_path / "results").method.tolist() == ["mean-centering"]
    assert "1/2 demo clip-a0.5-s0 FAILED: ValueError: method 'clip' has no dial" in capsys.readouterr().out
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


# ---- repeated runs


def test_fresh_record_is_verified(record: dict, tiny_profile: Profile, tmp_path: Path):
    rows = verify(record, tiny_profile)
    assert rows.ok.all() and set(rows.run) == {"mean-centering-a0-s1"}
    assert dict(zip(rows.measure, rows.recorded, strict=True)) == record["metrics"] == record["metrics"] | FOUND
    assert rows.again.tolist() == rows.recorded.tolist() and rows.difference.eq(0).all()
    assert set(rows.tolerance) == {1e-4}
    assert len(load_records(tmp_path / "results")) == 1  # what it repeats lies elsewhere


def test_changed_figure_is_found(record: dict, tiny_profile: Profile):
    record["metrics"]["zeroshot_top5"] = 0.2502  # more than 1e-4 off
    rows = verify(record, tiny_profile).set_index("measure")
    assert rows.ok.drop("zeroshot_top5").all() and not rows.ok["zeroshot_top5"]
    assert rows.difference["zeroshot_top5"] == pytest.approx(0.0002)


@pytest.mark.parametrize("part, value", [("hardware", {"device": "another"}), ("versions", {"torch": "0.1"})])
def test_record_of_another_machine_is_compared_with_tolerance(
    part: str, value: dict, record: dict, tiny_profile: Profile
):
    record[part] |= value
    record["metrics"] |= {"raw_gap": 0.275, "clustering_ari": 0.40, "zeroshot_top5": 0.9}
    rows = verify(record, tiny_profile).set_index("measure")
    assert list(rows.index) == list(DRIFT)  # so not of top 5
    assert rows.tolerance.to_dict() == DRIFT
    assert rows.ok["raw_gap"] and rows.ok["zeroshot_top1"]  # 0.025 off, of 0.03
    assert not rows.ok["clustering_ari"]  # 0.15 off, of 0.12


def test_run_repeats_with_the_recorded_number_of_threads(
    record: dict, tiny_profile: Profile, monkeypatch: pytest.MonkeyPatch
):
    asked: list[int] = []
    monkeypatch.setattr(tpccma.runs.sweep.torch, "set_num_threads", asked.append)
    record["hardware"]["threads"] = 11
    verify(record, tiny_profile)
    assert asked == [11]


def shell(profile: Profile, tmp_path: Path, *arguments: str) -> list[str]:
    """Arguments of `main` for a profile in a file, all work below tmp_path."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(profile.model_dump(mode="json")))
    folders = ["--runs-dir", str(tmp_path / "runs"), "--results-dir", str(tmp_path / "results")]
    return ["--profile", str(path), *folders, *arguments]


@pytest.mark.parametrize("changed, verdict, status", [(False, "repeats", 0), (True, "DIFFERS", 1)])
def test_command_verifies(
    changed: bool, verdict: str, status: int, record: dict, tiny_profile: Profile, tmp_path: Path, in_threads, capsys
):
    if changed:
        change(record, tmp_path / "results", metrics=record["metrics"] | {"cider": 0.3})
    with pytest.raises(SystemExit) as ended:
        main(shell(tiny_profile, tmp_path, "--verify", "1"))
    assert ended.value.code == status
    shown = capsys.readouterr().out
    assert f"mean-centering-a0-s1: {verdict}; {len(record['metrics'])} measures compared, largest difference" in shown
    assert ("cider" in shown) == changed


def test_command_draws_the_runs_it_verifies_by_seed(
    record: dict, tiny_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for seed in range(2, 12):
        moved = record | {"seed": seed}
        record_path("demo", record["method"], 0.0, seed, tmp_path / "results").write_text(json.dumps(moved))
    tasks = note_tasks(monkeypatch)
    for seed in ("0", "0", "1"):
        with pytest.raises(SystemExit):
            main(shell(tiny_profile, tmp_path, "--verify", "4", "--seed", seed))
    drawn = [list(noted) for noted in tasks]
    assert [len(set(names)) for names in drawn] == [4, 4, 4]
    assert drawn[0] == drawn[1] != drawn[2]


# ---- the command


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["--jobs", "0"], "--jobs must be 1 or more, got 0"),
        (["--jobs", "x"], "invalid int value: 'x'"),
        (["--verify", "0"], "--verify must be 1 or more, got 0"),
        (["--verify", "-2"], "--verify must be 1 or more, got -2"),
        (["--verify", "2"], "--verify 2: profile 'demo' has 1 records"),
        (["--profile", "demoo"], "unknown profile 'demoo'"),
    ],
)
def test_command_names_a_bad_argument(
    arguments: list[str], named: str, record: dict, tiny_profile: Profile, tmp_path: Path, capsys
):
    with pytest.raises(SystemExit) as ended:
        main(shell(tiny_profile, tmp_path, *arguments))
    assert ended.value.code == 2
    assert named in capsys.readouterr().err


def test_command_sweeps(tiny_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick, in_threads):
    monkeypatch.setattr(tpccma.runs.sweep, "planned_jobs", lambda name: [CENTRED])
    main(shell(tiny_profile, tmp_path, "--jobs", "2"))
    assert is_recorded(tiny_profile, CENTRED, tmp_path / "results")


def test_command_says_which_runs_failed(tiny_profile: Profile, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(tpccma.runs.sweep, "sweep", lambda *given: ["demo clip-a0-s1", "demo clip-a0-s2"])
    with pytest.raises(SystemExit) as ended:
        main(shell(tiny_profile, tmp_path))
    assert ended.value.code == 1
    assert capsys.readouterr().err == "2 runs failed: demo clip-a0-s1, demo clip-a0-s2\n"


def test_command_passes_the_data_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    given: list[Profile] = []
    monkeypatch.setattr(tpccma.runs.sweep, "sweep", lambda profile, *others: given.append(profile) or [])
    main(["--profile", "fashion", "--data-dir", str(tmp_path)])
    assert given[0].data.data_dir == tmp_path


def test_command_searches_rates(tiny_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    table = pd.DataFrame({"method": "clip", "learning_rate": [1e-4, 1e-3], "score": [0.2, 0.3]})
    monkeypatch.setattr(tpccma.runs.sweep, "search_rates", lambda *given: table)
    monkeypatch.setattr(tpccma.runs.sweep, "sweep", lambda *given: pytest.fail("swept"))
    main(shell(tiny_profile, tmp_path, "--grid"))
    assert capsys.readouterr().out == "{'clip': 0.001}\n"
