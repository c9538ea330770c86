"""Zero-shot classification: each class is a mean over prompts, an image takes the class with the nearest one.

Legend: ``N`` images, ``C`` classes, ``T`` templates, ``D`` width.
"""

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn import functional as F

from tpccma.metrics.checks import HALF_TOLERANCE, check_unit_length
from tpccma.tasks.checks import check_inputs, check_labels, comparable


def zero_shot_classifier(
    embed_texts: Callable[[list[str]], Tensor], classes: Sequence[str], templates: Sequence[str]
) -> Tensor:
    """Builds the classifier as open_clip does: normalise each prompt, average over the templates, normalise again.

    Args:
        embed_texts: maps n prompts to (n, D) embeddings; called once with all C * T prompts.
        classes: C class names.
        templates: T prompts with ``{}`` where the name goes, such as ``"a photo of a {}."``.

    Returns:
        (C, D) tensor with rows of length 1.

    Raises:
        ValueError: if classes or templates are missing, a template has no ``{}``, or the embeddings are not (C * T, D),
            not finite, or of length 0, each or in the mean over a class.
    """
    for name, texts in (("classes", classes), ("templates", templates)):
        if isinstance(texts, str):
            raise ValueError(f"{name} must be a list, got the string {texts!r}")
    if not classes or not templates:
        raise ValueError(f"{len(classes)} classes and {len(templates)} templates: pass at least one of each")
    prompts = [prompt for name in classes for prompt in fill_templates(name, templates)]
    features = embed_texts(prompts)
    if features.ndim != 2 or len(features) != len(prompts):
        raise ValueError(f"embed_texts gave shape {tuple(features.shape)} for {len(prompts)} prompts: one row a prompt")
    features = F.normalize(features if features.is_floating_point() else features.float(), dim=-1)
    check_unit_length(features, "what embed_texts gave", HALF_TOLERANCE, "finite rows other than 0 are needed")
    features = features.unflatten(0, (len(classes), len(templates)))
    classifier = F.normalize(features.mean(dim=1), dim=-1)
    check_unit_length(classifier, "the classifier", HALF_TOLERANCE, "the prompts of a class cancel out, change them")
    return classifier


def fill_templates(name: str, templates: Sequence[str]) -> list[str]:
    """Say the prompts of a class: the templates with its name in place of ``{}``.

    Raises:
        ValueError: if a template has no ``{}``.
    """
    for template in templates:
        if "{}" not in template:
            raise ValueError(f"template {template!r} has no {{}}: put it where the class name goes")
    return [template.replace("{}", name) for template in templates]


def zero_shot_accuracy(
    image_features: Tensor, classifier: Tensor, labels: Tensor
) -> dict[str, float | dict[int, float]]:
    """Top-1 and top-5 accuracy, and top-1 for each class.

    Args:
        image_features: (N, D) image embeddings, L2-normalised, on one device with the classifier; compared in float32
            at least.
        classifier: (C, D) class embeddings, L2-normalised.
        labels: (N,) integers of any width, each in [0, C).

    Returns:
        ``zeroshot_top1`` and ``zeroshot_top5``, shares in [0, 1], the second being 1 where C <= 5; and
        ``zeroshot_per_class``, label to top-1 accuracy (recall) for every label that occurs.

    Raises:
        ValueError: if shapes do not match, there are no images, features are not finite or not of length 1 within 0.01,
            or labels are no integers or out of range.
    """
    hits = zero_shot_hits(image_features, classifier, labels).double()
    labels = labels.to(hits.device)
    return {
        "zeroshot_top1": hits[:, 0].mean().item(),
        "zeroshot_top5": hits.sum(dim=1).mean().item(),
        "zeroshot_per_class": {label: hits[labels == label, 0].mean().item() for label in labels.unique().tolist()},
    }


def zero_shot_hits(image_features: Tensor, classifier: Tensor, labels: Tensor) -> Tensor:
    """Whether an image's class is its nearest one, its second, and so on to the fifth.

    Args and raises as `zero_shot_accuracy`.

    Returns:
        (N, min(5, C)) truth values, at most one a row true.
    """
    check_inputs("(N, D), (C, D) and (N,)", image_features=image_features, classifier=classifier, labels=labels)
    labels = check_labels(labels, len(classifier)).to(classifier.device)
    image_features, classifier = comparable(image_features=image_features, classifier=classifier)
    ranked = (image_features @ classifier.T).topk(min(5, len(classifier)), dim=1).indices
    return ranked == labels[:, None]


def accuracy_by_group(
    per_class: dict[str, float], counts: dict[str, int], held_back: Sequence[str]
) -> dict[str, float]:
    """Average the accuracies of classes over the pictures of two groups: those trained on, and those held back.

    Args:
        per_class: class name to top-1 accuracy, for every class that occurs.
        counts: class name to its number of pictures.
        held_back: the classes that training has no picture of.

    Returns:
        ``zeroshot_top1_seen`` and ``zeroshot_top1_unseen``; a group without pictures is left out.
    """
    found = {}
    for group in ("seen", "unseen"):
        own = [name for name in per_class if (name in held_back) == (group == "unseen")]
        if total := sum(counts[name] for name in own):
            found[f"zeroshot_top1_{group}"] = sum(per_class[name] * counts[name] for name in own) / total
    return found
