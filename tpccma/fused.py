"""The loss of `tpccma.loss` out of one pass: terms whose gradients are known once they are computed.

Legend: B pairs in the global batch, D embedding width.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tpccma.closed_form import Gradients, Mix, Weights, one_pass
from tpccma.compiled import compiled_on_gpu
from tpccma.curriculum import GradientReading

TERM_NAMES = ("contrastive_loss", "reweighted_loss", "geometry_loss", "centroid_loss", "paired_loss")
Inputs = tuple[Tensor, Tensor, Tensor, Tensor | None]
Plain = Callable[[Tensor, Tensor, Tensor, Tensor | None], dict[str, Tensor]]


def shares(alpha: float, weights: Iterable[float]) -> dict[str, float]:
    """Say what each term counts for: 1 - alpha the first, alpha times its weight another; those at 0 are left out."""
    others = {name: alpha * weight for name, weight in zip(TERM_NAMES[1:], weights, strict=True)}
    return {TERM_NAMES[0]: 1 - alpha} | {name: share for name, share in others.items() if share > 0}


class OnePass:
    """All terms of a global batch with their gradients; made by `tpccma.loss.CMALoss.read`.

    Args:
        inputs: (B, D) image embeddings, (B, D) text embeddings, inverse temperature, logit bias or None.
        weights: of the terms.
        mixes: of L_CLIP and L_CMA of which the gradients are taken: one with the alpha that is asked for later, or both
            parts apart.
        plain: gives the function that computes the weighted terms of an alpha from the inputs in plain torch.
    """

    def __init__(self, inputs: Inputs, weights: Weights, mixes: list[Mix], plain: Callable[[float], Plain]):
        self.inputs, self.weights, self.plain = inputs, weights, plain
        with torch.autocast(inputs[0].device.type, enabled=False):
            self.unweighted, self.gradients = one_pass(*_exact(inputs)[:3], weights, mixes)

    @torch.no_grad()
    def numbers(self) -> Tensor:
        """Return all that a log or a curriculum asks for, in one tensor, so that one transfer brings it to the host.

        Returns:
            (8,): the norms of the gradients of L_CLIP and of L_CMA and the cosine between them, see
            `~tpccma.curriculum.GradientReading`; then the terms in the order of ``TERM_NAMES``, without their shares.
        """
        clip, cma = self.gradients
        return torch.cat([read_gradients(*self.inputs[:2], *clip[:2], *cma[:2]), self.unweighted])

    def reading(self) -> GradientReading:
        """Give a curriculum what it asks for, on the host."""
        return GradientReading(*self.numbers()[:3].tolist())

    def shares(self, alpha: float) -> dict[str, float]:
        """Say what each term counts for in the loss, see `shares`."""
        return shares(alpha, self.weights[:4])

    def terms(self, alpha: float) -> dict[str, Tensor]:
        """Weigh the terms with alpha, to what `~tpccma.loss.CMALoss` returns as ``output_dict``, as differentiable."""
        values = dict(zip(TERM_NAMES, self.unweighted, strict=True))
        weighted = {name: share * values[name] for name, share in self.shares(alpha).items()}
        given = list(weighted.values()), self._mixed(alpha), self.plain(alpha)
        terms = _WithGradients.apply(*self.inputs, *given)
        return dict(zip(weighted, terms, strict=True))

    def _mixed(self, alpha: float) -> Gradients:
        if len(self.gradients) == 1:
            return self.gradients[0]
        clip, cma = self.gradients
        return Gradients(*(((1 - alpha) * one).add_(alpha * other) for one, other in zip(clip, cma, strict=True)))


@compiled_on_gpu(dynamic=True)
def read_gradients(x: Tensor, y: Tensor, *gradients: Tensor) -> Tensor:
    """Read the gradients of L_CLIP and of L_CMA on the sphere's tangent planes: embeddings keep length 1.

    Args:
        x: (B, D) image embeddings, rows of unit length.
        y: (B, D) text embeddings, likewise.
        gradients: of L_CLIP with respect to x and to y, then of L_CMA.

    Returns:
        (3,): both norms, and the cosine between them.
    """
    clip, cma = (_tangents((x, of_x), (y, of_y)) for of_x, of_y in (gradients[:2], gradients[2:]))
    norms = clip.norm(), cma.norm()
    return torch.stack([*norms, clip.mul_(cma).sum() / (norms[0] * norms[1]).clamp_min(1e-30)])


def _tangents(*pairs: tuple[Tensor, Tensor]) -> Tensor:
    """Take from gradients what points along their embeddings; of all pairs, (B, D) each, in one tensor."""
    found = pairs[0][1].new_empty(len(pairs), *pairs[0][1].shape)
    for part, (points, gradients) in zip(found, pairs, strict=True):
        along = torch.mul(gradients, points, out=part).sum(1, keepdim=True)
        torch.sub(gradients, torch.mul(along, points, out=part), out=part)
    return found


class _WithGradients(torch.autograd.Function):
    """Terms whose sum has a known gradient; asked for another one than the sum's, the plain form gives it."""

    @staticmethod
    def forward(ctx, x, y, scale, bias, values: list[Tensor], gradients: Gradients, plain):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, y, scale, bias, *gradients)
        ctx.plain = plain
        return tuple(values)

    @staticmethod
    @once_differentiable
    def backward(ctx, *upstream: Tensor | None):
        inputs, known = ctx.saved_tensors[:4], ctx.saved_tensors[4:]
        one = upstream[0]
        if all(g is not None and g.data_ptr() == one.data_ptr() for g in upstream):
            found = [(one * g).to(tensor.dtype) for g, tensor in zip(known, inputs, strict=False)]
            found.append(None if inputs[3] is None else torch.zeros_like(inputs[3]))
        else:
            found = _differentiate(ctx.plain, inputs, upstream)
        return *found, None, None, None


def _differentiate(plain: Plain, inputs: Inputs, upstream: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    with torch.enable_grad(), torch.autocast(inputs[0].device.type, enabled=False):
        leaves = [None if tensor is None else tensor.requires_grad_() for tensor in _exact(inputs)]
        terms = plain(*leaves).values()
    wanted = [(term, gradient) for term, gradient in zip(terms, upstream, strict=True) if gradient is not None]
    given = [leaf for leaf in leaves if leaf is not None]
    found = torch.autograd.grad([term for term, _ in wanted], given, [g for _, g in wanted], allow_unused=True)
    return [None if g is None else g.to(tensor.dtype) for g, tensor in zip((*found, None), inputs, strict=False)]


def _exact(inputs: Inputs) -> list[Tensor | None]:
    """Copy the inputs in float32 at least: cosines of half precision would be off by a percent at s = 100."""
    return [None if t is None else t.detach().to(torch.promote_types(inputs[0].dtype, torch.float32)) for t in inputs]
