"""Profiles in YAML files: found by name or path, read strictly, and put over the one that they extend."""

from collections import Counter
from difflib import get_close_matches
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode

MOST_BYTES = 100_000  # of a file
MOST_VALUES = 10_000  # of a file, aliases counted by all that they stand for
DEEPEST = 30  # parts within parts
SUFFIXES = (".yaml", ".yml")


class StrictLoader(yaml.SafeLoader):
    """YAML without tags that make objects, in which a name is given once and aliases stay few."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.sizes: dict[int, int] = {}  # of finished nodes, by identity
        self.depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node:
        """Compose one value; refused are one inside itself, too deep a one and too large a one."""
        mark, is_alias = self.peek_event().start_mark, self.check_event(AliasEvent)
        self.depth += 1
        if self.depth > DEEPEST:
            raise ComposerError(None, None, f"there are more than {DEEPEST} parts within parts", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if not is_alias:
            parts = [] if isinstance(node, ScalarNode) else node.value
            children = [part for each in parts for part in (each if isinstance(each, tuple) else (each,))]
            self.sizes[id(node)] = 1 + sum(self.sizes[id(child)] for child in children)
        if id(node) not in self.sizes:
            raise ComposerError(None, None, "an alias stands inside what it names", mark)
        if self.sizes[id(node)] > MOST_VALUES:
            raise ComposerError(None, None, f"there are more than {MOST_VALUES} values, aliases written out", mark)
        return node

    def compose_mapping_node(self, anchor: str | None) -> MappingNode:
        """Compose names and values; a name that is given twice would else keep the last value."""
        node = super().compose_mapping_node(anchor)
        names = Counter((key.tag, key.value) for key, _ in node.value if isinstance(key, ScalarNode))
        for key, _ in reversed(node.value):
            if isinstance(key, ScalarNode) and names[key.tag, key.value] > 1:
                raise ComposerError(None, None, f"{key.value!r} is given twice", key.start_mark)
        return node

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        """Make a value of a node; one that is not what it looks like or is tagged as has a place too."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, AttributeError):  # a thirteenth month, !!bool perhaps
            kind = node.tag.rpartition(":")[2]
            raise ConstructorError(None, None, f"{node.value!r:.80} is no {kind}", node.start_mark) from None


def profile_names() -> list[str]:
    """List the profiles that ship with the package."""
    return sorted(
        path.name.removesuffix(".yaml")
        for path in resources.files("tpccma.configs").iterdir()
        if path.name.endswith(".yaml")
    )


def read_profile(name: str | Path, sought_from: tuple[Path | Traversable, ...] = ()) -> dict:
    """Read a profile's values; those of the profile that it ``extends`` stand where it has none of its own.

    An empty mapping, such as ``expected: {}``, clears what is extended.

    Args:
        name: a shipped profile's, or the path of a file: below the folder of the file that extends it, or as it is.
        sought_from: the files that extend it, the nearest last.

    Returns:
        Dictionaries and values, none of which stands in two places.

    Raises:
        ValueError: if there is no such profile, or its file cannot be read; the message names file and line.
    """
    path = _find(name, sought_from)
    if path in sought_from:
        circle = " -> ".join(each.name for each in (*sought_from[sought_from.index(path) :], path))
        raise ValueError(f"profile {path}: it extends itself ({circle}); let one of them extend nothing")
    values = _parse(path)
    if not isinstance(values, dict):
        raise ValueError(
            f"profile {path}: the file must hold names and values such as `extends: demo`, got {values!r:.80}"
        )
    if "extends" not in values:
        return _unshared(values)
    parent = values.pop("extends")
    if not isinstance(parent, str):
        raise ValueError(f"profile {path}: extends must be the name or the path of one profile, got {parent!r:.80}")
    extended, own = read_profile(parent, (*sought_from, path)), _unshared(values)
    check_rate(f"profile {path}", extended, own)
    return _merge(extended, own)


def check_rate(where: str, extended: dict, own: dict) -> None:
    """See to it that a learning rate which is given counts: rates that are extended would else be taken in its place.

    Args:
        where: it is given, for the message.
        extended: values of a profile.
        own: that stand over them.

    Raises:
        ValueError: if methods have rates of their own in `extended`, and nothing is said of these.
    """
    given = own["fine_tune"].get("learning_rate") if isinstance(own.get("fine_tune"), dict) else None
    rates = extended.get("learning_rates")
    if given is not None and isinstance(rates, dict) and rates and "learning_rates" not in own:
        raise ValueError(
            f"{where}: fine_tune.learning_rate, {given}, would not count, since what is extended has learning_rates of "
            f"its own for {', '.join(rates)}; give them too, such as learning_rates: {{tpc-cma: {given}}}, or "
            "learning_rates: {} for one rate for all"
        )


def _find(name: str | Path, sought_from: tuple[Path | Traversable, ...]) -> Path | Traversable:
    if str(name) in profile_names():
        return resources.files("tpccma.configs") / f"{name}.yaml"
    path = Path(name).expanduser() if str(name).startswith("~/") else Path(name)
    beside = [sought_from[-1].parent / path] if sought_from and isinstance(sought_from[-1], Path) else []
    for place in (*beside, path):
        if path.suffix in SUFFIXES and place.is_file():
            return place.resolve()
    asked = f", which {sought_from[-1]} extends" if sought_from else ""
    meant = "".join(f" (perhaps {known})" for known in get_close_matches(str(name), profile_names(), 1))
    missing = ": there is no such file; give" if path.suffix in SUFFIXES else f"{meant}: give one of"
    raise ValueError(
        f"unknown profile {str(name)!r}{asked}{missing} {', '.join(profile_names())}, or the path of a .yaml file"
    )


def _parse(path: Path | Traversable) -> Any:
    """Read a file's values, or say in which line they end."""
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"profile {path}: the file has more than {MOST_BYTES} bytes, which no profile needs")
    try:
        return yaml.load(data.decode("utf-8-sig"), StrictLoader)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"profile {path}, line {line}: the file is not UTF-8; save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"profile {path}, line {error.problem_mark.line + 1}: {_problem(error)}") from None
    except yaml.reader.ReaderError as error:
        line = data.decode("utf-8-sig")[: error.position].count("\n") + 1
        found = chr(error.character)
        raise ValueError(f"profile {path}, line {line}: the character {found!r} has no place in YAML") from None


def _problem(error: yaml.MarkedYAMLError) -> str:
    said = f"{error.context} {error.problem}" if f"{error.problem}".startswith("but ") else f"{error.problem}"
    return f"{said}; indent by spaces" if "'\\t'" in said else said


def _unshared(value: Any) -> Any:
    """Copy what aliases share, so that a change in one place is none in another."""
    if isinstance(value, dict):
        return {key: _unshared(part) for key, part in value.items()}
    return [_unshared(part) for part in value] if isinstance(value, list) else value


def _merge(old: dict, new: dict) -> dict:
    if new.get("kind", old.get("kind")) != old.get("kind"):
        return new  # data or a model of another kind has other settings
    merged = {
        key: _merge(old[key], value) if value and isinstance(value, dict) and isinstance(old.get(key), dict) else value
        for key, value in new.items()
    }
    return {**old, **merged}
