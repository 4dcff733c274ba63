"""Mean absolute error."""

from torch import Tensor

from latentflow.losses._base import Loss, weighted_mean
from latentflow.losses._registry import register


@register("l1", mask="mean over pixels, each weighted by its gray")
class L1(Loss):
    """Mean absolute difference over channels and pixels."""

    def forward(self, image: Tensor, prepared: Tensor, mask: Tensor | None = None) -> Tensor:
        return weighted_mean((image - prepared).abs(), mask)
