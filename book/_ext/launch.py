"""Sphinx extension: the buttons of Colab and Binder stand above notebooks that install what they need, and only there.

Such a notebook begins with one cell, whose text stands here. From the root, this puts it into a notebook that lacks it,
or brings it up to date there:

    .venv/bin/python book/_ext/launch.py notebooks/03_train.ipynb
"""

import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from sphinx.application import Sphinx

AFTER_THE_THEME = 900
# A clone, and the packages of the library and of the cell at the versions of requirements.lock, but torch and
# torchvision, which Colab has, as it has many others. By `pip download --no-deps`.
MEGABYTES = 340
SAID = f"Colab installs the book here, at most {MEGABYTES} MB to download"
SOURCE = f"""\
# {SAID}; elsewhere nothing happens.
import sys

if "google.colab" in sys.modules:
    !git clone --quiet --depth 1 https://github.com/tpc-cma/tpccma /content/tpccma
    %pip install --quiet /content/tpccma myst-nb
    %cd -q /content/tpccma"""
METADATA = {"mystnb": {"code_prompt_show": SAID}, "tags": ["hide-input"]}


def installing_cell(notebook: NotebookNode) -> NotebookNode | None:
    """The first cell with code, if it is ours, of whatever age."""
    first = next((cell for cell in notebook.cells if cell.cell_type == "code"), None)
    return first if first and "google.colab" in first.source else None


def installs(path: Path) -> bool:
    """Whether a notebook installs what it needs, by the text that stands here."""
    cell = installing_cell(nbformat.read(path, as_version=4))
    return cell is not None and cell.source == SOURCE and cell.metadata == METADATA


def count_on(cells: list[NotebookNode]) -> None:
    """Let one cell more have been executed before these."""
    for counted in (part for cell in cells for part in (cell, *cell.get("outputs", ()))):
        if counted.get("execution_count"):
            counted.execution_count += 1


def put_into(path: Path) -> None:
    """Put the cell in front of a notebook's code, as if executed first there, or replace an older one."""
    notebook = nbformat.read(path, as_version=4)
    cell = installing_cell(notebook)
    if cell is None:
        count_on(notebook.cells)
        cell = nbformat.v4.new_code_cell(execution_count=1)
        notebook.cells.insert([each.cell_type for each in notebook.cells].index("code"), cell)
    cell.update(source=SOURCE, metadata=nbformat.from_dict(METADATA))
    for number, each in enumerate(notebook.cells):
        each.id = str(number)  # as nbstripout counts them
    nbformat.write(notebook, path)


def leave_where_installed(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Take the theme's buttons off a page that installs nothing."""
    path = Path(app.env.doc2path(page))
    if path.suffix != ".ipynb" or not installs(path):
        context["header_buttons"] = [one for one in context["header_buttons"] if one.get("label") != "launch-buttons"]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", leave_where_installed, priority=AFTER_THE_THEME)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    for name in sys.argv[1:]:
        put_into(Path(name))
