import pytest
import torch

from tpccma.tasks.checks import check_inputs, check_labels


def test_matching_inputs_pass():
    check_inputs("(N, D), (C, T, D) and (N,)", x=torch.ones(4, 3), y=torch.ones(2, 5, 3), labels=torch.arange(4))
    check_labels(torch.tensor([0, 1, 1]), 2)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.ones(4, 3), torch.ones(4), r"shapes of x and y are \(\(4, 3\), \(4,\)\): pass \(N, D\) and \(N, D\)"),
        (torch.ones(4, 3), torch.ones(4, 2), r"\(\(4, 3\), \(4, 2\)\): pass"),
        (torch.ones(0, 3), torch.ones(0, 3), r"\(\(0, 3\), \(0, 3\)\): none may be empty"),
        (torch.ones(4, 3), torch.full((4, 3), torch.inf), "y holds NaN or infinity"),
    ],
)
def test_what_does_not_match_is_named(x: torch.Tensor, y: torch.Tensor, message: str):
    with pytest.raises(ValueError, match=message):
        check_inputs("(N, D) and (N, D)", x=x, y=y)


@pytest.mark.parametrize("labels", [[-1, 0], [0, 2]])
def test_label_of_no_class_is_named(labels: list[int]):
    with pytest.raises(ValueError, match=rf"from {labels[0]} to {labels[1]}: with 2 classes pass 0 to 1"):
        check_labels(torch.tensor(labels), 2)
