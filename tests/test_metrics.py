import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

import tpccma.metrics.streaming
from tpccma.metrics import (
    Gap,
    ModalityGap,
    ScaleFreeDistributionGap,
    describe_gap,
    effective_rank,
    gap_interval,
    measure_all,
    modality_gap,
    scale_free_distribution_gap,
)
from tpccma.metrics.moments import tally


def random_pairs(seed, n=40, width=6, shift=1.0, noise=0.5):
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(n, width, generator=generator, dtype=torch.float64)
    x = shared + noise * torch.randn(n, width, generator=generator, dtype=torch.float64)
    y = shared + noise * torch.randn(n, width, generator=generator, dtype=torch.float64)
    x[:, 0] += shift
    return F.normalize(x, dim=1), F.normalize(y, dim=1)


def bootstrap(statistic, x, y, n_resamples, seed=0):
    """The central 95 % of a statistic over resamples of the pairs, one after another."""
    generator = np.random.default_rng(seed)
    draws = [generator.integers(len(x), size=len(x)) for _ in range(n_resamples)]
    return tuple(np.quantile([statistic(x[rows], y[rows]) for rows in draws], [0.025, 0.975]))


# Images at east and north, texts at west and north: differences (2, 0) and (0, 0).
X = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
Y = torch.tensor([[-1.0, 0.0], [0.0, 1.0]])


def test_the_gap_of_a_known_case():
    gap = modality_gap(X, Y)
    # raw^2 = (4 + 0) / 2 = 2; the mean difference is (1, 0), so centroid = 1; the rest is 2 - 1 = 1.
    assert gap == pytest.approx((math.sqrt(2), 1, 1))
    assert (gap.raw, gap.centroid, gap.distribution) == tuple(gap)


def test_a_pure_shift_has_no_distribution_gap():
    x = torch.tensor([[0.6, 0.8], [0.6, -0.8]])
    y = torch.tensor([[-0.6, 0.8], [-0.6, -0.8]])  # x moved by (-1.2, 0)
    assert modality_gap(x, y) == pytest.approx((1.2, 1.2, 0), abs=1e-6)


def test_a_pure_swap_has_no_centroid_gap():
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert modality_gap(x, x.flip(0)) == pytest.approx((2, 0, 2))


def test_equal_modalities_have_no_gap():
    assert modality_gap(X, X) == Gap(0, 0, 0)


@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(2, 9), st.floats(0, 5))
def test_the_split_is_exact_and_each_part_is_what_it_says(seed, n, width, shift):
    x, y = random_pairs(seed, n, width, shift)
    gap = modality_gap(x, y)
    assert gap.raw**2 == pytest.approx(gap.centroid**2 + gap.distribution**2, abs=1e-12)
    centred = (x - x.mean(dim=0)) - (y - y.mean(dim=0))
    assert gap.raw**2 == pytest.approx((x - y).square().sum(dim=1).mean().item(), abs=1e-12)
    assert gap.centroid == pytest.approx((x.mean(dim=0) - y.mean(dim=0)).norm().item(), abs=1e-12)
    assert gap.distribution**2 == pytest.approx(centred.square().sum(dim=1).mean().item(), abs=1e-12)


@given(st.integers(0, 10_000))
def test_the_gap_does_not_change_under_rotation_or_reordering_of_pairs(seed):
    x, y = random_pairs(seed)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    assert modality_gap(x @ rotation, y @ rotation) == pytest.approx(modality_gap(x, y))
    assert modality_gap(x[order], y[order]) == pytest.approx(modality_gap(x, y))


def test_the_gap_takes_arrays_float32_and_gradients():
    x, y = random_pairs(0)
    expected = modality_gap(x, y)
    assert modality_gap(x.numpy(), y.numpy()) == expected
    assert modality_gap(x.float().requires_grad_(), y.float()) == pytest.approx(expected, abs=1e-6)
    assert all(type(part) is float for part in expected)


def test_normalize_accepts_rows_of_any_length():
    x, y = random_pairs(0)
    lengths = torch.linspace(0.1, 9, len(x), dtype=torch.float64)[:, None]
    assert modality_gap(x * lengths, y * 3, normalize=True) == pytest.approx(modality_gap(x, y))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, Y[:1].repeat(3, 1), r"\(2, 2\) and y \(3, 2\)"),
        (X[:1], Y[:1], "x has 1 row"),
        (X[0], Y[0], r"x has shape \(2,\)"),
        (X, torch.tensor([[1.0, 0.0], [math.nan, 0.0]]), "y holds NaN or infinity in row 1"),
        (torch.tensor([[math.inf, 0.0], [1.0, 0.0]]), Y, "x holds NaN or infinity in row 0"),
        (X, 2 * Y, "row 0 of y has length 2, not 1.*normalize=True"),
        (X * 1.002, Y, "row 0 of x has length 1.002"),
    ],
)
def test_malformed_input_is_refused_with_the_value(x, y, message):
    with pytest.raises(ValueError, match=message):
        modality_gap(x, y)
    with pytest.raises(ValueError, match=message):
        measure_all(x, y)


def test_lengths_within_a_thousandth_pass_and_zero_cannot_be_normalised():
    modality_gap(X * 1.0009, Y)
    with pytest.raises(ValueError, match="row 1 of x has length 0"):
        modality_gap(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), Y, normalize=True)


# ---- the scale-free distribution gap


def caps(seed, radius, n=12, width=5):
    """2 n pairs of unit rows around opposite poles; each cloud is of this radius about its mean, on the axis.

    Images turn to texts by a rotation common to all and some noise.
    """
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, width, generator=generator, dtype=torch.float64)
    texts = images + torch.randn(n, width, generator=generator, dtype=torch.float64)
    height = math.sqrt(1 - radius**2)
    return tuple(
        torch.cat([radius * F.normalize(torch.cat([rows, -rows]), dim=1), torch.full((2 * n, 1), side)], dim=1)
        for rows, side in ((images, height), (texts, -height))
    )


def test_the_scale_free_gap_of_a_known_case():
    # The means are (0.5, 0.5) and (-0.5, 0.5), so either variance is 1 - 0.5; the distribution gap is 1.
    assert scale_free_distribution_gap(X, Y) == pytest.approx(1 / math.sqrt(0.5 + 0.5))
    # x: east, west, north, north; y: south, south, east, east. Means (0, 0.5) and (0.5, -0.5), variances 1 - 0.25 and
    # 1 - 0.5. Differences (1, 1), (-1, 1), (-1, 1), (-1, 1), squared length 2 each; their mean is (-0.5, 1): 2 - 1.25.
    east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    x, y = torch.stack([east, -east, north, north]), torch.stack([-north, -north, east, east])
    assert scale_free_distribution_gap(x, y) == pytest.approx(math.sqrt(0.75 / (0.75 + 0.5)))


def test_the_scale_free_gap_at_its_ends_and_in_the_middle():
    shifted = torch.tensor([[0.6, 0.8], [0.6, -0.8]]), torch.tensor([[-0.6, 0.8], [-0.6, -0.8]])
    assert scale_free_distribution_gap(*shifted) == pytest.approx(0, abs=1e-6)  # matched but for the means
    poles = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert scale_free_distribution_gap(poles, poles.flip(0)) == pytest.approx(math.sqrt(2))  # the mirror image
    point = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    assert scale_free_distribution_gap(poles, point) == scale_free_distribution_gap(point, poles) == pytest.approx(1)


def test_the_scale_free_gap_of_unrelated_clouds_is_near_one():
    x, y = random_pairs(16, n=4000, width=32, noise=1e6)
    assert scale_free_distribution_gap(x, y) == pytest.approx(1, abs=0.02)


@given(st.integers(0, 10_000), st.floats(1e-3, 1), st.floats(1e-3, 1))
def test_the_scale_free_gap_does_not_change_where_both_clouds_shrink_about_their_means(seed, radius, other):
    wide, narrow = caps(seed, radius), caps(seed, other)
    ratio = modality_gap(*wide).distribution / modality_gap(*narrow).distribution
    assert ratio == pytest.approx(radius / other, rel=1e-6)
    assert scale_free_distribution_gap(*narrow) == pytest.approx(scale_free_distribution_gap(*wide), rel=1e-9)


@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(2, 9), st.floats(0, 5), st.floats(0, 9))
def test_the_scale_free_gap_is_its_formula_within_its_range_whatever_turns(seed, n, width, shift, noise):
    x, y = random_pairs(seed, n, width, shift, noise)
    found = scale_free_distribution_gap(x, y)
    assert 0 <= found <= math.sqrt(2) + 1e-12
    variance = sum(1 - rows.mean(dim=0).square().sum() for rows in (x, y))
    assert found == pytest.approx(modality_gap(x, y).distribution / variance.sqrt().item(), abs=1e-6)
    rotation, _ = torch.linalg.qr(
        torch.randn(width, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    )
    assert scale_free_distribution_gap(x @ rotation, y @ rotation) == pytest.approx(found, abs=1e-9)
    assert scale_free_distribution_gap(y, x) == pytest.approx(found, abs=1e-12)


def test_the_scale_free_gap_takes_rows_of_any_length_where_asked_and_refuses_malformed_ones():
    x, y = random_pairs(0)
    assert scale_free_distribution_gap(2 * x, 3 * y, normalize=True) == pytest.approx(scale_free_distribution_gap(x, y))
    with pytest.raises(ValueError, match="row 0 of x has length 2"):
        scale_free_distribution_gap(2 * x, y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_points_have_no_scale_free_gap(dtype):
    x, y = (rows[:1].to(dtype).repeat(7, 1) for rows in random_pairs(1))
    with pytest.raises(ValueError, match=r"x is a single point and so is y, .* collapsed"):
        scale_free_distribution_gap(x, y)
    assert math.isnan(gap_interval(x, y, n_resamples=5).scale_free.low)
    assert gap_interval(x, y, n_resamples=5).raw == pytest.approx([modality_gap(x, y).raw] * 2)


def test_the_gap_described_is_the_gap_measured():
    x, y = random_pairs(2)
    described = describe_gap(2 * x, y, normalize=True, n_resamples=50)
    parts = ("raw", "centroid", "distribution", "scale_free")
    assert list(described) == ["pairs", "width", *parts, *(f"{part}_interval" for part in parts)]
    assert (described["pairs"], described["width"]) == (40, 6)
    assert [described[part] for part in parts] == pytest.approx(
        [*modality_gap(x, y), scale_free_distribution_gap(x, y)]
    )
    for part, interval in gap_interval(x, y, n_resamples=50)._asdict().items():
        assert described[f"{part}_interval"] == pytest.approx(list(interval))
    assert json.loads(json.dumps(described)) == described


def test_a_gap_of_two_points_is_not_described():
    with pytest.raises(ValueError, match="collapsed"):
        describe_gap(X[:1].repeat(5, 1), Y[:1].repeat(5, 1))


# ---- streams


@given(st.integers(0, 10_000), st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_streaming_equals_the_whole_for_any_batches(seed, sizes):
    x, y = random_pairs(seed, n=sum(sizes) + 1)
    metric = ModalityGap()
    for batch_x, batch_y in zip(x.split([*sizes, 1]), y.split([*sizes, 1]), strict=True):
        metric.update(batch_x, batch_y)
    assert metric.compute() == pytest.approx(modality_gap(x, y), abs=1e-7)


@given(st.integers(0, 10_000), st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_the_scale_free_gap_streams_too(seed, sizes):
    x, y = random_pairs(seed, n=sum(sizes) + 1)
    metric = ScaleFreeDistributionGap()
    for batch_x, batch_y in zip(x.split([*sizes, 1]), y.split([*sizes, 1]), strict=True):
        metric.update(batch_x, batch_y)
    assert metric.compute() == pytest.approx(scale_free_distribution_gap(x, y), rel=1e-9)
    assert math.isnan(metric(x[:1], y[:1]))  # one pair has no width
    assert metric(x, y) == pytest.approx(scale_free_distribution_gap(x, y), rel=1e-9)


def test_a_batch_is_measured_once(monkeypatch):
    measured = []

    def measure(*arguments, **options):
        measured.append(arguments)
        return tally(*arguments, **options)

    monkeypatch.setattr(tpccma.metrics.streaming, "tally", measure)
    ModalityGap()(X, Y)
    assert len(measured) == 1


def test_streaming_resets_merges_and_normalises():
    x, y = random_pairs(1)
    first, second = ModalityGap(normalize=True), ModalityGap(normalize=True)
    first.update(2 * x[:10], y[:10])
    second.update(x[10:], 3 * y[10:])
    first.merge_state(second)
    assert first.compute() == pytest.approx(modality_gap(x, y))
    first.reset()
    first.update(x[:5], y[:5])
    assert first.compute() == pytest.approx(modality_gap(x[:5], y[:5]))


def test_streaming_gives_the_gap_of_the_batch_when_called():
    x, y = random_pairs(2)
    metric = ModalityGap()
    assert metric(x[:7], y[:7]) == pytest.approx(modality_gap(x[:7], y[:7]))
    assert metric(x[7:], y[7:]) == pytest.approx(modality_gap(x[7:], y[7:]))
    assert isinstance(metric.compute(), Gap)
    assert metric.compute() == pytest.approx(modality_gap(x, y))


def test_streaming_counts_a_last_batch_of_one_pair_whose_own_gap_is_all_centroid():
    x, y = random_pairs(2, n=5)
    metric = ModalityGap()
    metric(x[:4], y[:4])
    distance = (x[4] - y[4]).norm().item()
    assert metric(x[4:], y[4:]) == pytest.approx((distance, distance, 0), abs=1e-7)
    assert metric.sums[0] + metric.moments[0] == 5
    assert metric.compute() == pytest.approx(modality_gap(x, y))


def test_a_batch_that_is_refused_leaves_what_was_counted():
    x, y = random_pairs(2)
    metric = ModalityGap()
    metric(x[:7], y[:7])
    with pytest.raises(ValueError, match="length 2"):
        metric(2 * x[7:], y[7:])
    metric(x[7:], y[7:])
    assert metric.compute() == pytest.approx(modality_gap(x, y))


def test_the_stream_is_found_beside_the_gap_and_nothing_else_is_made_up():
    assert tpccma.metrics.ModalityGap is tpccma.metrics.streaming.ModalityGap
    assert all(hasattr(tpccma.metrics, name) for name in tpccma.metrics.__all__)
    with pytest.raises(AttributeError, match=r"'tpccma.metrics' has no attribute 'bootstrap'"):
        tpccma.metrics.bootstrap  # noqa: B018


def test_streaming_stays_exact_over_many_float32_batches():
    x, y = (features.float() for features in random_pairs(3, n=2000, shift=0.01))
    single, double = ModalityGap(), ModalityGap()
    for rows in torch.arange(2000).split(7):
        single.update(x[rows], y[rows])
        double.update(x[rows].double(), y[rows].double())
    assert double.compute() == pytest.approx(modality_gap(x.double(), y.double()), rel=1e-12)
    assert single.compute() == pytest.approx(double.compute(), abs=1e-7)


def test_streaming_refuses_bad_batches():
    metric = ModalityGap()
    metric.update(X[:1], Y[:1])
    with pytest.raises(ValueError, match="only 1 pairs"):
        metric.compute()
    with pytest.raises(ValueError, match="width 3, earlier ones 2"):
        metric.update(torch.eye(3), torch.eye(3))
    with pytest.raises(ValueError, match=r"x has shape \(0, 2\)"):
        metric.update(X[:0], Y[:0])
    with pytest.raises(ValueError, match="length 2"):
        metric.update(2 * X, Y)


def test_three_processes_one_of_them_idle_agree_with_the_whole():
    x, y = random_pairs(4)
    others = [ModalityGap(width=6), ModalityGap(width=6)]  # the second never sees a batch
    others[0].update(x[9:], y[9:])

    def gather(state, group):
        name = "sums" if state is metric.sums else "moments"
        return [state, *(getattr(other, name) for other in others)]

    metric = ModalityGap(width=6, dist_sync_fn=gather, distributed_available_fn=lambda: True)
    metric.update(x[:5], y[:5])
    metric.update(x[5:9], y[5:9])
    assert metric.compute() == pytest.approx(modality_gap(x, y))


def test_batches_too_narrow_for_plain_sums_are_counted_with_the_others():
    x, y = random_pairs(4)
    narrow_x, narrow_y = (F.normalize(rows[:1] + 1e-4 * rows, dim=1).float() for rows in (x, y))
    metric = ModalityGap()
    for batch in ((x, y), (narrow_x, narrow_y), (y, x), (narrow_y, narrow_x)):
        metric.update(*batch)
    assert metric.sums[0] == metric.moments[0] == 2 * len(x)
    whole = [torch.cat([*clouds]) for clouds in ((x, narrow_x, y, narrow_y), (y, narrow_y, x, narrow_x))]
    assert metric.compute() == pytest.approx(modality_gap(*whole), rel=1e-9)


def test_gap_interval_is_the_bootstrap_of_the_raw_gap():
    x, y = random_pairs(5)
    interval = gap_interval(x, y, n_resamples=200, seed=3)
    assert interval.raw == pytest.approx(bootstrap(lambda a, b: modality_gap(a, b).raw, x, y, 200, seed=3))


def test_gap_interval_moves_the_noise_of_resampling_from_centroid_to_distribution():
    x, y = random_pairs(6)
    noise = modality_gap(x, y).distribution ** 2 / len(x)

    def centroid(a, b):
        return math.sqrt(max(modality_gap(a, b).centroid ** 2 - noise, 0))

    def distribution(a, b):
        return math.sqrt(modality_gap(a, b).raw ** 2 - centroid(a, b) ** 2)

    interval = gap_interval(x, y, n_resamples=100)
    assert interval.centroid == pytest.approx(bootstrap(centroid, x, y, 100))
    assert interval.distribution == pytest.approx(bootstrap(distribution, x, y, 100))


def test_gap_interval_gives_the_variances_of_a_resample_what_they_lack():
    x, y = random_pairs(6)
    n = len(x)
    noise, lacking = modality_gap(x, y).distribution ** 2 / n, (x.var(0).sum() + y.var(0).sum()).item() * (n - 1) / n**2

    def scale_free(a, b):
        gap = modality_gap(a, b)
        distribution = gap.raw**2 - max(gap.centroid**2 - noise, 0)
        width = sum(rows.var(dim=0, correction=0).sum().item() for rows in (a, b))
        return math.sqrt(distribution / (width + lacking))

    assert gap_interval(x, y, n_resamples=100).scale_free == pytest.approx(bootstrap(scale_free, x, y, 100))


@pytest.mark.parametrize("shift", [0.0, 0.01, 1.0])
def test_gap_interval_holds_the_measured_gap_even_where_the_centroids_nearly_meet(shift):
    x, y = random_pairs(7, n=400, width=32, shift=shift)
    parts, interval = (*modality_gap(x, y), scale_free_distribution_gap(x, y)), gap_interval(x, y)
    for part, (low, high) in zip(parts, interval, strict=True):
        assert low < part < high
        assert high - low < 0.2


def test_intervals_narrow_with_pairs_widen_with_level_and_repeat_with_the_seed():
    x, y = random_pairs(8, n=400)

    def width(n, level):
        low, high = gap_interval(x[:n], y[:n], level=level).raw
        return high - low

    assert width(400, 0.95) < 0.7 * width(100, 0.95)
    assert width(400, 0.5) < 0.6 * width(400, 0.95)
    assert gap_interval(x, y, seed=1) == gap_interval(x, y, seed=1) != gap_interval(x, y, seed=2)


def test_the_interval_of_the_squared_raw_gap_a_mean_matches_the_normal_approximation():
    x, y = random_pairs(9, n=500)
    squared = (x - y).square().sum(dim=1)
    mean, half = squared.mean().item(), 1.96 * squared.std().item() / math.sqrt(500)
    low, high = gap_interval(x, y).raw
    assert (low**2, high**2) == pytest.approx((mean - half, mean + half), abs=0.15 * half)


def test_pairs_are_resampled_jointly():
    x, _ = random_pairs(10)
    assert gap_interval(x, x, n_resamples=50) == ((0, 0), (0, 0), (0, 0), (0, 0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"level": 1.0}, "level is 1.0"), ({"level": 95}, "level is 95"), ({"n_resamples": 0}, "n_resamples is 0")],
)
def test_impossible_intervals_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        gap_interval(X, Y, **arguments)


KEYS = """raw_gap centroid_gap distribution_gap distribution_gap_scale_free linear_separability modality_mixing
effective_rank_image effective_rank_text effective_rank_joint alignment uniformity_image uniformity_text rmg cone_image
cone_text pair_cosine mmd_centred mmd_renormalised sliced_wasserstein_centred sliced_wasserstein_renormalised
frechet_covariance frechet_covariance_renormalised cka_distance cauchy_schwarz_centred trace_ratio
distribution_gap_renormalised"""


def test_measure_all_is_flat_finite_named_and_repeatable():
    x, y = random_pairs(12, n=100)
    measures = measure_all(x, y, seed=3)
    assert set(measures) == set(KEYS.split())
    assert all(type(value) is float and math.isfinite(value) for value in measures.values())
    assert measures == measure_all(x.numpy(), y.numpy(), seed=3)


def test_measure_all_is_consistent_with_itself():
    x, y = random_pairs(13, n=100)
    measures = measure_all(x, y)
    assert measures["alignment"] == pytest.approx(measures["raw_gap"] ** 2)
    assert measures["distribution_gap_scale_free"] == scale_free_distribution_gap(x, y)
    assert measures["pair_cosine"] == pytest.approx(1 - measures["raw_gap"] ** 2 / 2)
    assert measures["effective_rank_joint"] == effective_rank(np.concatenate([x, y]))
    # The best pairing costs at least what the Gaussians cost, and a slice at most what the whole costs.
    assert measures["frechet_covariance"] <= measures["distribution_gap"]
    assert measures["sliced_wasserstein_centred"] <= measures["distribution_gap"]


def test_the_renormalised_distribution_gap_is_that_of_mean_centering():
    x, y = random_pairs(14, n=100)
    x_centred, y_centred = (F.normalize(a - a.mean(dim=0), dim=1) for a in (x, y))
    assert measure_all(x, y)["distribution_gap_renormalised"] == pytest.approx(
        modality_gap(x_centred, y_centred).distribution
    )


def test_a_shift_changes_only_what_is_not_centred():
    generator = torch.Generator().manual_seed(0)
    circle = torch.randn(60, 4, generator=generator, dtype=torch.float64)
    circle = 0.8 * F.normalize(circle, dim=1)
    x, y = (torch.cat([circle, torch.full((60, 1), side, dtype=torch.float64)], dim=1) for side in (0.6, -0.6))
    measures = measure_all(x, y)
    assert measures["centroid_gap"] == pytest.approx(1.2)
    assert measures["linear_separability"] == 1
    assert measures["trace_ratio"] == pytest.approx(1)
    zero = {name for name, value in measures.items() if abs(value) < 1e-6} - {"modality_mixing"}
    readings = {name for name in measures if name.endswith(("_centred", "_renormalised"))}
    assert zero == readings | {"distribution_gap", "distribution_gap_scale_free", "frechet_covariance", "cka_distance"}


def test_measure_all_works_for_two_pairs_and_names_a_collapse():
    assert measure_all(X, Y)["raw_gap"] == pytest.approx(math.sqrt(2))
    with pytest.raises(ValueError, match="collapsed"):
        measure_all(X[:1].repeat(9, 1), torch.eye(2)[torch.arange(9) % 2])
