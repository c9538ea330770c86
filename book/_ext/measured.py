"""Sphinx extension: numbers of results/results.csv in prose, and the table of claims computed from it.

    {measured}`demo dial 0.5 zeroshot_top1`      mean over seeds, to two digits
    {reduction}`demo dial 0.5 raw_gap`           mean over seeds of the per cent below the base, to whole per cent
    {default}`demo loss.hardness`                a value of a profile
    {constant}`tpccma.data.pictures.MAX_PIXELS`  a number of a module

    ```{claims-table}
    ```

The method "dial" is the one whose dial was swept. A number that the results do not hold is an error, which stops a
build whose warnings are errors.
"""

from functools import cache, reduce
from importlib import import_module
from pathlib import Path

import pandas as pd
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

from tpccma.evidence.claims import both_readings, measured, reduced
from tpccma.evidence.readme import describe_marks, describe_strip, strip
from tpccma.evidence.table import load_results
from tpccma.profiles import load_profile
from tpccma.runs.jobs import DIAL


def read_results(env) -> pd.DataFrame:
    """The results; the page is rendered again when they change."""
    folder = Path(env.srcdir).resolve().parent / "results"
    env.note_dependency(str(folder / "results.csv"))
    return _read_once(folder)


_read_once = cache(load_results)  # a build asks a score of times, and no record is made while it runs


class NumberRole(SphinxRole):
    """A number looked up by the words of the role's text."""

    form = "profile method alpha measure"

    def number(self, words: list[str]) -> str:
        return f"{measured(read_results(self.env), *self.setting(words)):.2f}"

    def setting(self, words: list[str]) -> tuple[str, str, float, str]:
        profile, method, alpha, column = words
        return profile, DIAL if method == "dial" else method, float(alpha), column

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        words = self.text.split()
        try:
            if len(words) != len(self.form.split()):
                raise ValueError(f"{self.text!r} is not of the form {self.form!r}")
            return [nodes.Text(self.number(words))], []
        except (ValueError, FileNotFoundError, AttributeError, ImportError) as error:
            message = self.inliner.reporter.error(f"{self.name}: {error}", line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]


class ReductionRole(NumberRole):
    def number(self, words: list[str]) -> str:
        return f"{reduced(read_results(self.env), *self.setting(words)):.0f} %"


class DefaultRole(NumberRole):
    form = "profile dotted.name"

    def number(self, words: list[str]) -> str:
        value = reduce(getattr, words[1].split("."), load_profile(words[0]))
        if isinstance(value, bool):
            return str(value).lower()  # as YAML has it
        return f"{value:g}" if isinstance(value, float) else str(value)


class ConstantRole(NumberRole):
    form = "module.NAME"

    def number(self, words: list[str]) -> str:
        module, _, name = words[0].rpartition(".")
        return f"{getattr(import_module(module), name):,}"


class ClaimsTable(SphinxDirective):
    """The strip of claims, whose effects it shows above it and its marks below."""

    def run(self) -> list[nodes.Node]:
        try:
            claims = both_readings(read_results(self.env))
        except (ValueError, FileNotFoundError) as error:
            raise self.error(f"claims-table: {error}") from None
        shown = strip(claims)
        lines = [["", *shown.columns], *([claim, *cells] for claim, *cells in shown.itertuples())]
        said = (describe_strip(claims).replace("`", ""), f"Marks: {describe_marks(claims)}.")
        above, below = (nodes.paragraph(text=text) for text in said)
        return [above, table(lines), below]


def table(lines: list[list[str]]) -> nodes.table:
    """A docutils table, its first line the header; a line break in a cell parts paragraphs."""
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in lines[0]), cols=len(lines[0]))
    for part, members in ((nodes.thead(), lines[:1]), (nodes.tbody(), lines[1:])):
        for line in members:
            entries = [nodes.entry("", *map(written, cell.split("\n"))) for cell in line]
            part += nodes.row("", *entries)
        group += part
    return nodes.table("", group, classes=["colwidths-auto"])


def written(text: str) -> nodes.paragraph:
    """A paragraph that keeps its text as it is: of two hyphens before an option no dash is made."""
    return nodes.paragraph(text=text, support_smartquotes=False)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_role("measured", NumberRole())
    app.add_role("reduction", ReductionRole())
    app.add_role("default", DefaultRole())
    app.add_role("constant", ConstantRole())
    app.add_directive("claims-table", ClaimsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
