"""Sphinx extension: a figure leads to its picture alone, which a phone shows as large as it is drawn."""

import re

from sphinx.application import Sphinx

FIGURE = re.compile(r'(<figure[^>]*>\s*)(<img\b[^>]*\bsrc="([^"]+)"[^>]*>)')
LINKED = r'\1<a class="reference internal image-reference" href="\3">\2</a>'


def link_figures(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Put a link around the picture of every figure; its name is the picture's description."""
    if body := context.get("body"):
        context["body"] = FIGURE.sub(LINKED, body)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", link_figures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
