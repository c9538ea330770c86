"""Functions that are compiled on a GPU: the same numbers, and no failure where they cannot be."""

import shutil
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tpccma import closed_form, fused
from tpccma.compiled import FEWEST, compile_or_not, compiled_on_gpu
from tpccma.loss import CMALoss

COMPILED = {
    closed_form: (
        *("sums_of_block", "settle", "forces_across", "forces_within", "add_own_forces", "within_gradients"),
        "take_small",
    ),
    fused: ("read_gradients",),
}


def double(x: Tensor) -> Tensor:
    return 2 * x


def test_nothing_is_compiled_on_a_cpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "compile", None)
    assert compiled_on_gpu(dynamic=True)(double)(torch.tensor(3.0)) == 6


class OnGpu(Tensor):
    """A tensor that says it lies on a GPU."""

    is_cuda = True


@pytest.mark.parametrize(("rows", "compiled"), [(1, False), (FEWEST - 1, False), (FEWEST, True)])
def test_few_rows_are_not_worth_compiling(monkeypatch: pytest.MonkeyPatch, rows: int, compiled: bool):
    calls = []
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: calls.append(function) or function)
    call = compiled_on_gpu(dynamic=True)(lambda x: x + x)
    assert torch.equal(call(torch.ones(rows, 2).as_subclass(OnGpu)), torch.full((rows, 2), 2.0))
    assert bool(calls) == compiled


def test_what_cannot_be_compiled_runs_as_written_and_says_so_once(monkeypatch: pytest.MonkeyPatch):
    def refuse(*arguments):
        raise torch._dynamo.exc.TorchDynamoException("no C compiler\nmore of it")

    monkeypatch.setattr(torch, "compile", lambda function, dynamic: refuse)
    call = compile_or_not.__wrapped__(double, True)
    with pytest.warns(UserWarning, match="double is not compiled, which makes it slower: no C compiler$"):
        assert call(torch.tensor(3.0)) == 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert call(torch.tensor(4.0)) == 8


def test_fault_of_the_function_itself_is_not_hidden(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: function)
    with pytest.raises(TypeError):
        compile_or_not.__wrapped__(double, True)(None, "too many")


@pytest.mark.deep
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:`torch._prims_common.check` is deprecated:FutureWarning")  # torch's own call
@pytest.mark.parametrize("held", [0, 40], ids=["block by block", "as a whole"])
def test_compiled_pass_equals_the_plain_one(monkeypatch: pytest.MonkeyPatch, held: int):
    monkeypatch.setattr(closed_form, "ROWS", 16)
    monkeypatch.setattr(closed_form, "HELD", held)
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
            whole = torch.compile(getattr(module, name).__wrapped__, fullgraph=True, dynamic=name != "take_small")
            monkeypatch.setattr(module, name, whole)
    for found, expected in zip(take(), plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
