"""A folder of PNGs, one a frame."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from PIL import Image

from latentflow.files import part, writing

if TYPE_CHECKING:
    from latentflow.sinks import Draw


class PngFolder:
    """PNGs named by step (00042.png) in a folder, which is made if need be; each is whole or absent."""

    def __init__(self, path: Path, draw: Draw) -> None:
        self.path, self.draw = path, draw
        self.frames = 0

    def __enter__(self) -> PngFolder:
        with writing(self.path, "--output_path"):
            self.path.mkdir(exist_ok=True)
        return self

    def write(self, record: Any) -> None:
        """Write one PNG; raises `OutputError` when it can't be written."""
        path = self.path / f"{record.index:05d}.png"
        with writing(path, "--output_path"):
            try:
                Image.fromarray(self.draw(record)).save(part(path))
                part(path).replace(path)
            finally:
                part(path).unlink(missing_ok=True)
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
