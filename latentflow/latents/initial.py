"""Where a run starts: noise, nothing, the encoder's own latent, another picture, a saved latent."""

import math
from pathlib import Path

import torch
from torch import Tensor

from latentflow.config import check_start
from latentflow.errors import InputError
from latentflow.latents.files import load_latent
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.files import cover, read_image, to_tensor


def initial_latent(init: str, autoencoder: Autoencoder, target: Tensor, seed: int = 0) -> Tensor:
    """The initial latent (n, c, rows, columns) for a target (n, 3, h, w) in [0, 1].

    `init` is normal (N(0, 1)), uniform (U(−√3, √3), which has variance 1 too), zeros, encode (the encoder's latent of
    the target), the path of an image (encoded at the target's size), or of a saved latent. Noise is drawn on the CPU,
    so that a seed means the same on every device. Raises `InputError` for anything else.
    """
    height, width = target.shape[-2:]
    shape = (len(target), *autoencoder.geometry.latent_shape(height, width))
    generator = torch.Generator().manual_seed(seed)
    if init == "normal":
        return torch.randn(shape, generator=generator).to(autoencoder.device)
    if init == "uniform":
        return ((torch.rand(shape, generator=generator) * 2 - 1) * math.sqrt(3)).to(autoencoder.device)
    if init == "zeros":
        return torch.zeros(shape, device=autoencoder.device)
    with torch.no_grad():
        if init == "encode":
            return autoencoder.encode(target)
        check_start(init)
        if Path(init).suffix == ".safetensors":
            latent = load_latent(init, autoencoder)
            if latent.shape != shape:
                raise InputError(
                    f"The latent {init} has shape {tuple(latent.shape)}; this target needs {shape}.",
                    "Use the --size and --fit it was made with.",
                )
            return latent
        picture = cover(read_image(init, "--init").image, width, height)
        return autoencoder.encode(to_tensor(picture).to(autoencoder.device)).expand(shape).clone()
