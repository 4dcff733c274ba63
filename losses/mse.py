"""Mean squared error."""

from torch import Tensor

from latentflow.losses._base import Loss
from latentflow.losses._registry import register


@register("mse")
class MSE(Loss):
    """Mean squared difference over channels and pixels."""

    def forward(self, image: Tensor, prepared: Tensor) -> Tensor:
        return (image - prepared).square().mean(dim=(1, 2, 3))
