"""The options of the views."""

from dataclasses import dataclass

from latentflow.config import ViewConfig, option, same

FIGURE = "A .png or .svg; what belongs to it goes beside it."


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
        None, "Pictures --even may decode.", minimum=2, shown_default="four for each frame"
    )
    budget_seconds: float | None = option(None, "Seconds --even may take, instead.", above=0)
    refine: int = option(0, "Steps of optimization of each image's latent first.", minimum=0)
    caption: bool = option(False, "Write under each frame where it is.")
    fit: str = same("fit")
    fps: float = same("fps")
    hold: float = option(0.0, "Seconds the last frame stays.", minimum=0, maximum=600)
    overwrite: bool = same("overwrite")
