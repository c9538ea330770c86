"""Sphinx extension: what follows "Returns:" in a docstring is prose, though it may hold a colon.

Napoleon takes what stands before the first colon for a type, cuts the sentence there and puts the halves apart. The
types are in the signatures, so none is ever meant: a colon put in front says that there is no type.
"""

from sphinx.application import Sphinx

BEFORE_NAPOLEON = 400  # which has 500


def keep_whole(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Put a colon in front of the first line of every Returns section."""
    for i, line in enumerate(lines[:-1]):
        if line.strip() in ("Returns:", "Yields:"):
            text = lines[i + 1]
            lines[i + 1] = f"{text[: len(text) - len(text.lstrip())]}: {text.lstrip()}"


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", keep_whole, priority=BEFORE_NAPOLEON)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
