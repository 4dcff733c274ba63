"""The options of comparisons, of folders of images, and of rendering again."""

from dataclasses import dataclass

from latentflow.base.options import option, option_of
from latentflow.inversion.config import LoopOptions, RunConfig, TargetOptions
from latentflow.latents.config import StartOptions
from latentflow.models.config import ModelOptions
from latentflow.pictures.config import ReadingOptions
from latentflow.sinks.config import OUTPUT_SUFFIXES, FrameOptions, OverwriteOption
from latentflow.sound.config import SoundConfig


@dataclass(frozen=True, kw_only=True)
class CompareConfig(
    LoopOptions, TargetOptions, StartOptions, ModelOptions, FrameOptions, ReadingOptions, OverwriteOption
):
    """The options of a comparison, checked when made; raises `InputError` naming the option that is wrong."""

    image_path: str | None = option_of(RunConfig, "image_path")
    losses: str = option(
        "mse,l1,ssim,lpips,psnr,vgg,tv,sinkhorn",
        'Losses or weighted sums, separated by commas: "mse,lpips + 0.1*l1".',
        metavar="LOSSES",
    )
    output_path: str = option(
        "compare.gif",
        "Output: a .gif, .mp4, .webm or .webp file, or a folder for PNGs; {stem} and {seed} are filled in. A contact "
        "sheet and a table are written next to it.",
        metavar="PATH",
    )
    size: int = option(256, "Longer side of each picture in pixels.", minimum=1, maximum=4096)


@dataclass(frozen=True, kw_only=True)
class BatchConfig(RunConfig):
    """The options of a batch: those of a run, for every image, and its own; raises `InputError` as `RunConfig`."""

    output_dir: str = option(
        "batch", "Folder for the results, the table and the contact sheet.", metavar="FOLDER", affects="nothing"
    )
    suffix: str = option(
        ".gif", "Format of the frames; empty: a folder of PNGs for each image.", choices=(*OUTPUT_SUFFIXES, "")
    )
    batch_size: int | None = option(
        None,
        "Images of one size that are optimized together.",
        minimum=1,
        maximum=4096,
        shown_default="as many as fit into memory",
        affects="nothing",
    )
    max_failures: int | None = option(None, "Stop after this many images have failed.", minimum=1, affects="nothing")
    shard: str | None = option(
        None, "Process the i-th of n parts of the images, for job arrays.", metavar="i/n", affects="nothing"
    )
    engine: str = option(
        "local",
        "local: in this process; ray: in Ray workers, on one machine or a cluster.",
        choices=("local", "ray"),
        affects="nothing",
    )
    address: str | None = option(
        None,
        "Address of a Ray cluster; auto: the one this machine belongs to.",
        metavar="ADDRESS",
        shown_default="start Ray on this machine",
        affects="nothing",
    )
    workers: int = option(2, "Number of Ray workers.", minimum=1, maximum=100_000, affects="nothing")
    gpus_per_worker: float = option(
        0.0, "GPUs for each Ray worker; may be a fraction.", minimum=0, maximum=64, affects="nothing"
    )


@dataclass(frozen=True, kw_only=True)
class RenderConfig(SoundConfig, FrameOptions, OverwriteOption):
    """The options of rendering a run again, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option(
        "render.mp4", "Output: a .gif, .mp4, .webm or .webp file, or a folder for PNGs.", metavar="PATH"
    )
    size: int | None = option(
        None,
        "Longer side of each frame in pixels, without its caption.",
        minimum=2,
        maximum=16384,
        shown_default="the size of the run",
    )
    skip_step: int = option_of(RunConfig, "skip_step")
    pace: str = option_of(RunConfig, "pace")
    side_by_side: bool = option_of(RunConfig, "side_by_side")
    caption: bool = option_of(RunConfig, "caption")
    device: str = option_of(RunConfig, "device")
