"""The text-to-image model that comes with the package: a toy, made of the bundled autoencoder and parts of its own."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from latentflow.models.weights import find_weights

TOY = "toy"


def toy_folder() -> Path:
    """Where its parts are, all but the autoencoder."""
    return Path(str(files("latentflow.bundled"))) / TOY


def bundled_vae() -> Any:
    """The bundled autoencoder as diffusers' class, which its pipelines ask for."""
    from diffusers import AutoencoderDC

    return AutoencoderDC.from_pretrained(find_weights("bundled", "bundled").path).eval().requires_grad_(False)
