"""A run on one page: its measures beside its base's, its curves, and what is damaged by name."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tpccma import load_profile
from tpccma.cli import app
from tpccma.training.encoders import load_encoder, weights_path

KEY = {"profile": "demo", "method": "tpc-cma", "alpha": 0.5, "seed": 1}


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (tmp_path / "results" / "demo").mkdir(parents=True)
    folder.mkdir()
    metrics = {"raw_gap": 0.25, "cider": 0.5, "cone_text": 0.125}
    record = KEY | {
        "metrics": metrics,
        "training": {"learning_rate": 0.001},
        "hardware": {"device": "<two> cores", "threads": 2},
    }
    (folder / "record.json").write_text(json.dumps(record))
    (folder / "steps.csv").write_text("step,loss,alpha,learning_rate\n0,3.0,0,0.1\n1,2.0,0.5,0.1\n")
    base = KEY | {"method": "base", "alpha": 0.0, "metrics": {"raw_gap": 0.75}}
    (tmp_path / "results" / "demo" / "base-a0-s1.json").write_text(json.dumps(base))
    return folder


def test_page_holds_measures_settings_and_curves(finished: Path, tmp_path: Path):
    result = run("report", finished, "--out", tmp_path / "page.html", "--results-dir", tmp_path / "results")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'page.html'}\n")
    page = (tmp_path / "page.html").read_text()
    assert "<tr><td>raw gap</td><td>0.2500</td><td>0.7500</td></tr>" in page
    assert "<tr><td>CIDEr raw-fed</td><td>0.5000</td><td>not measured</td></tr>" in page
    assert (
        "<tr><td>learning rate</td><td>0.001</td></tr>" in page
        and "<td>device &lt;two&gt; cores, threads 2</td>" in page
    )
    assert (
        "The loss is a sum" in page
        and "<summary>1 more</summary>" in page
        and "<td>cone of the texts</td><td>0.1250</td>" in page
    )
    assert "The model, fine-tuned by the training data of profile demo, measured on its test data" in page
    assert page.count("<svg") == 1 and "<img" not in page and "<script" not in page and "<link" not in page


def test_page_names_the_model(finished: Path, tmp_path: Path):
    load_encoder(load_profile("demo"), weights_path(load_profile("demo"))).save(finished / "model.safetensors")
    run("report", finished, "--out", tmp_path / "page.html")
    assert "<p>tpccma-demo, from demo_base.safetensors, fine-tuned by" in (tmp_path / "page.html").read_text()


def test_run_without_steps_was_not_trained(finished: Path, tmp_path: Path):
    (finished / "steps.csv").unlink()
    assert run("report", finished, "--out", tmp_path / "page.html").exit_code == 0
    page = (tmp_path / "page.html").read_text()
    assert "Not trained." in page and "The loss is a sum" not in page


def test_what_is_missing_or_damaged_is_named(finished: Path, tmp_path: Path):
    none = run("report", tmp_path)
    (finished / "record.json").write_text("{}")
    for result, named in ((none, "there is no"), (run("report", finished), "record.json is damaged")):
        assert (result.exit_code, result.stdout) == (2, "") and named in result.stderr
