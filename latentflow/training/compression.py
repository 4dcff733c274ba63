"""What an autoencoder costs and keeps: values, bits, statistics of the latent, PSNR."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentflow.inversion.metrics import image_metrics, psnr
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.files import cover
from latentflow.training.data import SIDE, Pictures, tensor

MEASURED = 64  # training pictures that the statistics are taken of
SHOWN_SIDE = 512  # of the picture whose values are counted
LEVELS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """An autoencoder's figures.

    `values_in` and `values_out` are of a picture of 512 × 512; `scaling_factor` is 1 / the standard deviation of all
    latent values (LDM), `channel_mean` and `channel_std` are before scaling. `psnr` (dB) and `ssim` are means over
    held-back pictures of the decoded posterior mean, `psnr_8bit` of latents held in 256 levels from −4 to 4 standard
    deviations. `bits_per_pixel` is the rate: of a posterior its KL divergence from the standard normal, else those 8
    bits a value; `psnr_at_rate` is the distortion that belongs to it, with latents sampled or of 8 bits.
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
        """Values in over values out."""
        return self.values_in / self.values_out

    def as_dict(self) -> dict[str, Any]:
        """The figures as plain values."""
        return asdict(self) | {"ratio": self.ratio}


@torch.no_grad()
def measure(autoencoder: Autoencoder, pictures: Pictures, held_back: Tensor, seed: int = 0) -> Compression:
    """The figures of an autoencoder that has no scaling yet; `held_back` is (n, 3, h, w) in [0, 1]."""
    rng = np.random.default_rng([seed, 1])
    taken = [tensor(cover(pictures.take(rng)[0], SIDE, SIDE))[None] for _ in range(MEASURED)]
    latents = torch.cat([autoencoder.encode(image.to(autoencoder.device).float() / 255) for image in taken])
    values = latents.transpose(0, 1).flatten(1)
    mean, spread = values.mean(1), values.std(1)
    generator = torch.Generator().manual_seed(seed)
    rows = [_row(autoencoder, image.to(autoencoder.device), mean, spread, generator) for image in held_back.split(1)]
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    channels, rows_, columns = autoencoder.geometry.latent_shape(SHOWN_SIDE, SHOWN_SIDE)
    return Compression(
        values_in=3 * SHOWN_SIDE**2,
        values_out=channels * rows_ * columns,
        scaling_factor=round(1 / float(latents.std()), 5),
        channel_mean=[round(value, 4) for value in mean.tolist()],
        channel_std=[round(value, 4) for value in spread.tolist()],
        **{key: round(value, 4) for key, value in means.items()},
    )


def _row(
    autoencoder: Autoencoder, image: Tensor, mean: Tensor, spread: Tensor, generator: torch.Generator
) -> dict[str, float]:
    """The figures of one picture (1, 3, h, w)."""
    size = (image.shape[-2], image.shape[-1])
    latent, posterior = autoencoder.encode_whole(image)
    figures = image_metrics(autoencoder.decode(latent, size), image)
    mean, spread = mean[None, :, None, None], spread[None, :, None, None]
    stored = ((((latent - mean) / spread).clamp(-4, 4) + 4) / 8 * (LEVELS - 1)).round()
    restored = (stored / (LEVELS - 1) * 8 - 4) * spread + mean
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
