"""Sphinx extension: the bibliography names its entries as the text cites them, by author and year.

Of two entries of one author and year the second has a letter behind its year, in both places.
"""

from collections.abc import Iterator

from pybtex.database import Entry, Person
from pybtex.plugin import register_plugin
from pybtex.richtext import Text
from pybtex.style.formatting.plain import Style as PlainStyle
from pybtex.style.labels import BaseLabelStyle
from pybtex.style.template import node
from sphinx.application import Sphinx
from sphinxcontrib.bibtex.style.referencing import basic_author_year


def last_name(person: Person) -> str:
    return " ".join([*person.prelast_names, *person.last_names])


def names(people: list[Person]) -> str:
    """One author, both of two, or the first of more."""
    first = last_name(people[0])
    if len(people) == 2:
        return f"{first} and {last_name(people[1])}"
    return first if len(people) == 1 else f"{first} et al."


class AuthorYearLabels(BaseLabelStyle):
    def format_labels(self, sorted_entries: list[Entry]) -> Iterator[str]:
        """Label each entry; of two with one label the second gets a b."""
        given: dict[str, int] = {}
        for entry in sorted_entries:
            label = f"{names(entry.persons['author'])}, {entry.fields['year']}"
            given[label] = given.get(label, 0) + 1
            yield label if given[label] == 1 else label + "abcdefgh"[given[label] - 1]


class AuthorYearStyle(PlainStyle):
    default_label_style = AuthorYearLabels


@node
def labelled_year(children: list, data: dict) -> Text:
    """The year as the label has it."""
    return Text(data["formatted_entry"].label.rpartition(", ")[2])


def setup(app: Sphinx) -> dict[str, bool]:
    basic_author_year.year = labelled_year  # in place of the field, which has no letter
    register_plugin("pybtex.style.formatting", "author_year", AuthorYearStyle)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
