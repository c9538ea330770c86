"""A dial without training: models between a base and one that was fine-tuned from it, weight by weight.

One fine-tuning gives a whole front: at t = 0 stands the base, at t = 1 the aligned model, between them any compromise.

Statistics of batch norm are no weights: means and variances of what the layers before them give, which is not halfway
where the weights are. They are interpolated like all else, or measured anew on pictures.

Legend: N pictures.

Source: weights of fine-tuned models averaged, Wortsman et al., arXiv 2203.05482 and 2109.01903; statistics measured
anew, Izmailov et al., arXiv 1803.05407; as the dial of a gap [ours].
"""

from collections.abc import Callable
from copy import copy, deepcopy
from itertools import zip_longest
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tpccma.checks import check_share
from tpccma.models.encoder import Encoder, InParts

if TYPE_CHECKING:
    from tpccma.training.run import Run

BATCH = 256  # pictures whose statistics are taken at a time
WHAT = "pass a model and one that was fine-tuned from it"


def interpolate(
    base: "Run | Encoder | nn.Module",
    aligned: "Run | Encoder | nn.Module",
    t: float,
    images: InParts | None = None,
) -> Encoder | nn.Module:
    """Make the model whose weights are (1 - t) times those of one model and t times those of another.

        >>> half = interpolate(base_run("demo"), fine_tune("demo"), 0.5, corpus.train.images)
        >>> evaluate(half, corpus)["raw_gap"]

    All floating point tensors are interpolated as they are stored, the logit scale as a logarithm; whole numbers, such
    as counts of batches, are the base's.

    Args:
        base: what t = 0 is: a `~tpccma.training.run.Run`, an `~tpccma.models.Encoder`, or any model with
            ``encode_image``. It is left as it is.
        aligned: what t = 1 is, of the same architecture; left as it is, too.
        t: from 0 to 1.
        images: N pictures by which the statistics of batch norm are measured, as ``embed_images`` takes them, or, of a
            bare model, as its ``encode_image`` does; in an order that mixes them well. A batch's statistics count by
            its size. This is done at the ends too, where weights are those of the end to the last bit and statistics
            are not, so that a curve over t has no jump there. None interpolates the statistics, and both ends are those
            models to the last bit; of a model without batch norm there is no difference.

    Returns:
        A new model in evaluation mode, with the base's device and types: an `~tpccma.models.Encoder` with the base's
        tokenizer if ``base`` is a run or an encoder, else a model of its class.

    Raises:
        ValueError: if t is out of range, the models are of two architectures or two vocabularies, which the message
            names, there are fewer than 2 pictures, or a bare model is given pixels.
    """
    t = check_share("t", t)
    start, end = _model_of(base), _model_of(aligned)
    _check_alike(start, end)
    _check_one_vocabulary(base, aligned)
    model = _between(start, end, t)
    found = _around(base, model)
    if images is not None:
        _measure_statistics(model, found.prepare if isinstance(found, Encoder) else _prepared, images)
    return found


def _model_of(given: "Run | Encoder | nn.Module") -> nn.Module:
    encoder = getattr(given, "encoder", given)
    model = encoder.model if isinstance(encoder, Encoder) else encoder
    if not (isinstance(model, nn.Module) and hasattr(model, "encode_image")):
        kind = type(given).__name__
        raise ValueError(f"cannot interpolate {kind}, which has no encode_image: pass a Run, an Encoder or a model")
    return model


def _around(base: "Run | Encoder | nn.Module", model: nn.Module) -> Encoder | nn.Module:
    encoder = getattr(base, "encoder", base)
    if not isinstance(encoder, Encoder):
        return model
    found = copy(encoder)
    found.model = model
    return found


def _between(start: nn.Module, end: nn.Module, t: float) -> nn.Module:
    model, ours, theirs = deepcopy(start).eval(), start.state_dict(), end.state_dict()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.copy_(_mixed(ours[name], theirs[name].to(value), t))
    return model


def _mixed(start: Tensor, end: Tensor, t: float) -> Tensor:
    if t in (0, 1):  # to the last bit, whatever the other holds
        return end if t else start
    return torch.where(start == end, start, (1 - t) * start + t * end)


def _check_alike(start: nn.Module, end: nn.Module) -> None:
    """See to it that two models have the same parts, which decide what the weights do, and tensors of one shape."""
    for describe in (_parts, _tensors):
        for ours, theirs in zip_longest(describe(start), describe(end)):
            if ours != theirs:
                found = f"base has {ours or 'nothing'} where aligned has {theirs or 'nothing'}"
                raise ValueError(f"base and aligned are of two architectures: {found}; {WHAT}")


def _parts(model: nn.Module) -> list[str]:
    return [f"{name} ({type(part).__name__})" for name, part in model.named_modules() if name]


def _tensors(model: nn.Module) -> list[str]:
    kinds = {True: "floating point", False: "whole numbers"}
    return [
        f"{name} of shape {tuple(value.shape)} ({kinds[value.is_floating_point()]})"
        for name, value in model.state_dict().items()
    ]


def _check_one_vocabulary(base: object, aligned: object) -> None:
    """Compare the words of tokenizers that have them: one weight is of one word."""
    encoders = (getattr(each, "encoder", each) for each in (base, aligned))
    ours, theirs = (getattr(getattr(encoder, "tokenizer", None), "words", None) for encoder in encoders)
    if ours and theirs and ours != theirs:
        one, other = next(pair for pair in zip_longest(ours, theirs) if pair[0] != pair[1])
        raise ValueError(
            f"base and aligned have two vocabularies: {one!r} in the one stands where {other!r} does in the other; "
            f"{WHAT}"
        )


def has_statistics(model: nn.Module) -> bool:
    """Say whether a model has batch norm that keeps statistics."""
    return bool(_norms_of(model))


def _norms_of(model: nn.Module) -> list[_BatchNorm]:
    return [part for part in model.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]


def _measure_statistics(model: nn.Module, prepare: Callable[[Tensor], Tensor], images: InParts) -> None:
    """Measure means and variances of batch norm on pictures, by the model as it is, batch by batch."""
    if len(images) < 2:
        raise ValueError(f"images holds {len(images)}, too few to measure the statistics of batch norm: pass 2 or more")
    norms = _norms_of(model)
    if not norms:
        return
    momenta = [norm.train().momentum for norm in norms]
    _look_at(model, prepare, images, norms)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval().momentum = momentum


@torch.no_grad()
def _look_at(model: nn.Module, prepare: Callable[[Tensor], Tensor], images: InParts, norms: list[_BatchNorm]) -> None:
    device, seen = next(model.parameters()).device, 0
    for part in images.split(BATCH):
        if len(part) == 1:  # a last picture alone, which has no variance
            break
        seen += len(part)
        for norm in norms:
            norm.momentum = len(part) / seen  # the first batch takes the place of what was there
        model.encode_image(prepare(part.to(device)))


def _prepared(images: Tensor) -> Tensor:
    if not images.is_floating_point():
        raise ValueError(
            f"images are pixels of type {images.dtype}, and how this model wants them scaled is not known: pass them "
            "as its transform prepares them, or an Encoder in place of the model"
        )
    return images
