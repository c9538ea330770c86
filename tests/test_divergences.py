import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg
from scipy.spatial.distance import pdist

from tpccma.metrics import modality_gap
from tpccma.metrics.divergences import (
    cauchy_schwarz,
    centre,
    frechet,
    linear_cka,
    median_bandwidth,
    mmd,
    sliced_wasserstein,
    trace_ratio,
)

DISTANCES = [mmd, cauchy_schwarz, sliced_wasserstein, lambda x, y: sum(frechet(x, y))]
IDS = ["mmd", "cauchy_schwarz", "sliced_wasserstein", "frechet"]


def cloud(seed, n=30, width=5):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(seed, width=5):
    return torch.linalg.qr(cloud(seed, width, width)).Q


def line(*points):
    return torch.tensor(points, dtype=torch.float64)[:, None]


def test_centre_moves_the_mean_and_optionally_restores_the_length():
    x = torch.tensor([[3.0, 1.0], [1.0, 1.0]])
    assert torch.equal(centre(x), torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64))
    x = torch.tensor([[3.0, 4.0], [-3.0, -4.0], [0.0, 0.0]])
    expected = torch.tensor([[0.6, 0.8], [-0.6, -0.8], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(centre(x, renormalise=True), expected)


def test_median_bandwidth_is_the_median_of_the_distinct_pairs():
    # Points 0, 1, 3, 7: distances 1, 2, 3, 4, 6, 7; the lower of the two in the middle is 3.
    assert median_bandwidth(line(0, 1), line(3, 7)) == pytest.approx(3)
    x, y = cloud(0, 21), cloud(1, 22)
    assert median_bandwidth(x, y) == pytest.approx(sorted(pdist(torch.cat([x, y])))[(43 * 42 // 2 + 1) // 2 - 1])


def test_median_bandwidth_of_a_large_pool_comes_from_part_of_it():
    x, y = cloud(0, 2000), cloud(1, 2000)
    assert median_bandwidth(x, y, max_rows=400) == pytest.approx(median_bandwidth(x, y, max_rows=4000), rel=0.03)


def test_median_bandwidth_refuses_points_that_coincide():
    with pytest.raises(ValueError, match="half of the rows coincide"):
        median_bandwidth(line(2, 2, 2), line(2, 2, 5))


def test_mmd_of_a_known_case():
    # x at 0 and 1, y at 1: mean k(x, x) = (2 + 2k) / 4 with k = exp(-1/2), k(y, y) = 1, mean k(x, y) = (k + 1) / 2.
    k = math.exp(-0.5)
    assert mmd(line(0, 1), line(1), bandwidth=1) == pytest.approx(math.sqrt((1 + k) / 2 + 1 - (k + 1)))


def test_cauchy_schwarz_of_a_known_case():
    # One point each at distance 2, bandwidth 1: log 1 + log 1 - 2 log exp(-2) = 4.
    assert cauchy_schwarz(line(0), line(2), bandwidth=1) == pytest.approx(4)


def test_the_default_bandwidth_is_the_median():
    x, y = cloud(0), cloud(1) + 1
    width = median_bandwidth(x, y)
    assert mmd(x, y) == mmd(x, y, bandwidth=width) != mmd(x, y, bandwidth=2 * width)
    assert cauchy_schwarz(x, y) == cauchy_schwarz(x, y, bandwidth=width)


def test_kernel_means_are_the_same_in_slices():
    x, y = cloud(0, 1030), cloud(1, 1030) + 0.5
    kxx, kyy, kxy = (torch.cdist(a, b).square().div(-2).exp().mean() for a, b in ((x, x), (y, y), (x, y)))
    assert mmd(x, y, bandwidth=1) == pytest.approx((kxx + kyy - 2 * kxy).sqrt().item())


@pytest.mark.parametrize("bandwidth", [0, -1, math.nan])
@pytest.mark.parametrize("distance", [mmd, cauchy_schwarz])
def test_impossible_bandwidths_are_refused(distance, bandwidth):
    with pytest.raises(ValueError, match=f"bandwidth is {bandwidth}"):
        distance(cloud(0), cloud(1), bandwidth=bandwidth)


def test_cauchy_schwarz_refuses_a_kernel_that_reaches_nothing():
    with pytest.raises(ValueError, match="pass a wider one"):
        cauchy_schwarz(line(0), line(1000), bandwidth=1)


def test_sliced_wasserstein_on_a_line_is_the_wasserstein_distance():
    # Sorted: 0, 1, 5 against 1, 2, 9: differences 1, 1, 4.
    assert sliced_wasserstein(line(5, 0, 1), line(2, 9, 1)) == pytest.approx(math.sqrt((1 + 1 + 16) / 3))


def test_sliced_wasserstein_of_a_shift_is_its_length_over_the_root_of_the_width():
    x = cloud(0)
    shift = torch.tensor([3.0, 0.0, 0.0, 0.0, 0.0])
    assert sliced_wasserstein(x, x + shift, n_projections=20_000) == pytest.approx(3 / math.sqrt(5), rel=0.02)


def test_sliced_wasserstein_repeats_with_the_seed():
    x, y = cloud(0), cloud(1)
    assert sliced_wasserstein(x, y, seed=1) == sliced_wasserstein(x, y, seed=1) != sliced_wasserstein(x, y, seed=2)


def test_sliced_wasserstein_refuses_clouds_of_unequal_size_and_no_directions():
    with pytest.raises(ValueError, match="x has 30 rows and y has 20"):
        sliced_wasserstein(cloud(0), cloud(1, 20))
    with pytest.raises(ValueError, match="n_projections is 0"):
        sliced_wasserstein(cloud(0), cloud(1), n_projections=0)


def test_frechet_on_a_line():
    # Means 1 and 5; standard deviations 1 and 3: the covariance part is |1 - 3|.
    assert frechet(line(0, 2), line(2, 8)) == pytest.approx((4, 2))


def test_frechet_matches_the_matrix_square_root():
    x, y = cloud(0, 50), cloud(1, 40) @ torch.diag(torch.tensor([1.0, 2.0, 0.5, 3.0, 1.0], dtype=torch.float64))
    covariances = [torch.cov(a.T, correction=0).numpy() for a in (x, y)]
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = sum(c.trace() for c in covariances) - 2 * root.trace()
    assert frechet(x, y).covariance ** 2 == pytest.approx(expected)
    assert frechet(x, y).mean == pytest.approx((x.mean(dim=0) - y.mean(dim=0)).norm().item())


@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 8))
def test_no_unpaired_reading_exceeds_the_paired_one(seed, n, width):
    x, y = cloud(seed, n, width), cloud(seed + 1, n, width)
    x, y = (a / a.norm(dim=1, keepdim=True) for a in (x, y))
    gap = modality_gap(x, y)
    assert frechet(x, y).mean == pytest.approx(gap.centroid, abs=1e-9)
    assert frechet(x, y).covariance <= gap.distribution + 1e-6
    assert sliced_wasserstein(centre(x), centre(y)) <= gap.distribution + 1e-6


def test_linear_cka_of_known_cases():
    x = cloud(0)
    assert linear_cka(x, x) == pytest.approx(1)
    assert linear_cka(x, 3 * x @ rotation(1) + 2) == pytest.approx(1)  # same geometry, turned, scaled and moved
    # Centred columns (1, -1, 0, 0) and (0, 0, 1, -1) are orthogonal.
    assert linear_cka(line(1, -1, 0, 0), line(0, 0, 1, -1)) == pytest.approx(0)
    # On a line CKA is the squared correlation: covariance 1/2 (1*1 + 0*-1 + -1*0), variances 1 and 1.
    assert linear_cka(line(1, 0, -1), line(1, -1, 0)) == pytest.approx(0.25)


def test_linear_cka_takes_unequal_widths_but_needs_pairs():
    x = cloud(0)
    assert linear_cka(x, torch.cat([x, torch.zeros(30, 2)], dim=1)) == pytest.approx(1)
    with pytest.raises(ValueError, match="needs pairs"):
        linear_cka(x, x[:20])
    with pytest.raises(ValueError, match="rows of y all coincide"):
        linear_cka(x, torch.ones(30, 2))


def test_linear_cka_alone_depends_on_the_order_of_the_rows():
    x = cloud(0)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    assert linear_cka(x, x[order]) < 0.9
    for distance in DISTANCES:
        assert distance(x, cloud(1)[order]) == pytest.approx(distance(x, cloud(1)), rel=1e-6)


def test_trace_ratio_of_a_known_case():
    assert trace_ratio(line(0, 2), line(5, 9)) == pytest.approx(1 / 4)  # variances 1 and 4
    with pytest.raises(ValueError, match="rows of y all coincide"):
        trace_ratio(line(0, 2), line(5, 5))


@pytest.mark.parametrize("distance", DISTANCES, ids=IDS)
@given(seed=st.integers(0, 10_000))
def test_distances_are_symmetric_positive_and_zero_for_equal_sets(distance, seed):
    x, y = cloud(seed), cloud(seed + 1)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    assert distance(x, y) == pytest.approx(distance(y, x), rel=1e-6)
    assert distance(x, y) > 1e-3
    assert distance(x, x[order]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("distance", [mmd, cauchy_schwarz, lambda x, y: sum(frechet(x, y))])
def test_distances_ignore_a_common_rotation_and_shift(distance):
    x, y, turn = cloud(0), cloud(1) + 1, rotation(2)
    assert distance(x @ turn + 3, y @ turn + 3) == pytest.approx(distance(x, y))


@pytest.mark.parametrize("distance", DISTANCES, ids=IDS)
def test_malformed_clouds_are_refused(distance):
    with pytest.raises(ValueError, match="x has width 5 and y has width 4"):
        distance(cloud(0), cloud(1, 30, 4))
    with pytest.raises(ValueError, match=r"y has shape \(30,\)"):
        distance(cloud(0), cloud(1)[:, 0])
    with pytest.raises(ValueError, match=r"x has shape \(0, 5\)"):
        distance(cloud(0)[:0], cloud(1))
    broken = cloud(0)
    broken[[4, 7], 2] = math.nan
    with pytest.raises(ValueError, match=r"x holds NaN or infinity in row 4 \(2 such rows\)"):
        distance(broken, cloud(1))
