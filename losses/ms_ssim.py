"""Multi-scale structural similarity as a loss."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from latentflow.losses._base import Loss
from latentflow.losses._registry import register

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # from the finest scale to the coarsest
SMALLEST = 1e-3
C1, C2 = 0.01**2, 0.03**2


@register("ms_ssim", min_size=161, reference="Wang, Simoncelli & Bovik 2003, doi:10.1109/ACSSC.2003.1292216")
class MSSSIM(Loss):
    """1 − MS-SSIM over five scales, with an 11-pixel Gaussian window and data range 1.

    A factor below 0.001 counts as 0.001 and keeps its slope: at a random start many are negative, and their power would
    have none.
    """

    def forward(self, image: Tensor, prepared: Tensor) -> Tensor:
        with torch.autocast(image.device.type, enabled=False):  # bf16 rounds small differences of large sums away
            product = torch.ones_like(image[:, :, 0, 0])
            for scale, weight in enumerate(WEIGHTS):
                if scale:
                    image, prepared = _half(image), _half(prepared)
                luminance, structure = _terms(image, prepared)
                last = scale == len(WEIGHTS) - 1
                factor = (luminance * structure if last else structure).mean((2, 3))
                product = product * (factor + (factor.clamp_min(SMALLEST) - factor).detach()) ** weight
            return 1 - product.mean(1)


def _terms(one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM's comparison of luminances, and that of contrasts and structures."""
    mean_one, mean_two = _blurred(one), _blurred(two)
    variances = _blurred(one * one) - mean_one**2 + _blurred(two * two) - mean_two**2
    covariance = _blurred(one * two) - mean_one * mean_two
    luminance = (2 * mean_one * mean_two + C1) / (mean_one**2 + mean_two**2 + C1)
    return luminance, (2 * covariance + C2) / (variances + C2)


def _blurred(values: Tensor) -> Tensor:
    window = torch.tensor([math.exp(-((place - 5) ** 2) / (2 * 1.5**2)) for place in range(11)]).to(values)
    channels = values.shape[1]
    rows = (window / window.sum()).expand(channels, 1, 1, 11)
    return F.conv2d(F.conv2d(values, rows, groups=channels), rows.mT, groups=channels)


def _half(values: Tensor) -> Tensor:
    return F.avg_pool2d(values, 2, padding=[side % 2 for side in values.shape[-2:]])
