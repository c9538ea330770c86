"""Embeddings in files, however many: npy is mapped and never held whole, parquet is read by column.

    >>> images, texts = open_rows("images.npy"), open_rows("pairs.parquet:texts")

Legend: N rows, D width.
"""

from pathlib import Path

import numpy as np

from tpccma.data.embeddings import READERS, read_embeddings
from tpccma.data.pictures import reason_of
from tpccma.metrics.checks import Rows

PARQUET = ".parquet"


def open_rows(place: str | Path) -> Rows:
    """Open one matrix for reading.

    Args:
        place: as `tpccma.data.embeddings.read_embeddings` takes it; or a parquet file's ``PATH:COLUMN``, of lists of
            numbers, all of one length.

    Returns:
        (N, D) in the file's own floating-point type; of an npy file an array that the disk holds.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, or it is not clear which matrix is meant; the message names it.
        ImportError: if it is parquet and pyarrow is not installed.
    """
    path, _, name = str(place).rpartition(":")
    if Path(place).suffix.lower() == PARQUET:
        path, name = str(place), ""
    if Path(path).suffix.lower() == PARQUET:
        return _column(Path(path), name)
    if Path(place).suffix.lower() == ".npy" and (mapped := _mapped(Path(place))) is not None:
        return mapped
    if Path(place).suffix.lower() not in READERS and Path(path).suffix.lower() not in READERS:
        raise ValueError(f"{place}: embeddings are read from files named {', '.join([*READERS, PARQUET])}")
    return read_embeddings(place)


def places_in(embedded: str | Path) -> tuple[str, str]:
    """Name the images' and the texts' matrix of what ``tpccma embed`` wrote: a folder, or a file of both.

    Raises:
        FileNotFoundError: if there is none.
    """
    folder = Path(embedded)
    if not folder.exists():
        raise FileNotFoundError(f"there is no file or folder {embedded}")
    if folder.is_dir():
        return str(folder / "images.npy"), str(folder / "texts.npy")
    return f"{embedded}:images", f"{embedded}:texts"


def _mapped(path: Path) -> np.ndarray | None:
    """Map a matrix of numbers in this machine's byte order; None of what is to be read, or refused, another way."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception:  # of a damaged header whatever numpy's parsers raise; `read_embeddings` says what is wrong
        return None
    usable = isinstance(found, np.ndarray) and found.ndim == 2 and found.dtype.kind == "f" and found.dtype.isnative
    return found if usable and found.dtype.itemsize <= 8 and found.flags.c_contiguous else None


def _column(path: Path, name: str) -> np.ndarray:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError:
        raise ImportError(f"{path} is parquet, which pyarrow reads: pip install pyarrow, or save it as npy") from None
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        names = parquet.read_schema(path).names
        if name not in names:
            raise ValueError(f"{path} has the columns {', '.join(names)}; name one of them as {path}:COLUMN")
        rows = parquet.read_table(path, columns=[name])[name].to_numpy()
    except ArrowInvalid as error:
        raise ValueError(f"{path} cannot be read ({reason_of(error)}); write it again, or as npy") from None
    return _stacked(rows, f"column {name!r} of {path}")


def _stacked(rows: np.ndarray, what: str) -> np.ndarray:
    try:
        found = np.stack(rows)
    except (TypeError, ValueError):
        raise ValueError(f"{what} holds no embeddings of one width: a list of D numbers a row is needed") from None
    if found.ndim != 2 or found.dtype.kind != "f":
        raise ValueError(f"{what} holds {found.dtype} of shape {found.shape}: a list of D numbers a row is needed")
    return found
