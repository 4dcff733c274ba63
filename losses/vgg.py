"""Content loss of VGG16."""

from torch import Tensor

from latentflow.losses._base import Loss, weighted_mean
from latentflow.losses._features import pooled
from latentflow.losses._registry import register


@register(
    "vgg",
    input_range=(-1.0, 1.0),
    min_size=32,
    weights=("vgg",),
    mask="mean over positions of the activations, each weighted by the mean gray of its pixels",
    reference="Johnson, Alahi & Fei-Fei 2016, arXiv:1603.08155",
)
class VGG(Loss):
    """Mean squared difference of VGG16's activations at relu3_3."""

    def prepare(self, target: Tensor) -> Tensor:
        return self.networks["vgg"].stages(target)[-1].detach()

    def forward(self, image: Tensor, prepared: Tensor, mask: Tensor | None = None) -> Tensor:
        return weighted_mean((self.networks["vgg"].stages(image)[-1] - prepared).square(), pooled(mask, prepared))
