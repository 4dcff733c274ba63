"""Scikit-image's sample photographs, which every benchmark of quality looks at."""

from pathlib import Path

import skimage
from PIL import Image
from torch import Tensor

from latentflow import fit, read_image, to_tensor

PHOTOGRAPHS = {Path(name).stem: name for name in ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg")}


def photograph(name: str) -> Image.Image:
    """A photograph as it is."""
    return read_image(Path(skimage.__file__).parent / "data" / PHOTOGRAPHS[name]).image


def square(name: str, size: int = 256) -> Tensor:
    """The center square of a photograph, Lanczos to size × size: (1, 3, size, size)."""
    return to_tensor(fit(photograph(name), size, "cover"))
