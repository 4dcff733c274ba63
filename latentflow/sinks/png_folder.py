"""A folder of PNGs, one per frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from latentflow.base.files import replacing, writing, written_in
from latentflow.sinks import FrameSink

if TYPE_CHECKING:
    from latentflow.sinks.sink import Draw


class PngFolder(FrameSink):
    """PNGs named by step (00042.png) in a folder, which is made if need be; each is complete or absent. With `by_frame`
    they are numbered as they come, for records that come more than once.

    Frames of an earlier command, which a manifest names, are removed when the first new one is there.
    """

    def __init__(self, path: Path, draw: Draw, *, by_frame: bool = False) -> None:
        self.path, self.draw, self.by_frame = path, draw, by_frame
        self.frames = 0
        self._earlier: set[str] = set()

    def open(self) -> None:
        """Make the folder."""
        with writing(self.path, "`output_path`"):
            self.path.mkdir(exist_ok=True)
            self._earlier = written_in(self.path)

    def write(self, record: Any) -> None:
        """Write one PNG; raises `OutputError` when it can't be written."""
        path = self.path / f"{self.frames if self.by_frame else record.index:05d}.png"
        with replacing(path, "`output_path`") as unfinished:
            Image.fromarray(self.draw(record)).save(unfinished)
        self.frames += 1
        with writing(self.path, "`output_path`"):
            for name in self._earlier - {path.name}:
                (self.path / name).unlink(missing_ok=True)
        self._earlier = set()
