"""Functions that are compiled on a GPU: the same numbers, and no failure where they cannot be."""

import shutil
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tpccma import closed_form, compiled, fused
from tpccma.compiled import compiled_on_gpu
from tpccma.loss import CMALoss

COMPILED = {
    closed_form: ("sums_of_block", "settle", "forces_across", "forces_within", "add_own_forces", "within_gradients"),
    fused: ("read_gradients",),
}


def double(x: Tensor) -> Tensor:
    return 2 * x


def test_nothing_is_compiled_on_a_cpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "compile", None)
    assert compiled_on_gpu(double)(torch.tensor(3.0)) == 6


def test_what_cannot_be_compiled_runs_as_written_and_says_so_once(monkeypatch: pytest.MonkeyPatch):
    def refuse(*arguments):
        raise torch._dynamo.exc.TorchDynamoException("no C compiler\nmore of it")

    monkeypatch.setattr(torch, "compile", lambda function, fullgraph: refuse)
    call = compiled._compile.__wrapped__(double)
    with pytest.warns(UserWarning, match="double is not compiled, which makes it slower: no C compiler$"):
        assert call(torch.tensor(3.0)) == 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert call(torch.tensor(4.0)) == 8


def test_fault_of_the_function_itself_is_not_hidden(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "compile", lambda function, fullgraph: function)
    with pytest.raises(TypeError):
        compiled._compile.__wrapped__(double)(None, "too many")


@pytest.mark.deep
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_pass_equals_the_plain_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(closed_form, "ROWS", 16)
    torch.manual_seed(0)
    x, y = (F.normalize(torch.randn(40, 8, dtype=torch.float64), dim=1).requires_grad_() for _ in "xy")
    inputs = x, y, torch.tensor(20.0, dtype=torch.float64, requires_grad=True)
    loss = CMALoss(0.5, paired_weight=0.3)

    def take() -> list[Tensor]:
        read = loss.read(*inputs)
        once = loss(*inputs)
        return [read.numbers(), *torch.autograd.grad(sum(read.terms(0.3).values()), inputs), once.detach()]

    plain = take()
    for module, names in COMPILED.items():
        for name in names:
            monkeypatch.setattr(module, name, compiled._compile.__wrapped__(getattr(module, name).__wrapped__))
    for found, expected in zip(take(), plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
