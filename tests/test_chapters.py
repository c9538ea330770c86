"""Chapters at other parameters than those they are stored with, and the commands that they show."""

import json
import re
from pathlib import Path

import papermill
import pytest
import typer

from tpccma.cli import app
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
    (verdicts,) = [text for text in texts if "as recorded" in text]
    assert all(f"alpha {alpha:g}" in verdicts for alpha in given["alphas"])
    assert "differs" not in verdicts and "not recorded" not in verdicts


def text_of(path: Path) -> str:
    """A page's text and code, lines that go on joined."""
    text = path.read_text()
    if path.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return text.replace("\\\n", " ")


@pytest.mark.parametrize("page", ["your_own_clip.ipynb", "16_full_size.md"])
def test_commands_that_a_page_shows_exist_with_their_options(page: str):
    commands = typer.main.get_command(app).commands
    shown = re.findall(r"^%?(?:accelerate launch -m )?tpccma ([a-z]+) (.*)$", text_of(ROOT / "notebooks" / page), re.M)
    assert len(shown) >= 3
    for name, rest in shown:
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, f"{name} {rest}"


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_chapter_stores_no_warning(path: Path):
    """What was said on stderr, such as that a run was made by other code, is of the machine that executed it."""
    outputs = [out for cell in json.loads(path.read_text())["cells"] for out in cell.get("outputs", [])]
    assert ["".join(out["text"]) for out in outputs if out.get("name") == "stderr"] == []
