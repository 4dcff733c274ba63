"""Mean squared error."""

from torch import Tensor

from latentflow.losses._base import Loss, weighted_mean
from latentflow.losses._registry import register


@register("mse", mask="mean over pixels, each weighted by its gray")
class MSE(Loss):
    """Mean squared difference over channels and pixels."""

    def forward(self, image: Tensor, prepared: Tensor, mask: Tensor | None = None) -> Tensor:
        return weighted_mean((image - prepared).square(), mask)
