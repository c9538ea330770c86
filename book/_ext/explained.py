"""Sphinx extension: what the glossary explains is linked where it first occurs on a page, and shown there on hover.

A name is linked by hand with {term}`raw gap` or {term}`raw gaps <raw gap>`, or of itself where prose first has it, in
the plural too, which is no name of its own. The first paragraph of its entry stands, hidden, behind the link; book.css
shows it under the pointer and at the keyboard's focus, without a network or a script, and with one, explained.js,
Escape closes it. So first paragraphs are plain words, and formulas come after.
"""

import re
from itertools import count
from typing import NamedTuple

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

GLOSSARY = "glossary"
LINKED = ("intro", "readings", "notebooks/")
NO_PROSE = (nodes.reference, nodes.literal, nodes.math, nodes.title, nodes.caption, nodes.entry, nodes.legend)
# Words of every second sentence, which are linked by hand alone.
PLAIN = re.compile(
    "(embedding|pair|negative|profile|captioning|verdict|seed|record|trial)s?|modalit(y|ies)", re.IGNORECASE
)

logger = logging.getLogger(__name__)


class Entry(NamedTuple):
    """Where the glossary explains something, and its first paragraph."""

    anchor: str
    meaning: str


class Explained(nodes.Inline, nodes.TextElement):
    """A link to an entry, the meaning behind it."""


def visit(writer: HTML5Translator, node: Explained) -> None:
    writer.body.append(f'<a class="reference internal" href="{node["refuri"]}" aria-describedby="{node["name"]}">')


def depart(writer: HTML5Translator, node: Explained) -> None:
    said = writer.encode(node["meaning"])
    writer.body.append(f'</a><span class="meaning" role="tooltip" id="{node["name"]}">{said}</span>')


def read_glossary(app: Sphinx) -> dict[str, Entry]:
    """Map every name, as it stands in the glossary, in the plural and as it begins a sentence, to its entry."""
    found = {}
    for item in app.env.get_doctree(GLOSSARY).findall(nodes.definition_list_item):
        first = next(item.findall(nodes.paragraph))
        if any(first.findall(nodes.math)):
            logger.warning("the first paragraph of an entry is shown on hover: no formula", location=first)
        for term in item.findall(nodes.term):
            entry = Entry(term["ids"][0], without_citations(first))
            for name in (term.astext(), plural(term.astext())):
                found |= dict.fromkeys((name, name[0].upper() + name[1:]), entry)
    return found


def plural(name: str) -> str:
    """More than one of something."""
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"


def without_citations(paragraph: nodes.paragraph) -> str:
    """The words of a paragraph, in one line."""
    said = "".join(part.astext() for part in paragraph if getattr(part, "attributes", {}).get("refdomain") != "cite")
    return " ".join(said.split()).replace(" .", ".").replace(" :", ":")


class Page:
    """One page of the book, and what it has explained so far."""

    def __init__(self, app: Sphinx, name: str, tree: nodes.document) -> None:
        self.tree, self.known = tree, read_glossary(app)
        self.address = app.builder.get_relative_uri(name, GLOSSARY)
        self.numbers, self.done = count(1), set()

    def explained(self, text: str, entry: Entry) -> Explained:
        """Make the link of an occurrence."""
        self.done.add(entry.meaning)
        where = {"refuri": f"{self.address}#{entry.anchor}", "name": f"meaning-{next(self.numbers)}"}
        return Explained(text, text, meaning=entry.meaning, **where)

    def explain_links(self) -> None:
        """Put the meaning behind the links made by hand."""
        anchors = {entry.anchor: entry for entry in self.known.values()}
        for link in list(self.tree.findall(nodes.reference)):
            if link.children and "std-term" in getattr(link[0], "attributes", {}).get("classes", ()):
                anchor = link.get("refid") or link["refuri"].partition("#")[2]
                link.replace_self(self.explained(link.astext(), anchors[anchor]))

    def link_prose(self) -> None:
        """Link the first occurrence of every entry, whichever of its names that has."""
        names = sorted((name for name in self.known if not PLAIN.fullmatch(name)), key=len, reverse=True)
        pattern = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, names))})(?![\w-])")
        for text in [text for each in self.tree.findall(nodes.paragraph) for text in each.findall(nodes.Text)]:
            if not any(isinstance(above, NO_PROSE) for above in lineage(text)):
                text.parent.replace(text, list(self.parts(text, pattern)))

    def parts(self, text: nodes.Text, pattern: re.Pattern):
        """Cut a text at what is explained in it for the first time."""
        end = 0
        for match in pattern.finditer(text):
            if self.known[match[0]].meaning not in self.done:
                yield nodes.Text(text[end : match.start()])
                yield self.explained(match[0], self.known[match[0]])
                end = match.end()
        yield nodes.Text(text[end:])


def lineage(node: nodes.Node):
    """Walk up from a node to its document."""
    while node := node.parent:
        yield node


def explain(app: Sphinx, tree: nodes.document, name: str) -> None:
    if app.builder.name == "html" and (name == GLOSSARY or name.startswith(LINKED)):
        page = Page(app, name, tree)
        page.explain_links()
        if name != GLOSSARY:
            page.link_prose()


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_node(Explained, html=(visit, depart))
    app.connect("doctree-resolved", explain)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
