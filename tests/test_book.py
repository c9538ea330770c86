"""The book builds from the notebooks' stored outputs, and reads well in a browser, without a network."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reader import CHROMIUM, Reader, reading

ROOT = Path(__file__).parents[1]
# One of each kind: prose with figures, a chapter with formulas, signatures, code.
KINDS = ("intro.html", "notebooks/03_train.html", "api/curriculum.html", "_modules/tpccma/metrics/gap.html")
# And lists, a glossary, references, an index, the search.
LAYOUTS = (*KINDS, "promises.html", "glossary.html", "bibliography.html", "genindex.html", "search.html")

in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")


@pytest.fixture(scope="module")
def book() -> Path:
    """The built book; as `make html` does it."""
    command = [Path(sys.executable).with_name("jupyter-book"), "build", "book/", "--all", "-n", "-W", "--keep-going"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout[-5_000:] + built.stderr[-5_000:]
    return ROOT / "book" / "_build" / "html"


@pytest.fixture(scope="module")
def reader(book: Path) -> Iterator[Reader]:
    with reading(book) as found:
        yield found


def pages_of(book: Path) -> list[str]:
    """Every page, of the library's source one; index.html only leads to the first."""
    pages = {path.relative_to(book).as_posix() for path in book.rglob("*.html")}
    return sorted({page for page in pages if not page.startswith(("_static/", "_modules/", "index."))} | set(LAYOUTS))


def test_book_builds_without_a_warning(book: Path):
    assert (book / "index.html").stat().st_size > 0


@in_a_browser
@pytest.mark.parametrize("which", ["of each layout", pytest.param("every", marks=pytest.mark.deep)])
def test_page_is_quiet_offline_fits_a_phone_and_can_be_read_aloud(which: str, book: Path, reader: Reader):
    amiss = {}
    for page in pages_of(book) if which == "every" else LAYOUTS:
        reader.open(page)
        found = [*reader.errors, *(f"asks for {address}" for address in reader.outside), *reader.findings()]
        if (pixels := reader.sideways()) > 0:
            found.append(f"{pixels} pixels wider than a phone")
        if found:
            amiss[page] = found
    assert amiss == {}


@in_a_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(scheme: str, reader: Reader):
    amiss = {}
    for page in KINDS:
        reader.open(page, scheme)
        assert reader.page.evaluate("document.documentElement.dataset.theme") == scheme
        if found := reader.findings(contrast=True):
            amiss[page] = found
    assert amiss == {}


@in_a_browser
def test_formulas_are_drawn_without_a_network(reader: Reader):
    reader.open("notebooks/01_gap_decomposition.html")
    reader.page.wait_for_selector("mjx-container svg")
    assert (reader.outside, reader.errors) == ([], [])


@in_a_browser
@pytest.mark.parametrize("reach", ["hover", "focus"])
def test_a_word_of_the_glossary_is_explained_where_it_first_occurs(reach: str, reader: Reader):
    reader.open("notebooks/02_post_processing.html")
    word = reader.page.locator("a[aria-describedby^=meaning-]").get_by_text("centroid gap", exact=True)
    meaning = reader.page.locator(f"#{word.get_attribute('aria-describedby')}")
    assert not meaning.is_visible()
    getattr(word, reach)()
    assert meaning.is_visible() and meaning.inner_text().startswith("The distance between the mean of the pictures")


@in_a_browser
def test_search_finds_the_distribution_gap(reader: Reader):
    reader.open("search.html?q=distribution+gap")
    found = reader.page.wait_for_selector("#search-results a[href*=gap_decomposition]")
    assert found.is_visible()
