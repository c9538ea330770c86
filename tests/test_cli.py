"""The command: every part of it called as a shell does, its exit status, and what goes to which stream."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner, Result

import tpccma.evidence.budget
import tpccma.runs.rates
import tpccma.runs.record
import tpccma.runs.records
import tpccma.runs.sweep
from tests.conftest import CENTRED, FOUND
from tests.paper_world import PAIRS, SHARDS, write_world
from tests.results_by_hand import rows
from tpccma import load_profile
from tpccma.cli import app
from tpccma.profiles import Profile
from tpccma.runs.choices import GRID
from tpccma.runs.jobs import DIAL, SCENES
from tpccma.runs.places import find_profile
from tpccma.runs.records import load_records, record_path
from tpccma.runs.sweep import recorded
from tpccma.tasks.evaluation import Evaluated
from tpccma.training.encoders import weights_path

RESULTS = Path(__file__).parents[1] / "results"


def run(*arguments: str | Path) -> Result:
    """Call the command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def shell(tiny_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options that name the tiny profile in a file; all work goes below tmp_path, where the shell is."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(yaml.safe_dump(tiny_profile.model_dump(mode="json")))
    return ["--profile", "tiny.yaml"]


def refused(result: Result, named: str) -> None:
    """See that the user is told in a line what to mend, and nothing else."""
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert named in result.stderr


# ---- the door


def test_help_names_every_command_and_neither_it_nor_the_claims_need_torch():
    watch = "import sys; from tpccma.cli import app; app({}, standalone_mode=False); print('torch' in sys.modules)"
    for arguments, shown in ((["--help"], "verify"), (["claims", "--results-dir", str(RESULTS)], "C8")):
        done = subprocess.run([sys.executable, "-c", watch.format(arguments)], capture_output=True, text=True)
        assert done.returncode == 0 and shown in done.stdout and done.stdout.endswith("False\n"), done.stderr
    names = {
        "gap",
        "embed",
        "export",
        "report",
        "train",
        "evaluate",
        "dial",
        "base",
        "aligned",
        "sweep",
        "fronts",
        "slider",
        "rates",
        "verify",
        "real",
        "plan",
        "claims",
    }
    assert {command.name for command in app.registered_commands} == names
    assert all(run(name, "--help").exit_code == 0 for name in names)


def test_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "tpccma", "train", "--alpha", "x"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "") and "--alpha" in done.stderr
    assert run().exit_code == 2  # help, and nothing done


@pytest.mark.parametrize("name", ["sweep", "rates", "verify"])
@pytest.mark.parametrize(
    "arguments, named",
    [
        (["--jobs", "0"], "'--jobs': must be 1 or more, got 0"),
        (["--jobs", "x"], "'--jobs'"),
        (["--profil", "demo"], "--profil"),
    ],
)
def test_bad_option_is_named(name: str, arguments: list[str], named: str):
    result = run(name, *arguments)
    assert (result.exit_code, result.stdout) == (2, "") and named in result.stderr


@pytest.mark.parametrize("name", ["train", "evaluate", "sweep", "rates", "verify", "plan"])
def test_unknown_profile_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    refused(run(name, "--profile", "demoo"), "unknown profile 'demoo'")
    assert list(tmp_path.iterdir()) == []


def test_interruption_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch):
    def interrupt(*given, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(tpccma.runs.sweep, "sweep", interrupt)
    result = run("sweep")
    assert (result.exit_code, result.stderr) == (130, "interrupted; the same command goes on from here\n")
    monkeypatch.setattr(tpccma.evidence.budget, "read_budget", interrupt)
    result = run("dial", "a.safetensors", "b.safetensors", "--budget", "raw_gap -1%", "--profile", "demo")
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")  # it starts over


# ---- places of data


@pytest.mark.parametrize("name", ["train", "evaluate", "sweep", "rates", "verify", "plan"])
@pytest.mark.parametrize(
    "arguments, named",
    [
        (["--profile", "demo", "--data-dir", "."], "'demo' takes no --data-dir: it takes no place of data"),
        (["--profile", "fashion", "--captions", "."], "'fashion' takes no --captions: it takes --data-dir"),
        (["--profile", "photos", "--data-dir", "."], "takes no --data-dir: it takes --images-dir, --captions"),
        (["--profile", "fashion", "--data-dir", "no/where"], "there is no no/where, which --data-dir names"),
        (["--profile", "photos", "--images-dir", "no/where"], "there is no no/where, which --images-dir names"),
        (["--profile", "paper", "--data-dir", ".", "--captions", "no.json"], "there is no no.json, which --captions"),
    ],
)
def test_place_that_a_profile_does_not_have_or_is_missing_is_named(
    name: str, arguments: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    refused(run(name, *arguments), named)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["train", "sweep"])
@pytest.mark.parametrize("profile", ["fashion", "photos", "paper"])
def test_place_that_was_not_said_is_asked_for(name: str, profile: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(run(name, "--profile", profile), "say where the data lie")


def test_places_go_into_the_profile(tmp_path: Path):
    (tmp_path / "coco").mkdir()
    assert find_profile("fashion", data_dir=tmp_path).data.data_dir == tmp_path
    photos = find_profile("photos", images_dir=tmp_path, captions=tmp_path / "coco").data
    assert (photos.images_dir, photos.captions) == (tmp_path, tmp_path / "coco")
    paper = find_profile("paper", tmp_path, images_dir=Path("coco")).data
    assert (paper.data_dir, paper.images_dir) == (tmp_path, Path("coco"))  # found below the first


# ---- gap


@pytest.fixture
def embeddings(tmp_path: Path) -> tuple[Path, Path]:
    """Two pairs at right angles to each other: every text is its picture, turned by 90 degrees."""
    images, texts = np.eye(4, dtype=np.float32)[:2], np.eye(4, dtype=np.float32)[2:]
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "texts.npy", 3 * texts)
    return tmp_path / "images.npy", tmp_path / "texts.npy"


def test_gap_is_that_of_the_arrays(embeddings: tuple[Path, Path]):
    shown = run("gap", *embeddings, "--normalize")
    assert (shown.exit_code, shown.stderr) == (0, "") and shown.stdout.startswith("2 pairs of width 4\n")
    names = ["raw", "centroid", "distribution", "scale-free"]
    assert [line.split()[0] for line in shown.stdout.splitlines()[1:5]] == names
    assert [line.split()[0] for line in shown.stdout.splitlines()[8:12]] == names  # centred
    found = json.loads(run("gap", *embeddings, "--normalize", "--json").stdout)
    # every pair is sqrt(2) apart; the means (1/2, 1/2, 0, 0) and (0, 0, 1/2, 1/2) are 1 apart; sqrt(2 - 1) is left
    assert [found[name] for name in ("raw", "centroid", "distribution")] == pytest.approx([2**0.5, 1, 1])
    assert found["raw_interval"] == pytest.approx([2**0.5, 2**0.5])


def test_gap_refuses_rows_of_other_lengths_and_files_that_are_not_there(embeddings: tuple[Path, Path]):
    refused(run("gap", *embeddings), "length")
    refused(run("gap", embeddings[0], "none.npy"), "none.npy")
    assert run("gap", *embeddings, "--resamples", "0").exit_code == 2
    assert run("gap", embeddings[0]).exit_code == 2


# ---- train and evaluate


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["--alpha", "-1"], "alpha must be"),
        (["--alpha", "nan"], "alpha must be"),
        (["--method", "sgd"], "unknown method 'sgd': give one of base, tpc-cma"),
        (["--method", "clip", "--alpha", "0.5"], "method 'clip' has no dial"),
        (["--method", "base", "--alpha", "0.5"], "takes no alpha, got alpha=0.5"),
        (["--seed", "-3"], "seed must be"),
    ],
)
def test_impossible_run_is_named_before_any_work(arguments: list[str], named: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(run("train", *arguments), named)
    assert list(tmp_path.iterdir()) == []


def test_train_leaves_a_record(shell: list[str], tiny_profile: Profile, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tpccma.runs.record, "evaluate_whole", lambda run, corpus: Evaluated({"raw_gap": 0.5}, {}, {}))
    values = load_profile(tiny_profile, fine_tune__epochs=1).model_dump(mode="json")
    Path("tiny.yaml").write_text(yaml.safe_dump(values))
    result = run("train", *shell, "--alpha", "0.5", "--seed", "1")
    folder, path = result.stdout.splitlines()
    assert (result.exit_code, path) == (0, "results/demo/tpc-cma-a0.5-s1.json") and Path(path).is_file()
    assert folder.startswith("runs/demo/tpc-cma-a0.5-s1-") and Path(folder, "model.safetensors").is_file()
    by_folder, by_file = (run("evaluate", given, "--profile", "tiny.yaml", "--tasks", "gap", "--json").stdout
                          for given in (folder, f"{folder}/model.safetensors"))  # fmt: skip
    assert by_folder == by_file and json.loads(by_file)["raw_gap"] > 0
    shown = run("train", *shell, "--seed", "1", "--json").stdout  # 0.5 is the dial's default
    assert json.loads(shown) == json.loads(Path("results/demo/tpc-cma-a0.5-s1.json").read_text())


def test_run_of_a_profile_in_a_file_is_not_measured_on_the_demo(tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "record.json").write_text('{"profile": "mine"}')
    refused(run("evaluate", str(tmp_path / "run")), "is a run of profile 'mine': say its file, --profile FILE.yaml")
    refused(run("evaluate", str(tmp_path / "run"), "--profile", "demo"), "a base that was not trained lies where")
    (tmp_path / "run" / "record.json").unlink()
    (tmp_path / "run" / "code.json").write_text("{}")
    refused(run("evaluate", str(tmp_path / "run")), "the run is not finished")


def test_version_is_the_packages():
    assert run("--version").stdout == f"{version('tpccma')}\n"


def test_fresh_makes_anew_what_other_code_has_made(shell: list[str], record: dict):
    path = Path("results/demo/mean-centering-a0-s1.json")
    (own,) = Path("runs/demo").glob("*/record.json")
    foreign = record | {"code": record["code"] | {"evaluation": "0123456789abcdef"}, "metrics": {"raw_gap": 0.75}}
    for file in (path, own):
        file.write_text(json.dumps(foreign))
    train = ["train", *shell, "--method", "mean-centering", "--seed", "1", "--json"]
    assert json.loads(run(*train).stdout) == foreign == json.loads(path.read_text())
    again = json.loads(run(*train, "--fresh").stdout)
    assert again["metrics"] == record["metrics"] and again["code"] == record["code"]
    assert json.loads(path.read_text()) == again == json.loads(own.read_text())


def test_evaluate_measures_a_checkpoint_and_records_nothing(shell: list[str], tiny_profile: Profile, tmp_path: Path):
    before = sorted(tmp_path.iterdir())
    measured = run("evaluate", weights_path(tiny_profile), *shell, "--tasks", "gap, retrieval", "--json")
    found = json.loads(measured.stdout)
    assert {"raw_gap", "t2i_recall_at_1"} <= found.keys() and "cider" not in found
    shown = run("evaluate", *shell, "--tasks", "gap,retrieval")  # the profile's base, which is the same file
    assert [line.split()[0] for line in shown.stdout.splitlines()] == list(found)
    assert f"raw_gap {found['raw_gap']:.4f}".split() == shown.stdout.splitlines()[0].split()
    assert sorted(tmp_path.iterdir()) == before


def test_evaluate_names_what_it_cannot_take(shell: list[str]):
    refused(run("evaluate", *shell, "--tasks", "gap,sorting"), "unknown task 'sorting': give some of gap, zeroshot")
    refused(run("evaluate", "none.safetensors", *shell), "none.safetensors")


# ---- sweep, rates, verify


def test_sweep_records_what_is_missing(shell: list[str], tiny_profile: Profile, monkeypatch, quick, in_threads):
    monkeypatch.setattr(tpccma.runs.sweep, "planned_jobs", lambda name: [CENTRED])
    result = run("sweep", *shell, "--jobs", "2")
    assert (result.exit_code, result.stdout) == (0, "results/results.csv\n")
    assert "profile demo: 0 runs recorded, 1 to do" in result.stderr
    assert list(recorded(tiny_profile, [CENTRED])) == [CENTRED]


def test_sweep_says_which_runs_failed(shell: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tpccma.runs.sweep, "sweep", lambda *given, fresh: ["demo clip-a0-s1", "demo clip-a0-s2"])
    result = run("sweep", *shell)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "2 runs failed: demo clip-a0-s1, demo clip-a0-s2\n"


def test_rates_prints_the_best(shell: list[str], monkeypatch: pytest.MonkeyPatch):
    row = {"profile": "demo", "method": "clip", "score": 0.2, "diverged": 0}
    trials = [row | {"learning_rate": rate, "seed": 0} for rate in GRID]
    trials += [row | {"learning_rate": rate, "seed": seed} for rate in GRID[:3] for seed in (1, 2)]
    asked = []
    monkeypatch.setattr(
        tpccma.runs.rates, "search_rates", lambda *given: asked.append(given[4]) or pd.DataFrame(trials)
    )
    (found,) = json.loads(run("rates", *shell, "--method", "clip", "--method", "modgap").stdout).items()
    assert found[0] == "clip" and asked == [["clip", "modgap"]]
    assert (found[1]["learning_rate"], found[1]["at_end"], found[1]["diverged"]) == (1e-6, True, 0)


@pytest.mark.parametrize("changed, verdict, status", [(False, "repeats", 0), (True, "DIFFERS", 1)])
def test_verify_repeats_a_recorded_run(
    changed: bool, verdict: str, status: int, shell: list[str], record: dict, in_threads
):
    if changed:
        path = record_path("demo", "mean-centering", 0.0, 1)
        path.write_text(json.dumps(record | {"metrics": record["metrics"] | {"cider": 0.3}}))
    result = run("verify", "1", *shell)
    assert result.exit_code == status
    line = f"mean-centering-a0-s1: {verdict}; {len(record['metrics'])} measures compared, largest difference"
    assert result.stdout.startswith(line) and "tolerance 0.0001" in result.stdout
    assert ("cider" in result.stdout.splitlines()[-1]) == changed or not changed
    assert "1/1 mean-centering-a0-s1 done" in result.stderr
    (found,) = json.loads(run("verify", *shell, "--json").stdout)
    assert (found["run"], found["outcome"]) == ("mean-centering-a0-s1", verdict)
    assert {row["measure"] for row in found["measures"]} == record["metrics"].keys() >= FOUND.keys()


def test_verify_refuses_what_other_settings_have_made(shell: list[str], tiny_profile: Profile, record: dict):
    other = load_profile(tiny_profile, evaluation__kmeans_restarts=7)
    Path("other.yaml").write_text(yaml.safe_dump(other.model_dump(mode="json")))
    named = "mean-centering-a0-s1 of profile 'demo' was recorded with other settings than the profile names now"
    refused(run("verify", "--profile", "other.yaml"), named)


def test_verify_of_a_changed_profile_names_in_what_it_differs_from_the_one_that_ships(tmp_path: Path):
    path = tmp_path / "changed.yaml"
    path.write_text("extends: demo\nname: demo\nfine_tune: {epochs: 3}\n")
    named = "'demo' differs from the one that ships by that name (in fine_tune.epochs)"
    refused(run("verify", "--profile", path, "--results-dir", RESULTS), named)


def test_csv_in_a_folder_that_became_read_only_is_named(shell: list[str], record: dict, monkeypatch):
    Path("results/results.csv").unlink()
    write = tpccma.runs.records.write_whole

    def read_only(path: Path, text: str) -> None:
        if Path(path).suffix == ".csv":
            raise OSError(30, "Read-only file system", str(path))
        write(path, text)

    monkeypatch.setattr(tpccma.runs.records, "write_whole", read_only)
    result = run("train", *shell, "--method", "mean-centering", "--alpha", "0", "--seed", "1")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1].startswith("error: results/results.csv is not what the records say and")


@pytest.mark.parametrize("count, named", [("0", "must be 1 or more, got 0"), ("-2", "-2"), ("2", "has 1 records")])
def test_verify_names_a_number_that_there_is_not(count: str, named: str, shell: list[str], record: dict):
    result = run("verify", *shell, count)
    assert (result.exit_code, result.stdout) == (2, "") and named in result.stderr


# ---- plan, claims, base


def test_plan_counts_the_data_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(
        "extends: paper\ndata: {shards: 'cc3m/{00000..00002}.tar'}\n"
        "model: {name: tpccma-demo, pretrained: null}\nfine_tune: {batch_size: 4}\n"
    )
    given = ["plan", "--profile", "small.yaml", "--data-dir", write_world(tmp_path / "world")]
    shown = run(*given).stdout
    assert f"{SHARDS * PAIRS}   _stats.json of {SHARDS} shards" in shown
    assert f"tpccma train --profile small.yaml --method {DIAL} --alpha 0.5 --seed 0\n" in shown
    found = json.loads(run(*given, "--commands", "sweep.sh", "--json").stdout)
    assert (
        Path("sweep.sh").read_text().splitlines() == found["commands"] == shown.splitlines()[-len(found["commands"]) :]
    )
    assert found["figures"][0] == {
        "what": "pairs in an epoch",
        "value": str(SHARDS * PAIRS),
        "source": f"_stats.json of {SHARDS} shards",
    }
    assert run(*given, "--commands", "sweep.sh").stdout.endswith("\nThe sweep, in order: sweep.sh\n")
    (tmp_path / "world" / "cc3m" / "00001.tar").unlink()
    refused(run(*given), "shards of")
    refused(
        run("plan", "--profile", "demo", "--batch-size", "3", "--gpus", "2"), "batch size 3 does not divide among 2"
    )


def test_claims_prints_the_table(tmp_path: Path):
    gaps = {("base", 0): 0.8, (DIAL, 0): 0.4, (DIAL, 0.5): 0.2}
    results = [row for run, gap in gaps.items() for row in rows(*run, [0, 1, 2], raw_gap=gap)]
    pd.DataFrame(results).assign(profile=SCENES).to_csv(tmp_path / "results.csv", index=False)
    lines = run("claims", "--results-dir", tmp_path).stdout.splitlines()
    start = lines.index("C3  gap reduction at alpha 0.5: 82.3 %; hangs on which gap counts")
    # 1 - 0.2 / 0.8 = 75 % against the base, 91 % of 82.3; but 1 - 0.2 / 0.4 = 50 % against continued CLIP
    raw = "as large, 75.0 [75.0, 75.0] %, 0.91 times the paper's (against continued CLIP: smaller)"
    assert f"    {SCENES}, {DIAL}: {raw}" in lines[start + 1 : start + 7]
    assert f"    {SCENES}, tpc-cma-paired: not run" in lines[start + 1 : start + 7]
    found = json.loads(run("claims", "--results-dir", tmp_path, "--json").stdout)
    assert {"claim", "profile", "reading", "paper", "ours", "verdict"} <= found[0].keys()


def test_claims_without_results_are_asked_for(tmp_path: Path):
    refused(run("claims", "--results-dir", tmp_path), "results.csv")


def test_base_is_made_by_its_maker(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tpccma.training.make_base.make_base", lambda: print("made"))
    assert run("base").stdout == "made\n"
    assert load_records("nowhere") == []
