"""Sphinx extension: the slider of the first page, written from its record in results/slider/.

    ```{dial-slider} demo
    ```

shows the record of a profile, see `tpccma.figures.slider`. That it is missing or damaged is an error.
"""

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from tpccma.figures.slider import slider_html
from tpccma.runs.slider_records import load_slider, slider_path


class DialSlider(SphinxDirective):
    """The slider of a profile."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        (profile,), results = self.arguments, Path(self.env.srcdir).resolve().parent / "results"
        self.env.note_dependency(str(slider_path(profile, results)))
        try:
            return [nodes.raw("", slider_html(load_slider(profile, results)), format="html")]
        except (ValueError, FileNotFoundError) as error:
            raise self.error(f"dial-slider: {error}") from None


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("dial-slider", DialSlider)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
