"""One word for one thing, in whatever the book and the README say to a reader, and every source named."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "notebooks").glob("*.ipynb")), *sorted((ROOT / "book").glob("*.md")), ROOT / "README.md"]
# Commands, names in code, targets of links and formulas are not prose.
NO_PROSE = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|<!--.*?-->|\$\$.*?\$\$|\$[^$]*\$|\w+://\S+", re.DOTALL)
UNWANTED = {
    r"\b[Dd]emo\b": "the scenes",
    r"\b(as|not|all|the) published (records?|seeds?|runs?|results)\b|\bas published\b|\bnot published\b": "recorded",
    r"\b[Mm]ean-center|\bcenter(ed|ing)?\b": "mean-centring",
    r"\bclaims? C\d": "(C1)",
    r"\[\d\d\]|\b[Cc]hapters? \d|\b(next|previous) chapter\b": "the chapter's title",
    r"\bcolors?\b|\bgray\b|\bbehavior|(normal|optim|regular|initial|general|summar|character)iz|\banalyz": "British",
}
DESCRIBED = (("figure", "caption"), ("image", "alt"))
CLOCK = re.compile(r"\b(\d+|two|three|four|five|six|eight|ten|fifteen|twenty) (seconds|minutes|hours)\b")


def prose(path: Path) -> Iterator[str]:
    """What a page says: Markdown, and the captions and descriptions of a notebook's figures and tables."""
    if path.suffix == ".md":
        yield path.read_text()
        return
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "markdown":
            yield "".join(cell["source"])
        shown = cell["metadata"].get("mystnb", {})
        yield from filter(None, (shown.get(part, {}).get(key) for part, key in DESCRIBED))


def found(pattern: str | re.Pattern, path: Path) -> list[str]:
    texts = [NO_PROSE.sub("", text) for text in prose(path)]
    return [match[0] for text in texts for match in re.finditer(pattern, text)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_one_word_for_one_thing(path: Path):
    assert {better: words for pattern, better in UNWANTED.items() if (words := found(pattern, path))} == {}


def test_no_duration_is_typed():
    told = {path.name: found(CLOCK, path) for path in PAGES if path.suffix == ".ipynb"}
    told["README.md"] = [match[0] for match in CLOCK.finditer((ROOT / "README.md").read_text())]
    assert {name: words for name, words in told.items() if words} == {}


def test_raw_names_stand_in_no_table_of_the_first_chapters():
    for path in sorted((ROOT / "notebooks").glob("0[1-4]*.ipynb")):
        outputs = [out for cell in json.loads(path.read_text())["cells"] for out in cell.get("outputs", [])]
        tables = ["".join(out["data"]["text/html"]) for out in outputs if "text/html" in out.get("data", {})]
        cells = [said for table in tables for said in re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", table)]
        assert tables and [said for said in cells if "_" in said or said in ("True", "False")] == []


def test_every_source_in_the_code_stands_in_the_bibliography():
    known = re.findall(r"eprint *= *{([\d.]+)}", (ROOT / "book" / "references.bib").read_text())
    texts = {path.name: path.read_text() for path in (ROOT / "tpccma").rglob("*.py")}
    named = {name: set(re.findall(r"\b\d{4}\.\d{4,5}(?!\d)", text)) for name, text in texts.items() if "arXiv" in text}
    assert {name: missing for name, numbers in named.items() if (missing := numbers - set(known))} == {}
    assert {"2604.00279", "1803.05407"} < set.union(*named.values())


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_no_larger_than_it_has_to_be(path: Path):
    assert path.stat().st_size < 512_000
