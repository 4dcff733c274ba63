"""The options of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from latentflow.base.options import Options, holds_something, option, options_that
from latentflow.inversion.methods import BETAS, BETAS_NEAR, METHODS, OPTIMIZERS
from latentflow.latents.config import NAMED_STARTS, StartOptions
from latentflow.models.config import VAE_CONFIGS, ModelOptions
from latentflow.pictures.config import FitOptions, ReadingOptions
from latentflow.sinks.config import FrameOptions, OverwriteOption

Schedule: TypeAlias = Literal["constant", "cosine", "warmup_cosine"]
Checkpointing: TypeAlias = Literal["auto", "on", "off"]


@dataclass(frozen=True, kw_only=True)
class TargetOptions(FitOptions):
    """The target of a run, and the losses that a file brings."""

    plugin: str | None = option(None, "Python file that registers your own losses.", metavar="FILE", names_file=True)
    mask: str | None = option(
        None,
        "Picture of the target's shape; its gray values are weights, in the loss and in the figures: white counts, "
        "black doesn't, gray counts in part. {stem} is the target's name.",
        metavar="FILE",
        names_file=True,
    )


@dataclass(frozen=True, kw_only=True)
class LoopOptions(Options):
    """The options of the loop that moves the latent."""

    steps: int = option(100, "Number of updates of the latent.", minimum=1)
    skip_step: int = option(1, "Keep every N-th frame; the first and the last are always kept.", minimum=1)
    lr: float | None = option(
        None,
        "Learning rate, in unit-variance latents.",
        above=0,
        shown_default="0.1; hybrid 0.06; gradient_free by `steps`",
    )
    optimizer: str | None = option(
        None,
        "The update rule; km and inertial_km (Krasnoselskii-Mann) are for gradient_free.",
        choices=OPTIMIZERS,
        shown_default="adam; gradient_free km",
    )
    betas: tuple[float, float] | None = option(
        None,
        "Adam's decay rates: of its average of the gradient, and of the gradient's square.",
        metavar="B1,B2",
        minimum=0,
        shown_default=f"{BETAS[0]},{BETAS[1]}; hybrid {BETAS_NEAR[0]},{BETAS_NEAR[1]}",
        many=True,
    )
    schedule: Schedule = option("constant", "Schedule of the learning rate.", choices=get_args(Schedule))


@dataclass(frozen=True, kw_only=True)
class RunConfig(LoopOptions, TargetOptions, StartOptions, ModelOptions, FrameOptions, ReadingOptions, OverwriteOption):
    """The options of one run, checked when made; raises `InputError` naming the option that is wrong."""

    image_path: str | None = option(None, "The target image.", metavar="FILE")
    loss_type: str = option("mse", 'A loss, or a weighted sum such as "l1 + 0.1*ssim".', metavar="LOSS")
    method: str = option(
        "gradient",
        "{choices}.",
        choices=METHODS,
    )
    output_path: str = option(
        "grad_result.gif",
        "Output: a .gif, .mp4, .webm or .webp file, or a folder for PNGs; {stem}, {loss} and {seed} are filled in.",
        metavar="PATH",
        affects="files",
        may_change=False,
    )
    size: int = option(512, "Longer side of the picture in pixels.", minimum=1, maximum=16384)
    checkpointing: Checkpointing = option(
        "auto",
        "Gradient checkpointing: less memory, a third slower; auto: if the picture needs it.",
        choices=get_args(Checkpointing),
        affects="nothing",
    )
    compile: bool | None = option(
        None,
        "Compile the decoder before the first step.",
        shown_default="on CUDA, for runs long enough to gain from it",
        affects="nothing",
    )
    pace: str = option(
        "steps", "Space frames evenly in steps, or in how much the picture changes.", choices=("steps", "change")
    )
    side_by_side: bool = option(False, "Show the target next to each frame.")
    caption: bool = option(False, "Write step, loss and PSNR below each frame.")
    save_latent: str | None = option(None, "Save the final latent as .safetensors.", metavar="FILE", affects="files")
    save_image: str | None = option(None, "Save the final picture in full color.", metavar="FILE", affects="files")
    keep: str = option(
        "last",
        "Step that `save_latent` and `save_image` save: the last, or the best by loss.",
        choices=("last", "best"),
        affects="files",
    )
    target_psnr: float | None = option(None, "Stop when this PSNR (dB) is reached.", above=0, maximum=200)
    metrics: str | None = option(
        None, "Write the figures of each step as a line of JSON.", metavar="FILE", affects="files"
    )
    plot: str | None = option(
        None, "Plot loss and PSNR over the steps (.png or .svg).", metavar="FILE", affects="files"
    )
    checkpoint_every: int | None = option(
        None,
        "Save a checkpoint next to the output every N steps, for `resume`.",
        minimum=1,
        metavar="N",
        affects="nothing",
    )


def located(options: dict[str, Any]) -> dict[str, Any]:
    """Options with absolute paths where they name files."""
    names = {None, *NAMED_STARTS, *VAE_CONFIGS, "bundled"}
    named = {option: options.get(option) for option in options_that(RunConfig, names_file=True)}
    paths = {option: Path(str(value)).expanduser() for option, value in named.items() if value not in names}
    return options | {option: str(path.resolve()) for option, path in paths.items() if holds_something(path)}
