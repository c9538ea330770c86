import math

import pytest
import torch
from torch.nn import functional as F

from tpccma.tasks.zeroshot import accuracy_by_group, zero_shot_accuracy, zero_shot_classifier


def test_the_classifier_normalises_each_prompt_averages_and_normalises_again():
    embeddings = {"a cat": [2.0, 0.0], "no cat": [0.0, 5.0], "a dog": [-1.0, 0.0], "no dog": [-3.0, 0.0]}
    asked = []

    def embed_texts(prompts):
        asked.append(prompts)
        return torch.tensor([embeddings[prompt] for prompt in prompts])

    classifier = zero_shot_classifier(embed_texts, ["cat", "dog"], ["a {}", "no {}"])
    # cat: mean of (1, 0) and (0, 1), length 1 again. dog: (-1, 0) twice.
    root = math.sqrt(0.5)
    torch.testing.assert_close(classifier, torch.tensor([[root, root], [-1.0, 0.0]]))
    assert asked == [["a cat", "no cat", "a dog", "no dog"]]


def test_braces_in_a_class_name_are_kept():
    seen = []
    zero_shot_classifier(lambda prompts: seen.extend(prompts) or torch.ones(1, 2), ["{x}"], ["a {} here"])
    assert seen == ["a {x} here"]


@pytest.mark.parametrize(
    ("classes", "templates", "message"),
    [
        ([], ["a {}"], "0 classes and 1 templates"),
        (["cat"], [], "1 classes and 0 templates"),
        (["cat"], ["a {}", "a photo"], "template 'a photo' has no {}"),
        (["cat", "dog"], ["a {}"], r"shape \(1, 2\) for 2 prompts"),
    ],
)
def test_malformed_prompts_are_refused(classes, templates, message):
    with pytest.raises(ValueError, match=message):
        zero_shot_classifier(lambda prompts: torch.ones(1, 2), classes, templates)


def test_accuracy_of_a_known_case():
    classifier = torch.eye(6)
    images = F.normalize(
        torch.tensor(
            [
                [6.0, 5, 4, 3, 2, 1],  # label 0: first
                [6.0, 5, 4, 3, 2, 1],  # label 1: second
                [6.0, 5, 4, 3, 2, 1],  # label 5: sixth
                [1.0, 9, 4, 3, 2, 5],  # label 1: first
            ]
        ),
        dim=1,
    )
    result = zero_shot_accuracy(images, classifier, torch.tensor([0, 1, 5, 1]))
    assert result == {
        "zeroshot_top1": 2 / 4,
        "zeroshot_top5": 3 / 4,
        "zeroshot_per_class": {0: 1.0, 1: 1 / 2, 5: 0.0},  # classes 2, 3, 4 have no image
    }


def test_top_five_of_few_classes_is_one():
    result = zero_shot_accuracy(torch.eye(3), torch.eye(3).flip(0), torch.tensor([0, 1, 2]))
    assert result["zeroshot_top1"] == pytest.approx(1 / 3)  # only the middle class stays in place
    assert result["zeroshot_top5"] == 1


@pytest.mark.parametrize(
    ("images", "classifier", "labels", "message"),
    [
        (torch.eye(2), torch.eye(3), [0, 1], r"\(2, 2\), \(3, 3\), \(2,\)"),
        (torch.eye(2), torch.eye(2), [0], r"\(2, 2\), \(2, 2\), \(1,\)"),
        (torch.eye(2)[:0], torch.eye(2), [], "none may be empty"),
        (torch.eye(2), torch.eye(2), [0, 2], "from 0 to 2: with 2 classes pass 0 to 1"),
        (torch.eye(2), torch.eye(2), [-1, 0], "from -1 to 0"),
        (torch.eye(2) * math.nan, torch.eye(2), [0, 1], "image_features holds NaN"),
        (torch.eye(2), torch.eye(2) / 0, [0, 1], "classifier holds NaN or infinity"),
    ],
)
def test_malformed_features_are_refused(images, classifier, labels, message):
    with pytest.raises(ValueError, match=message):
        zero_shot_accuracy(images, classifier, torch.tensor(labels, dtype=torch.int64))


def test_accuracy_of_seen_and_unseen_classes_counts_pictures():
    per_class, counts = {"ring": 0.5, "star": 1.0, "moon": 0.2}, {"ring": 4, "star": 1, "moon": 5}
    # seen: star and moon, (1 * 1 + 5 * 0.2) / 6; unseen: ring
    found = accuracy_by_group(per_class, counts, ["ring", "heart"])
    assert found == pytest.approx({"zeroshot_top1_seen": 2 / 6, "zeroshot_top1_unseen": 0.5})
    assert accuracy_by_group(per_class, counts, ["heart"]) == pytest.approx({"zeroshot_top1_seen": (2 + 2) / 10})
