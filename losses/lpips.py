"""Learned perceptual image patch similarity."""

from collections.abc import Sequence

from torch import Tensor

from latentflow.losses._base import Loss, weighted_mean
from latentflow.losses._features import pooled, unit_length
from latentflow.losses._registry import register


@register(
    "lpips",
    input_range=(-1.0, 1.0),
    min_size=32,
    requires=("lpips",),
    weights=("lpips",),
    mask="mean over positions of the activations, each weighted by the mean gray of its pixels",
    reference="Zhang et al. 2018, arXiv:1801.03924",
)
class LPIPS(Loss):
    """LPIPS with the VGG trunk: weighted squared distance of normalized activations, summed over stages."""

    def prepare(self, target: Tensor) -> list[Tensor]:
        return [unit_length(stage).detach() for stage in self.networks["lpips"].stages(target)]

    def forward(self, image: Tensor, prepared: list[Tensor], mask: Tensor | None = None) -> Tensor:
        heads: Sequence[Tensor | None] = self.networks["lpips"].heads or [None] * len(prepared)
        total = image.new_zeros(len(image))
        for stage, target, head in zip(self.networks["lpips"].stages(image), prepared, heads, strict=True):
            distance = (unit_length(stage) - target).square()
            if head is not None:
                distance = distance * head[None, :, None, None]
            total = total + weighted_mean(distance.sum(dim=1, keepdim=True), pooled(mask, distance))
        return total
