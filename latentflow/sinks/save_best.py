"""The one step worth saving: the last, or the best by loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from latentflow.base.errors import InputError
from latentflow.base.files import check_writable, replacing
from latentflow.base.options import did_you_mean
from latentflow.base.pixels import to_uint8
from latentflow.base.records import Record, Step
from latentflow.sinks import Sink

if TYPE_CHECKING:
    from torch import Tensor

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


class SaveBest(Sink[Any]):
    """Hands the kept step to `save` when the run ends, however it ends; `keep` is "last" or "best"."""

    def __init__(self, save: Callable[[Step], None], keep: str = "last") -> None:
        self.save, self.keep = save, keep
        self.kept: Step | None = None

    def write(self, record: Record) -> None:
        """Keep this step if it is the one wanted so far."""
        if isinstance(record, Step) and (
            self.kept is None or self.keep == "last" or float(record.loss[0]) < float(self.kept.loss[0])
        ):
            self.kept = record

    def close(self, error: BaseException | None) -> None:
        """Save the kept step."""
        if self.kept is not None:
            self.save(self.kept)


def check_image_path(path: Path) -> None:
    """Raise `InputError` for a suffix no picture is saved as, `OutputError` where nothing can be written."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(
            f"`save_image` {path}: pictures are saved as {', '.join(IMAGE_SUFFIXES)}.",
            did_you_mean(path.suffix, IMAGE_SUFFIXES),
        )
    check_writable(path, "`save_image`")


def save_image(path: Path, image: Tensor) -> None:
    """Save the first picture of (n, 3, h, w), nominally in [0, 1], in full color; raises `OutputError`."""
    with replacing(path, "`save_image`") as unfinished:
        Image.fromarray(to_uint8(image)).save(unfinished, quality=95)
