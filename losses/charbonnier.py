"""Charbonnier penalty."""

from torch import Tensor

from latentflow.losses._base import Loss, weighted_mean
from latentflow.losses._registry import register

EPSILON = 1e-3


@register(
    "charbonnier",
    lower_bound=EPSILON,
    mask="mean over pixels, each weighted by its gray",
    reference="Charbonnier et al. 1994, doi:10.1109/ICIP.1994.413553",
)
class Charbonnier(Loss):
    """Mean of √(d² + ε²), ε = 0.001: an absolute difference that is smooth at zero."""

    def forward(self, image: Tensor, prepared: Tensor, mask: Tensor | None = None) -> Tensor:
        return weighted_mean(((image - prepared).square() + EPSILON**2).sqrt(), mask)
