"""Gradient difference loss."""

from torch import Tensor

from latentflow.losses._base import Loss
from latentflow.losses._registry import register


@register("gradient", min_size=2, reference="Mathieu et al. 2016, arXiv:1511.05440, with signed differences")
class Gradient(Loss):
    """Mean absolute difference of the finite differences, along rows plus along columns.

    It compares edges and ignores a constant error in color; add it to another loss.
    """

    def forward(self, image: Tensor, prepared: Tensor) -> Tensor:
        error = image - prepared
        across, down = error.diff(dim=-1).abs(), error.diff(dim=-2).abs()
        return across.mean(dim=(1, 2, 3)) + down.mean(dim=(1, 2, 3))
