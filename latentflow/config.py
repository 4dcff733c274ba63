"""The options of a run: one source for defaults, limits and help of the command line and the Python API."""

import math
import os
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from latentflow.errors import InputError

DEFAULT_VAE = "stabilityai/sd-vae-ft-mse"
NAMED_STARTS = ("normal", "uniform", "zeros", "encode")
OUTPUT_SUFFIXES = (".gif", ".mp4", ".webm", ".webp")


def option(
    default: Any,
    help: str,
    *,
    metavar: str = "",
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    shown_default: str = "",
    many: bool = False,
) -> Any:
    """A dataclass field that also says how the option is explained, shown and checked; the command line takes `many`
    values parted by commas."""
    limits = {"minimum": minimum, "above": above, "maximum": maximum}
    shown = {"metavar": metavar, "shown_default": shown_default, "many": many}
    return field(default=default, metadata={"help": help, "choices": choices, **shown, **limits})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Fields made by `option`, checked when made; raises `InputError` naming the option that is wrong."""

    def __post_init__(self) -> None:
        for each in fields(self):
            _check(each.name, getattr(self, each.name), each.metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig(Options):
    """The options of one run, checked when made; raises `InputError` naming the option that is wrong."""

    image_path: str | None = option(None, "The target image.", metavar="FILE")
    loss_type: str = option("mse", 'A loss, or a weighted sum such as "l1 + 0.1*ssim".', metavar="LOSS")
    plugin: str | None = option(None, "A Python file that registers losses of your own.", metavar="FILE")
    steps: int = option(100, "Updates of the latent.", minimum=1)
    skip_step: int = option(1, "Keep every N-th frame; the first and the last always.", minimum=1)
    method: str = option(
        "gradient",
        "gradient: follow the loss; gradient_free: forward passes alone, fast, without a loss of yours; hybrid: begin "
        "without, go on with the gradient.",
        choices=("gradient", "gradient_free", "hybrid"),
    )
    lr: float | None = option(
        None,
        "Learning rate, in unit-variance latents.",
        above=0,
        shown_default="0.1; hybrid 0.04; gradient_free by --steps",
    )
    output_path: str = option(
        "grad_result.gif",
        "A .gif, .mp4, .webm or .webp, or a folder for PNGs; {stem} {loss} {seed} are filled in.",
        metavar="PATH",
    )
    vae: str | None = option(
        None,
        "The autoencoder: a hub name repo[:subfolder][@revision], a folder, a .safetensors file, or bundled. One that "
        "is named here is used or is an error.",
        metavar="NAME",
        shown_default=DEFAULT_VAE,
    )
    weights: str = option(
        "auto",
        "auto: the real weights if cached or downloadable, else the bundled ones; pretrained: the real ones or an "
        "error; bundled: never the network.",
        choices=("auto", "pretrained", "bundled"),
    )
    size: int = option(512, "Longer side of the picture in pixels.", minimum=1, maximum=16384)
    fit: str = option(
        "contain",
        "contain keeps the aspect; cover crops to a square; stretch distorts to a square.",
        choices=("contain", "cover", "stretch"),
    )
    init: str = option(
        "normal",
        "The starting latent: normal, uniform, zeros, encode, an image file, or a saved latent (.safetensors).",
        metavar="START",
    )
    seed: int | None = option(
        None, "Seed of the start; drawn and reported when not given.", minimum=0, maximum=2**63 - 1
    )
    optimizer: str | None = option(
        None,
        "The update rule; km and inertial_km (Krasnoselskii-Mann) are for gradient_free.",
        choices=("adam", "adamw", "sgd", "lbfgs", "km", "inertial_km"),
        shown_default="adam; gradient_free km",
    )
    schedule: str = option(
        "constant", "The learning rate over the run.", choices=("constant", "cosine", "warmup_cosine")
    )
    device: str = option("auto", "auto, cpu, cuda[:n] or mps.", metavar="DEVICE")
    dtype: str = option(
        "auto",
        "What the autoencoder computes in; auto: bfloat16 where the processor has it, else float32. Latents and "
        "losses are float32 always.",
        choices=("auto", "float32", "bfloat16"),
    )
    checkpointing: str = option(
        "auto",
        "Gradient checkpointing, a third slower and smaller in memory; auto: where the picture needs it.",
        choices=("auto", "on", "off"),
    )
    compile: bool | None = option(
        None, "Compile the decoder first.", shown_default="on CUDA, when there are steps enough for it to pay"
    )
    pace: str = option(
        "steps", "Frames evenly spread over the steps, or over the picture's change.", choices=("steps", "change")
    )
    fps: float = option(20.0, "Frames a second.", above=0, maximum=240)
    hold: float = option(1.5, "Seconds the last frame stays.", minimum=0, maximum=600)
    side_by_side: bool = option(False, "Show the target beside each frame.")
    caption: bool = option(False, "Write step, loss and PSNR under each frame.")
    save_latent: str | None = option(None, "Save the latent as .safetensors.", metavar="FILE")
    save_image: str | None = option(None, "Save the picture without a GIF's palette.", metavar="FILE")
    keep: str = option(
        "last", "Which step --save_latent and --save_image keep: last, or best by loss.", choices=("last", "best")
    )
    target_psnr: float | None = option(None, "Stop when this PSNR in dB is reached.", above=0, maximum=200)
    metrics: str | None = option(None, "Write one JSON line a step.", metavar="FILE")
    plot: str | None = option(None, "Draw loss and PSNR over the steps (.png or .svg).", metavar="FILE")
    checkpoint_every: int | None = option(
        None, "Save the state beside the output every N steps, for --resume.", minimum=1, metavar="N"
    )
    overwrite: bool = option(False, "Allow a folder that already holds other frames.")


def same(name: str) -> Any:
    """The option of that name as `RunConfig` has it, for another command's config."""
    (original,) = (each for each in fields(RunConfig) if each.name == name)
    return field(default=original.default, metadata=original.metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewConfig(Options):
    """The options that all views of a latent space share: which autoencoder, and how large its pictures are."""

    size: int = option(256, "Longer side of each picture in pixels.", minimum=8, maximum=4096)
    vae: str | None = same("vae")
    weights: str = same("weights")
    device: str = same("device")
    dtype: str = same("dtype")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig(Options):
    """The options of a comparison, checked when made; raises `InputError` naming the option that is wrong."""

    image_path: str | None = same("image_path")
    losses: str = option(
        "mse,l1,ssim,lpips,psnr,vgg,tv,sinkhorn",
        'Losses or weighted sums, parted by commas: "mse,lpips + 0.1*l1".',
        metavar="LOSSES",
    )
    output_path: str = option(
        "compare.gif",
        "A .gif, .mp4, .webm or .webp, or a folder for PNGs; {stem} and {seed} are filled in. A contact sheet and a "
        "table go beside it.",
        metavar="PATH",
    )
    steps: int = same("steps")
    skip_step: int = same("skip_step")
    lr: float | None = same("lr")
    size: int = option(256, "Longer side of each picture in pixels.", minimum=1, maximum=4096)
    fit: str = same("fit")
    init: str = same("init")
    seed: int | None = same("seed")
    optimizer: str | None = same("optimizer")
    schedule: str = same("schedule")
    vae: str | None = same("vae")
    weights: str = same("weights")
    device: str = same("device")
    dtype: str = same("dtype")
    plugin: str | None = same("plugin")
    fps: float = same("fps")
    hold: float = same("hold")
    overwrite: bool = same("overwrite")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchConfig(RunConfig):
    """The options of a batch: those of a run, for every image, and its own; raises `InputError` as `RunConfig`."""

    output_dir: str = option("batch", "The folder of the results, the table and the contact sheet.", metavar="FOLDER")
    suffix: str = option(
        ".gif", "What frames are written as; empty: a folder of PNGs an image.", choices=(*OUTPUT_SUFFIXES, "")
    )
    batch_size: int | None = option(
        None, "Images of a size in one forward pass.", minimum=1, maximum=4096, shown_default="what fits"
    )
    max_failures: int | None = option(None, "Stop when so many images have failed.", minimum=1)
    shard: str | None = option(None, "Do the i-th of n parts of the images, for job arrays.", metavar="i/n")
    engine: str = option(
        "local", "local: in this process; ray: in workers of their own, on a cluster too.", choices=("local", "ray")
    )
    address: str | None = option(
        None,
        "Of a Ray cluster, or auto for the one this machine is in.",
        metavar="ADDRESS",
        shown_default="a local one",
    )
    workers: int = option(2, "Of --engine ray.", minimum=1, maximum=100_000)
    gpus_per_worker: float = option(0.0, "Of --engine ray; a part of one is fine.", minimum=0, maximum=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderConfig(Options):
    """The options of rendering a run again, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option("render.mp4", "A .gif, .mp4, .webm or .webp, or a folder for PNGs.", metavar="PATH")
    fps: float = same("fps")
    hold: float = same("hold")
    size: int | None = option(
        None, "Longer side of a frame in pixels.", minimum=2, maximum=16384, shown_default="as it was"
    )
    skip_step: int = same("skip_step")
    pace: str = same("pace")
    side_by_side: bool = same("side_by_side")
    caption: bool = same("caption")
    device: str = same("device")
    overwrite: bool = same("overwrite")


def _check(name: str, value: Any, metadata: Any) -> None:
    """Raise `InputError` when a value is outside what its option allows."""
    choices = metadata["choices"]
    if value is None:
        return
    if isinstance(value, tuple):
        for each in value:
            _check(name, each, metadata)
        return
    if choices and value not in choices:
        raise InputError(f"--{name} is one of {', '.join(choices)}, not {value!r}.", did_you_mean(str(value), choices))
    if isinstance(value, str | bool):
        return
    if not math.isfinite(value):
        raise InputError(f"--{name} must be a finite number, not {value}.")
    for limit, wrong, words in (
        ("minimum", lambda bound: value < bound, "at least"),
        ("above", lambda bound: value <= bound, "greater than"),
        ("maximum", lambda bound: value > bound, "at most"),
    ):
        bound = metadata[limit]
        if bound is not None and wrong(bound):
            raise InputError(f"--{name} must be {words} {bound}, not {value}.")


def located(options: dict[str, Any]) -> dict[str, Any]:
    """Options with whole paths for what they name in the file system."""
    names = {*NAMED_STARTS, "bundled"}
    paths = {
        option: str(Path(options[option]).expanduser().resolve())
        for option in ("init", "vae", "plugin")
        if options.get(option) not in {None, *names} and Path(options[option]).expanduser().exists()
    }
    return options | paths


def did_you_mean(word: str, known: Any) -> str:
    """A question with the nearest known word, or nothing."""
    close = get_close_matches(word, list(known), n=1)
    return f"Did you mean {close[0]}?" if close else ""


def check_start(init: str) -> None:
    """Raise `InputError` when `init` is neither a named start nor an existing file."""
    if init not in NAMED_STARTS and not os.path.isfile(init):  # noqa: PTH113  (never raises, however odd the name)
        raise InputError(
            f"--init is one of {', '.join(NAMED_STARTS)}, an image or a saved latent; there is no file {init!r}.",
            did_you_mean(init, NAMED_STARTS),
        )
