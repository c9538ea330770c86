"""What signatures the library's pages show."""

import runpy
from pathlib import Path

import pytest

PLAIN = runpy.run_path(str(Path(__file__).parents[1] / "book" / "_ext" / "plain_api.py"))["plain"]
TEXT = "~typing.Annotated[str, ~pydantic.types.StringConstraints(min_length=1, pattern=^[^/]+$)]"
ARRAY = "_Buffer | _SupportsArray[dtype[Any]] | _NestedSequence[_SupportsArray[dtype[Any]]] | complex | bytes | str | "
ARRAY += "_NestedSequence[complex | bytes | str]"


@pytest.mark.parametrize(
    "signature, shown",
    [
        ("(x: Annotated[float, Ge(ge=0), Le(le=1)] | None = None)", "(x: float | None = None)"),
        (f"(name: {TEXT}, seed: ~typing.int)", "(name: str, seed: ~typing.int)"),
        ("(x: a.b.Annotated[dict[str, Annotated[int, G(at=[])]], A(f=g)] = {})", "(x: dict[str, int] = {})"),
        (
            "(at: ~types.Annotated[~p.Path | None, U(at=<object object at 0x7f67>)] = None)",
            "(at: ~p.Path | None = None)",
        ),
        ("(cache: Path = PosixPath('runs/cache'))", "(cache: Path = 'runs/cache')"),
        (
            "(rows: Frame = <factory>, f: Callable = <function three_phases>)",
            "(rows: Frame = ..., f: Callable = three_phases)",
        ),
        (f"(images: {ARRAY}, columns: int = 4)", "(images: ~numpy.typing.ArrayLike, columns: int = 4)"),
        (
            f"(clouds: dict[str, tuple[{ARRAY}, {ARRAY}]])",
            "(clouds: dict[str, tuple[~numpy.typing.ArrayLike, ~numpy.typing.ArrayLike]])",
        ),
        ("(alpha: float = 0.5) -> Run", "(alpha: float = 0.5) -> Run"),
    ],
)
def test_signatures_show_what_a_caller_gives(signature: str, shown: str):
    assert PLAIN(signature) == shown
