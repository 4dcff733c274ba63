"""Gradient difference loss."""

from torch import Tensor

from latentflow.losses._base import Loss
from latentflow.losses._neighbors import mean_difference
from latentflow.losses._registry import register


@register(
    "gradient",
    min_size=2,
    mask="mean over pairs of neighbors, each weighted by the darker gray of the two",
    reference="Mathieu et al. 2016, arXiv:1511.05440, with signed differences",
)
class Gradient(Loss):
    """Mean absolute difference of the finite differences, along rows plus along columns.

    It compares edges and ignores a constant error in color; add it to another loss.
    """

    def forward(self, image: Tensor, prepared: Tensor, mask: Tensor | None = None) -> Tensor:
        return mean_difference(image - prepared, mask, "gradient")
