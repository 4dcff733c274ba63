"""Content loss of VGG16."""

from torch import Tensor

from latentflow.losses._base import Load, Loss
from latentflow.losses._features import Features
from latentflow.losses._registry import register


@register(
    "vgg",
    input_range=(-1.0, 1.0),
    min_size=32,
    weights=("vgg",),
    reference="Johnson, Alahi & Fei-Fei 2016, arXiv:1603.08155",
)
class VGG(Loss):
    """Mean squared difference of VGG16's activations at relu3_3."""

    def __init__(self, load: Load | None = None) -> None:
        super().__init__(load)
        if load is None:
            raise RuntimeError("vgg needs a network: pass load=, such as latentflow.models.networks.Networks()")
        self.network: Features = load("vgg")
        self.label = self.network.label

    def prepare(self, target: Tensor) -> Tensor:
        return self.network.stages(target)[-1].detach()

    def forward(self, image: Tensor, prepared: Tensor) -> Tensor:
        return (self.network.stages(image)[-1] - prepared).square().mean(dim=(1, 2, 3))
