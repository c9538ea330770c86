"""Settings of the objective as it was first read, see `tpccma.methods.first_reading`."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tpccma.methods.first_curriculum import FirstReadingCurriculum
from tpccma.profiles.parts import NotNegative, Part, Share, Unnamed


class FirstLoss(Part):
    """The arguments of `tpccma.methods.first_reading.FirstReadingLoss` but alpha."""

    reweighted_weight: NotNegative = 1.0
    geometry_weight: NotNegative = 10.0
    centroid_weight: NotNegative = 1.0
    paired_weight: NotNegative = 10.0
    hardness: Annotated[float, Field(ge=0, le=100)] = 1.0

    def identity(self) -> dict[str, Any]:
        """Return what names a run, with a correction that was a setting then and was always off."""
        return super().identity() | {"false_negative_rate": 0.0}


class FirstCurriculum(Part):
    """The arguments of `tpccma.methods.first_curriculum.FirstReadingCurriculum` but alpha_target and total_steps."""

    anchor: Share = 0.15
    ramp_end: Share = 0.6
    deadline: Share = 0.8
    rho: Annotated[float, Field(gt=0)] = 2.0  # infinity switches the cap off
    slow_rate: Share = 0.5
    shape: Annotated[Literal["cosine", "linear"], Unnamed(at="cosine")] = "cosine"

    @model_validator(mode="after")
    def _consistent(self) -> "FirstCurriculum":
        FirstReadingCurriculum(0.0, 1, **self.model_dump())
        return self


class FirstReading(Part):
    """Loss and curriculum of ``tpc-cma-paired`` and its ablations."""

    loss: FirstLoss = FirstLoss()
    curriculum: FirstCurriculum = FirstCurriculum()
