"""Sphinx extension: the slider of the first page, written from its record in results/slider/.

    ```{dial-slider} demo
    ```

shows the record of a profile, see `tpccma.figures.slider`, or says by which command it is made where there is none. One
that is damaged is an error.
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
        if not slider_path(profile, results).is_file():
            command = nodes.literal(text=f"tpccma slider --profile {profile}")
            return [nodes.paragraph("", "", nodes.Text("Not recorded with this code; it takes "), command)]
        try:
            return [nodes.raw("", slider_html(load_slider(profile, results)), format="html")]
        except ValueError as error:
            raise self.error(f"dial-slider: {error}") from None


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("dial-slider", DialSlider)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
