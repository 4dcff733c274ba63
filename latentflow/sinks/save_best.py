"""The one step worth saving: the last, or the best by loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from PIL import Image

from latentflow.config import did_you_mean
from latentflow.errors import InputError
from latentflow.files import check_writable, part, writing
from latentflow.pictures.files import to_uint8
from latentflow.records import Step

if TYPE_CHECKING:
    from torch import Tensor

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


class SaveBest:
    """Hands the kept step to `save` when the run ends, however it ends; `keep` is "last" or "best"."""

    def __init__(self, save: Callable[[Step], None], keep: str = "last") -> None:
        self.save, self.keep = save, keep
        self.kept: Step | None = None

    def __enter__(self) -> SaveBest:
        return self

    def write(self, record: Step) -> None:
        """Keep this step if it is the one wanted so far."""
        if self.kept is None or self.keep == "last" or float(record.loss[0]) < float(self.kept.loss[0]):
            self.kept = record

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.kept is not None:
            self.save(self.kept)


def check_image_path(path: Path) -> None:
    """Raise `InputError` for a suffix no picture is saved as, `OutputError` where nothing can be written."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(
            f"--save_image {path}: pictures are saved as {', '.join(IMAGE_SUFFIXES)}.",
            did_you_mean(path.suffix, IMAGE_SUFFIXES),
        )
    check_writable(path, "--save_image")


def save_image(path: Path, image: Tensor) -> None:
    """Save the first picture of (n, 3, h, w), nominally in [0, 1], in full colour; raises `OutputError`."""
    with writing(path, "--save_image"):
        try:
            Image.fromarray(to_uint8(image)).save(part(path), quality=95)
            part(path).replace(path)
        finally:
            part(path).unlink(missing_ok=True)
