"""Functions that are compiled where that pays."""

import functools
import warnings
from collections.abc import Callable

import torch

FEWEST = 256  # rows from which it pays; and a kernel made for fewer sums more of them with the digits of a handful


def compiled_on_gpu(dynamic: bool) -> Callable[[Callable], Callable]:
    """Compile a function of tensors for calls whose first argument lies on a GPU and has ``FEWEST`` rows or more.

    Where it cannot be compiled, for want of Triton or of a C compiler, it runs as it is written, and a warning says so
    once. ``TORCH_COMPILE_DISABLE=1`` turns compiling off, as everywhere in torch.

    Args:
        dynamic: compile once for all shapes, and not anew for each.

    Returns:
        A decorator.
    """

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def call(first: torch.Tensor, *others, **named):
            if not first.is_cuda or len(first) < FEWEST or torch.compiler.is_compiling():
                return function(first, *others, **named)
            return compile_or_not(function, dynamic)(first, *others, **named)

        return call

    return decorate


@functools.cache
def compile_or_not(function: Callable, dynamic: bool) -> Callable:
    """Compile a function at its first call, which is when torch says whether it can."""
    compiled, works = torch.compile(function, dynamic=dynamic), True

    def call(*arguments, **named):
        nonlocal works
        if works:
            try:
                return compiled(*arguments, **named)
            except torch._dynamo.exc.TorchDynamoException as error:
                works = False
                reason = str(error).strip().splitlines()[0]
                warnings.warn(f"{function.__name__} is not compiled, which makes it slower: {reason}", stacklevel=3)
        return function(*arguments, **named)

    return call
