"""Chapters at other parameters than those they are published with."""

import json
from pathlib import Path

import papermill
import pytest

from tpccma.runs.jobs import DIAL

ROOT = Path(__file__).parents[1]


@pytest.mark.deep
def test_chapter_04_repeats_all_three_alphas(tmp_path: Path):
    executed = tmp_path / "04.ipynb"
    given = {"alphas": [0.0, 0.05, 0.5], "method": DIAL}
    papermill.execute_notebook(
        ROOT / "notebooks/04_evaluate.ipynb", executed, given, kernel_name="python3", cwd=ROOT, progress_bar=False
    )
    outputs = [out for cell in json.loads(executed.read_text())["cells"] for out in cell.get("outputs", [])]
    texts = ["".join(out.get("data", {}).get("text/plain", "")) for out in outputs]
    (verdicts,) = [text for text in texts if "as published" in text]
    assert all(f"alpha {alpha:g}" in verdicts for alpha in given["alphas"])
    assert "differs" not in verdicts and "not published" not in verdicts
