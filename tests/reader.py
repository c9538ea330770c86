"""A reader of the built book: a chromium of the system, to which nothing but the book answers."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import axe_playwright_python
from playwright.sync_api import Page, Route, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
WIDE, PHONE = {"width": 1400, "height": 900}, {"width": 400, "height": 800}
FINDINGS = """contrast => axe.run(document, {
    resultTypes: ['violations'],
    ...(contrast ? {runOnly: ['color-contrast']} : {rules: {'color-contrast': {enabled: false}}}),
}).then(found => found.violations
    .filter(rule => ['serious', 'critical'].includes(rule.impact))
    .flatMap(rule => rule.nodes.slice(0, 5).map(node => `${rule.id}: ${node.html.slice(0, 160)}`)))"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Print nothing."""


class Reader:
    """Open pages of a book and look at them."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.outside: list[str] = []
        self.errors: list[str] = []
        page.route("**/*", self.answer)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda told: told.type == "error" and self.errors.append(f"{told.text} {told.location}"))

    def answer(self, route: Route) -> None:
        """Let the book be read, and refuse and note whatever lies elsewhere."""
        if route.request.url.startswith((self.address, "data:")):
            route.continue_()
        else:
            self.outside.append(route.request.url)
            route.abort()

    def open(self, path: str, scheme: str = "light") -> None:
        """Open a page in a wide window, light or dark, and wait until all that it asks for is there."""
        self.outside.clear()
        self.errors.clear()
        self.page.set_viewport_size(WIDE)
        self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        self.page.goto(self.address + path)

    def sideways(self) -> int:
        """By how many pixels the page is wider than a phone of 400."""
        self.page.set_viewport_size(PHONE)
        return self.page.evaluate("document.documentElement.scrollWidth") - PHONE["width"]

    def findings(self, contrast: bool = False) -> list[str]:
        """What axe-core finds serious or critical: contrast alone, or all else."""
        self.page.evaluate(AXE.read_text())
        return self.page.evaluate(FINDINGS, contrast)


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder to this machine alone; gives its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def reading(folder: Path) -> Iterator[Reader]:
    """Start one browser for a book."""
    with serve(folder) as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield Reader(browser.new_page(), address)
        browser.close()
