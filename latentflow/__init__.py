"""See what an image autoencoder's latent space does: follow the gradient through its decoder, frame by frame.

The public names are resolved on first use (PEP 562), so that importing the package costs no torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Autoencoder": "models.autoencoder",
    "LatentGeometry": "models.autoencoder",
    "load_autoencoder": "models.autoencoder",
    "compare": "runs.compare",
    "RunConfig": "config",
    "LatentflowError": "errors",
    "fit": "pictures.files",
    "read_image": "pictures.files",
    "to_tensor": "pictures.files",
    "Objective": "inversion.objective",
    "optimize": "inversion.optimize",
    "image_metrics": "inversion.metrics",
    "Comparison": "records",
    "Frame": "records",
    "Step": "records",
    "run_sinks": "sinks",
    "Collect": "sinks",
    "EveryNth": "sinks",
    "open_frames": "sinks",
    "load_latent": "latents.files",
    "read_anchors": "latents.sources",
    "decode_channels": "explore.channels",
    "direction_between": "explore.concept.directions",
    "pullback_metric": "explore.curvature.metric",
    "find_geodesic": "explore.curvature.metric",
    "latent_statistics": "latents.statistics",
    "evaluate": "explore.evaluate.run",
    "decode_plane": "explore.grid",
    "encode_files": "latents.index",
    "LatentPath": "latents.paths",
    "slerp": "latents.paths",
    "nearest": "explore.similar",
    "walk": "explore.walk",
    "save_latent": "latents.files",
    "initial_latent": "latents.initial",
    "find_weights": "models.weights",
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
