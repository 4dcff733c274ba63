"""Total variation."""

from typing import Any

from torch import Tensor

from latentflow.losses._base import Loss
from latentflow.losses._neighbors import mean_difference
from latentflow.losses._registry import register


@register(
    "tv",
    min_size=2,
    reads_target=False,
    symmetric=False,
    mask="mean over pairs of neighbors, each weighted by the darker gray of the two",
    reference="Rudin, Osher & Fatemi 1992, doi:10.1016/0167-2789(92)90242-F; anisotropic",
)
class TotalVariation(Loss):
    """Mean absolute difference of neighboring pixels, along rows plus along columns; ignores the target.

    Its minimum is a flat image; added to another loss with a small weight it removes noise.
    """

    def prepare(self, target: Tensor) -> Any:
        return None

    def forward(self, image: Tensor, prepared: Any, mask: Tensor | None = None) -> Tensor:
        return mean_difference(image, mask, "tv")
