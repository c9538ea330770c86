"""What a training is: the settings that decide it, and the code that it rests on.

`fingerprint` names the settings, and with them a run's folder. `training_code` and `evaluation_code` name the code, so
that what other code has made is told from what this code makes.
"""

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from tpccma.methods import METHODS, PAIRED
from tpccma.methods.curricula import as_first_read
from tpccma.models.identity import weights_identity
from tpccma.profiles import Profile, load_profile
from tpccma.training.encoders import weights_path

ROOT = Path(__file__).parents[1]
# All that can change a step of a training, or a measure of a model. Left out is what changes neither: profiles.py,
# whose values the fingerprint names; files.py, which writes what it is given; what calls all this.
TRAINING_CODE = (
    "checks.py",
    "curriculum.py",
    "loss.py",
    "fused.py",
    "closed_form.py",
    "compiled.py",
    "blocks.py",
    "methods/*.py",
    "models/*.py",
    "data/*.py",
    "training/encoders.py",
    "training/batches.py",
    "training/objective.py",
    "training/traces.py",
    "training/maps.py",
    "training/gradcache.py",
    "training/optimizer.py",
    "training/checkpoint.py",
    "training/loop.py",
)
EVALUATION_CODE = ("metrics/*.py", "tasks/*.py", "models/*.py", "data/*.py")
# They name data and weights, or make models of those that were trained.
NO_PART = ("data/content.py", "models/identity.py", "models/interpolation.py")
# The first records keep their fingerprints: the first reading counts by the name that it had, and what has no dial by
# the first reading's settings, which stood in every profile and which it never used.
FORMERLY = "tpc-cma"


def fingerprint(profile: Profile, method: str, alpha: float, seed: int, from_scratch: bool = False) -> str:
    """Name all settings that decide a training, in eight hexadecimal digits.

    What a setting has to do with it stands beside it, see `tpccma.profiles.Unnamed`. Which data lie in the files that
    a profile names is said by `tpccma.data.content`.

    Args:
        profile: what to train.
        method: its name in `tpccma.methods`, or "base".
        alpha: alpha_target.
        seed: of the run.
        from_scratch: whether the base itself is what is trained.

    Returns:
        The digits. The base model counts by its recipe where the recipe is run here (heads, no weights, or
        from_scratch), else by its weights, see `tpccma.models.identity`.
    """
    by_recipe = from_scratch or profile.has_own_base(seed)
    base = "" if by_recipe else weights_identity(weights_path(profile))
    return mark_of(settings_of(profile, method, alpha, seed, by_recipe), base.encode())


def settings_of(profile: Profile, method: str, alpha: float, seed: int, by_recipe: bool) -> str:
    """Write down all settings that decide a training; those of the base model where it counts ``by_recipe``."""
    settings = {name: part.identity() for name, part in _parts(profile, method, by_recipe).items()}
    if by_recipe and profile.bases != "one":
        settings["bases"] = profile.bases
    return json.dumps([settings, method.replace(PAIRED, FORMERLY), alpha, seed], sort_keys=True)


def mark_of(settings: str, base: bytes) -> str:
    """Name settings and what stands for the base model in eight hexadecimal digits."""
    return hashlib.sha256(settings.encode() + base).hexdigest()[:8]


def _parts(profile: Profile, method: str, by_recipe: bool) -> dict:
    """List the parts of a profile that have to do with a run: of what is not trained, data and model alone."""
    parts = {"data": profile.data, "model": profile.model} | ({"base": profile.base} if by_recipe else {})
    how = METHODS.get(method)
    if how and how.trained:
        changed = load_profile(profile, **how.changes)
        loss = changed if how.dial and not how.first_reading else changed.first_reading
        curriculum = changed if how.dial and how.curriculum is not as_first_read else changed.first_reading
        parts |= {"fine_tune": profile.training_of(method), "loss": loss.loss, "curriculum": curriculum.curriculum}
        parts |= {"floor": changed.floor} if how.floor else {}
    return parts


def _read(patterns: Iterable[str]) -> dict[str, str]:
    paths = sorted({path for pattern in patterns for path in ROOT.glob(pattern)} - {ROOT / name for name in NO_PART})
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


# Read now: what this process has loaded, whatever is edited while it runs.
TRAINING_SOURCES, EVALUATION_SOURCES = _read(TRAINING_CODE), _read(EVALUATION_CODE)


@cache
def training_code() -> str:
    """Name the code that a training rests on, in 16 hexadecimal digits; comments and docstrings are no part of it."""
    return digest_of(TRAINING_SOURCES)


@cache
def evaluation_code() -> str:
    """Name the code that `tpccma.evaluate` rests on, likewise."""
    return digest_of(EVALUATION_SOURCES)


def digest_of(sources: dict[str, str]) -> str:
    """Name Python modules, given by name and text, in 16 hexadecimal digits."""
    modules = "\n".join(f"{name} {_digest(_parsed(text))}" for name, text in sources.items())
    return _digest(modules)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def joined(own: str, base: str) -> str:
    """Name the code of what stands on something else: a run on its base, its last steps on the first ones.

    Args:
        own: of what is made.
        base: of what it stands on; "" if that was not made here.

    Returns:
        ``own`` where one code has made both, else a digest of the two.
    """
    return own if base in ("", own) else _digest(f"{own} {base}")


@cache
def _parsed(text: str) -> str:
    return _written(ast.parse(text))


def _written(node) -> str:
    """Write a syntax tree without places, bare strings and what is empty, so that all versions of Python agree."""
    if isinstance(node, list):
        return f"[{','.join([_written(item) for item in node if not _is_bare_string(item)])}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(name, getattr(node, name, None)) for name in node._fields if name != "ctx"]  # follows from the place
    written = [f"{name}={_written(value)}" for name, value in fields if value is not None and value != []]
    return f"{type(node).__name__}({','.join(written)})"


def _is_bare_string(node) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
