"""Sphinx extension: the directive `cite-this` shows CITATION.cff as BibTeX, the software first, then the paper."""

from pathlib import Path
from textwrap import wrap

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

WIDTH = 72


def people(entry: dict) -> str:
    """Name the authors as BibTeX does; a group keeps its name whole."""
    named = [
        f"{{{one['name']}}}" if "name" in one else f"{one['family-names']}, {one['given-names']}"
        for one in entry["authors"]
    ]
    return " and ".join(named)


def bibtex(key: str, entry: dict, more: dict[str, str]) -> str:
    """Write one entry, in lines that a page has room for."""
    fields = {"title": f"{{{entry['title']}}}", "author": people(entry), **more}
    lines = [line for name, value in fields.items() for line in field(name, value)]
    return "\n".join([f"@misc{{{key},", *lines, "}"])


def field(name: str, value: str) -> list[str]:
    """Write one field; what does not fit its line stands below, indented."""
    whole = f"  {name} = {{{value}}},"
    return wrap(whole, WIDTH, subsequent_indent=" " * 4, break_long_words=False, break_on_hyphens=False)


def preprint(entry: dict) -> dict[str, str]:
    """Find an entry's number at arXiv."""
    named = [one["value"].partition(":") for one in entry["identifiers"]]
    return next({"eprint": number, "archiveprefix": place} for place, _, number in named if place == "arXiv")


class CiteThis(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir).resolve().parent / "CITATION.cff"
        self.env.note_dependency(str(path))
        cff = yaml.safe_load(path.read_text())
        paper = cff["references"][0]
        software = {"year": self.config.copyright, "version": cff["version"], "url": cff["repository-code"]}
        published = {"year": paper["year"], **preprint(paper), "url": paper["url"]}
        both = bibtex("tpccma-book", cff, software) + "\n\n" + bibtex("tpccma", paper, published)
        block = nodes.literal_block(both, both, language="bibtex")
        title = nodes.title("", "Cite this")
        return [nodes.admonition("", title, nodes.paragraph(text=cff["message"]), block)]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("cite-this", CiteThis)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
