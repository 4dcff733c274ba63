"""What a camera adds: uneven light, exposure, white balance, blur, sensor noise."""

import numpy as np
from PIL import Image, ImageFilter

from latentflow.generated.surfaces import noise, ramp


def photographed(rng: np.random.Generator, pixels: np.ndarray, *, gently: bool = False) -> Image.Image:
    """A picture (size, size, 3) from 0 to 255 as if photographed; `gently` leaves most as they are."""
    size = pixels.shape[0]
    share = 0.35 if gently else 1.0
    pixels = np.clip(pixels, 0, 255) / 255
    if rng.random() < 0.8 * share:  # exposure: the brightest parts nearly white
        brightest = np.percentile(pixels.max(axis=2), 98)
        pixels = pixels * min(rng.uniform(0.75, 1.1) / (brightest + 1e-3), 4)
    if rng.random() < 0.35 * share:
        light = 0.4 + 0.9 * ramp(rng, size) if rng.random() < 0.5 else 1 + 0.25 * noise(rng, size, 2)
        pixels = pixels * light[..., None]
    if rng.random() < 0.2 * share:  # a shadow falls across the picture
        edge = noise(rng, size, 2.2) + 4 * (ramp(rng, size) - 0.5)
        pixels = pixels * (1 - rng.uniform(0.2, 0.6) / (1 + np.exp(-edge * rng.uniform(1, 20))))[..., None]
    if rng.random() < 0.5 * share:
        pixels = np.clip(pixels, 0, 1) ** rng.uniform(0.6, 1.7)
    if rng.random() < 0.3 * share:
        pixels = pixels * rng.normal(1, 0.06, 3)
    if rng.random() < 0.4 * share:
        blurred = Image.fromarray((np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8))
        pixels = np.asarray(blurred.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.0))), np.float32) / 255
    if rng.random() < 0.4 * share:
        pixels = pixels + rng.normal(0, rng.uniform(0.003, 0.03), pixels.shape)
    return Image.fromarray((np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8))
