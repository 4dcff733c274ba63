"""The pictures of an atlas as small squares."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentflow.base.records import Record
from latentflow.pictures.files import cover
from latentflow.pictures.reader import Reader

MAX_PIXELS = 24_000_000  # of all thumbnails together, about as many as a browser shows without effort
MIN_SIDE, MAX_SIDE = 48, 256
JPEG_BLOCK = 8  # pixels: thumbnails of complete blocks don't run into each other


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail(Record):
    """The center square of the image at `path`, (side, side, 3) uint8. The first has index 1."""

    path: Path
    picture: np.ndarray


def read_thumbnails(paths: Sequence[Path], side: int, reader: Reader | None = None) -> Iterator[Thumbnail]:
    """The center squares of images, scaled to side × side pixels, one record for each; raises `InputError` for a file
    that can't be read."""
    reader = reader or Reader()
    for index, path in enumerate(paths, 1):
        square = cover(reader.read(path, "The image"), side, side)
        yield Thumbnail(index=index, total=len(paths), path=path, picture=np.asarray(square))


def thumbnail_side(count: int) -> int:
    """The side in pixels of `count` thumbnails that a browser can show."""
    fitting = int(np.sqrt(MAX_PIXELS / count)) // JPEG_BLOCK * JPEG_BLOCK
    return min(max(fitting, MIN_SIDE), MAX_SIDE)
