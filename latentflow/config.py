"""The options of a run: one source for defaults, limits and help of the command line and the Python API."""

import math
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from numbers import Integral, Real
from pathlib import Path
from typing import Any, get_args

from latentflow.errors import InputError
from latentflow.inversion.methods import BETAS, BETAS_NEAR, METHODS, OPTIMIZERS
from latentflow.sound.motions import (
    ATTACK,
    BEATS_PER_BAR,
    MARGIN,
    MOTION,
    MOTIONS,
    REACH,
    RELEASE,
    SENSITIVITY,
)

DEFAULT_VAE = "stabilityai/sd-vae-ft-mse"
NAMED_STARTS = ("normal", "uniform", "zeros", "encode")
VAE_CONFIGS = ("sd", "sdxl", "sd3", "flux")
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
    affects: str = "result",
    may_change: bool | None = None,
    names_file: bool = False,
) -> Any:
    """A dataclass field that also says how the option is explained, shown and checked, and what it does.

    The command line takes `many` values separated by commas. `affects` is "result" for what the numbers depend on,
    "files" for what is written of them, and "nothing" for what only decides how the work is done. `may_change` says
    whether a run that is resumed may have another value; by default it may where the result doesn't depend on it.
    `names_file` says that its value may be the path of a file that is read.
    """
    limits = {"minimum": minimum, "above": above, "maximum": maximum}
    shown = {"metavar": metavar, "shown_default": shown_default, "many": many}
    changes = affects != "result" if may_change is None else may_change
    meaning = {"help": help, "choices": choices, "affects": affects, "may_change": changes, "names_file": names_file}
    return field(default=default, metadata={**meaning, **shown, **limits})


def options_that(config: "type[Options]", **wanted: Any) -> set[str]:
    """The names of the options of a config whose metadata has these values, as in `affects="files"`."""
    return {each.name for each in fields(config) if all(each.metadata[key] == value for key, value in wanted.items())}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Fields made by `option`, checked when made; raises `InputError` naming the option that is wrong."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            _check_number(each.name, value, each.type)
            _check(each.name, value, each.metadata)


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(Options):
    """How images are read, for every command that reads any; raises `InputError` naming the option that is wrong."""

    background: str = option(
        "white", "Color behind transparent pixels: a name, or #rrggbb.", metavar="COLOR", affects="result"
    )
    max_pixels: int = option(
        178_000_000,
        "Largest image that is read, in pixels; larger ones are refused before they are decoded.",
        minimum=1,
        affects="nothing",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        from PIL import ImageColor

        try:
            opaque = len(ImageColor.getrgb(self.background)) == 3
        except (ValueError, AttributeError, TypeError):
            opaque = False
        if not opaque:
            raise InputError(f"`background` {self.background!r} is no color.", "Give a name such as gray, or #rrggbb.")


@dataclass(frozen=True, kw_only=True)
class RunConfig(ReadingOptions):
    """The options of one run, checked when made; raises `InputError` naming the option that is wrong."""

    image_path: str | None = option(None, "The target image.", metavar="FILE")
    loss_type: str = option("mse", 'A loss, or a weighted sum such as "l1 + 0.1*ssim".', metavar="LOSS")
    plugin: str | None = option(None, "Python file that registers your own losses.", metavar="FILE", names_file=True)
    steps: int = option(100, "Number of updates of the latent.", minimum=1)
    skip_step: int = option(1, "Keep every N-th frame; the first and the last are always kept.", minimum=1)
    method: str = option(
        "gradient",
        f"{'; '.join(f'{method.name}: {method.words}' for method in METHODS.values())}.",
        choices=tuple(METHODS),
    )
    lr: float | None = option(
        None,
        "Learning rate, in unit-variance latents.",
        above=0,
        shown_default="0.1; hybrid 0.06; gradient_free by `steps`",
    )
    output_path: str = option(
        "grad_result.gif",
        "Output: a .gif, .mp4, .webm or .webp file, or a folder for PNGs; {stem}, {loss} and {seed} are filled in.",
        metavar="PATH",
        affects="files",
        may_change=False,
    )
    vae: str | None = option(
        None,
        "Autoencoder: a hub name repo[:subfolder][@revision], a folder, a .safetensors file, or bundled. If it can't "
        "be loaded, the run fails; only the default falls back on the bundled one.",
        metavar="NAME",
        shown_default=DEFAULT_VAE,
        names_file=True,
    )
    vae_config: str | None = option(
        None,
        f"Whose scale and shift the file of `vae` has: {', '.join(VAE_CONFIGS)}, or the path of its config.json.",
        metavar="NAME",
        shown_default="the config.json in its folder, else by its tensors",
        names_file=True,
    )
    weights: str = option(
        "auto",
        "auto: the published weights if they are cached or can be downloaded, else the bundled ones; pretrained: the "
        "published ones or an error; bundled: never use the network.",
        choices=("auto", "pretrained", "bundled"),
    )
    size: int = option(512, "Longer side of the picture in pixels.", minimum=1, maximum=16384)
    fit: str = option(
        "contain",
        "contain keeps the aspect ratio; cover crops to a square; stretch distorts to a square.",
        choices=("contain", "cover", "stretch"),
    )
    mask: str | None = option(
        None,
        "Picture of the target's shape: only what is white in it counts, in the loss and in the figures; {stem} is the "
        "target's name.",
        metavar="FILE",
        names_file=True,
    )
    init: str = option(
        "normal",
        "Initial latent: normal, uniform, zeros, encode (the encoder's latent of the target), random:SEED, an image, "
        "or a latent (.safetensors, .npy, .latent).",
        metavar="START",
        names_file=True,
    )
    latent_of: str | None = option(
        None,
        "Whose a latent of another program is, and in which units: the `vae` it is of, then :scaled (about unit "
        "variance, as diffusers' pipelines hold it) or :unscaled (as the encoder gives it).",
        metavar="NAME:UNITS",
    )
    seed: int | None = option(
        None, "Seed of the initial latent; chosen at random and reported if omitted.", minimum=0, maximum=2**63 - 1
    )
    optimizer: str | None = option(
        None,
        "The update rule; km and inertial_km (Krasnoselskii-Mann) are for gradient_free.",
        choices=tuple(OPTIMIZERS),
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
    schedule: str = option(
        "constant", "Schedule of the learning rate.", choices=("constant", "cosine", "warmup_cosine")
    )
    device: str = option("auto", "Device: auto, cpu, cuda[:n] or mps.", metavar="DEVICE", affects="nothing")
    dtype: str = option(
        "auto",
        "Data type the autoencoder computes in; auto: bfloat16 if the processor computes with it, else float32. "
        "Latents and losses are always float32.",
        choices=("auto", "float32", "bfloat16"),
    )
    checkpointing: str = option(
        "auto",
        "Gradient checkpointing: less memory, a third slower; auto: if the picture needs it.",
        choices=("auto", "on", "off"),
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
    fps: float = option(20.0, "Frames per second.", above=0, maximum=240, affects="files")
    hold: float = option(1.5, "Seconds the last frame is shown.", minimum=0, maximum=600, affects="files")
    loop: int = option(
        0,
        "How often a .gif or .webp is played; 0: forever.",
        minimum=0,
        maximum=65_535,
        metavar="N",
        affects="files",
    )
    bounce: bool = option(
        False,
        "Show the frames once more in reverse order, from the last, which is held, back to the first. They are kept on "
        "disk until then: 3 bytes per pixel and frame.",
        affects="files",
    )
    palette: str = option(
        "frame",
        "Colors of a .gif: frame: each frame has 255 of its own; global: all frames share 255, chosen from all of them "
        "at the end of the run. Until then they are kept on disk: 3 bytes per pixel and frame.",
        choices=("frame", "global"),
        affects="files",
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
    overwrite: bool = option(
        False, "Replace files of an earlier command that would otherwise be kept.", affects="nothing"
    )


def option_of(config: type[Options], name: str) -> Any:
    """The option of that name as a config has it, for another command's."""
    (original,) = (each for each in fields(config) if each.name == name)
    return field(default=original.default, metadata=original.metadata)


def same(name: str) -> Any:
    """The option of that name as `RunConfig` has it, for another command's config."""
    return option_of(RunConfig, name)


@dataclass(frozen=True, kw_only=True)
class ViewConfig(ReadingOptions):
    """The options that all views of a latent space share: which autoencoder, and how large its pictures are."""

    size: int = option(256, "Longer side of each picture in pixels.", minimum=8, maximum=4096)
    vae: str | None = same("vae")
    vae_config: str | None = same("vae_config")
    weights: str = same("weights")
    device: str = same("device")
    dtype: str = same("dtype")
    overwrite: bool = same("overwrite")


@dataclass(frozen=True, kw_only=True)
class CompareConfig(ReadingOptions):
    """The options of a comparison, checked when made; raises `InputError` naming the option that is wrong."""

    image_path: str | None = same("image_path")
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
    steps: int = same("steps")
    skip_step: int = same("skip_step")
    lr: float | None = same("lr")
    size: int = option(256, "Longer side of each picture in pixels.", minimum=1, maximum=4096)
    fit: str = same("fit")
    mask: str | None = same("mask")
    init: str = same("init")
    latent_of: str | None = same("latent_of")
    seed: int | None = same("seed")
    optimizer: str | None = same("optimizer")
    betas: tuple[float, float] | None = same("betas")
    schedule: str = same("schedule")
    vae: str | None = same("vae")
    vae_config: str | None = same("vae_config")
    weights: str = same("weights")
    device: str = same("device")
    dtype: str = same("dtype")
    plugin: str | None = same("plugin")
    fps: float = same("fps")
    hold: float = same("hold")
    loop: int = same("loop")
    bounce: bool = same("bounce")
    palette: str = same("palette")
    overwrite: bool = same("overwrite")


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
class SoundConfig(Options):
    """The options of what moves to a sound; raises `InputError` naming the option that is wrong."""

    audio: str | None = option(
        None,
        "Sound file: .wav, .mp3, .m4a, .ogg, .flac, .opus or a video. Its length sets the number of frames, and an "
        ".mp4 or .webm plays it.",
        metavar="FILE",
        names_file=True,
    )
    motion: str | None = option(
        None,
        "How frames follow the sound; "
        f"{'; '.join(f'{name}: {motion.words}' for name, motion in MOTIONS.items())}. beats, bars and chroma need the "
        "extra latentflow[sound].",
        choices=tuple(MOTIONS),
        shown_default=f"{MOTION}; render: the frames keep their time",
    )
    from_: str | None = option(
        None, "Where in the sound to begin: seconds, or M:SS.", metavar="TIME", shown_default="its beginning"
    )
    to: str | None = option(
        None, "Where in the sound to end: seconds, or M:SS.", metavar="TIME", shown_default="its end"
    )
    marks: tuple[str, ...] | None = option(
        None,
        "Times in the sound at which the images between the first and the last are reached: 0:12,0:31.5.",
        metavar="TIME[,…]",
        many=True,
        shown_default="wherever the motion takes them",
    )
    every: int | None = option(
        None,
        "Reach the next image on every N-th beat or bar, again and again, to and fro.",
        metavar="N",
        minimum=1,
        shown_default="each image once, spread over the sound",
    )
    beats_per_bar: int | None = option(
        None, "Number of beats in a bar.", minimum=1, maximum=32, shown_default=f"{BEATS_PER_BAR}"
    )
    smooth: float | None = option(
        None,
        "Seconds over which a hit moves the picture, from when it is heard.",
        minimum=0,
        maximum=60,
        shown_default=", ".join(f"{motion.smooth:g} for {name}" for name, motion in MOTIONS.items() if motion.smooth),
    )
    margin: float | None = option(
        None,
        "How many times as strong as tones something must be to count as a hit; larger: drums alone.",
        above=0,
        maximum=100,
        shown_default=f"{MARGIN:g}",
    )
    sensitivity: float | None = option(
        None,
        "Share of the path that follows the sound; the rest is covered evenly, so that quiet passages move too.",
        minimum=0,
        maximum=1,
        shown_default=f"{SENSITIVITY:g}",
    )


@dataclass(frozen=True, kw_only=True)
class MusicConfig(SoundConfig):
    """The options of what moves to a sound, to the notes of a MIDI file, or to both; raises `InputError` naming the
    option that is wrong."""

    midi: str | None = option(
        None,
        "MIDI file: its notes move the picture, its controllers and program changes the walk (needs the extra "
        "latentflow[sound]).",
        metavar="FILE",
        names_file=True,
    )
    map_: str | None = option(
        None,
        "JSON file that says what notes, controllers and programs do: see docs/music.md.",
        metavar="FILE",
        names_file=True,
    )
    offset: float | None = option(
        None,
        "Seconds of the sound at which the MIDI file begins; may be negative.",
        minimum=-3600,
        maximum=3600,
        shown_default="0",
    )
    attack: float | None = option(
        None, "Seconds that a note takes to rise.", minimum=0, maximum=60, shown_default=f"{ATTACK:g}"
    )
    release: float | None = option(
        None, "Seconds that a note takes to fade.", minimum=0, maximum=60, shown_default=f"{RELEASE:g}"
    )
    reach: float | None = option(
        None,
        "How far a note of full velocity moves the latent, in standard deviations.",
        above=0,
        maximum=100,
        shown_default=f"{REACH:g}",
    )
    seed: int | None = option(None, "Seed of the directions of notes.", minimum=0, maximum=2**63 - 1, shown_default="0")
    tones: bool = option(False, "Put simple tones of the notes under the picture, where there is no `audio`.")


@dataclass(frozen=True, kw_only=True)
class RenderConfig(SoundConfig):
    """The options of rendering a run again, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option(
        "render.mp4", "Output: a .gif, .mp4, .webm or .webp file, or a folder for PNGs.", metavar="PATH"
    )
    fps: float = same("fps")
    hold: float = same("hold")
    loop: int = same("loop")
    bounce: bool = same("bounce")
    palette: str = same("palette")
    size: int | None = option(
        None,
        "Longer side of each frame in pixels, without its caption.",
        minimum=2,
        maximum=16384,
        shown_default="the size of the run",
    )
    skip_step: int = same("skip_step")
    pace: str = same("pace")
    side_by_side: bool = same("side_by_side")
    caption: bool = same("caption")
    device: str = same("device")
    overwrite: bool = same("overwrite")


def _check_number(name: str, value: Any, kind: Any) -> None:
    """Raise `InputError` when an option that is a number has something else, or a part of one where whole ones go."""
    kinds = get_args(kind) or (kind,)
    if value is None or not {int, float} & set(kinds):
        return
    for each in value if isinstance(value, tuple) else (value,):  # several make a sweep
        if isinstance(each, bool) or not isinstance(each, Real):
            raise InputError(f"`{name}` must be a number, not {each!r}.")
        if float not in kinds and not isinstance(each, Integral):
            raise InputError(f"`{name}` must be an integer, not {each!r}.")


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
        raise InputError(f"`{name}` is one of {', '.join(choices)}, not {value!r}.", did_you_mean(str(value), choices))
    if isinstance(value, str | bool):
        return
    if not math.isfinite(value):
        raise InputError(f"`{name}` must be a finite number, not {value}.")
    for limit, wrong, words in (
        ("minimum", lambda bound: value < bound, "at least"),
        ("above", lambda bound: value <= bound, "greater than"),
        ("maximum", lambda bound: value > bound, "at most"),
    ):
        bound = metadata[limit]
        if bound is not None and wrong(bound):
            raise InputError(f"`{name}` must be {words} {bound}, not {value}.")


def located(options: dict[str, Any]) -> dict[str, Any]:
    """Options with absolute paths where they name files."""
    names = {None, *NAMED_STARTS, *VAE_CONFIGS, "bundled"}
    named = {option: options.get(option) for option in options_that(RunConfig, names_file=True)}
    paths = {option: Path(str(value)).expanduser() for option, value in named.items() if value not in names}
    return options | {option: str(path.resolve()) for option, path in paths.items() if holds_something(path)}


def holds_something(path: Path) -> bool:
    """Whether it is a file, or a folder that isn't empty: an empty one may have the name of something else by
    accident."""
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def did_you_mean(word: str, known: Any) -> str:
    """ "Did you mean …?" with the nearest known word, or an empty string."""
    close = get_close_matches(word, list(known), n=1)
    return f"Did you mean {close[0]}?" if close else ""


def counted(count: int, noun: str = "", verb: str = "") -> str:
    """A number of things: "1 frame", "2 frames"; with a verb in the plural what they do, such as "1 image is"."""
    singular = {"are": "is", "were": "was", "don't": "doesn't"}
    nouns, verbs = (noun, singular.get(verb, verb)) if count == 1 else (f"{noun}s" if noun else "", verb)
    return " ".join(word for word in (str(count), nouns, verbs) if word)
