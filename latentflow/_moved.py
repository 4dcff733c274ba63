"""The new places of names and modules that moved since 0.1 and 0.2."""

import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PLACES = {
    "latentflow.base.session": "Meter",
    "latentflow.models.loading": "Loaded Models",
    "latentflow.models.networks": "Networks",
    "latentflow.models.weights": "FoundWeights find_weights",
    "latentflow.pictures": "Picture Notes Reader",
    "latentflow.pictures.config": "ReadingOptions",
    "latentflow.inversion.config": "RunConfig",
    "latentflow.inversion.optimize": "Inversion",
    "latentflow.base.records": "Comparison Figures Labeled Record",
    "latentflow.sinks": "Collect FrameSink Soundtrack Crop Mosaic Tile",
    "latentflow.sound": ("Beats find_beats Heard listen follow_energy follow_times frame_count frame_seconds Clip"),
    "latentflow.views": (
        "Clusters Embedding Neighbors embed draw_atlas Atlas Cluster make_atlas make_page Placement Channel "
        "decode_channels draw_channels sweep_channels HeldOutScore cross_validate direction_between draw_concept "
        "Concept move_along DecodedPath Lattice draw_curvature make_lattice Curve GeodesicStep MetricAt "
        "find_geodesic measure_plane plane_basis pullback_metric measure_path ReconstructionMetrics Evaluated "
        "Score decode_plane draw_plane Match Neighbor draw_similar nearest draw_statistics decode_path"
    ),
    "latentflow.page.export.run": "Exported",
    "latentflow.latents": (
        "FolderLatents LatentPath slerp Components principal_components Plane plane_around plane_through "
        "principal_plane Anchors read_anchors ChannelStatistics LatentStatistics latent_statistics"
    ),
}
MOVED = {name: place for place, names in PLACES.items() for name in names.split()}


def find_moved(name: str) -> Any:
    """A name at its new place, with a `DeprecationWarning` for whoever asked the package for it; raises AttributeError
    for a name that was never there."""
    if name in MODULES:
        return import_module(f"latentflow.{name}")
    if name not in MOVED:
        raise AttributeError(f"module 'latentflow' has no attribute {name!r}")
    warnings.warn(
        f"latentflow.{name} is {MOVED[name]}.{name} now.",
        DeprecationWarning,
        stacklevel=3,  # past this function and the package's __getattr__
    )
    return getattr(import_module(MOVED[name]), name)


MODULES = {
    "autoencoder": ("models.autoencoder",),
    "config": (
        *("inversion.config", "runs.config", "sound.config", "latents.config", "models.config", "pictures.config"),
        *("sinks.config", "base.options"),
    ),
    "errors": ("base.errors",),
    "explore.music": ("sound.score",),
    "explore.view": ("runs.job",),
    "export.run": ("page.export.run",),
    "files": ("base.files",),
    "records": ("base.records",),
    "session": ("base.session",),
    "state_files": ("base.state",),
    "surroundings": ("base.surroundings",),
}


class OldModules:
    """Finds the modules that 0.1 and 0.2 had elsewhere: their names warn, and are those of the new modules.

    A finder and its loader in one. It does not derive from the classes of `importlib.abc`, because importing these
    would take a third of the time of importing this package.
    """

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """The spec of an old module, None for any other."""
        package, _, name = fullname.partition(".")
        holds = any(old.startswith(f"{name}.") for old in MODULES)
        is_old = package == "latentflow" and (name in MODULES or holds)
        return ModuleSpec(fullname, self, is_package=holds) if is_old else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """A module as Python makes it."""

    def exec_module(self, module: ModuleType) -> None:
        """Let the module look its names up where they are now."""
        old = module.__name__
        places = [f"latentflow.{each}" for each in MODULES.get(old.removeprefix("latentflow."), ())]

        def find(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(f"module {old!r} has no attribute {name!r}")
            for place in places:
                if hasattr(import_module(place), name):
                    warnings.warn(f"{old}.{name} is {place}.{name} now.", DeprecationWarning, stacklevel=2)
                    return getattr(import_module(place), name)
            raise AttributeError(f"module {old!r} has no attribute {name!r}")

        module.__getattr__ = find  # type: ignore[method-assign]
