"""Mean absolute error."""

from torch import Tensor

from latentflow.losses._base import Loss
from latentflow.losses._registry import register


@register("l1")
class L1(Loss):
    """Mean absolute difference over channels and pixels."""

    def forward(self, image: Tensor, prepared: Tensor) -> Tensor:
        return (image - prepared).abs().mean(dim=(1, 2, 3))
