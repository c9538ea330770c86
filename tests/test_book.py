"""The book builds from the notebooks' stored outputs, and reads well in a browser, without a network."""

import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator

from tests.reader import CHROMIUM, Reader, reading
from tpccma.figures.slider import write_measure
from tpccma.runs.slider_records import load_slider, slider_path

ROOT = Path(__file__).parents[1]
# One of each kind: prose with figures, a chapter with formulas, signatures, code.
KINDS = ("intro.html", "notebooks/03_train.html", "api/curriculum.html", "_modules/tpccma/metrics/gap.html")
# And lists, a glossary, references, an index, the search.
LAYOUTS = (*KINDS, "promises.html", "glossary.html", "bibliography.html", "genindex.html", "search.html")

# Whether an element is what one sees at its lower end.
LAST_LINE_SHOWS = """it => {
    const {left, bottom} = it.getBoundingClientRect();
    return document.elementFromPoint(left + 3, bottom - 3) === it;
}"""

in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")

of_a_record = pytest.mark.skipif(
    not slider_path("demo-bases", ROOT / "results").is_file(),
    reason="no slider is recorded: tpccma slider --profile demo-bases",
)


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


def test_tables_and_figures_of_a_chapter_are_counted_apart(book: Path):
    page = (book / "notebooks" / "02_post_processing.html").read_text()
    assert [page.count(f'"caption-number">{name} 2.1 </span>') for name in ("Table", "Fig.")] == [1, 1]


def test_every_figure_leads_to_its_picture(book: Path):
    page = (book / "notebooks" / "06_downstream.html").read_text()
    pictures = re.findall(r'<figure[^>]*>\s*<a [^>]*href="([^"]+)"><img [^>]*src="([^"]+)"', page)
    assert len(pictures) == page.count('"caption-number">Fig. 6.') and all(link == shown for link, shown in pictures)


def test_no_option_has_become_a_dash(book: Path):
    dashed = {page: re.findall(r"(?<!\w)–[a-z][a-z-]*", (book / page).read_text()) for page in pages_of(book)}
    assert {page: found for page, found in dashed.items() if found} == {}


def launched(name: str) -> set[str]:
    """Where the buttons above a notebook lead."""
    return {
        f"https://colab.research.google.com/github/tpc-cma/tpccma/blob/main/{name}",
        f"https://mybinder.org/v2/gh/tpc-cma/tpccma/main?urlpath=lab/tree/{name}",
    }


def test_buttons_stand_above_notebooks_that_install_what_they_need_and_nowhere_else(book: Path):
    installs = runpy.run_path(str(ROOT / "book" / "_ext" / "launch.py"))["installs"]
    for page in pages_of(book):
        name = page.replace(".html", ".ipynb")
        expected = launched(name) if (ROOT / name).is_file() and installs(ROOT / name) else set()
        shown = re.findall(r'href="(https://[^"]*(?:binder|colab)[^"]*)"', (book / page).read_text())
        assert (page, {*shown}) == (page, expected)


@in_a_browser
@pytest.mark.parametrize("which", ["of each layout", pytest.param("every", marks=pytest.mark.deep)])
def test_page_is_quiet_offline_fits_a_phone_and_can_be_read_aloud(which: str, book: Path, reader: Reader):
    amiss = {}
    for page in pages_of(book) if which == "every" else LAYOUTS:
        reader.open(page)
        found = [*reader.errors, *(f"asks for {address}" for address in reader.outside), *reader.findings()]
        if (pixels := reader.sideways()) > 0:
            found.append(f"{pixels} pixels wider than a phone")
        found += [f"on a phone: {each}" for each in reader.findings()]
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


@of_a_record
@in_a_browser
def test_slider_moves_by_keyboard_in_the_dark_on_a_phone(reader: Reader):
    stops, page = load_slider("demo-bases", ROOT / "results").stops, reader.page
    reader.open("intro.html", "dark")
    assert reader.sideways() == 0  # from here on a phone
    slider, seen = page.get_by_label("Turn the dial"), set()
    for key, place in (("Home", 0), ("ArrowRight", 1), ("End", len(stops) - 1), ("ArrowLeft", len(stops) - 2)):
        slider.press(key)
        expected = {write_measure(name, value) for name, value in stops[place].metrics.items()}
        assert {*page.locator("td.here").all_inner_texts()} == expected
        assert [*page.locator(".gap-slider li").all_inner_texts()] == [*stops[place].captions]
        named = re.escape(f"{stops[place].t:g}" if stops[place].alpha is None else f"alpha {stops[place].alpha:g}")
        assert re.search(rf"{named}\b", slider.get_attribute("aria-valuetext"))
        seen.add(page.locator(".gap-slider path.texts:not(.mean)").first.get_attribute("d"))
    assert len(seen) == 4 and reader.sideways() == 0
    assert [*reader.errors, *reader.findings(), *reader.findings(contrast=True)] == []  # axe asks for files of its own


@of_a_record
@in_a_browser
def test_without_a_script_the_clouds_before_and_after_stand(reader: Reader):
    context = reader.page.context.browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{reader.address}intro.html")
    clouds = page.get_by_role("img", name=re.compile("^(Before|After),"))
    assert [cloud.is_visible() for cloud in clouds.all()] == [True, True]
    assert not page.get_by_label("Turn the dial").is_visible()
    context.close()


@in_a_browser
def test_formulas_are_drawn_without_a_network(reader: Reader):
    reader.open("notebooks/01_gap_decomposition.html")
    reader.page.wait_for_selector("mjx-container svg")
    assert (reader.outside, reader.errors) == ([], [])


def open_explained(reader: Reader) -> tuple[Locator, Locator]:
    """A word of the glossary on a page just opened, and its meaning."""
    reader.open("notebooks/02_post_processing.html")
    word = reader.page.locator("a[aria-describedby^=meaning-]").get_by_text("centroid gap", exact=True)
    return word, reader.page.locator(f"#{word.get_attribute('aria-describedby')}")


@in_a_browser
@pytest.mark.parametrize("reach", ["hover", "focus"])
def test_a_word_of_the_glossary_is_explained_where_it_first_occurs(reach: str, reader: Reader):
    word, meaning = open_explained(reader)
    assert not meaning.is_visible()
    getattr(word, reach)()
    assert meaning.is_visible() and meaning.inner_text().startswith("The distance between the mean of the pictures")


@in_a_browser
def test_escape_closes_what_explains_a_word_until_one_comes_anew(reader: Reader):
    word, meaning = open_explained(reader)
    heading = reader.page.get_by_role("heading", level=1)
    for come, go in ((word.hover, heading.hover), (word.focus, word.blur), (word.hover, heading.hover)):
        come()
        assert meaning.is_visible()
        reader.page.keyboard.press("Escape")
        assert not meaning.is_visible()
        go()
    word.hover()
    meaning.hover()  # the pointer may go there, and Escape closes it there too
    assert meaning.is_visible()
    reader.page.keyboard.press("Escape")
    assert not meaning.is_visible() and reader.errors == []


@in_a_browser
def test_a_box_cuts_off_nothing_that_explains_a_word_in_it(reader: Reader):
    reader.open("notebooks/02_post_processing.html")
    word = reader.page.locator(".admonition a[aria-describedby^=meaning-]").last  # under it the box ends
    word.hover()
    assert reader.page.locator(f"#{word.get_attribute('aria-describedby')}").evaluate(LAST_LINE_SHOWS)


@in_a_browser
def test_search_finds_the_distribution_gap(reader: Reader):
    reader.open("search.html?q=distribution+gap")
    found = reader.page.wait_for_selector("#search-results a[href*=gap_decomposition]")
    assert found.is_visible()
