"""The options of pictures from prompts. Costs no torch."""

from dataclasses import dataclass

from latentflow.base.options import MAX_SEED, option, option_of
from latentflow.latents.config import ForeignOption
from latentflow.models.config import ModelOptions
from latentflow.sinks.config import FrameOptions, OverwriteOption
from latentflow.sound.config import MusicConfig

DEFAULT_MODEL = "stable-diffusion-v1-5/stable-diffusion-v1-5"
FRAMES_PER_SEGMENT = 16
STRENGTH = 0.6  # from `init`, unless it is given
SCHEDULERS = {  # the class of diffusers that each is
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_a": "EulerAncestralDiscreteScheduler",
    "lms": "LMSDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "pndm": "PNDMScheduler",
    "dpm": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "flow_euler": "FlowMatchEulerDiscreteScheduler",
}


@dataclass(frozen=True, kw_only=True)
class PromptsConfig(MusicConfig, ForeignOption, OverwriteOption):
    """The options of pictures from prompts, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option(
        "prompts.mp4", "A .gif, .mp4, .webm or .webp, or a folder for PNGs.", metavar="PATH", affects="files"
    )
    model: str | None = option(
        None,
        "Pipeline of diffusers: a hub name, which is downloaded if it isn't cached, a folder, or toy, a small one that "
        "comes with latentflow.",
        metavar="NAME",
        shown_default=f"{DEFAULT_MODEL} if it is cached, else toy",
        affects="files",  # what is in it matters, not where it is
        names_file=True,
    )
    seeds: tuple[int, ...] | None = option(
        None,
        "Seed of the noise: one for all prompts, or one for each that doesn't name its own.",
        minimum=0,
        maximum=MAX_SEED,
        many=True,
        shown_default="0",
    )
    negative: str | None = option(
        None, "What pictures should not show: one text, or one for each prompt with | between them.", metavar="TEXT"
    )
    guidance: float | None = option(
        None, "Scale of classifier-free guidance.", minimum=0, maximum=1000, shown_default="the pipeline's"
    )
    scheduler: str | None = option(
        None, "Scheduler, instead of the pipeline's.", choices=tuple(SCHEDULERS), shown_default="the pipeline's"
    )
    steps: int | None = option(
        None, "Number of denoising steps.", minimum=1, maximum=1000, shown_default="the pipeline's"
    )
    size: int | None = option(
        None, "Side of the picture in pixels.", minimum=16, maximum=4096, shown_default="the pipeline's"
    )
    init: str | None = option(
        None,
        "Image, or latent saved by --save_latent of the model's autoencoder, from which each picture is made.",
        metavar="FILE",
        names_file=True,
    )
    strength: float | None = option(
        None,
        "Share of the denoising that is done, from `init` with noise.",
        above=0,
        maximum=1,
        shown_default=f"{STRENGTH:g}",
    )
    embeddings: str = option("lerp", "How words mix: lerp: along lines; slerp: along arcs.", choices=("lerp", "slerp"))
    loop: bool = option(False, "Return to the first prompt at the end.")
    frames: int | None = option(
        None,
        "Number of different pictures; each is generated.",
        minimum=2,
        maximum=100_000,
        shown_default=f"{FRAMES_PER_SEGMENT} a segment, and the last",
        affects="files",
    )
    even: bool = option(
        False, "Put each new picture into the widest gap, so that they change evenly; none is drawn twice."
    )
    budget_seconds: float | None = option(
        None, "Seconds that pictures may take, with `even`.", above=0, affects="files"
    )
    hold_stops: float = option(
        0.0, "Seconds that the picture of every prompt stays.", minimum=0, maximum=600, affects="files"
    )
    show_steps: bool = option(
        False, "Show the denoising of every prompt step by step, as frames and, beside them, as a grid (.png)."
    )
    shown: str = option(
        "x0",
        "What `show_steps` decodes: x0: the picture that the model expects at each step; noisy: the latent as it is.",
        choices=("x0", "noisy"),
    )
    caption: bool = option(False, "Write the prompts below each frame.", affects="files")
    batch_size: int = option(1, "Number of pictures that are generated together.", minimum=1, maximum=1024)
    offload: bool = option(
        False, "Keep parts of the model in main memory until they are needed (CUDA).", affects="files"
    )
    device: str = option_of(ModelOptions, "device")
    dtype: str = option(
        "auto",
        "Data type of the pipeline; auto: float16 on CUDA, else float32.",
        choices=("auto", "float32", "float16", "bfloat16"),
    )
    fps: float = option(12.0, "Frames per second.", above=0, maximum=240, affects="files")
    hold: float = option(0.0, "Seconds that the last frame stays.", minimum=0, maximum=600, affects="files")
    bounce: bool = option_of(FrameOptions, "bounce")
    palette: str = option_of(FrameOptions, "palette")
    resume: bool = option(False, "Use the pictures that an earlier command with these options left.", affects="files")
