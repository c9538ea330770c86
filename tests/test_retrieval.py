import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from tpccma.tasks.retrieval import retrieval_recall


def from_scores(scores, captions):
    """Unit rows whose inner products are a score matrix over 20, images (N) by captions (N * K).

    The width that an image does not use holds what a caption's length lacks to 1.
    """
    texts = torch.tensor(scores, dtype=torch.float32).T / 20
    rest = (1 - texts.square().sum(dim=1, keepdim=True)).sqrt()
    images = F.pad(torch.eye(len(scores)), (0, 1))
    return images, torch.cat([texts, rest], dim=1).unflatten(0, (len(scores), captions))


def test_recall_of_a_known_case_with_one_caption_each():
    images, texts = from_scores([[9, 8, 7], [6, 4, 5], [3, 2, 1]], captions=1)
    # Image to text, by row: image 0 ranks its caption 1st, image 1 ranks caption 1 third, image 2 caption 2 third.
    # Text to image, by column: caption 0 ranks image 0 first (9 > 6 > 3), caption 1 image 1 second, caption 2 third.
    assert retrieval_recall(images, texts, ks=(1, 2, 3)) == pytest.approx(
        {
            "i2t_recall_at_1": 1 / 3,
            "i2t_recall_at_2": 1 / 3,
            "i2t_recall_at_3": 1,
            "t2i_recall_at_1": 1 / 3,
            "t2i_recall_at_2": 2 / 3,
            "t2i_recall_at_3": 1,
        }
    )


def test_recall_of_a_known_case_with_two_captions_each():
    # Captions 0 and 1 belong to image 0, captions 2 and 3 to image 1.
    images, texts = from_scores([[1, 9, 8, 2], [3, 7, 6, 4]], captions=2)
    # Image 0: its caption 1 is best (9). Image 1: caption 1 of image 0 (7) is above its own best (6), second of four.
    # Caption 0: image 1 wins (3 > 1), a miss. Caption 1: 9 > 7, hit. Caption 2: 6 < 8, miss. Caption 3: 4 > 2, hit.
    assert retrieval_recall(images, texts, ks=(1, 2)) == pytest.approx(
        {"i2t_recall_at_1": 1 / 2, "i2t_recall_at_2": 1, "t2i_recall_at_1": 2 / 4, "t2i_recall_at_2": 1}
    )


def test_equal_scores_share_their_places():
    images = torch.ones(4, 2) / math.sqrt(2)
    recall = retrieval_recall(images, images[:, None], ks=(1, 2))
    assert recall == pytest.approx(
        {"i2t_recall_at_1": 1 / 4, "i2t_recall_at_2": 1 / 2, "t2i_recall_at_1": 1 / 4, "t2i_recall_at_2": 1 / 2}
    )


def test_equal_captions_of_one_image_do_not_compete():
    images, texts = from_scores([[5, 5, 1, 1], [1, 1, 5, 5]], captions=2)
    assert set(retrieval_recall(images, texts, ks=(1,)).values()) == {1.0}


def test_cut_offs_default_to_one_and_five():
    images = torch.eye(3)
    assert retrieval_recall(images, images[:, None]) == {
        "i2t_recall_at_1": 1.0,
        "i2t_recall_at_5": 1.0,
        "t2i_recall_at_1": 1.0,
        "t2i_recall_at_5": 1.0,
    }


def brute_force(images, texts, k):
    """Sorts everything; the textbook protocol."""
    n, captions, _ = texts.shape
    flat = texts.flatten(0, 1)
    owner = torch.arange(n).repeat_interleave(captions)
    best_captions = (images @ flat.T).argsort(dim=1, descending=True)[:, :k]
    best_images = (flat @ images.T).argsort(dim=1, descending=True)[:, :k]
    i2t = (owner[best_captions] == torch.arange(n)[:, None]).any(dim=1).double().mean().item()
    t2i = (best_images == owner[:, None]).any(dim=1).double().mean().item()
    return i2t, t2i


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 4), st.integers(1, 6), st.integers(1, 50))
def test_recall_equals_brute_force_for_any_chunk(seed, n, captions, k, chunk_size):
    generator = torch.Generator().manual_seed(seed)
    images = F.normalize(torch.randn(n, 5, generator=generator, dtype=torch.float64), dim=-1)
    texts = F.normalize(torch.randn(n, captions, 5, generator=generator, dtype=torch.float64) + images[:, None], dim=-1)
    recall = retrieval_recall(images, texts, ks=(k,), chunk_size=chunk_size)
    assert tuple(recall.values()) == pytest.approx(brute_force(images, texts, k))


@pytest.mark.parametrize(
    ("images", "texts", "ks", "message"),
    [
        (
            torch.eye(2),
            torch.eye(2),
            (1,),
            r"are \(\(2, 2\), \(2, 2\)\): pass \(N, D\) and \(N, K, D\)",
        ),
        (
            torch.eye(2),
            torch.ones(3, 1, 2),
            (1,),
            r"are \(\(2, 2\), \(3, 1, 2\)\): pass \(N, D\) and \(N, K, D\)",
        ),
        (
            torch.eye(2),
            torch.ones(2, 1, 3),
            (1,),
            r"are \(\(2, 2\), \(2, 1, 3\)\): pass \(N, D\) and \(N, K, D\)",
        ),
        (torch.eye(2), torch.ones(2, 0, 2), (1,), "none may be empty"),
        (torch.eye(2), torch.full((2, 1, 2), math.nan), (1,), "text_features holds NaN"),
        (torch.eye(2) / 0, torch.ones(2, 1, 2), (1,), "image_features holds NaN or infinity"),
        (torch.eye(2), torch.ones(2, 1, 2), (0, 1), r"ks is \(0, 1\)"),
        (torch.eye(2), torch.ones(2, 1, 2), (), r"ks is \(\)"),
    ],
)
def test_malformed_features_are_refused(images, texts, ks, message):
    with pytest.raises(ValueError, match=message):
        retrieval_recall(images, texts, ks=ks)
