"""Multi-scale structural similarity as a loss."""

import torch
from torch import Tensor

from latentflow.losses._base import Loss, weighted_mean
from latentflow.losses._registry import register
from latentflow.losses._windows import compared, half

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # from the finest scale to the coarsest
SMALLEST = 1e-3


@register(
    "ms_ssim",
    min_size=161,
    mask="at each scale a mean over windows, each weighted by its mean gray, and within it each pixel by its own",
    reference="Wang, Simoncelli & Bovik 2003, doi:10.1109/ACSSC.2003.1292216",
)
class MSSSIM(Loss):
    """1 − MS-SSIM over five scales, with an 11-pixel Gaussian window and data range 1.

    A factor below 0.001 counts as 0.001 and keeps its slope: at a random start many are negative, and their power would
    have none.
    """

    def forward(self, image: Tensor, prepared: Tensor, mask: Tensor | None = None) -> Tensor:
        with torch.autocast(image.device.type, enabled=False):  # bf16 rounds small differences of large sums away
            product = torch.ones_like(image[:, :, 0, 0])
            for scale, weight in enumerate(WEIGHTS):
                if scale:
                    (prepared, _), (image, mask) = half(prepared, mask), half(image, mask)
                luminance, structure, weights = compared(image, prepared, mask)
                last = scale == len(WEIGHTS) - 1
                values = luminance * structure if last else structure
                factor = weighted_mean(values, weights, dims=(2, 3))
                product = product * (factor + (factor.clamp_min(SMALLEST) - factor).detach()) ** weight
            return 1 - product.mean(1)
