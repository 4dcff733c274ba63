"""The effects of a camera: uneven light, exposure, white balance, blur, sensor noise."""

import numpy as np
from PIL import Image, ImageFilter

from latentflow.generated.surfaces import noise, ramp


def photograph(rng: np.random.Generator, pixels: np.ndarray, *, mild: bool = False) -> Image.Image:
    """Apply random effects of a camera to an image (size, size, 3) from 0 to 255; with `mild` they are less likely."""
    size = pixels.shape[0]
    likelihood = 0.35 if mild else 1.0
    pixels = np.clip(pixels, 0, 255) / 255
    if rng.random() < 0.8 * likelihood:  # exposure: the brightest parts become nearly white
        brightest = np.percentile(pixels.max(axis=2), 98)
        pixels = pixels * min(rng.uniform(0.75, 1.1) / (brightest + 1e-3), 4)
    if rng.random() < 0.35 * likelihood:
        light = 0.4 + 0.9 * ramp(rng, size) if rng.random() < 0.5 else 1 + 0.25 * noise(rng, size, 2)
        pixels = pixels * light[..., None]
    if rng.random() < 0.2 * likelihood:  # a shadow over a part of the image
        edge = noise(rng, size, 2.2) + 4 * (ramp(rng, size) - 0.5)
        pixels = pixels * (1 - rng.uniform(0.2, 0.6) / (1 + np.exp(-edge * rng.uniform(1, 20))))[..., None]
    if rng.random() < 0.5 * likelihood:
        pixels = np.clip(pixels, 0, 1) ** rng.uniform(0.6, 1.7)
    if rng.random() < 0.3 * likelihood:
        pixels = pixels * rng.normal(1, 0.06, 3)
    if rng.random() < 0.4 * likelihood:
        blurred = Image.fromarray((np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8))
        pixels = np.asarray(blurred.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.0))), np.float32) / 255
    if rng.random() < 0.4 * likelihood:
        pixels = pixels + rng.normal(0, rng.uniform(0.003, 0.03), pixels.shape)
    return Image.fromarray((np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8))
