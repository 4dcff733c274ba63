"""Moving pictures: draws each record and hands it to what encodes the format, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latentflow.base.files import check_writable, temporary, writing
from latentflow.pictures.palette import ColorSample
from latentflow.sinks import FrameSink
from latentflow.sinks.ffmpeg import Ffmpeg, Soundtrack, add_sound, can_sound, ffmpeg_executable
from latentflow.sinks.gif import COLORS, Gif
from latentflow.sinks.sink import Stopped
from latentflow.sinks.spool import Spool

if TYPE_CHECKING:
    from latentflow.base.session import Session
    from latentflow.sinks.sink import Draw


class Video(FrameSink):
    """A .gif, .mp4, .webm or animated .webp with `fps` frames per second, the last of which stays `hold` seconds.

    It is played `loop` times, forever if 0. With `bounce` the frames between the last and the first follow in reverse.
    With a `palette` "global" all frames of a GIF share one, which is chosen when the last frame is there; with either
    the drawn frames are kept in a temporary file beside `path` until then. An .mp4 or .webm has the `sound`, if there
    is one, as far as there are pictures. A `session` that is stopped while the file is finished ends it early.
    """

    def __init__(
        self,
        path: Path,
        draw: Draw,
        *,
        fps: float,
        hold: float,
        loop: int,
        bounce: bool,
        palette: str,
        sound: Soundtrack | None = None,
        session: Session | None = None,
    ) -> None:
        self.session = session
        self.path, self.draw, self.fps, self.loop, self.bounce = path, draw, fps, loop, bounce
        self.hold = max(hold, 1 / fps)
        self.sound = sound if can_sound(path) else None
        self.seconds = 0.0
        self.frames = 0
        self._encoded = 0
        self.sample = ColorSample() if palette == "global" else None
        self._spool: Spool | None = None
        self._last: np.ndarray | None = None  # not encoded yet, because it may be the one that is held

    def open(self) -> None:
        """Check that the file can be written, and that ffmpeg is there if it is needed."""
        check_writable(self.path, "`output_path`")
        self._executable = "" if self._is_gif else ffmpeg_executable()

    @property
    def _is_gif(self) -> bool:
        return self.path.suffix.lower() == ".gif"

    @cached_property
    def encoder(self) -> Gif | Ffmpeg:
        """The encoder of the pictures."""
        path = self._silent if self.sound else temporary(self.path)
        if self._is_gif:
            return Gif(path, loop=self.loop, palette=self.sample.palette(COLORS) if self.sample else None)
        return Ffmpeg(path, self._executable, fps=self.fps, loop=self.loop)

    @property
    def _silent(self) -> Path:
        """The path of the pictures until their sound is added."""
        return temporary(self.path.with_name(f"silent.{self.path.name}"))

    def _encode(self, picture: np.ndarray, seconds: float) -> None:
        self.encoder.add(picture, seconds)
        self._encoded += 1
        self.seconds += max(1, round(seconds * self.fps)) / self.fps

    def write(self, record: Any) -> None:
        """Append one frame; raises `OutputError` with ffmpeg's message when ffmpeg has failed."""
        picture = self.draw(record)
        with writing(self.path, "`output_path`"):
            self._keep(picture)
            if self._last is not None and self.sample is None:
                self._encode(self._last, 1 / self.fps)
        self._last = picture
        self.frames += 1

    def _keep(self, picture: np.ndarray) -> None:
        if self.sample is not None:
            self.sample.add(picture)
        if self.bounce or self.sample is not None:
            self._spool = self._spool or Spool(self.path.parent)
            self._spool.append(picture)

    def in_file(self, drawn: int) -> int:
        """The frames of the closed file: there and back, all but the first and the last are there twice."""
        return drawn + max(0, drawn - 2) if self.bounce else drawn

    def close(self, error: BaseException | None) -> None:
        """Encode what is left, end the file and put it in place."""
        if self._last is None:
            return
        stopped = Stopped(self.session, error)
        try:
            with writing(self.path, "`output_path`"):
                for picture, seconds in stopped.before(self._remaining(self._last)):
                    self._encode(picture, seconds)
                self.encoder.finish()
                if self.sound:
                    add_sound(self._silent, self.sound, self.seconds, temporary(self.path), self._executable)
                temporary(self.path).replace(self.path)
                self.frames = self._encoded if stopped.is_early else self.in_file(self.frames)
            stopped.check(f"{self.path} ends early")
        finally:
            temporary(self.path).unlink(missing_ok=True)
            self._silent.unlink(missing_ok=True)
            if self._spool is not None:
                self._spool.close()

    def _remaining(self, last: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
        """The pictures that are not encoded yet, and the seconds that each is shown."""
        if self._spool is not None and self.sample is not None:
            yield from ((picture, 1 / self.fps) for picture in self._spool.read(range(self.frames - 1)))
        yield last, self.hold
        if self._spool is not None and self.bounce:
            yield from ((picture, 1 / self.fps) for picture in self._spool.read(range(self.frames - 2, 0, -1)))
