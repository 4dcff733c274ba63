"""Options for reading images and fitting them to a size."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from latentflow.base.errors import InputError
from latentflow.base.options import Options, option

Fit: TypeAlias = Literal["contain", "cover", "stretch"]


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(Options):
    """The options for reading images, shared by every command that reads any; raises `InputError` naming the option
    that is wrong."""

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
class FitOptions(Options):
    """The options for fitting a picture to its size."""

    fit: Fit = option(
        "contain",
        "contain keeps the aspect ratio; cover crops to a square; stretch distorts to a square.",
        choices=get_args(Fit),
    )
