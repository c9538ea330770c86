import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from tpccma.metrics import (
    alignment,
    cone_effect,
    effective_rank,
    linear_separability,
    modality_mixing,
    pair_cosine,
    relative_modality_gap,
    uniformity,
)

EYE = torch.eye(2)
X = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
Y = torch.tensor([[-1.0, 0.0], [0.0, 1.0]])


def sphere(seed, n, width=8):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, width, generator=generator, dtype=torch.float64), dim=1)


def cap(seed, n, pole, width=8):
    """n points of the sphere around one end of the first axis."""
    points = sphere(seed, n, width)
    points[:, 0] += 3 * pole
    return F.normalize(points, dim=1)


def test_alignment_and_pair_cosine_of_a_known_case():
    assert alignment(X, Y) == pytest.approx((2**2 + 0) / 2)
    assert pair_cosine(X, Y) == pytest.approx((-1 + 1) / 2)


def test_uniformity_of_a_known_case():
    points = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    # Distinct pairs: one at d^2 = 4, two at d^2 = 2.
    assert uniformity(points) == pytest.approx(math.log((math.exp(-8) + 2 * math.exp(-4)) / 3))
    assert uniformity(X[:1].repeat(5, 1)) == pytest.approx(0)


def test_uniformity_is_the_same_in_slices():
    points = sphere(0, 1100)
    distances = torch.pdist(points).square()
    assert uniformity(points) == pytest.approx(distances.mul(-2).exp().mean().log().item())


def test_cone_effect_of_a_known_case():
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert cone_effect(points) == pytest.approx((0 + 0 - 1) / 3)
    assert cone_effect(X[:1].repeat(4, 1)) == pytest.approx(1)


def test_relative_modality_gap_of_a_known_case():
    # Pairs: cosine distances 2 and 0, mean 1. Within each modality one pair of rows at cosine distance 1: mean 1.
    assert relative_modality_gap(X, Y) == pytest.approx(1 / (1 + 1))
    assert relative_modality_gap(X, X) == pytest.approx(0, abs=1e-12)


def test_relative_modality_gap_of_two_points_is_one_and_of_one_is_refused():
    west, east = (torch.tensor([[side, 0.0]]).repeat(3, 1) for side in (-1.0, 1.0))
    assert relative_modality_gap(west, east) == pytest.approx(1)  # 2 / (2 + 0)
    with pytest.raises(ValueError, match="collapsed"):
        relative_modality_gap(east, east)


def test_effective_rank_of_known_cases():
    cross = torch.cat([torch.eye(3), -torch.eye(3)])
    assert effective_rank(cross) == pytest.approx(3)
    assert effective_rank(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.5, 0.0]])) == pytest.approx(1)
    # Singular values of the centred rows: 3 * 2^0.5 and 2^0.5, shares 3/4 and 1/4.
    stretched = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effective_rank(stretched) == pytest.approx(math.exp(entropy))


@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(-5, 5))
def test_effective_rank_ignores_scale_and_shift_and_stays_in_range(seed, scale, shift):
    points = sphere(seed, 7)
    assert effective_rank(scale * points + shift) == pytest.approx(effective_rank(points), rel=1e-6)
    assert 1 <= effective_rank(points) <= 6 + 1e-9  # min(N - 1, D)


def test_effective_rank_names_a_collapse():
    with pytest.raises(ValueError, match="collapsed"):
        effective_rank(torch.full((5, 3), 0.1))


def test_modality_mixing_of_modalities_apart_is_zero():
    assert modality_mixing(cap(0, 30, 1), cap(1, 30, -1)) == 0


def test_modality_mixing_of_one_distribution_is_a_half():
    assert modality_mixing(sphere(0, 1500), sphere(1, 1500)) == pytest.approx(0.5, abs=0.02)


def test_modality_mixing_counts_neighbours_on_a_circle():
    # Pair i stands at angle 10 i degrees, the text 1 degree ahead of the image.
    angles = torch.arange(6, dtype=torch.float64)[:, None] * 10
    x, y = (torch.cat([a.deg2rad().cos(), a.deg2rad().sin()], dim=1) for a in (angles, angles + 1))
    assert modality_mixing(x, y, k=1) == 1  # the partner is nearest
    # The next is at 9 degrees: for an image the text before it, for a text the image after it.
    # The first image has none before: its next is an image at 10; likewise the last text.
    assert modality_mixing(x, y, k=2) == pytest.approx((24 - 2) / 24)


def test_modality_mixing_over_all_but_one_is_nearly_the_share_of_the_others():
    # Of 9 others 5 are of the other modality; leaving the farthest out leaves 4 or 5 among 8.
    assert 0.5 <= modality_mixing(sphere(0, 5), sphere(1, 5), k=8) <= 5 / 8


@pytest.mark.parametrize("k", [0, 9])
def test_modality_mixing_refuses_impossible_neighbourhoods(k):
    with pytest.raises(ValueError, match=f"k is {k}: with 5 pairs pass 1 to 8"):
        modality_mixing(sphere(0, 5), sphere(1, 5), k=k)


def test_linear_separability_is_one_apart_and_a_half_mixed():
    assert linear_separability(cap(0, 100, 1), cap(1, 100, -1)) == 1
    assert linear_separability(sphere(0, 2000), sphere(1, 2000)) == pytest.approx(0.5, abs=0.05)


def test_linear_separability_of_equal_modalities_is_exactly_a_half():
    points = sphere(2, 51)
    assert linear_separability(points, points) == 0.5  # every test point stands once on each side


def test_linear_separability_depends_on_nothing_but_the_seed():
    x, y = sphere(3, 100), sphere(4, 100)
    values = [linear_separability(x, y, seed) for seed in (0, 0, 1, 2, 3)]
    assert values[0] == values[1]
    assert len(set(values)) > 1


def test_a_pair_never_stands_on_both_sides_of_the_split():
    # Every pair has a direction of its own. Were rows split instead, half of the test rows would have their partner in
    # training and be told by it: about 0.75. With whole pairs held out nothing is known of the test directions.
    points = torch.eye(200)
    assert linear_separability(points, -points) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    "measure", [alignment, pair_cosine, relative_modality_gap, modality_mixing, linear_separability]
)
def test_paired_measures_refuse_rows_that_are_not_of_length_one(measure):
    with pytest.raises(ValueError, match=r"row 1 of y has length 0\.5"):
        measure(sphere(0, 3, 2), torch.tensor([[1.0, 0.0], [0.5, 0.0], [0.0, 1.0]]))


@pytest.mark.parametrize("measure", [uniformity, cone_effect])
def test_measures_of_one_modality_refuse_rows_that_are_not_of_length_one(measure):
    with pytest.raises(ValueError, match="row 0 of x has length 3"):
        measure(3 * EYE)
    with pytest.raises(ValueError, match="x has 1 row"):
        measure(EYE[:1])


ONE = [uniformity, cone_effect, effective_rank]
PAIRED = [alignment, pair_cosine, relative_modality_gap, modality_mixing, linear_separability]


@pytest.mark.parametrize("measure", ONE + PAIRED)
def test_measures_of_no_row_or_of_one_are_refused(measure):
    for rows, message in ((EYE[:0], r"x has shape \(0, 2\)"), (EYE[:1], r"x has 1 row\(s\): at least 2 are needed")):
        with pytest.raises(ValueError, match=message):
            measure(*[rows] * (1 if measure in ONE else 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("measure", ONE + PAIRED)
def test_rows_in_half_precision_are_measured_in_float64(measure, dtype):
    rows = [cap(seed, 40, 1, width=64).sign().to(dtype) / 8 for seed in range(1 if measure in ONE else 2)]
    assert measure(*rows) == measure(*(row.double() for row in rows))
