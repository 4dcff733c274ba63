"""Pictures as pixels of 8 bits, and those as the content of a file. Costs no torch."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor


def to_uint8(image: Tensor) -> np.ndarray:
    """The first picture of (n, 3, h, w), nominally in [0, 1], clamped and rounded: (h, w, 3), uint8."""
    pixels = image[0].detach().float().permute(1, 2, 0).cpu().numpy()  # numpy: torch's threads are busy elsewhere
    return np.ascontiguousarray(np.rint(np.clip(pixels, 0, 1) * np.float32(255)).astype(np.uint8))


def to_png(pixels: np.ndarray) -> bytes:
    """Pixels (h, w, 3), uint8, as the content of a PNG file."""
    memory = io.BytesIO()
    Image.fromarray(pixels).save(memory, "PNG")
    return memory.getvalue()


def to_jpeg(pixels: np.ndarray, quality: int = 90) -> bytes:
    """Pixels (h, w, 3), uint8, as the content of a JPEG file, for showing."""
    memory = io.BytesIO()
    Image.fromarray(pixels).save(memory, "JPEG", quality=quality, subsampling=0)
    return memory.getvalue()
