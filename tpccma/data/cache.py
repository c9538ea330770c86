"""Numbers computed from pictures or texts, kept on disk so that each is computed once.

Legend: N pictures or texts, F numbers of each, B batch.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from tpccma.models.weight_files import is_as_written, read_metadata, save_weights

logger = logging.getLogger(__name__)

SAVE_EVERY = 1_000  # features: at most this much work is lost when a run is cut off


def content_key(content: bytes) -> bytes:
    """Name a picture (bytes of its file) or a text (in UTF-8) by its sha256, 32 bytes: a changed one has another."""
    return hashlib.sha256(content).digest()


class FeatureCache:
    """Features of one kind, keyed by `content_key`, in memory and in one safetensors file.

    The file is replaced in one step: a run that is cut off leaves the last complete file, from which the next goes on.

    Args:
        path: the file, made when first saved; None keeps everything in memory.
        width: F, numbers in one feature.
        dtype: type of the numbers.
        made_by: what a feature depends on beside the content: network, version, preprocessing; None for what is not
            known here, which then is what the file says. A file that was made by something else is told of and made
            anew.
        formerly: what has made the files that say nothing of it; without it, whatever ``made_by`` says.

    Raises:
        ValueError: if the file is damaged or holds features of another width or type.
    """

    def __init__(
        self,
        path: Path | None,
        width: int,
        dtype: torch.dtype = torch.float32,
        made_by: Mapping[str, str | None] | None = None,
        formerly: Mapping[str, str] | None = None,
    ):
        self.path, self.width, self.dtype = path, width, dtype
        self.made_by = {name: value for name, value in (made_by or {}).items() if value is not None}
        self._formerly = dict(formerly or {})
        self._rows: dict[bytes, Tensor] = {}
        self._unsaved = 0
        if path is not None and path.exists() and self._is_made_alike(path):
            self._load(path)

    def _is_made_alike(self, path: Path) -> bool:
        try:
            found = dict(json.loads(read_metadata(path).get("made_by", "null")) or self._formerly)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not a feature cache ({error}); delete it and run again") from error
        if differing := {name for name, value in self.made_by.items() if found.get(name, value) != value}:
            shown = ", ".join(f"{name} {found[name]!r}, now {self.made_by[name]!r}" for name in sorted(differing))
            logger.warning("%s was made by another network or preprocessing (%s) and is made anew", path, shown)
            return False
        self.made_by = found | self.made_by
        return True

    def _load(self, path: Path) -> None:
        try:
            stored = load_file(path)
            keys, values = stored["keys"], stored["values"]
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"{path} is not a feature cache ({error}); delete it and run again") from error
        if not is_as_written(path):
            raise ValueError(f"{path} is damaged: by its checksum it is not what was written; delete it and run again")
        if values.shape != (len(keys), self.width) or values.dtype != self.dtype:
            found, wanted = f"{tuple(values.shape)} {values.dtype}", f"({len(keys)}, {self.width}) {self.dtype}"
            raise ValueError(f"{path} holds {found}, not {wanted}; delete it and run again")
        self._rows = {bytes(key): row for key, row in zip(keys.numpy(), values, strict=True)}

    def __contains__(self, key: bytes) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, keys: Sequence[bytes], values: Tensor) -> None:
        """Keep features, and write the file once ``SAVE_EVERY`` new ones have come together.

        Args:
            keys: N keys.
            values: (N, F) features.

        Raises:
            ValueError: if the shape does not fit.
        """
        if values.shape != (len(keys), self.width):
            raise ValueError(f"expected features of shape ({len(keys)}, {self.width}), got {tuple(values.shape)}")
        self._rows.update(zip(keys, values.to(self.dtype), strict=True))
        self._unsaved += len(keys)
        if self._unsaved >= SAVE_EVERY:
            self.save()

    def stack(self, keys: Sequence[bytes]) -> Tensor:
        """Look features up.

        Args:
            keys: N keys, all of them in the cache.

        Returns:
            (N, F) features in the order of the keys.
        """
        rows = [self._rows[key] for key in keys]
        return torch.stack(rows) if rows else torch.empty(0, self.width, dtype=self.dtype)

    def save(self) -> None:
        """Write the file, unless nothing is new or the cache has no file."""
        if self.path is None or not self._unsaved:
            return
        keys = torch.frombuffer(bytearray(b"".join(self._rows)), dtype=torch.uint8).view(len(self), -1)
        note = {"made_by": json.dumps(self.made_by, sort_keys=True)}
        save_weights({"keys": keys, "values": self.stack(list(self._rows))}, self.path, note)
        self._unsaved = 0

    def fill(
        self,
        keys: Sequence[bytes],
        compute: Callable[[list[int]], Tensor],
        batch_size: int,
        progress: bool = False,
        title: str | None = None,
    ) -> Tensor:
        """Compute what is missing, and return it all.

        Args:
            keys: N keys; one that comes twice is computed once.
            compute: gets positions in ``keys``, at most ``batch_size`` of them, returns their (B, F) features.
            batch_size: pairs a batch, B.
            progress: show a bar on stderr while something is computed.
            title: text beside the bar.

        Returns:
            (N, F) features in the order of the keys.
        """
        first = {key: position for position, key in reversed(list(enumerate(keys)))}
        missing = sorted(position for key, position in first.items() if key not in self)
        with tqdm(total=len(missing), desc=title, disable=not (progress and missing)) as bar:
            try:
                for start in range(0, len(missing), batch_size):
                    batch = missing[start : start + batch_size]
                    self.add([keys[i] for i in batch], compute(batch))
                    bar.update(len(batch))
            finally:
                self.save()
        return self.stack(keys)
