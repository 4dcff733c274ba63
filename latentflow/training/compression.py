"""The compression of an autoencoder: number of values, bits, statistics of its latents, and quality."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentflow.inversion.metrics import image_metrics, psnr
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.files import cover
from latentflow.training.data import SIDE, Pictures, to_bytes

STATISTICS_IMAGES = 64  # training images that the statistics of the latents are computed from
REFERENCE_SIDE = 512  # of the image; its values are counted
LEVELS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """The compression of an autoencoder.

    `values_in` and `values_out` count the values of an image of 512 × 512 pixels and of its latent. `scaling_factor` is
    1 / the standard deviation of all latent values (LDM); `channel_mean` and `channel_std` are before scaling. `psnr`
    (dB) and `ssim` are means over validation images, decoded from the posterior mean; `psnr_8bit` is that of latents
    quantized to 256 levels from −4 to 4 standard deviations. `bits_per_pixel` is the rate: the KL divergence of the
    posterior from the standard normal distribution, or without a posterior 8 bits a value. `psnr_at_rate` (dB) is the
    distortion at that rate: of sampled or of 8-bit latents.
    """

    values_in: int
    values_out: int
    scaling_factor: float
    channel_mean: list[float]
    channel_std: list[float]
    psnr: float
    ssim: float
    psnr_8bit: float
    bits_per_pixel: float
    psnr_at_rate: float

    @property
    def ratio(self) -> float:
        """Values of the image over values of the latent."""
        return self.values_in / self.values_out

    def as_dict(self) -> dict[str, Any]:
        """The figures as plain values."""
        return asdict(self) | {"ratio": self.ratio}


@torch.no_grad()
def measure(
    autoencoder: Autoencoder, pictures: Pictures, validation: Tensor, seed: int = 0, count: int | None = None
) -> Compression:
    """The compression of an autoencoder with latents that are not scaled yet; `validation` is (n, 3, h, w) in [0, 1].
    The statistics of the latents come from `count` images, 64 if omitted."""
    rng = np.random.default_rng([seed, 1])
    count = STATISTICS_IMAGES if count is None else count
    taken = [to_bytes(cover(pictures.take(rng)[0], SIDE, SIDE))[None] for _ in range(count)]
    latents = torch.cat([autoencoder.encode(image.to(autoencoder.device).float() / 255) for image in taken])
    values = latents.transpose(0, 1).flatten(1)
    mean, std = values.mean(1), values.std(1)
    generator = torch.Generator().manual_seed(seed)
    rows = [_row(autoencoder, image.to(autoencoder.device), mean, std, generator) for image in validation.split(1)]
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    return Compression(
        values_in=3 * REFERENCE_SIDE**2,
        values_out=math.prod(autoencoder.geometry.latent_shape(REFERENCE_SIDE, REFERENCE_SIDE)),
        scaling_factor=round(1 / float(latents.std()), 5),
        channel_mean=[round(value, 4) for value in mean.tolist()],
        channel_std=[round(value, 4) for value in std.tolist()],
        **{key: round(value, 4) for key, value in means.items()},
    )


def _row(
    autoencoder: Autoencoder, image: Tensor, mean: Tensor, std: Tensor, generator: torch.Generator
) -> dict[str, float]:
    """The figures of one image (1, 3, h, w)."""
    size = (image.shape[-2], image.shape[-1])
    latent, posterior = autoencoder.encode_with_posterior(image)
    figures = image_metrics(autoencoder.decode(latent, size), image)
    mean, std = mean[None, :, None, None], std[None, :, None, None]
    quantized = ((((latent - mean) / std).clamp(-4, 4) + 4) / 8 * (LEVELS - 1)).round()
    restored = (quantized / (LEVELS - 1) * 8 - 4) * std + mean
    figures["psnr_8bit"] = float(psnr(autoencoder.decode(restored, size), image)[0])
    if posterior is not None:
        figures["bits_per_pixel"] = float(posterior.kl()[0]) / math.log(2) / (size[0] * size[1])
        noise = torch.randn(latent.shape, generator=generator).to(latent.device)
        sampled = posterior.mean + posterior.std * noise
        figures["psnr_at_rate"] = float(psnr(autoencoder.decode(sampled, size), image)[0])
    else:
        figures["bits_per_pixel"] = math.log2(LEVELS) * latent.numel() / (size[0] * size[1])
        figures["psnr_at_rate"] = figures["psnr_8bit"]
    return figures
