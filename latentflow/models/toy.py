"""The text-to-image model that comes with the package: a toy, made of the bundled autoencoder and parts of its own."""

import contextlib
import warnings
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from latentflow.models.weights import find_weights

TOY = "toy"


def toy_folder() -> Path:
    """Return the folder of the toy's parts, all but the autoencoder."""
    return Path(str(files("latentflow.bundled"))) / TOY


def bundled_vae(dtype: Any = None) -> Any:
    """The bundled autoencoder as diffusers' class, which its pipelines ask for, in float32 or another torch dtype."""
    import torch
    from diffusers import AutoencoderDC

    path = find_weights("bundled", "bundled").path
    return AutoencoderDC.from_pretrained(path, torch_dtype=dtype or torch.float32).eval().requires_grad_(False)


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """No progress bars of diffusers and transformers, and no warnings of diffusers, such as that a pipeline has another
    text model than the published one."""
    import transformers
    from diffusers.utils import logging

    logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch_dtype` is deprecated")  # by its name older versions know it
            warnings.filterwarnings("ignore", category=FutureWarning, module="diffusers")  # on old settings
            yield
    finally:
        logging.set_verbosity(before)
