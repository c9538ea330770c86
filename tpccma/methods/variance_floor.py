"""The second reading with a floor under the variance within each modality: is shrinkage needed to close the gap? [ours]

Alignment draws the embeddings of a modality together, and a gap between clouds that shrink becomes smaller without
being better matched. Here a cloud that becomes narrower than the base model's is pushed apart again.

Legend: B pairs in the global batch, D embedding width.
"""

import torch
from torch import Tensor

from tpccma.checks import Checked, alike
from tpccma.curriculum import check_number
from tpccma.fused import TERM_NAMES, OnePass
from tpccma.loss import CMALoss, gather_pair


def variance(embeddings: Tensor) -> Tensor:
    """Measure the variance of embeddings of unit length about their mean: ``1 - ||mean||^2``, a scalar in [0, 1].

    Args:
        embeddings: (B, D).
    """
    (embeddings,) = alike(torch.float32, embeddings=embeddings)
    return 1 - embeddings.mean(0).square().sum()


def check_floors(name: str, floors: tuple[float, float]) -> tuple[float, float]:
    """Return two floors if each is a number from 0 to 1.

    Raises:
        ValueError: naming the one that is not.
    """
    for modality, floor in zip(("image", "text"), floors, strict=True):
        check_number(f"the {modality} floor", floor, high=1.0)
    return tuple(floors)


class VarianceFloorLoss(CMALoss):
    """``CMALoss + alpha * weight * sum over modalities of relu(floor - variance)^2``, over the global batch.

    Args:
        alpha: as of `tpccma.loss.CMALoss`.
        floor_weight: >= 0.
        floors: of images and of texts, 0 to 1: the base model's own variances; 0 asks for nothing.
        **arguments: `tpccma.loss.CMALoss`'s own.

    Raises:
        ValueError: if a number is out of range.
    """

    term_names = (*TERM_NAMES, "floor_loss")
    floor_weight = Checked(check_number)
    floors = Checked(check_floors)

    def __init__(
        self, alpha: float = 0.5, *, floor_weight: float, floors: tuple[float, float] = (0.0, 0.0), **arguments
    ):
        super().__init__(alpha, **arguments)
        self.floor_weight, self.floors = floor_weight, floors

    def forward(self, image_features: Tensor, text_features: Tensor, *given, output_dict: bool = False, **named):
        """Compute the loss of this process's share of the batch; Args and Returns as of `tpccma.loss.CMALoss`."""
        losses = super().forward(image_features, text_features, *given, output_dict=True, **named)
        if self.alpha * self.floor_weight > 0:
            losses["floor_loss"] = self.alpha * self.floor_weight * self.shortfall(image_features, text_features)
        return losses if output_dict else sum(losses.values())

    def shortfall(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """Measure by how much the variances of the global batch lie below their floors: squared, both together.

        Args:
            image_features: (B / world_size, D).
            text_features: (B / world_size, D).
        """
        both = zip(self.floors, gather_pair(self, image_features, text_features), strict=True)
        return sum((floor - variance(rows)).relu().square() for floor, rows in both)

    def read(self, image_features: Tensor, text_features: Tensor, *given, **named) -> "FloorRead":
        """Make the pass before alpha is known; Args as in `forward`. The gradients read are those without the floor."""
        return FloorRead(
            super().read(image_features, text_features, *given, **named),
            self.shortfall(image_features, text_features),
            self.floor_weight,
        )


class FloorRead:
    """What `tpccma.fused.OnePass` gives, with the floor's term.

    Args:
        read: the pass.
        shortfall: scalar, with its gradient.
        weight: of it.
    """

    def __init__(self, read: OnePass, shortfall: Tensor, weight: float):
        self.read, self.shortfall, self.weight = read, shortfall, weight

    def numbers(self) -> Tensor:
        """Return (9,): those of the pass, and the shortfall."""
        return torch.cat([self.read.numbers(), self.shortfall.detach().reshape(1)])

    def shares(self, alpha: float) -> dict[str, float]:
        """Say what each term counts for in the loss."""
        own = {"floor_loss": alpha * self.weight} if alpha * self.weight > 0 else {}
        return self.read.shares(alpha) | own

    def terms(self, alpha: float) -> dict[str, Tensor]:
        """Weigh the terms with alpha, as the loss returns them."""
        share = self.shares(alpha).get("floor_loss")
        return self.read.terms(alpha) | ({"floor_loss": share * self.shortfall} if share else {})
