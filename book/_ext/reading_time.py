"""Sphinx extension: how long a page takes to read, counted from its prose.

    {minutes}`notebooks/03_train`

is the whole number of minutes that the words of a page take at `WORDS` a minute, code and outputs left out.
"""

import json
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole

WORDS = 200  # a minute: a usual pace for what is not read for pleasure


def prose_of(page: Path) -> str:
    """The Markdown of a notebook, or of a page."""
    if page.suffix == ".md":
        return page.read_text()
    cells = json.loads(page.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def minutes_of(words: int) -> int:
    """Whole minutes, one at least."""
    return max(1, round(words / WORDS))


class MinutesRole(SphinxRole):
    """The minutes of a page."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            page = Path(self.env.doc2path(self.text))
            self.env.note_dependency(str(page))
            return [nodes.Text(str(minutes_of(len(prose_of(page).split()))))], []
        except (OSError, ValueError) as error:
            message = self.inliner.reporter.error(f"minutes: {error}", line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_role("minutes", MinutesRole())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
