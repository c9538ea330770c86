import math

import pytest
import torch
from torch.nn import functional as F

from tpccma.tasks.clustering import joint_clustering


def corners(offset):
    """Four classes at the corners of a square, 8 images each; the texts stand apart by an offset on a third axis."""
    square = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    labels = torch.arange(4).repeat_interleave(8)
    noise = 0.02 * torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    images = torch.cat([square[labels] + noise, torch.full((32, 1), offset)], dim=1)
    prompts = torch.cat([square, torch.full((4, 1), -offset)], dim=1)[:, None].repeat(1, 3, 1)
    prompts[:, :, 0] += torch.tensor([0.0, 0.01, -0.01])
    return F.normalize(images, dim=-1), labels, F.normalize(prompts, dim=-1)


def test_modalities_that_meet_are_clustered_by_class():
    result = joint_clustering(*corners(offset=0.0))
    assert (result.ari, result.nmi) == pytest.approx((1, 1))
    assert (result.text_only_ari, result.image_only_ari) == pytest.approx((1, 1))
    assert abs(result.chance_ari) < 0.05


def test_a_gap_spoils_the_joint_clusters_but_not_those_of_one_modality():
    result = joint_clustering(*corners(offset=3.0))
    assert result.ari < 0.5
    images, texts = result.assignments[:32], result.assignments[32:]
    assert not set(images.tolist()) & set(texts.tolist())  # no cluster holds both
    assert (result.text_only_ari, result.image_only_ari) == pytest.approx((1, 1))


def test_every_image_is_joined_by_one_prompt_of_its_class_in_turn():
    prompts = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.0, -1.0]]])
    labels = torch.tensor([0, 0, 1, 1])
    images = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    assignments = joint_clustering(images, labels, prompts).assignments
    # Joined: prompts[0, 0], [0, 1], [1, 0], [1, 1], so the first and third coincide with the images of their class.
    assert assignments.shape == (8,)
    assert assignments[4] == assignments[0] == assignments[1]
    assert assignments[6] == assignments[2] == assignments[3] != assignments[0]


def test_metrics_are_named_for_the_run_record():
    result = joint_clustering(*corners(offset=1.0))
    assert result.metrics() == {
        "clustering_ari": result.ari,
        "clustering_nmi": result.nmi,
        "clustering_chance_ari": result.chance_ari,
        "clustering_text_only_ari": result.text_only_ari,
        "clustering_image_only_ari": result.image_only_ari,
    }
    assert all(type(value) is float for value in result.metrics().values())


def test_clusters_repeat_with_the_seed():
    images = F.normalize(torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    labels, prompts = torch.arange(60) % 6, F.normalize(torch.randn(6, 4, 4), dim=-1)
    first, again, other = (joint_clustering(images, labels, prompts, n_init=1, seed=seed) for seed in (0, 0, 1))
    assert first.metrics() == again.metrics() != other.metrics()
    assert torch.equal(first.assignments, again.assignments)


def test_a_collapsed_model_scores_at_chance_without_warnings():
    point = torch.ones(3) / math.sqrt(3)
    images = point + 1e-9 * torch.randn(20, 3, dtype=torch.float64)
    result = joint_clustering(images, torch.arange(20) % 4, point.expand(4, 2, 3))
    assert result.ari == 0
    assert set(result.assignments.tolist()) == {0}


def test_fewer_points_than_classes_make_as_many_clusters_as_points():
    prompts = torch.eye(5)[:, None]
    result = joint_clustering(torch.eye(5)[:2], torch.tensor([0, 1]), prompts)
    assert (result.ari, result.text_only_ari, result.image_only_ari) == (1, 1, 1)


@pytest.mark.parametrize(
    ("images", "labels", "prompts", "message"),
    [
        (torch.eye(2), [0, 1], torch.eye(2), r"\(2, 2\), \(2,\), \(2, 2\)"),
        (torch.eye(2), [0], torch.ones(2, 1, 2), r"\(2, 2\), \(1,\), \(2, 1, 2\)"),
        (torch.eye(2), [0, 1], torch.ones(2, 1, 3), r"\(2, 2\), \(2,\), \(2, 1, 3\)"),
        (torch.eye(2)[:0], [], torch.ones(2, 1, 2), "none may be empty"),
        (torch.eye(2), [0, 1], torch.ones(2, 0, 2), "none may be empty"),
        (torch.eye(2), [0, 2], torch.ones(2, 1, 2), "from 0 to 2: with 2 classes pass 0 to 1"),
        (torch.eye(2) * math.nan, [0, 1], torch.ones(2, 1, 2), "image_features holds NaN"),
        (torch.eye(2), [0, 1], torch.full((2, 1, 2), math.inf), "prompt_features holds NaN or infinity"),
    ],
)
def test_malformed_input_is_refused(images, labels, prompts, message):
    with pytest.raises(ValueError, match=message):
        joint_clustering(images, torch.tensor(labels, dtype=torch.int64), prompts)
