"""The run whose steps a curriculum goes by, as of `tpccma.methods.curricula.yoked`: loaded, or trained first."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tpccma.methods import Method, run_name
from tpccma.training.folder import WEIGHTS
from tpccma.training.identity import joined

if TYPE_CHECKING:
    from tpccma.training.run import Run

logger = logging.getLogger(__name__)


def traced(
    how: Method, code: str, key: tuple[str, float, int], folder: Path, train: Callable[[str, float, int], "Run"]
) -> tuple[Method, str]:
    """Give a method's curriculum the steps of the run that it goes by.

    Args:
        how: the method; one that goes by no other run is left as it is.
        code: names what its run rests on.
        key: method, alpha and seed of its run.
        folder: of the profile's runs.
        train: makes or loads a run of the same profile.

    Returns:
        The method, and the name of the code that both runs rest on.

    Raises:
        ValueError: if the other run diverges.
    """
    if how.trace is None:
        return how, code
    source = how.trace.method, key[1], how.trace.seed_of(key[2])
    said = f"{run_name(*key)} goes by the steps of {run_name(*source)}"
    if not any(folder.glob(f"{run_name(*source)}-*/{WEIGHTS}")):
        logger.warning("%s, which is not there and is trained first", said)
    try:
        run = train(*source)
    except FloatingPointError as error:
        raise ValueError(f"{said}, which has diverged: {error}") from None
    return replace(how, curriculum=partial(how.curriculum, steps=run.steps)), joined(code, run.code["training"])
