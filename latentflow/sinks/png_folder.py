"""A folder of PNGs, one a frame."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from latentflow.files import manifest_path, replacing, writing
from latentflow.sinks import FrameSink

if TYPE_CHECKING:
    from latentflow.sinks import Draw

NAME = re.compile(r"\d{5}\.png")


class PngFolder(FrameSink):
    """PNGs named by step (00042.png) in a folder, which is made if need be; each is complete or absent. With `by_frame`
    they are numbered as they come, for records that come more than once.

    Frames of an earlier run, whose manifest is beside the folder, are removed when the first new one is there.
    """

    def __init__(self, path: Path, draw: Draw, *, by_frame: bool = False) -> None:
        self.path, self.draw, self.by_frame = path, draw, by_frame
        self.frames = 0

    def open(self) -> None:
        """Make the folder."""
        with writing(self.path, "`output_path`"):
            self.path.mkdir(exist_ok=True)

    def write(self, record: Any) -> None:
        """Write one PNG; raises `OutputError` when it can't be written."""
        path = self.path / f"{self.frames if self.by_frame else record.index:05d}.png"
        with replacing(path, "`output_path`") as unfinished:
            Image.fromarray(self.draw(record)).save(unfinished)
        if not self.frames and manifest_path(self.path).exists():
            self._remove_earlier(path)
        self.frames += 1

    def _remove_earlier(self, first: Path) -> None:
        with writing(self.path, "`output_path`"):
            for file in self.path.iterdir():
                if NAME.fullmatch(file.name) and file != first:
                    file.unlink()
