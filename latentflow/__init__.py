"""See what an image autoencoder's latent space does: follow the gradient through its decoder, frame by frame.

The public names are resolved on first use (PEP 562), so that importing the package costs no torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Autoencoder": "autoencoder",
    "LatentGeometry": "autoencoder",
    "load_autoencoder": "autoencoder",
    "compare": "comparing",
    "RunConfig": "config",
    "LatentflowError": "errors",
    "fit": "images",
    "read_image": "images",
    "to_tensor": "images",
    "Objective": "objective",
    "optimize": "loop",
    "quality": "measures",
    "Comparison": "records",
    "Frame": "records",
    "Step": "records",
    "drive": "sinks",
    "Kept": "sinks",
    "every": "sinks",
    "open_frames": "sinks",
    "load_latent": "latents",
    "read_anchors": "views.anchors",
    "look_at_channels": "views.channels",
    "direction_between": "views.concept.directions",
    "pull_back": "views.curvature.bending",
    "relax": "views.curvature.bending",
    "latent_moments": "views.distribution",
    "evaluate": "views.evaluate.run",
    "decode_plane": "views.grid",
    "encode_files": "views.index",
    "Way": "views.paths",
    "slerp": "views.paths",
    "nearest": "views.similar",
    "walk": "views.walk",
    "save_latent": "latents",
    "start": "starts",
    "resolve": "weights",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'latentflow' has no attribute {name!r}")
    value = getattr(import_module(f"latentflow.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
