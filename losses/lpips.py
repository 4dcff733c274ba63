"""Learned perceptual image patch similarity."""

from collections.abc import Sequence

from torch import Tensor

from latentflow.losses._base import Load, Loss
from latentflow.losses._features import Features, unit_length
from latentflow.losses._registry import register


@register(
    "lpips",
    input_range=(-1.0, 1.0),
    min_size=32,
    requires=("lpips",),
    weights=("lpips",),
    reference="Zhang et al. 2018, arXiv:1801.03924",
)
class LPIPS(Loss):
    """LPIPS with the VGG trunk: weighted squared distance of normalized activations, summed over stages."""

    def __init__(self, load: Load | None = None) -> None:
        super().__init__(load)
        if load is None:
            raise RuntimeError("lpips needs a network: pass load=, such as latentflow.models.networks.Networks()")
        self.network: Features = load("lpips")
        self.label = self.network.label

    def prepare(self, target: Tensor) -> list[Tensor]:
        return [unit_length(stage).detach() for stage in self.network.stages(target)]

    def forward(self, image: Tensor, prepared: list[Tensor]) -> Tensor:
        heads: Sequence[Tensor | None] = self.network.heads or [None] * len(prepared)
        total = image.new_zeros(len(image))
        for stage, target, head in zip(self.network.stages(image), prepared, heads, strict=True):
            distance = (unit_length(stage) - target).square()
            if head is not None:
                distance = distance * head[None, :, None, None]
            total = total + distance.sum(dim=1).mean(dim=(1, 2))
        return total
