"""The GAN loss of VQGAN (Esser et al. 2021, arXiv:2012.09841) and LDM (Rombach et al. 2022, arXiv:2112.10752): a patch
discriminator, the hinge loss, and a generator loss with a weight that adapts to the reconstruction loss."""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MIN_CROP = 32  # pixels on a side that the discriminator's convolutions need


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola et al. 2017, arXiv:1611.07004) with group norm instead of batch norm, so that the scores of an
    image don't depend on the rest of the batch."""

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
        """One score a patch, (n, 1, h', w'), of images (n, 3, h, w) in [-1, 1] of at least 32 × 32 pixels; a high score
        means real."""
        return self.stages(image)


def hinge_loss(real: Tensor, reconstructed: Tensor) -> Tensor:
    """The loss of the discriminator, from its scores of real and of reconstructed images."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + reconstructed).mean())


def adaptive_weight(reconstruction_loss: Tensor, generator_loss: Tensor, last_layer: Tensor) -> Tensor:
    """‖∇ reconstruction loss‖ / (‖∇ generator loss‖ + 1e-4) at the decoder's last layer, at most 1e4 (VQGAN,
    equation 7)."""
    (reconstruction,) = torch.autograd.grad(reconstruction_loss, last_layer, retain_graph=True)
    (generator,) = torch.autograd.grad(generator_loss, last_layer, retain_graph=True)
    return (reconstruction.norm() / (generator.norm() + 1e-4)).clamp(0, 1e4).detach()


def last_layer(model: Any) -> Tensor:
    """The weights of the last convolution of an autoencoder's decoder."""
    return [weight for weight in model.decoder.parameters() if weight.ndim == 4][-1]
