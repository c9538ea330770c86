"""What an evaluation found of each test picture, as a record holds it: intervals that count test sampling draw from it.

Legend: N test pictures, in the order of the data.
"""

import base64
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Kind(NamedTuple):
    """How the values of a name are kept: in the first of ``dtypes`` that holds them all, and none above ``most``."""

    dtypes: tuple[str, ...]
    most: float


_NUMBER, _SHARE, _CIDER = Kind(("uint8", "uint16"), 65535), Kind(("float32",), 1), Kind(("float16",), 10)

#: What may be known of a picture, see `unpack_items`.
ITEMS = {
    "class": _NUMBER,
    "zeroshot_correct": Kind(("bool",), 1),
    "i2t_hit": _SHARE,
    "t2i_hits": _SHARE,
    "cluster_image": _NUMBER,
    "cluster_text": _NUMBER,
    "cider": _CIDER,
    "cider_memory": _CIDER,
    "cider_centred": _CIDER,
    "cider_text": _CIDER,
}


def pack_items(items: Mapping[str, ArrayLike]) -> dict[str, dict[str, str]]:
    """Make of the outcomes what JSON can hold.

    Args:
        items: for names of `ITEMS` N values each, none below 0.

    Returns:
        For each name ``dtype``, little-endian, and ``data``, the values' bytes in zlib's format and base64. CIDEr is
        rounded to float16, by at most 0.0005 of itself.

    Raises:
        ValueError: if a name is unknown, a value is out of range, or there are not as many of one name as of another.
    """
    kept = {name: _narrow(name, np.asarray(values)) for name, values in items.items()}
    _check(kept)
    return {name: {"dtype": values.dtype.name, "data": _encoded(values)} for name, values in kept.items()}


def unpack_items(packed: Mapping[str, Mapping[str, str]]) -> dict[str, np.ndarray]:
    """Read the outcomes of an evaluation from a record's ``items``.

    Args:
        packed: from `pack_items`.

    Returns:
        For each name N values, which must not be written to. Of pictures with a class ``class``, its number;
        ``zeroshot_correct``; ``cluster_image`` and ``cluster_text``, the joint cluster of the picture and of the prompt
        that joins it. Of all ``i2t_hit``, recall at 1, and ``t2i_hits``, the share of the picture's captions that find
        it first, where candidates of one score share the place; the picture's CIDEr by the way that the decoder was
        fed, ``cider``, ``cider_memory``, ``cider_centred`` and ``cider_text``.

    Raises:
        ValueError: if it is not what `pack_items` gives; the message says what is wrong.
    """
    values = {name: _decoded(name, part) for name, part in packed.items()}
    _check(values)
    return values


def _kind(name: str) -> Kind:
    if name not in ITEMS:
        raise ValueError(f"{name!r} is nothing that is known of a picture: give some of {', '.join(ITEMS)}")
    return ITEMS[name]


def _narrow(name: str, values: np.ndarray) -> np.ndarray:
    """Bring values to the first type of their kind that holds them."""
    *narrow, widest = _kind(name).dtypes
    fits = (dtype for dtype in narrow if values.size and values.max() <= np.iinfo(dtype).max)
    _check_range(name, values)
    kept = values.astype(next(fits, widest))
    if kept.dtype.kind != "f" and (kept != values).any():
        raise ValueError(f"{name} holds {values[kept != values][0]}: give whole numbers")
    return kept


def _check(items: dict[str, np.ndarray]) -> None:
    for name, values in items.items():
        _check_range(name, values)
    if len({len(values) for values in items.values()}) > 1:
        counts = ", ".join(f"{name} {len(values)}" for name, values in items.items())
        raise ValueError(f"the items are not of as many pictures each ({counts}): give one value a test picture")


def _check_range(name: str, values: np.ndarray) -> None:
    if values.ndim != 1 or not len(values):
        raise ValueError(f"{name} is of shape {values.shape}: give one value a test picture, (N,)")
    numbers = values.view("uint8") if values.dtype == bool else values  # a byte read as bool may be more than 1
    if not 0 <= numbers.min() <= numbers.max() <= _kind(name).most * (1 + 1e-6):
        raise ValueError(f"{name} runs from {numbers.min()} to {numbers.max()}: give 0 to {_kind(name).most}")


def _encoded(values: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(values.astype(values.dtype.newbyteorder("<")).tobytes(), 9)).decode()


def _decoded(name: str, part: Mapping[str, str]) -> np.ndarray:
    if not isinstance(part, Mapping) or part.keys() != {"dtype", "data"}:
        raise ValueError(f"{name} is {part!r:.60}: give dtype and data, as pack_items does")
    if part["dtype"] not in _kind(name).dtypes:
        raise ValueError(f"{name} is of dtype {part['dtype']!r}: give {' or '.join(_kind(name).dtypes)}")
    try:
        raw = zlib.decompress(base64.b64decode(part["data"], validate=True))
        return np.frombuffer(raw, np.dtype(part["dtype"]).newbyteorder("<"))
    except (TypeError, ValueError, zlib.error) as error:
        raise ValueError(f"the data of {name} cannot be read ({error}): pack them by pack_items") from None
