"""Sphinx extension: pages that ask nothing of a network, and that a screen reader can make sense of.

MathJax comes from a package. What Jupyter Book loads for code that runs in the page is left out: here none does.
"""

from importlib.resources import files

from sphinx.application import Sphinx
from sphinx.config import Config

AFTER_THE_THEME = 900
LIVE_CODE = ("init_thebe_core", "update_thebe_context")
TOGGLE = ("<summary>", '<summary aria-label="Show or hide its pages">')
ENTRY = ('role="doc-biblioentry"', 'role="listitem"')


def bring_mathjax(app: Sphinx, config: Config) -> None:
    """Put MathJax, one file with its fonts, among the static ones."""
    config.html_static_path.append(str(files("sphinx-mathjax-offline") / "static" / "mathjax" / "tex-svg.js"))
    config.mathjax_path = "tex-svg.js"


def leave_out_live_code(app: Sphinx) -> None:
    """Disconnect what would load thebe."""
    found = [listener for listeners in app.events.listeners.values() for listener in listeners]
    for listener in found:
        if getattr(listener.handler, "__name__", "") in LIVE_CODE:
            app.disconnect(listener.id)


def describe(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Tell a screen reader what the arrows of the table of contents do, and that the bibliography is a list."""
    if make := context.get("generate_toctree_html"):
        context["generate_toctree_html"] = lambda *args, **options: str(make(*args, **options)).replace(*TOGGLE)
    if body := context.get("body"):
        context["body"] = body.replace(*ENTRY)


def setup(app: Sphinx) -> dict[str, bool]:
    leave_out_live_code(app)
    app.connect("config-inited", bring_mathjax)
    app.connect("html-page-context", describe, priority=AFTER_THE_THEME)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
