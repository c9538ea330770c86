"""Sphinx extension: the directive `cite-this` shows CITATION.cff as BibTeX, the software first, then the paper."""

from pathlib import Path

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def people(entry: dict) -> str:
    """Name the authors as BibTeX does; a group keeps its name whole."""
    named = [
        f"{{{one['name']}}}" if "name" in one else f"{one['family-names']}, {one['given-names']}"
        for one in entry["authors"]
    ]
    return " and ".join(named)


def bibtex(key: str, entry: dict, more: dict[str, str]) -> str:
    """Write one entry."""
    fields = {"title": f"{{{entry['title']}}}", "author": people(entry), **more}
    return "\n".join([f"@misc{{{key},", *(f"  {name} = {{{value}}}," for name, value in fields.items()), "}"])


class CiteThis(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir).resolve().parent / "CITATION.cff"
        self.env.note_dependency(str(path))
        cff = yaml.safe_load(path.read_text())
        paper = cff["references"][0]
        software = {"version": cff["version"], "url": cff["repository-code"]}
        published = {"year": paper["year"], "url": paper["url"]}
        both = bibtex("tpccma-book", cff, software) + "\n\n" + bibtex("tpccma", paper, published)
        block = nodes.literal_block(both, both, language="bibtex")
        title = nodes.title("", "Cite this")
        return [nodes.admonition("", title, nodes.paragraph(text=cff["message"]), block)]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("cite-this", CiteThis)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
