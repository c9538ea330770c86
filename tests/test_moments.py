import importlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from tpccma.metrics import modality_gap, scale_free_distribution_gap
from tpccma.metrics.gap import gap_of, scale_free_of
from tpccma.metrics.moments import exact_moments, moments, pooled

MODULE = importlib.import_module("tpccma.metrics.moments")


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unrelated(n, width):
    return normal(0, n, width), normal(1, n, width)


def clustered(n, width):
    """Pairs of ten classes, one class after another, texts of their own offset."""
    centres = normal(2, 10, width).repeat_interleave(-(-n // 10), dim=0)[:n]
    return centres + 0.1 * normal(0, n, width), centres + 0.1 * normal(1, n, width) + 0.5 * normal(3, 1, width)


def nearly_equal(n, width):
    x = F.normalize(normal(0, n, width), dim=1)
    return x, x + 1e-4 * normal(1, n, width) / width**0.5


def in_one_cone(n, width):
    axis = F.normalize(normal(2, 1, width), dim=1)
    return axis + 1e-3 * normal(0, n, width), axis + 1e-3 * normal(1, n, width)


def in_two_cones(n, width):
    x, y = in_one_cone(n, width)
    return x, -y


def matched_but_for_the_means(n, width):
    spread, axis = normal(0, n, width), 3 * width**0.5 * F.normalize(normal(2, 1, width), dim=1)
    return spread + axis, spread + 1e-2 * normal(1, n, width) - axis


CLOUDS = [unrelated, clustered, nearly_equal, in_one_cone, in_two_cones, matched_but_for_the_means]


@pytest.fixture(autouse=True)
def several_spans(monkeypatch):
    """Let the rows below be taken in spans of 512 rows and blocks of 128, the last ones shorter."""
    monkeypatch.setattr(MODULE, "SPAN", 512)
    monkeypatch.setattr(MODULE, "BLOCK", 128 * 64)


def reference(x, y):
    """The four gaps by their definitions, in float64."""
    x, y = x.double(), y.double()
    a, b = x - x.mean(dim=0), y - y.mean(dim=0)
    distribution, width = (a - b).square().sum(dim=1).mean(), (a.square() + b.square()).sum(dim=1).mean()
    raw, centroid = (x - y).square().sum(dim=1).mean().sqrt(), (x.mean(dim=0) - y.mean(dim=0)).norm()
    return [part.item() for part in (raw, centroid, distribution.sqrt(), (distribution / width).sqrt())]


def measured(x, y, normalize=False):
    return [*modality_gap(x, y, normalize), scale_free_distribution_gap(x, y, normalize)]


@pytest.mark.parametrize("clouds", CLOUDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_every_precision_gives_what_float64_gives_of_the_same_numbers(clouds, dtype):
    x, y = (F.normalize(rows, dim=1).to(dtype) for rows in clouds(1300, 64))
    assert measured(x, y) == pytest.approx(reference(x, y), abs=1e-12 if dtype == torch.float64 else 1e-6)


@pytest.mark.parametrize("clouds", CLOUDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_precision_is_normalised_as_float64_would_be(clouds, dtype):
    x, y = (F.normalize(rows, dim=1).to(dtype) for rows in clouds(1300, 64))
    expected = reference(*(F.normalize(rows.double(), dim=1) for rows in (x, y)))
    assert measured(x, y, normalize=True) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("clouds", CLOUDS)
def test_rows_of_any_length_are_normalised_block_by_block(clouds):
    x, y = (F.normalize(rows, dim=1) for rows in clouds(1300, 64))
    lengths = torch.logspace(-12, 12, 1300, dtype=torch.float64)[:, None]
    expected = reference(*(F.normalize(rows.float().double(), dim=1) for rows in (x * lengths, 7 * y)))
    assert measured((x * lengths).float(), (7 * y).float(), normalize=True) == pytest.approx(expected, abs=1e-6)


def test_arrays_tensors_and_mapped_files_are_measured_alike(tmp_path):
    x, y = (F.normalize(rows, dim=1).float() for rows in clustered(1300, 64))
    expected = measured(x, y)
    np.save(tmp_path / "x.npy", x.numpy())
    np.save(tmp_path / "y.npy", y.numpy())
    for mode in ("r", "c"):
        assert measured(*(np.load(tmp_path / f"{name}.npy", mmap_mode=mode) for name in "xy")) == expected
    assert measured(x.numpy(), y) == measured(x, y.numpy()) == expected
    assert measured(x.T.contiguous().T, y.numpy()[::-1][::-1]) == pytest.approx(expected, abs=1e-7)
    assert measured(x.tolist(), y.tolist()) == pytest.approx(expected, abs=1e-6)
    assert measured(x, y.double()) == pytest.approx(reference(x, y), abs=1e-12)


def test_no_span_is_taken_twice_or_copied_whole(monkeypatch):
    sizes = []
    sum_of = MODULE._sums_of_block
    monkeypatch.setattr(MODULE, "_sums_of_block", lambda x, *others: sizes.append(len(x)) or sum_of(x, *others))
    monkeypatch.setattr(MODULE, "_checked", None)
    x, y = (F.normalize(rows, dim=1).float() for rows in clustered(1300, 64))
    measured_once = moments(x, y)
    assert sizes == [128] * 10 + [20] and measured_once[0] == 1300


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("row", "factor", "message"),
    [
        (700, math.nan, r"y holds NaN or infinity in row 700 \(1 such row\)"),
        (1299, -math.inf, "y holds NaN or infinity in row 1299"),
        (515, 1.002, "row 515 of y has length 1.002, not 1"),
        (515, 0.0, "row 515 of y has length 0, not 1"),
        (0, 1e30, r"row 0 of y has length 1e\+30, not 1"),
    ],
)
def test_what_is_wrong_is_named_by_its_row_in_the_whole(dtype, row, factor, message):
    x, y = (F.normalize(rows, dim=1).to(dtype) for rows in unrelated(1300, 64))
    y[row] *= factor
    for measure in (modality_gap, scale_free_distribution_gap):
        with pytest.raises(ValueError, match=message):
            measure(x, y)


def test_rows_too_long_or_short_for_float32_squares_are_normalised_all_the_same():
    x, y = (F.normalize(rows, dim=1) for rows in unrelated(200, 64))
    expected = reference(x, y)
    for factor in (1e-30, 1e30):
        assert measured((x * factor).float(), y.float(), True) == pytest.approx(expected, abs=1e-6)
    x[3] = 0
    with pytest.raises(ValueError, match="row 3 of x has length 0, not 1: drop it"):
        modality_gap(x.float(), y.float(), normalize=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("count", [2, 130, 1300])
def test_clouds_that_are_points_have_their_distance_and_no_width(dtype, count):
    x, y = (F.normalize(rows, dim=1).to(dtype) for rows in unrelated(1, 64))
    gap = modality_gap(x.repeat(count, 1), y.repeat(count, 1), normalize=True)
    assert gap.raw == pytest.approx((F.normalize(x.double()) - F.normalize(y.double())).norm().item(), abs=1e-6)
    assert gap.distribution == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="collapsed"):
        scale_free_distribution_gap(x.repeat(count, 1), y.repeat(count, 1), normalize=True)


@given(st.integers(0, 10_000), st.lists(st.integers(0, 9), min_size=1, max_size=7), st.integers(1, 5))
def test_the_moments_of_parts_give_those_of_the_whole_however_far_from_the_origin(seed, sizes, width):
    sizes = [*sizes, 2]
    x, y = normal(seed, sum(sizes), width) + 1e3, normal(seed + 1, sum(sizes), width)
    parts = [
        exact_moments(*pair) if len(pair[0]) else torch.zeros(3 + 2 * width, dtype=torch.float64)
        for pair in zip(x.split(sizes), y.split(sizes), strict=True)
    ]
    found = pooled(torch.stack(parts))
    assert found[0] == sum(sizes)
    assert [*gap_of(found), scale_free_of(found)] == pytest.approx(reference(x, y), rel=1e-9, abs=1e-9)
