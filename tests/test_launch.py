"""Notebooks that are launched on Colab install what they need there, and do nothing about it anywhere else."""

import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nbformat
import pytest
import yaml
from IPython.core.inputtransformer2 import TransformerManager
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

ROOT = Path(__file__).parents[1]
LAUNCH = SimpleNamespace(**runpy.run_path(str(ROOT / "book" / "_ext" / "launch.py")))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())


class Shell:
    """Notes what a cell would have IPython do."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def system(self, command: str) -> None:
        self.told.append(("!", command))

    def run_line_magic(self, name: str, line: str) -> None:
        self.told.append((name, line))


def run_the_cell() -> list[tuple[str, ...]]:
    """Run the text of the cell as IPython does, before a shell that does nothing."""
    shell = Shell()
    exec(TransformerManager().transform_cell(LAUNCH.SOURCE), {"get_ipython": lambda: shell})
    return shell.told


def old_notebook(path: Path) -> Path:
    """Write a notebook with a title, parameters and a result, executed without the cell."""
    new, kernel = nbformat.v4, {"name": "python3", "language": "python", "display_name": "Python 3"}
    parameters = new.new_code_cell("alpha = 0.5", metadata={"tags": ["parameters"]}, execution_count=1)
    result = new.new_output("execute_result", execution_count=2)
    cells = [new.new_markdown_cell("# Title"), parameters, new.new_code_cell("a", execution_count=2, outputs=[result])]
    nbformat.write(new.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_installs_by_the_one_text_or_not_at_all(path: Path):
    cells = nbformat.read(path, as_version=4).cells
    naming = [cell for cell in cells if cell.cell_type == "code" and "google.colab" in cell.source]
    assert len(naming) == LAUNCH.installs(path), "python book/_ext/launch.py NOTEBOOK brings it up to date"
    assert all((cell.execution_count, cell.outputs) == (1, []) for cell in naming)


def test_the_first_chapters_and_those_on_other_models_can_be_launched():
    launched = {path.stem[:2] for path in NOTEBOOKS if LAUNCH.installs(path)}
    assert launched >= {"01", "02", "03", "04", "re", "yo"}


def test_colab_clones_the_repository_installs_it_and_goes_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    assert run_the_cell() == [
        ("!", f"git clone --quiet --depth 1 {CONFIG['repository']['url']} /content/tpccma"),
        ("pip", "install --quiet /content/tpccma myst-nb"),
        ("cd", "-q /content/tpccma"),
    ]


def test_elsewhere_nothing_is_installed():
    assert "google.colab" not in sys.modules and run_the_cell() == []


def test_cell_comes_first_and_what_was_executed_is_counted_on(tmp_path: Path):
    path = old_notebook(tmp_path / "old.ipynb")
    assert not LAUNCH.installs(path)
    LAUNCH.put_into(path)
    cells = nbformat.read(path, as_version=4).cells
    assert LAUNCH.installs(path) and cells[1].source == LAUNCH.SOURCE
    assert [(cell.id, cell.get("execution_count")) for cell in cells] == [("0", None), ("1", 1), ("2", 2), ("3", 3)]
    assert cells[3].outputs[0].execution_count == 3


def test_cell_of_another_age_is_replaced_and_ours_left(tmp_path: Path):
    path = old_notebook(tmp_path / "old.ipynb")
    LAUNCH.put_into(path)
    put = path.read_bytes()
    path.write_text(path.read_text().replace("--depth 1", "--depth 2"))
    assert path.read_bytes() != put and not LAUNCH.installs(path)
    for _ in range(2):
        LAUNCH.put_into(path)
        assert path.read_bytes() == put


def test_parameters_of_papermill_come_after_those_of_the_notebook(tmp_path: Path):
    path = old_notebook(tmp_path / "old.ipynb")
    LAUNCH.put_into(path)
    given = parameterize_notebook(load_notebook_node(str(path)), {"alpha": 0.05})
    assert [cell.source for cell in given.cells[1:4]] == [LAUNCH.SOURCE, "alpha = 0.5", "# Parameters\nalpha = 0.05\n"]


def test_intro_says_as_much_as_the_cell():
    assert f"{LAUNCH.MEGABYTES} MB" in (ROOT / "book" / "intro.md").read_text()
