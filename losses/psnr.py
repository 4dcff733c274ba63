"""Peak signal-to-noise ratio as a loss."""

import math

from torch import Tensor

from latentflow.losses._base import Loss, weighted_mean
from latentflow.losses._registry import register

# The square of a tenth of an 8-bit level, which no 8-bit image can show; it keeps the logarithm finite.
SMALLEST_MSE = (0.1 / 255) ** 2


@register("psnr", lower_bound=10 * math.log10(SMALLEST_MSE), mask="of the mean over pixels, each weighted by its gray")
class PSNR(Loss):
    """Negative PSNR in dB for peak 1: 10 log10(MSE + ε), where ε = (0.1 / 255)² keeps it finite at equality."""

    def forward(self, image: Tensor, prepared: Tensor, mask: Tensor | None = None) -> Tensor:
        return 10 * (weighted_mean((image - prepared).square(), mask) + SMALLEST_MSE).log10()
