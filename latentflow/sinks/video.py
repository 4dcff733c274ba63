"""Moving pictures: raw frames go through a pipe to ffmpeg, which ships with imageio-ffmpeg.

ffmpeg, not Pillow or imageio: it streams (memory doesn't grow with the number of frames), runs in parallel in a
process of its own, and completes its file when the pipe ends. The frames of a GIF are sent with their palettes.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from latentflow.errors import MissingPackageError, OutputError
from latentflow.files import check_writable, temporary, writing
from latentflow.sinks import FrameSink

_TO_EVEN_YUV = "pad=ceil(iw/2)*2:ceil(ih/2)*2,scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"
_BT709 = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"
_CODECS = {
    ".mp4": f"-c:v libx264 -crf 18 -movflags +faststart {_BT709}",
    ".webm": f"-c:v libvpx-vp9 -crf 24 -b:v 0 -cpu-used 4 -threads 2 {_BT709}",
    ".webp": "-c:v libwebp_anim -loop 0 -quality 85",
}
PALETTE_SIDE = 64  # a GIF frame's palette is made from 64 × 64 pixels: more are slower and not better

if TYPE_CHECKING:
    from latentflow.sinks import Draw


class Video(FrameSink):
    """A .gif, .mp4, .webm or animated .webp with `fps` frames per second, the last of which stays `hold` seconds."""

    def __init__(self, path: Path, draw: Draw, *, fps: float, hold: float) -> None:
        self.path, self.draw, self.fps, self.hold = path, draw, fps, hold
        self.frames = 0
        self._ffmpeg: subprocess.Popen[bytes] | None = None
        self._messages: IO[bytes] | None = None

    def open(self) -> None:
        """Check that the file can be written, and that ffmpeg is there."""
        check_writable(self.path, "`output_path`")
        self._executable = _ffmpeg_executable()

    def write(self, record: Any) -> None:
        """Append one frame; raises `OutputError` with ffmpeg's message when ffmpeg has failed."""
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
        pixels = "pal8" if self._is_gif else "rgb24"
        raw = f"-f rawvideo -pix_fmt {pixels} -s {width}x{height} -framerate {self.fps} -i pipe:"
        line = f"-y -loglevel error {raw} -an -fflags +bitexact -flags:v +bitexact"
        output = ["-flush_packets", "1", str(temporary(self.path).absolute())]
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115  (ffmpeg writes to it until it ends)
        with writing(self.path, "`output_path`"):
            return subprocess.Popen(
                [self._executable, *line.split(), *self._encoding(), *output],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._messages,
                start_new_session=True,  # so that Ctrl-C in a terminal doesn't reach ffmpeg; it ends with its pipe
            )

    def _encoding(self) -> list[str]:
        """ffmpeg's options for the format, and for how long the last frame stays."""
        if self._is_gif:
            return ["-loop", "0", "-final_delay", str(max(round(self.hold * 100), round(100 / self.fps)))]
        hold = f"tpad=stop_mode=clone:stop_duration={max(0.0, self.hold - 1 / self.fps)}"
        suffix = self.path.suffix.lower()
        filters = hold if suffix == ".webp" else f"{hold},{_TO_EVEN_YUV}"
        return ["-vf", filters, *_CODECS[suffix].split()]

    def close(self, error: BaseException | None) -> None:
        """End the pipe, wait for ffmpeg and put the file in place."""
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
            with writing(self.path, "`output_path`"):
                temporary(self.path).replace(self.path)
        finally:
            temporary(self.path).unlink(missing_ok=True)

    def _failure(self) -> OutputError:
        assert self._ffmpeg is not None and self._messages is not None
        self._ffmpeg.wait()
        self._messages.seek(0)
        said = self._messages.read().decode(errors="replace").strip().splitlines()
        return OutputError(
            f"`output_path` {self.path} can't be written: ffmpeg said: {said[-1] if said else 'nothing'}."
        )


def paletted(picture: np.ndarray) -> bytes:
    """A picture (h, w, 3) uint8 in ffmpeg's format pal8: one index for each pixel, dithered by error diffusion, then
    256 colors.

    ffmpeg's palettegen and paletteuse take fifteen times as long and give no better colors.
    """
    image = Image.fromarray(picture)
    side = (min(PALETTE_SIDE, image.width), min(PALETTE_SIDE, image.height))
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
