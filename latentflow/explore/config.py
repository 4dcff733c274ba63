"""The options of the views."""

from dataclasses import dataclass
from typing import Any

from latentflow.base.errors import InputError
from latentflow.base.options import MAX_SEED, Options, option, option_of
from latentflow.latents.config import ForeignOption, ViewConfig
from latentflow.models.config import DEFAULT_VAE, ModelOptions
from latentflow.pictures.config import FitOptions, ReadingOptions
from latentflow.sinks.config import OUTPUT_SUFFIXES, FrameOptions, OverwriteOption
from latentflow.sound.config import MusicConfig

FIGURE = ".png or .svg; what belongs to it goes beside it."
SWEEPS = (*OUTPUT_SUFFIXES, "")


def index_option() -> Any:
    """The option that names the index of a folder's latents."""
    return option(
        None,
        "Where the latents of the folder are stored, .safetensors; unchanged images are not encoded again.",
        metavar="FILE",
        shown_default="beside the folder",
        affects="nothing",
    )


def distance_option() -> Any:
    """The option that says how far images are apart."""
    return option(
        "moments",
        "moments: 1 - cosine of each channel's means and standard deviations in 4 x 4 parts of the picture, less those "
        "of the folder, left and right alike; pooled: RMS difference of the means; cosine: 1 - cosine of latents; l2: "
        "RMS difference of latents, by which pictures of low contrast are near to most others.",
        choices=("moments", "pooled", "cosine", "l2"),
    )


@dataclass(frozen=True, kw_only=True)
class WalkConfig(ViewConfig, MusicConfig, FitOptions, ForeignOption):
    """The options of a walk, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option(
        "walk.gif", "A .gif, .mp4, .webm or .webp, or a folder for PNGs.", metavar="PATH", affects="files"
    )
    method: str = option(
        "slerp",
        "slerp: along arcs, with the norms of latents; lerp: straight lines; spline: one smooth curve through all.",
        choices=("slerp", "lerp", "spline"),
    )
    order: str = option(
        "name",
        "Order of a folder's images: name; nearest: from each to the nearest remaining one, by their latents; "
        "date: when they were taken, else when the file was written.",
        choices=("name", "nearest", "date"),
    )
    loop: bool = option(False, "Return to the first at the end, without a jump.")
    frames: int | None = option(
        None,
        "Number of frames of the walk.",
        minimum=2,
        maximum=100_000,
        shown_default="48 a segment, and the last image",
    )
    seconds: float | None = option(
        None, "Length of the walk, instead of `frames`.", above=0, maximum=3600, shown_default="`frames` / `fps`"
    )
    ease: str = option(
        "linear",
        "Timing: linear, in_out (slow at both ends), or stops (slow at every image).",
        choices=("linear", "in_out", "stops"),
    )
    even: bool = option(False, "Place the frames so that the picture changes by the same amount from each to the next.")
    measure: str = option("mse", "Metric of change for `even`: mse (its root) or lpips.", choices=("mse", "lpips"))
    budget_frames: int | None = option(
        None, "Number of pictures that `even` may decode.", minimum=2, shown_default="four per frame"
    )
    budget_seconds: float | None = option(None, "Seconds that `even` may take, instead of `budget_frames`.", above=0)
    refine: int = option(0, "Steps of optimization of each image's latent before the walk.", minimum=0)
    caption: bool = option(False, "Write the position on the path under each frame.", affects="files")
    fps: float = option_of(FrameOptions, "fps")
    bounce: bool = option_of(FrameOptions, "bounce")
    palette: str = option_of(FrameOptions, "palette")
    hold: float = option(0.0, "Seconds that the last frame stays.", minimum=0, maximum=600, affects="files")
    hold_anchors: float = option(0.0, "Seconds that every image stays, beside its frame.", minimum=0, maximum=600)


@dataclass(frozen=True, kw_only=True)
class ChannelsConfig(ViewConfig, FitOptions, ForeignOption):
    """The options of channel views, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option("channels.png", f"The figure: {FIGURE}", metavar="FILE")
    channels: tuple[int, ...] | None = option(None, "Channels to show.", minimum=0, shown_default="all", many=True)
    reach: float = option(3.0, "How far a channel is moved, in standard deviations.", above=0, maximum=100)
    frames: int = option(48, "Number of frames of the sweep, there and back.", minimum=4, maximum=10_000)
    sweep: str = option(".gif", "Format of the sweep; empty: a folder of PNGs.", choices=SWEEPS)
    fps: float = option_of(FrameOptions, "fps")
    loop: int = option_of(FrameOptions, "loop")
    palette: str = option_of(FrameOptions, "palette")


@dataclass(frozen=True, kw_only=True)
class RefineOptions(Options):
    """The options of refining an encoder's latent; raises `InputError` naming the option that is wrong."""

    refine: str = option(
        "auto",
        "Gradient-free steps after the encoder, each one decode and one encode: a number, auto (until a step brings "
        "less than 0.05 dB per pass), or gradient:N, which then follows the gradient of `loss_type` for N steps.",
        metavar="STEPS",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.steps  # noqa: B018  (which checks it)

    @property
    def steps(self) -> tuple[int | str, int]:
        """The gradient-free steps, and the steps along the gradient after them; raises `InputError`."""
        kind, _, number = self.refine.rpartition(":")
        if self.refine == "auto":
            return "auto", 0
        if number.isdecimal() and len(number) < 6 and kind in ("", "gradient"):
            return ("auto", int(number)) if kind else (int(number), 0)
        raise InputError(f"`refine` {self.refine!r}: it is a number of steps, auto, or gradient:N.")


@dataclass(frozen=True, kw_only=True)
class ObjectiveOptions(RefineOptions):
    """The options of refining a latent, at last for an objective of its own."""

    loss_type: str = option("mse", "Objective of `refine` gradient:N.", metavar="LOSS")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.steps[1] and self.changed("loss_type"):
            raise InputError(
                f"`loss_type` {self.loss_type} would have no effect with `refine` {self.refine}.",
                "Give `refine` gradient:N, or leave it out.",
            )


@dataclass(frozen=True, kw_only=True)
class EncodeConfig(ReadingOptions, ModelOptions, OverwriteOption, FitOptions, ObjectiveOptions):
    """The options of encoding, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option(
        "{stem}.safetensors",
        "A file for each picture: .safetensors, .latent (ComfyUI's, in the encoder's own units) or .npy; {stem} and "
        "{name} are those of the picture, - is standard output.",
        metavar="FILE",
        affects="files",
    )
    size: int | None = option(
        None, "Longer side of each picture in pixels.", minimum=8, maximum=65_536, shown_default="as it is"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is None and self.changed("fit"):
            raise InputError(f"`fit` {self.fit} would have no effect without `size`.", "Give `size`, or leave it out.")


@dataclass(frozen=True, kw_only=True)
class DecodeConfig(ModelOptions, OverwriteOption, ForeignOption):
    """The options of decoding, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option(
        "{stem}.decoded.png",
        "A .png for each latent; {stem} and {name} are those of the latent, - is standard output.",
        metavar="FILE",
        affects="files",
    )


@dataclass(frozen=True, kw_only=True)
class CyclesConfig(ViewConfig, FitOptions, ObjectiveOptions):
    """The options of repeated round trips, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option(
        "cycles.gif",
        "A .gif, .mp4, .webm or .webp with a frame for each round trip, or a figure, .png or .svg.",
        metavar="FILE",
        affects="files",
    )
    count: int = option(10, "Number of round trips.", minimum=1, maximum=1000)
    fps: float = option(2.0, "Frames per second.", above=0, maximum=240, affects="files")
    hold: float = option_of(FrameOptions, "hold")
    loop: int = option_of(FrameOptions, "loop")


@dataclass(frozen=True, kw_only=True)
class CompositeConfig(ViewConfig, FitOptions, ForeignOption, RefineOptions):
    """The options of a composite, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option(
        "composite.png", "The picture, .png, or its latent, .safetensors.", metavar="FILE", affects="files"
    )
    mask: tuple[str, ...] | None = option(
        None,
        "A picture for each layer but the last: the layer shows where it is white, what is below it where it is black, "
        "and both, by its gray value, between.",
        metavar="FILE",
        many=True,
        shown_default="none, which is refused",
        names_file=True,
    )
    refine: str = option(
        "gradient:10",
        "Steps in the band along the edges: a number of gradient-free ones, auto (until a step brings less than 0.05 "
        "dB per pass), or gradient:N, which then follows the gradient of the mean square error for N steps.",
        metavar="STEPS",
    )


@dataclass(frozen=True, kw_only=True)
class GridConfig(ViewConfig, FitOptions, ForeignOption):
    """The options of a decoded plane, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option(
        "grid.png",
        "The figure, .png or .svg; or a .gif, .mp4, .webm or .webp that pans across the pictures, or a folder for its "
        "frames.",
        metavar="PATH",
    )
    resolution: int = option(9, "Number of pictures on each side.", minimum=2, maximum=64)
    tile: int | None = option(
        None,
        "Longer side of each picture in pixels.",
        minimum=8,
        maximum=4096,
        shown_default="`size` in moving pictures and up to 5 x 5; else 1200 / `resolution`",
    )
    frames: int | None = option(
        None,
        "Number of frames of a moving picture.",
        minimum=2,
        maximum=100_000,
        shown_default="48 for its width of way",
    )
    reach: float = option(1.5, "Extent of a plane around one point, in standard deviations.", above=0, maximum=100)
    seed: int = option(0, "Seed of the random directions around one point.", minimum=0, maximum=MAX_SEED)
    fps: float = option_of(FrameOptions, "fps")
    loop: int = option_of(FrameOptions, "loop")
    bounce: bool = option_of(FrameOptions, "bounce")
    palette: str = option_of(FrameOptions, "palette")


@dataclass(frozen=True, kw_only=True)
class StatsConfig(ViewConfig):
    """The options of latent statistics, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option("stats.png", f"The figure: {FIGURE}", metavar="FILE")
    index: str | None = index_option()


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(ViewConfig, FitOptions):
    """The options of an evaluation, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option(
        "evaluate.png", f"The figure of the worst images: {FIGURE}", metavar="FILE", affects="files"
    )
    vae: str | None = option(
        None,
        "Autoencoders, separated by commas: hub names repo[:subfolder][@revision], folders, .safetensors files, or "
        "bundled.",
        metavar="NAME[,…]",
        shown_default=DEFAULT_VAE,
    )
    optimize: int = option(
        0,
        "Steps of optimization of each image's latent, starting from the encoder's, for a second row.",
        minimum=0,
        metavar="N",
    )
    worst: int = option(4, "Number of worst images in the figure.", minimum=1, maximum=24)
    by: str = option("psnr", "Metric that ranks the worst images.", choices=("psnr", "ssim", "ms_ssim", "lpips"))
    overwrite: bool = option(False, "Allow replacing the table of another evaluation.", affects="nothing")


@dataclass(frozen=True, kw_only=True)
class CurvatureConfig(ViewConfig, FitOptions, ForeignOption):
    """The options of a plane's curvature, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option("curvature.png", f"The figure: {FIGURE}", metavar="FILE")
    size: int = option(128, "Longer side of each picture in pixels.", minimum=8, maximum=4096)
    resolution: int = option(15, "Points of the metric on the plane's longer side.", minimum=2, maximum=128)
    reach: float = option(1.5, "Extent of a plane around one point, in standard deviations.", above=0, maximum=100)
    subspace: int = option(
        2, "Directions of the volume element: the plane's two, and random ones beyond.", minimum=2, maximum=256
    )
    seed: int = option(0, "Seed of the random directions.", minimum=0, maximum=MAX_SEED)
    steps: int = option(15, "Steps of the search for the geodesic, fewer if it converges.", minimum=1)
    frames: int = option(48, "Number of frames of the two paths.", minimum=2, maximum=10_000)
    sweep: str = option(".gif", "Format of the moving picture of the paths; empty: a folder of PNGs.", choices=SWEEPS)
    dtype: str = option(
        "float32",
        "Data type of the autoencoder; derivatives need float32.",
        choices=("auto", "float32", "bfloat16"),
    )
    fps: float = option_of(FrameOptions, "fps")
    loop: int = option_of(FrameOptions, "loop")
    bounce: bool = option_of(FrameOptions, "bounce")
    palette: str = option_of(FrameOptions, "palette")


@dataclass(frozen=True, kw_only=True)
class AtlasConfig(ViewConfig):
    """The options of an atlas, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option("atlas.png", f"The figure: {FIGURE}", metavar="FILE")
    method: str = option(
        "pca",
        "pca: place pictures along the two principal components of the latents; umap: so that neighbors stay neighbors "
        "(needs the extra latentflow[umap]).",
        choices=("pca", "umap"),
    )
    clusters: int | None = option(
        None,
        "Number of clusters of the latents.",
        minimum=1,
        maximum=10,
        shown_default="from 2 to 10, by the silhouette",
    )
    distance: str = distance_option()
    index: str | None = index_option()


@dataclass(frozen=True, kw_only=True)
class SimilarConfig(ViewConfig, ForeignOption):
    """The options of a search, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option("similar.png", f"The query and its neighbors: {FIGURE}", metavar="FILE")
    count: int = option(5, "Number of images to find.", minimum=1, maximum=100)
    distance: str = distance_option()
    index: str | None = index_option()


@dataclass(frozen=True, kw_only=True)
class ConceptConfig(ViewConfig, ForeignOption):
    """The options of a direction, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option(
        "concept.safetensors", "The direction; its figure and the sweep go beside it.", metavar="FILE"
    )
    positive: str | None = option(None, "Folder of images that show the concept.", metavar="FOLDER")
    negative: str | None = option(None, "Folder of images that don't.", metavar="FOLDER")
    whiten: bool = option(False, "Weight it by the inverse covariance of the latents (Fisher's discriminant).")
    direction: str | None = option(None, "A saved direction to apply, instead of two folders.", metavar="FILE")
    apply: str | None = option(None, "What to move: an image, a saved latent, or random:SEED.", metavar="IMAGE")
    strengths: tuple[float, ...] | None = option(
        None,
        "How far to move it; 1 is the distance between the means of the two folders.",
        minimum=-1000,
        maximum=1000,
        many=True,
        shown_default="as far as held-out images lie from the border, both ways",
    )
    frames: int = option(48, "Number of frames of the sweep, there and back.", minimum=4, maximum=10_000)
    sweep: str = option(".gif", "Format of the sweep; empty: a folder of PNGs.", choices=SWEEPS)
    fps: float = option_of(FrameOptions, "fps")
    loop: int = option_of(FrameOptions, "loop")
    palette: str = option_of(FrameOptions, "palette")
