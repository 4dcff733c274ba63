"""Options for writing frames, and for replacing earlier files."""

from dataclasses import dataclass

from latentflow.base.options import Options, option

OUTPUT_SUFFIXES = (".gif", ".mp4", ".webm", ".webp")


@dataclass(frozen=True, kw_only=True)
class OverwriteOption(Options):
    """The option to replace files that no earlier command wrote."""

    overwrite: bool = option(False, "Replace files at the outputs that no earlier command wrote.", affects="nothing")


@dataclass(frozen=True, kw_only=True)
class FrameOptions(Options):
    """The options for playing moving pictures."""

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
