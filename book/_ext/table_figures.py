"""Sphinx extension: what a cell shows under a name that begins with tab- is numbered and cited as a table, no figure.

A notebook gives any output a caption by its metadata ``mystnb: {figure: {caption, name}}``.
"""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator


class TableFigure(nodes.figure):
    """A table with a caption, from a cell."""


def rename(app: Sphinx, tree: nodes.document) -> None:
    for figure in list(tree.findall(nodes.figure)):
        if any(name.startswith("tab-") for name in figure["names"]):
            table = TableFigure("", *figure.children, **figure.attributes)
            figure.replace_self(table)
            tree.ids.update(dict.fromkeys(table["ids"], table))


def setup(app: Sphinx) -> dict[str, bool]:
    html = (HTML5Translator.visit_figure, HTML5Translator.depart_figure)
    app.add_enumerable_node(TableFigure, "table", html=html)
    app.connect("doctree-read", rename)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
