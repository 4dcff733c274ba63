"""The options of the views."""

from dataclasses import dataclass
from typing import Any

from latentflow.config import DEFAULT_VAE, OUTPUT_SUFFIXES, ViewConfig, option, same

FIGURE = ".png or .svg; what belongs to it goes beside it."
SWEEPS = (*OUTPUT_SUFFIXES, "")


def kept_latents() -> Any:
    """The option that says where the latents of a folder are kept."""
    return option(None, "Where latents are kept for the next time.", metavar="FILE", shown_default="beside the folder")


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkConfig(ViewConfig):
    """The options of a walk, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option("walk.gif", "A .gif, .mp4, .webm or .webp, or a folder for PNGs.", metavar="PATH")
    method: str = option(
        "slerp",
        "slerp: along arcs, at the length that latents have; lerp: straight; spline: one smooth curve through all.",
        choices=("slerp", "lerp", "spline"),
    )
    loop: bool = option(False, "Go back to the first at the end, without a jump.")
    frames: int | None = option(
        None, "Frames of the whole walk.", minimum=2, maximum=100_000, shown_default="48 a stretch"
    )
    seconds: float | None = option(
        None, "Length of the walk, instead of --frames.", above=0, maximum=3600, shown_default="as --frames and --fps"
    )
    ease: str = option(
        "linear",
        "How time runs: linear, in_out (slow at both ends), or stops (slow at every anchor).",
        choices=("linear", "in_out", "stops"),
    )
    even: bool = option(False, "Place the frames so that each changes the picture by the same amount.")
    measure: str = option("mse", "By what --even measures change: mse (its root), or lpips.", choices=("mse", "lpips"))
    budget_frames: int | None = option(
        None, "Pictures --even may decode, beyond a first look at each.", minimum=2, shown_default="four for each frame"
    )
    budget_seconds: float | None = option(None, "Seconds --even may take, instead.", above=0)
    refine: int = option(0, "Steps of optimization of each image's latent first.", minimum=0)
    caption: bool = option(False, "Write under each frame where it is.")
    fit: str = same("fit")
    fps: float = same("fps")
    hold: float = option(0.0, "Seconds the last frame stays.", minimum=0, maximum=600)
    overwrite: bool = same("overwrite")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelsConfig(ViewConfig):
    """The options of channel views, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option("channels.png", f"The figure: {FIGURE}", metavar="FILE")
    channels: tuple[int, ...] | None = option(None, "Some of the channels.", minimum=0, shown_default="all", many=True)
    reach: float = option(3.0, "How far a channel is swept, in standard deviations.", above=0, maximum=100)
    frames: int = option(48, "Frames of the sweep, there and back.", minimum=4, maximum=10_000)
    sweep: str = option(".gif", "What the sweep is written as; empty: a folder of PNGs.", choices=SWEEPS)
    fit: str = same("fit")
    fps: float = same("fps")
    overwrite: bool = same("overwrite")


@dataclass(frozen=True, slots=True, kw_only=True)
class GridConfig(ViewConfig):
    """The options of a decoded plane, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option("grid.png", f"The figure: {FIGURE}", metavar="FILE")
    resolution: int = option(9, "Pictures a side.", minimum=2, maximum=64)
    reach: float = option(1.5, "How far to go around one point, in standard deviations.", above=0, maximum=100)
    seed: int = option(0, "Of the random directions around one point.", minimum=0, maximum=2**63 - 1)
    fit: str = same("fit")


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsConfig(ViewConfig):
    """The options of statistics, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option("stats.png", f"The figure: {FIGURE}", metavar="FILE")
    index: str | None = kept_latents()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig(ViewConfig):
    """The options of an evaluation, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option("evaluate.png", f"The worst images: {FIGURE}", metavar="FILE")
    vae: str | None = option(
        None,
        "Autoencoders, parted by commas: hub names repo[:subfolder][@revision], folders, .safetensors files, bundled.",
        metavar="NAME[,…]",
        shown_default=DEFAULT_VAE,
    )
    optimize: int = option(
        0, "Steps of optimization of each image's latent, from the encoder's, for a second row.", minimum=0, metavar="N"
    )
    worst: int = option(4, "Images in the figure.", minimum=1, maximum=24)
    by: str = option("psnr", "By what they are the worst.", choices=("psnr", "ssim", "ms_ssim", "lpips"))
    fit: str = same("fit")


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvatureConfig(ViewConfig):
    """The options of a plane's curvature, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option("curvature.png", f"The figure: {FIGURE}", metavar="FILE")
    size: int = option(128, "Longer side of each picture in pixels.", minimum=8, maximum=4096)
    resolution: int = option(15, "Points of the metric on the plane's longer side.", minimum=2, maximum=128)
    reach: float = option(1.5, "How far to go around one point, in standard deviations.", above=0, maximum=100)
    subspace: int = option(
        2, "Directions the volume is measured in: the plane's two, and random ones beyond.", minimum=2, maximum=256
    )
    seed: int = option(0, "Of random directions.", minimum=0, maximum=2**63 - 1)
    steps: int = option(15, "Steps of the search for the geodesic, fewer when it settles.", minimum=1)
    frames: int = option(48, "Frames of the two ways.", minimum=2, maximum=10_000)
    sweep: str = option(".gif", "What the ways are written as; empty: a folder of PNGs.", choices=SWEEPS)
    dtype: str = option(
        "float32",
        "What the autoencoder computes in; derivatives want float32.",
        choices=("auto", "float32", "bfloat16"),
    )
    fit: str = same("fit")
    fps: float = same("fps")
    overwrite: bool = same("overwrite")


@dataclass(frozen=True, slots=True, kw_only=True)
class AtlasConfig(ViewConfig):
    """The options of an atlas, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option("atlas.png", f"The figure: {FIGURE}", metavar="FILE")
    method: str = option(
        "pca",
        "pca: by the two directions in which latents differ most; umap: so that neighbours stay neighbours (pip "
        "install umap-learn).",
        choices=("pca", "umap"),
    )
    clusters: int | None = option(
        None, "Clusters of the latents.", minimum=1, maximum=10, shown_default="as many, from 2 to 10, as suit best"
    )
    index: str | None = kept_latents()


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarConfig(ViewConfig):
    """The options of a search, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option("similar.png", f"The query and what is near it: {FIGURE}", metavar="FILE")
    count: int = option(5, "How many images to find.", minimum=1, maximum=100)
    distance: str = option(
        "l2",
        "l2: the RMS difference of the latents, value by value; cosine: of their directions alone; pooled: l2 of means "
        "over 4 x 4 cells, which cares less about where things are.",
        choices=("l2", "cosine", "pooled"),
    )
    index: str | None = kept_latents()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptConfig(ViewConfig):
    """The options of a direction, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option(
        "concept.safetensors", "The direction; its figure and the sweep go beside it.", metavar="FILE"
    )
    positive: str | None = option(None, "A folder of images that have it.", metavar="FOLDER")
    negative: str | None = option(None, "A folder of images that don't.", metavar="FOLDER")
    whiten: bool = option(False, "Weigh it by the covariance of the latents (Fisher's discriminant).")
    direction: str | None = option(None, "An earlier direction to apply, instead of two folders.", metavar="FILE")
    apply: str | None = option(None, "What to move: an image, a saved latent, or random:SEED.", metavar="IMAGE")
    strengths: tuple[float, ...] = option(
        (-3.0, -1.5, 0.0, 1.5, 3.0),
        "How far to move it; 1 is from the mean of the one folder to that of the other.",
        minimum=-1000,
        maximum=1000,
        many=True,
        shown_default="-3,-1.5,0,1.5,3",
    )
    frames: int = option(48, "Frames of the sweep, there and back.", minimum=4, maximum=10_000)
    sweep: str = option(".gif", "What the sweep is written as; empty: a folder of PNGs.", choices=SWEEPS)
    fps: float = same("fps")
    overwrite: bool = same("overwrite")
