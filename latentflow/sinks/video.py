"""Moving pictures by one road: raw frames through a pipe into ffmpeg, which ships with imageio-ffmpeg.

Chosen over Pillow and imageio because ffmpeg streams (memory doesn't grow with the number of frames), runs beside the
loop in a process of its own, and finishes its file when the pipe ends. A GIF's frames are handed to it with palettes.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from latentflow.errors import MissingPackageError, OutputError
from latentflow.files import check_writable, part, writing

_TO_EVEN_YUV = "pad=ceil(iw/2)*2:ceil(ih/2)*2,scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"
_BT709 = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
SAMPLE = 64  # pixels a side that a GIF frame's palette is made of: more are slow, and no better

if TYPE_CHECKING:
    from latentflow.sinks import Draw


class Video:
    """A .gif, .mp4, .webm or animated .webp of `fps` frames a second whose last frame stays `hold` seconds."""

    def __init__(self, path: Path, draw: Draw, *, fps: float, hold: float) -> None:
        self.path, self.draw, self.fps, self.hold = path, draw, fps, hold
        self.frames = 0
        self._ffmpeg: subprocess.Popen[bytes] | None = None
        self._messages: IO[bytes] | None = None

    def __enter__(self) -> Video:
        check_writable(self.path, "--output_path")
        self._executable = _ffmpeg_executable()
        return self

    def write(self, record: Any) -> None:
        """Append one frame; raises `OutputError` with ffmpeg's own words when it has given up."""
        picture = self.draw(record)
        if self._ffmpeg is None:
            self._ffmpeg = self._start(picture.shape[1], picture.shape[0])
        assert self._ffmpeg.stdin is not None
        try:
            self._ffmpeg.stdin.write(paletted(picture) if self._is_gif else picture.tobytes())
        except OSError:
            raise self._failure() from None
        self.frames += 1

    @property
    def _is_gif(self) -> bool:
        return self.path.suffix.lower() == ".gif"

    def _start(self, width: int, height: int) -> subprocess.Popen[bytes]:
        still = f"tpad=stop_mode=clone:stop_duration={max(0.0, self.hold - 1 / self.fps)}"
        how = {
            ".gif": [
                "-loop",
                "0",
                "-final_delay",
                str(max(round(self.hold * 100), round(100 / self.fps))),
            ],
            ".mp4": [
                "-vf",
                f"{still},{_TO_EVEN_YUV}",
                "-c:v",
                "libx264",
                "-crf",
                "18",
                "-movflags",
                "+faststart",
                *_BT709,
            ],
            ".webm": [
                "-vf",
                f"{still},{_TO_EVEN_YUV}",
                "-c:v",
                "libvpx-vp9",
                "-crf",
                "24",
                "-b:v",
                "0",
                "-cpu-used",
                "4",
                "-threads",
                "2",
                *_BT709,
            ],
            ".webp": ["-vf", still, "-c:v", "libwebp_anim", "-loop", "0", "-quality", "85"],
        }[self.path.suffix.lower()]
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115  (closed in __exit__)
        with writing(self.path, "--output_path"):
            return subprocess.Popen(
                [
                    self._executable,
                    "-y",
                    "-loglevel",
                    "error",
                    "-f",
                    "rawvideo",
                    "-pix_fmt",
                    "pal8" if self._is_gif else "rgb24",
                    "-s",
                    f"{width}x{height}",
                    "-framerate",
                    str(self.fps),
                    "-i",
                    "pipe:",
                    "-an",
                    "-fflags",
                    "+bitexact",
                    "-flags:v",
                    "+bitexact",
                    *how,
                    "-flush_packets",
                    "1",
                    str(part(self.path).absolute()),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._messages,
                start_new_session=True,
            )  # Ctrl-C in a terminal is for us alone: ffmpeg ends when its pipe does

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ffmpeg is None:
            return
        assert self._ffmpeg.stdin is not None
        try:
            try:
                self._ffmpeg.stdin.close()
            except OSError:
                raise self._failure() from None
            if self._ffmpeg.wait() != 0:
                raise self._failure()
            with writing(self.path, "--output_path"):
                part(self.path).replace(self.path)
        finally:
            part(self.path).unlink(missing_ok=True)

    def _failure(self) -> OutputError:
        assert self._ffmpeg is not None and self._messages is not None
        self._ffmpeg.wait()
        self._messages.seek(0)
        said = self._messages.read().decode(errors="replace").strip().splitlines()
        return OutputError(
            f"--output_path {self.path} can't be written: ffmpeg said: {said[-1] if said else 'nothing'}."
        )


def paletted(picture: np.ndarray) -> bytes:
    """A picture (h, w, 3) uint8 as ffmpeg's pal8: an index a pixel, dithered by error diffusion, then 256 colours.

    ffmpeg's own palettegen and paletteuse take fifteen times as long and come no nearer.
    """
    image = Image.fromarray(picture)
    side = (min(SAMPLE, image.width), min(SAMPLE, image.height))
    sample = image.resize(side, Image.Resampling.NEAREST)
    palette = sample.quantize(256, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
    indexed = image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    assert indexed.palette is not None
    colors = np.frombuffer(indexed.palette.getdata()[1], np.uint8).reshape(-1, 3)
    table = np.full((256, 4), 255, np.uint8)  # blue, green, red, alpha
    table[: len(colors), :3] = colors[:, ::-1]
    return indexed.tobytes() + table.tobytes()


def _ffmpeg_executable() -> str:
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise MissingPackageError(f"Moving pictures need ffmpeg: {error}.", "pip install imageio-ffmpeg") from error
