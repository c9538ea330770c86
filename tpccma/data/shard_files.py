"""Shards in img2dataset's layout: which there are, how many pairs they hold, and the files in them."""

import json
import logging
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import BinaryIO

from braceexpand import braceexpand

from tpccma.data.pictures import MAX_PIXELS

MAX_BYTES = 3 * MAX_PIXELS  # read of one file of a shard: what the largest picture has in all, uncompressed
META = re.compile(r"__[^/]*__(/|$)")  # webdataset's own notes in a shard
IMAGE_NAMES = ("jpg", "jpeg", "png", "webp")
READ = re.compile(rf"(.*/)?[^./]+\.({'|'.join((*IMAGE_NAMES, 'txt', 'json'))})", re.IGNORECASE)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shards:
    """Which shards there are.

    Args:
        paths: those that exist, in order.
        missing: those that do not.
        pairs: how many pairs the existing ones hold by their ``_stats.json``; None if one of these is not there.
    """

    paths: list[Path]
    missing: list[Path]
    pairs: int | None


def find_shards(pattern: str, skip_missing: bool = False) -> Shards:
    """Find shards by a pattern such as ``cc3m/{00000..00331}.tar``.

    Args:
        pattern: a path; ``{a..b}`` and ``{a,b}`` stand for several, and so do ``*`` and ``?``, sorted by name.
        skip_missing: go on without those that do not exist, with a warning, instead of refusing.

    Returns:
        The `Shards`.

    Raises:
        FileNotFoundError: if one does not exist and ``skip_missing`` is False, or none does.
        ValueError: if the statistics beside one are something else.
    """
    named = [path for part in braceexpand(str(pattern)) for path in _matching(part)]
    paths = [path for path in named if path.is_file()]
    missing = [path for path in named if not path.is_file()]
    if missing:
        problem = f"{len(missing)} of {len(named)} shards of {pattern} do not exist, such as {missing[0]}"
        if not paths or not skip_missing:
            raise FileNotFoundError(f"{problem}; fetch them with img2dataset, or let them be skipped (skip_missing)")
        logger.warning("%s; going on without them", problem)
    stats = [path.with_name(f"{path.stem}_stats.json") for path in paths]
    counts = [successes(path) for path in stats if path.is_file()]
    return Shards(paths, missing, sum(counts) if len(counts) == len(paths) else None)


def _matching(part: str) -> list[Path]:
    """List what a path with ``*`` or ``?`` stands for; itself, if that is nothing."""
    found = sorted(glob(part.replace("[", "[[]"))) if "*" in part or "?" in part else []
    return [Path(path) for path in found or [part]]


def successes(path: Path) -> int:
    """Read how many pairs a shard's ``_stats.json`` says there are.

    Raises:
        ValueError: if the file is something else.
    """
    try:
        count = json.loads(path.read_text())["successes"]
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise ValueError(f"successes: {count!r}")
        return count
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not img2dataset's statistics of a shard ({error!r}); remove it") from None


def read_files(stream: BinaryIO, path: Path) -> Iterator[dict]:
    """Read the files of a shard, of each the first ``MAX_BYTES``: what claims to be longer is damaged or hostile.

    Of a file that is neither picture, text nor json nothing is read.
    """
    with tarfile.open(fileobj=stream, mode="r|*") as shard:
        for entry in shard:
            if entry.isreg() and not META.match(entry.name):
                content = shard.extractfile(entry).read(MAX_BYTES) if READ.fullmatch(entry.name) else b""
                yield {"fname": entry.name, "data": content, "__url__": str(path)}
            shard.members = []  # else it keeps a list of all
