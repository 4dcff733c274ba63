"""Peak signal-to-noise ratio, as something to minimize."""

import math

from torch import Tensor

from latentflow.losses._base import Loss
from latentflow.losses._registry import register

# A tenth of one 8-bit level: below it a difference can't be seen in any picture, and the logarithm stays finite.
SMALLEST_MSE = (0.1 / 255) ** 2


@register("psnr", lower_bound=10 * math.log10(SMALLEST_MSE))
class PSNR(Loss):
    """Minus the PSNR in dB for peak 1, finite at equality: 10 log10(MSE + ε), ε a tenth of a level squared."""

    def forward(self, image: Tensor, prepared: Tensor) -> Tensor:
        mse = (image - prepared).square().mean(dim=(1, 2, 3))
        return 10 * (mse + SMALLEST_MSE).log10()
