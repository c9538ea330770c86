"""Sphinx extension: the library's pages show what a reader uses, not what NamedTuple and pydantic add to a class."""

import re

from sphinx.application import Sphinx

CHECKED = re.compile(r"Annotated\[([\w.]+(?:\[[^\[\]]*\])?),[^\[\]]*\]")


def skip(app: Sphinx, what: str, name: str, obj: object, skipped: bool, options: object) -> bool | None:
    """Leave out fields of a NamedTuple, which its docstring explains, and pydantic's settings."""
    return True if name == "model_config" or type(obj).__name__ == "_tuplegetter" else None


def unwrap(app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None):
    """Show `float` for `Annotated[float, Ge(ge=0)]`: the docstring has the range."""
    return (signature and CHECKED.sub(r"\1", signature), returns)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-signature", unwrap)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
