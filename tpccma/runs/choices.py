"""How learning rates are chosen: one protocol for every trained method, fixed before its first trial but for
the grid's last rate [ours].

- All methods have the same grid of eight rates, ``GRID``; one with a dial is tried at alpha 0.5. It ended at 0.01,
  until stage 1 was seen on the scenes: plain CLIP and AlignCLIP scored best at that end, so all got an eighth.
- Stage 1 trains with seed 0 at every rate of the grid. Stage 2 trains with seeds 1 and 2 at the best rate of stage 1
  and its two neighbours; at an end of the grid, at the two nearest inside. So each method has fourteen trials.
- A trial's score is the mean of zero-shot accuracy, recall@1 and ARI on validation data; test data are not read. A
  training that diverges scores 0.
- Chosen is the rate whose mean score over the three seeds is largest, of equal ones the smallest. Whether it lies at an
  end of the grid is said, and what the base model scores: a rate so low that weights hardly move scores much as that
  does (statistics of batch norm move at any rate).

Trials stand in ``results/learning_rates.csv``. The first round, of three rates a method and seed 0, on which the first
recorded runs rest, stands in ``results/learning_rates_first_round.csv``.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from tpccma.methods import METHODS, find_method
from tpccma.runs.jobs import BASE

GRID = (1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
SEEDS = (0, 1, 2)  # the first alone in stage 1
STAGES = (1, 2)
BASE_RATE = 0.0  # stands for the base model, which is not trained
TRIALS = "learning_rates.csv"
CHOICE = ("learning_rate", "score", "lowest", "highest", "base", "at_end", "diverged")


class Trial(NamedTuple):
    """One training of the search: a method, or "base", its learning rate, its seed, and the stage it belongs to."""

    method: str
    learning_rate: float
    seed: int
    stage: int


def searched_methods(names: tuple[str, ...] = ()) -> tuple[str, ...]:
    """List the methods that have a learning rate of their own.

    Args:
        names: those that are wanted; none takes all.

    Raises:
        ValueError: if one is unknown or has no rate of its own; the message names it.
    """
    for name in names:
        how = find_method(name)
        if how.like or not how.trained:
            why = f"it takes the rate of {how.like}; search that one's" if how.like else "it is not trained"
            raise ValueError(f"method {name!r} has no learning rate of its own: {why}")
    return tuple(name for name, how in METHODS.items() if how.trained and not how.like and (not names or name in names))


def missing_trials(table: pd.DataFrame, methods: tuple[str, ...], stage: int) -> list[Trial]:
    """List the trials of a stage that are to do; none of stage 2 where stage 1 is not complete.

    Args:
        table: the trials of one profile that are known.
        methods: which to look for; the base model's are listed before theirs.
        stage: 1 or 2.
    """
    known = set(table[["method", "learning_rate", "seed"]].itertuples(index=False, name=None))
    seeds = SEEDS[:1] if stage == 1 else SEEDS[1:]
    return [
        Trial(name, rate, seed, stage)
        for name in (BASE, *methods)
        for seed in seeds
        for rate in _rates_of(table[table.method == name], name, stage)
        if (name, rate, seed) not in known
    ]


def _rates_of(own: pd.DataFrame, method: str, stage: int) -> tuple[float, ...]:
    if method == BASE:
        return (BASE_RATE,)
    return GRID if stage == 1 else second_rates(own)


def second_rates(own: pd.DataFrame) -> tuple[float, ...]:
    """Say which three rates stage 2 tries of a method; none as long as stage 1 is not complete.

    Args:
        own: its trials that are known.
    """
    scores = own[own.seed == SEEDS[0]].set_index("learning_rate").score.reindex(GRID)
    if scores.isna().any():
        return ()
    middle = min(max(int(np.argmax(scores)), 1), len(GRID) - 2)
    return GRID[middle - 1 : middle + 2]


def chosen_rates(table: pd.DataFrame) -> pd.DataFrame:
    """Choose a learning rate for every method whose trials are complete.

    Args:
        table: the trials of one profile.

    Returns:
        A row a method: ``learning_rate``, the mean ``score`` over seeds with its ``lowest`` and ``highest``, the
        ``base`` model's mean score, ``at_end`` of the grid or not, and how many of its trials ``diverged``.
    """
    base = table.score[table.method == BASE].mean()
    rows = {}
    for name, own in table[table.method != BASE].groupby("method"):
        scores = own[own.learning_rate.isin(second_rates(own))].groupby("learning_rate").score
        found = scores.agg(["size", "mean", "min", "max"])
        if len(found) and (found["size"] == len(SEEDS)).all():
            rate = found["mean"].idxmax()  # the first, and so the smallest, of equal ones
            at_end = rate in (GRID[0], GRID[-1])
            rows[name] = (rate, *found.loc[rate, ["mean", "min", "max"]], base, at_end, int(own.diverged.sum()))
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(CHOICE)).rename_axis("method")
