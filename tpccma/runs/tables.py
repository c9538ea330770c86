"""CSV files as this project writes them, of which somebody may have edited one: read strictly."""

from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd

RESULT = ("profile", "method", "alpha", "seed")  # what names a row of results.csv
RATE = ("profile", "method", "learning_rate")  # and one of the first round's learning rates
TRIAL = (*RATE, "seed")  # and one of learning_rates.csv
WORDS = ("profile", "method", "base", "model")  # the columns that hold no numbers
NOTES = ("grid", "training_code", "evaluation_code", "commit")  # nor do these, of learning_rates.csv


def read_table(path: str | Path, keys: tuple[str, ...] = RESULT, text: str | None = None) -> pd.DataFrame:
    """Read ``results.csv`` or ``learning_rates.csv``.

    Args:
        path: of the file.
        keys: the columns that name a row, ``RESULT``, ``RATE`` or ``TRIAL``.
        text: what the file should hold, to be read in its place.

    Returns:
        Its rows; a measure that a row lacks is NaN.

    Raises:
        ValueError: if it lacks a key, a row stands there twice, or a measure is no finite number; the message names it.
    """
    notes = NOTES if keys != RESULT else ()
    words = dict.fromkeys((*WORDS, *notes), str)  # a profile may be named NA or 7
    try:
        table = pd.read_csv(
            path if text is None else StringIO(text), dtype=words, keep_default_na=False, na_values=[""]
        )
    except ValueError as error:
        raise ValueError(f"{path} is no table: {error}; remove it and build it anew") from None
    wrong = [f"it lacks the column {key}" for key in keys if key not in table]
    if len(table) and not wrong:
        wrong = _wrong_values(table.drop(columns=list(notes), errors="ignore")) or _wrong_rows(table, keys)
    if wrong:
        raise ValueError(f"{path} is no table of runs: {wrong[0]}; remove it and build it anew")
    return table.copy()  # in one piece: pandas warns of columns that are added to many pieces


def _wrong_values(table: pd.DataFrame) -> list[str]:
    measures = table.drop(columns=list(WORDS), errors="ignore")
    no_numbers = [f"{name} holds what is no number" for name in measures if measures[name].dtype.kind not in "iuf"]
    return no_numbers or [f"{name} holds an infinite number" for name in measures if np.isinf(measures[name]).any()]


def _wrong_rows(table: pd.DataFrame, keys: tuple[str, ...]) -> list[str]:
    named = table[list(keys)]
    nameless = [f"a row has no {key}" for key in keys if named[key].isna().any()]
    return nameless + [
        f"the row {'/'.join(map(str, row))} stands there twice" for row in named[named.duplicated()].values
    ]
