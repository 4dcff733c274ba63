"""Total variation."""

from typing import Any

from torch import Tensor

from latentflow.losses._base import Loss
from latentflow.losses._registry import register


@register(
    "tv",
    min_size=2,
    reads_target=False,
    symmetric=False,
    reference="Rudin, Osher & Fatemi 1992, doi:10.1016/0167-2789(92)90242-F; anisotropic",
)
class TotalVariation(Loss):
    """Mean absolute difference of neighboring pixels, along rows plus along columns; ignores the target.

    Its minimum is a flat image; added to another loss with a small weight it removes noise.
    """

    def prepare(self, target: Tensor) -> Any:
        return None

    def forward(self, image: Tensor, prepared: Any) -> Tensor:
        across, down = image.diff(dim=-1).abs(), image.diff(dim=-2).abs()
        return across.mean(dim=(1, 2, 3)) + down.mean(dim=(1, 2, 3))
