"""Doors that take numbers, tried with what hypothesis draws: the documented value, or a ValueError that names it."""

import math
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor
from torch.nn import functional as F

from tests.test_numbers import LOSSES, MEASURES, TASKS, anything, numbers_of
from torture.forks import Copy, Progress
from torture.fuzz import judge, limit_memory
from torture.outcomes import FAULT, Door, Outcomes
from torture.record import LIMIT
from tpccma.curriculum import GradientReading, ThreePhaseCurriculum
from tpccma.data.captions import has_word
from tpccma.loss import CMALoss
from tpccma.methods.first_curriculum import FirstReadingCurriculum
from tpccma.tasks.caption_scores import score_captions
from tpccma.tasks.retrieval import retrieval_recall

# What the documentation promises of each number of a result; where nothing stands, any finite number.
RANGES = {
    **dict.fromkeys(("modality_gap", "gap_interval", "ModalityGap"), (0, 2)),
    **dict.fromkeys(("scale_free_distribution_gap", "ScaleFreeDistributionGap", "mmd"), (0, math.sqrt(2))),
    **dict.fromkeys(("pair_cosine", "cone_effect"), (-1, 1)),
    **dict.fromkeys(("relative_modality_gap", "modality_mixing", "linear_separability", "linear_cka"), (0, 1)),
    **dict.fromkeys(("cauchy_schwarz", "sliced_wasserstein", "frechet", "trace_ratio"), (0, math.inf)),
    **dict.fromkeys(("retrieval", "zero-shot"), (0, 1)),
    "alignment": (0, 4),
    "uniformity": (-8, 0),
    "effective_rank": (1, 6),
    "clustering": (-1, 1),
}
NONE_WHERE_POINTS = ("gap_interval", "ScaleFreeDistributionGap")  # NaN, where both clouds are single points
ROUNDING = 2e-3  # lengths may be off by a thousandth


TYPES = st.sampled_from([torch.float64, torch.float32, torch.float32, torch.float16, torch.bfloat16])


def cloud(draw: st.DrawFn, count: int, width: int) -> Tensor:
    """Draw rows of unit length, some of them alike, opposite or of another length, in any precision."""
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    rows = F.normalize(torch.randn(count, width, generator=random, dtype=torch.float64), dim=1)
    if draw(st.booleans()):
        rows = F.normalize(rows.sign() if draw(st.booleans()) else rows[:1] + 1e-3 * rows, dim=1)
    rows[draw(st.integers(0, count - 1))] = draw(st.sampled_from([1.0, 1.0, 1.0, -1.0, 1.0005, 0.9])) * rows[0]
    return rows.to(draw(TYPES))


@st.composite
def matrices(draw: st.DrawFn) -> Any:
    """Draw a matrix of any numbers, as array or tensor."""
    dtype = draw(st.sampled_from([np.float64, np.float32, np.float16, np.int64, np.uint8, np.bool_]))
    matrix = draw(arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)))
    return torch.from_numpy(matrix) if draw(st.booleans()) else matrix


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Any, Any]:
    """Draw two clouds of one size, or of two, or anything, twice or beside a cloud."""
    count, width, how = draw(st.integers(1, 9)), draw(st.integers(1, 6)), draw(st.integers(0, 9))
    x = cloud(draw, count, width)
    if how < 6:
        return x, cloud(draw, count, width)
    if how == 6:
        return x, cloud(draw, draw(st.integers(1, 9)), draw(st.sampled_from([width, 3])))
    odd = draw(anything() | matrices())
    return {7: (odd, odd), 8: (x, odd), 9: (odd, x)}[how]


PAIRS = pairs()


def check_range(name: str, found: object) -> None:
    """See to it that every number of a result is as documented."""
    low, high = RANGES.get(name, (-math.inf, math.inf))
    for number in numbers_of(found):
        if not (math.isnan(number) and name in NONE_WHERE_POINTS):
            least, most = low - ROUNDING * max(1, -low), high + ROUNDING * max(1, high)
            assert math.isfinite(number) and least <= number <= most, f"{number!r}"


def measure(name: str, drawn: tuple) -> None:
    x, y = drawn
    check_range(name, MEASURES[name](x, y))


def task(name: str, drawn: tuple) -> None:
    x, y = (torch.as_tensor(each) for each in drawn)
    check_range(name, TASKS[name](x, y))


def loss(name: str, drawn: tuple, scale: object) -> None:
    x, y = drawn
    found = LOSSES[name](x, y, scale)
    tame = all(rows.isfinite().all() and rows.abs().max() < 10 for rows in (x, y))
    tame = tame and isinstance(scale, int | float) and 1e-6 < scale < 1e3
    assert found.shape == () and (not tame or found.isfinite()), f"{found!r}"


def equal_forms(drawn: tuple, alpha: float, scale: float) -> None:
    """Compare a loss in one pass with the text of the method, in float64."""
    x, y = (torch.as_tensor(each).double() for each in drawn)
    own = CMALoss(alpha)
    found, plain = own(x, y, scale), sum(own.plain(x, y, torch.tensor(scale, dtype=torch.float64)).values())
    if x.isfinite().all() and y.isfinite().all() and max(x.abs().max(), y.abs().max()) < 10:
        torch.testing.assert_close(found, plain, rtol=1e-6, atol=1e-9)


SHARES = st.floats(0, 1) | st.floats() | st.sampled_from([0, 1, -1, True, None, "0.5"])
READINGS = st.builds(GradientReading, *([st.floats(0, 1e9) | st.floats()] * 2), st.floats(-1, 1) | st.floats())
STEPS = st.integers(1, 40) | st.integers(-2, 2) | SHARES


def schedule(kind: type, alpha: object, steps: object, settings: dict, readings: list) -> None:
    """Follow a curriculum to its last step."""
    curriculum = kind(alpha, steps, **settings)
    found = []
    for step in range(min(steps, 60)):
        reading = readings[step % len(readings)] if readings else None
        found.append(curriculum.update(step, reading) if reading else curriculum.alpha(step))
        assert curriculum.phase(step) in ("anchor", "ramp", "stabilize")
    assert all(0 <= each <= alpha for each in found), f"{found}"
    assert found == sorted(found) or kind is FirstReadingCurriculum, f"it falls: {found}"  # whose cap may lower it
    assert steps > 60 or found[-1] == alpha, f"it ends at {found[-1]}"


WORDS = st.text(max_size=20) | st.sampled_from(["a cat", "A dog.", "", "...", "a\u2028b", "||| a", "\ud83d"])
SAID = st.lists(st.sampled_from(["a", "cat", "dog", "and", "7", "red", ",", "."]), min_size=1).map(" ".join)
CAPTIONS = st.integers(0, 29).flatmap(
    lambda kind: WORDS if kind < 3 else st.sampled_from([None, 5]) if kind == 3 else SAID
)


def scored(images: list) -> None:
    references, candidates = [list(refs) for refs, _ in images], [said for _, said in images]
    found = score_captions(references, candidates, ("cider", "bleu4", "rouge_l"))
    assert 0 <= found["cider"] <= 10 and all(0 <= found[name] <= 1 for name in ("bleu4", "rouge_l")), f"{found}"


def recall(drawn: tuple, ks: object, size: object) -> None:
    x, y = (torch.as_tensor(each) for each in drawn)
    check_range("retrieval", retrieval_recall(x, y.unsqueeze(1) if y.ndim == 2 else y, ks, size))


COUNTS = st.integers(1, 9) | st.integers(1, 9) | st.integers(-1, 9) | st.sampled_from([None, 1.5, math.nan, True, "1"])
SCALES = st.floats(0, 100, exclude_min=True) | st.floats() | st.sampled_from([0, 1, 100, True, None, "5"])
NAMED = r"\b(x|y|rows|images|texts|features|\w+_features|memory|classifier|labels|logit_scale)\b"
SETTING = r"alpha|steps|anchor|ramp|deadline|rate|patience|shape|shares"
TRIED: dict[str, tuple[Callable, dict, str]] = {
    "measures": (measure, {"name": st.sampled_from(sorted(MEASURES)), "drawn": PAIRS}, rf"{NAMED}|^shape|collapsed"),
    "losses": (loss, {"name": st.sampled_from(sorted(LOSSES)), "drawn": PAIRS, "scale": SCALES}, NAMED),
    "loss in one pass and by the formula": (
        equal_forms,
        {"drawn": PAIRS, "alpha": st.floats(0, 1), "scale": st.floats(0.01, 100)},
        NAMED,
    ),
    "retrieval, zero-shot, clustering, memory": (
        task,
        {"name": st.sampled_from(sorted(TASKS)), "drawn": PAIRS},
        NAMED,
    ),
    "retrieval at any cut-off": (
        recall,
        {"drawn": PAIRS, "ks": st.lists(COUNTS, min_size=1, max_size=2) | COUNTS, "size": COUNTS},
        rf"{NAMED}|ks is|chunk_size is",
    ),
    "curriculum": (
        schedule,
        {
            "kind": st.sampled_from([ThreePhaseCurriculum, FirstReadingCurriculum]),
            "alpha": st.floats(0, 1) | SHARES,
            "steps": st.integers(1, 40) | STEPS,
            "settings": st.just({})
            | st.dictionaries(st.sampled_from(["anchor", "ramp_end", "deadline", "slow_rate"]), SHARES, max_size=2),
            "readings": st.lists(READINGS, max_size=12),
        },
        SETTING,
    ),
    "captions with a word": (lambda text: has_word(text), {"text": st.text()}, r"(?!)"),
    "caption scores": (
        scored,
        {"images": st.lists(st.tuples(st.lists(CAPTIONS, max_size=3), CAPTIONS), max_size=3)},
        r"references|candidates|caption",
    ),
}
STEADY = settings(
    phases=[Phase.generate],
    database=None,
    deadline=None,
    derandomize=False,
    suppress_health_check=list(HealthCheck),
)
CASES = {"caption scores": 20}
WEIGHTS = {"measures": 4.0, "losses": 3.0, "curriculum": 2.0}


def try_numbers(name: str, turn: int, cases: int | None = None) -> Outcomes:
    """Try what hypothesis draws by one seed, in a copy of this process."""
    function, strategies, named = TRIED[name]
    progress, most = Progress(), CASES.get(name, 500)

    def work() -> Outcomes:
        outcomes = Outcomes()
        limit_memory()

        @seed(zlib.crc32(f"{name} {turn}".encode()))
        @settings(STEADY, max_examples=min(most, cases or most))
        @given(**strategies)
        def one(**drawn) -> None:
            number = sum(outcomes.found.values())
            progress.tell(number)
            how, fault = judge(lambda: function(**drawn), named)
            outcomes.note(how, fault and f"case {number}: {fault}, given {' '.join(str(drawn).split())[:300]}")

        one()
        return outcomes

    copy = Copy(work)
    in_time = progress.watch(copy, LIMIT)
    ended = copy.wait(5 if in_time else 0)
    if ended.value is not None:
        return ended.value
    outcomes = Outcomes()
    how = f"ends with {ended.status}" if in_time else "hangs"
    outcomes.note(FAULT, f"case {progress.read()}: {how}: {ended.said[-300:]}")
    return outcomes


def doors(cases: int | None = None) -> Iterator[Door]:
    """List what is tried; hypothesis is used once, so that what it prepares is there in all copies of this process."""
    given(st.text() | st.floats().map(str))(settings(max_examples=5, database=None, deadline=None)(lambda text: None))()
    for name in TRIED:
        yield Door("numbers", name, partial(try_numbers, name, cases=cases), share=WEIGHTS.get(name, 1.0))
