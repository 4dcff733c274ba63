"""The adversarial term of VQGAN (Esser et al. 2021, arXiv:2012.09841) and LDM: a patch discriminator, hinge loss, and
a weight that keeps its gradient as large as the reconstruction's."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola et al. 2017, arXiv:1611.07004): one score for each patch of a picture, (n, 1, h', w').

    Group norm stands where the original has batch norm, so that the scores of one picture don't depend on the others.
    """

    def __init__(self, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(layers + 1)]
        stages: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for level, (before, after) in enumerate(pairwise(widths)):
            stages += [
                nn.Conv2d(before, after, 4, 2 if level < layers - 1 else 1, 1, bias=False),
                nn.GroupNorm(8, after),
                nn.LeakyReLU(0.2),
            ]
        self.stages = nn.Sequential(*stages, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, 0.02)

    def forward(self, image: Tensor) -> Tensor:
        """Scores of pictures (n, 3, h, w) in [-1, 1], at least 32 pixels a side; high means real."""
        return self.stages(image)


def hinge(real: Tensor, made: Tensor) -> Tensor:
    """The discriminator's loss from its scores of real and of reconstructed pictures."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + made).mean())


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor) -> Tensor:
    """‖∇ reconstruction‖ / (‖∇ adversarial‖ + 1e-4) at the decoder's last layer, at most 1e4 (VQGAN, equation 7)."""
    (one,) = torch.autograd.grad(reconstruction, last_layer, retain_graph=True)
    (two,) = torch.autograd.grad(adversarial, last_layer, retain_graph=True)
    return (one.norm() / (two.norm() + 1e-4)).clamp(0, 1e4).detach()


def last_layer(model: nn.Module) -> Tensor:
    """The weights of the decoder's last convolution."""
    return [weight for weight in model.decoder.parameters() if weight.ndim == 4][-1]  # type: ignore[union-attr,operator]
