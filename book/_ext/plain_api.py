"""Sphinx extension: the library's pages show what a reader uses, not what NamedTuple, pydantic and numpy add to it."""

import re

from sphinx.application import Sphinx

CHECKED = re.compile(r"[\w.~]*\bAnnotated\[")
ARRAY_LIKE = re.compile(r"[\w.~]*\b_Buffer \| .*?_NestedSequence\[[\w.~]*complex \| [^\[\]]*\]")
PLAIN = (
    (ARRAY_LIKE, "~numpy.typing.ArrayLike"),
    (re.compile(r"\b\w*Path\(('[^']*')\)"), r"\1"),  # a path as one writes it
    (re.compile(r"<function (?:[\w.]+\.)?(\w+)(?: at \w+)?>"), r"\1"),
    (re.compile(r"<factory>|<object object(?: at \w+)?>"), "..."),
)


def skip(app: Sphinx, what: str, name: str, obj: object, skipped: bool, options: object) -> bool | None:
    """Leave out fields of a NamedTuple, which its docstring explains, and pydantic's settings."""
    return True if name == "model_config" or type(obj).__name__ == "_tuplegetter" else None


def plain(signature: str) -> str:
    """Show `float` for `Annotated[float, Ge(ge=0)]`, since the docstring has the range, and no object of Python's."""
    while found := CHECKED.search(signature):
        first, end = _parts(signature, found.end())
        signature = signature[: found.start()] + first + signature[end:]
    for pattern, shown in PLAIN:
        signature = pattern.sub(shown, signature)
    return signature


def _parts(text: str, start: int) -> tuple[str, int]:
    """The first argument of brackets that are open at a place, and the place behind the one that closes them."""
    depth, comma = 0, None
    for place in range(start, len(text)):
        depth += (text[place] in "([{") - (text[place] in ")]}")
        if depth < 0:
            return text[start : place if comma is None else comma], place + 1
        if text[place] == "," and depth == 0 and comma is None:
            comma = place
    return text[start:], len(text)


def unwrap(app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None):
    """Make a signature plain; what only says how something is to be called has none of its own."""
    if getattr(obj, "_is_protocol", False):
        return ("", returns)
    return (signature and plain(signature), returns)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-signature", unwrap)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
