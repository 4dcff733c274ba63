"""Videos: raw frames go through a pipe to ffmpeg, which ships with imageio-ffmpeg.

ffmpeg, not imageio: it streams (memory doesn't grow with the number of frames), runs in parallel in a process of its
own, and completes its file when the pipe ends.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentflow.base.errors import MissingPackageError

_BT709 = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"
_TO_YUV = "-vf scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"
_CODECS = {
    ".mp4": f"{_TO_YUV} -c:v libx264 -crf 18 -movflags +faststart {_BT709}",
    ".webm": f"{_TO_YUV} -c:v libvpx-vp9 -crf 24 -b:v 0 -cpu-used 4 -threads 2 {_BT709}",
    ".webp": "-c:v libwebp_anim -quality 85",
}

MOST_CHANNELS = 8  # that encoders and players know; those of more are mixed down to two
# Codecs that have the rate of the sound; Opus, the usual one of WebM, would resample.
_SOUND_CODECS = {".mp4": "-c:a aac -b:a 256k -movflags +faststart", ".webm": "-c:a libvorbis -q:a 7"}


@dataclass(frozen=True, slots=True)
class Soundtrack:
    """Samples `first` to `last` (exclusive) of a sound file of `channels` channels, at its own rate."""

    path: Path
    first: int
    last: int
    channels: int = 2


def can_sound(path: Path) -> bool:
    """Tell whether the format of `path` can have sound."""
    return path.suffix.lower() in _SOUND_CODECS


class Ffmpeg:
    """An .mp4, .webm or animated .webp at `path` with `fps` frames per second; a .webp is played `loop` times, forever
    if 0. `executable` is `ffmpeg_executable()`."""

    def __init__(self, path: Path, executable: str, *, fps: float, loop: int = 0) -> None:
        self.path, self.executable, self.fps, self.loop = path, executable, fps, loop
        self.process: subprocess.Popen[bytes] | None = None
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115  (ffmpeg writes to it until it ends)

    def add(self, picture: np.ndarray, seconds: float) -> None:
        """Append a picture (h, w, 3) uint8 as often as `seconds` want, once at least; raises `OSError`."""
        if self.path.suffix.lower() != ".webp":
            picture = _of_even_size(picture)
        if self.process is None:
            self.process = self._start(picture.shape[1], picture.shape[0])
        assert self.process.stdin is not None
        try:
            for _ in range(max(1, round(seconds * self.fps))):
                self.process.stdin.write(picture.tobytes())
        except OSError:
            raise self._failure() from None

    def _start(self, width: int, height: int) -> subprocess.Popen[bytes]:
        raw = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -framerate {self.fps} -i pipe:"
        line = f"-y -loglevel error {raw} -an -fflags +bitexact -flags:v +bitexact {_CODECS[self.path.suffix.lower()]}"
        loop = ["-loop", str(self.loop)] if self.path.suffix.lower() == ".webp" else []
        return subprocess.Popen(
            [self.executable, *line.split(), *loop, "-flush_packets", "1", str(self.path.absolute())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._messages,
            start_new_session=True,  # so that Ctrl-C in a terminal doesn't reach ffmpeg; it ends with its pipe
        )

    def finish(self) -> None:
        """End the pipe and wait for the file; raises `OSError` with ffmpeg's message when ffmpeg has failed."""
        assert self.process is not None and self.process.stdin is not None
        try:
            self.process.stdin.close()
        except OSError:
            raise self._failure() from None
        if self.process.wait() != 0:
            raise self._failure()

    def _failure(self) -> OSError:
        assert self.process is not None
        self.process.wait()
        self._messages.seek(0)
        return _failed(self._messages.read())


def _failed(messages: bytes) -> OSError:
    """The error with ffmpeg's last message."""
    said = messages.decode(errors="replace").strip().splitlines()
    return OSError(f"ffmpeg said: {said[-1] if said else 'nothing'}")


def add_sound(silent: Path, sound: Soundtrack, seconds: float, path: Path, executable: str) -> None:
    """Write the video `silent`, `seconds` long, with a sound to `path`; raises `OSError` with ffmpeg's message.

    The pictures are copied. The sound is decoded, cut at its samples and encoded once, since copied packets of MP3 or
    AAC begin with some samples of silence; it ends with the pictures, or before.
    """
    cut = f"atrim=start_sample={sound.first}:end_sample={sound.last},asetpts=N/SR/TB,atrim=end={seconds:.9f}"
    cut = _mixed_down(sound.channels) + cut
    maps = "-map 0:v:0 -map 1:a:0 -c:v copy -map_metadata -1 -map_chapters -1 -fflags +bitexact -flags:a +bitexact"
    line = [executable, "-y", "-v", "error", "-nostdin", "-i", str(silent.absolute()), "-i", str(sound.path.absolute())]
    codec = _SOUND_CODECS[path.suffix.lower()]
    done = subprocess.run(
        [*line, "-af", cut, *maps.split(), *codec.split(), str(path.absolute())],
        capture_output=True,
        check=False,
        start_new_session=True,
    )
    if done.returncode != 0:
        raise _failed(done.stderr)


def _mixed_down(channels: int) -> str:
    """The filter that makes two channels of too many: the mean of the first, third, … and that of the others. It is
    spelled out, since ffmpeg doesn't know where the speakers of more channels are."""
    if channels <= MOST_CHANNELS:
        return ""
    left, right = ("+".join(f"c{each}" for each in range(side, channels, 2)) for side in (0, 1))
    return f"pan=stereo|c0<{left}|c1<{right},"


def _of_even_size(picture: np.ndarray) -> np.ndarray:
    """A picture (h, w, 3) with even sides, as yuv420p needs: where a side is odd, the last row or column is doubled."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def ffmpeg_executable() -> str:
    """The path of ffmpeg: what IMAGEIO_FFMPEG_EXE names, or the one that imageio-ffmpeg brings; raises
    `MissingPackageError` when there is none that can be started."""
    try:
        import imageio_ffmpeg

        executable = str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise MissingPackageError(f"Videos need ffmpeg: {error}.", "pip install imageio-ffmpeg") from error
    if shutil.which(executable) is None:  # imageio-ffmpeg takes what the variable says as it is
        raise MissingPackageError(
            f"Videos need ffmpeg: IMAGEIO_FFMPEG_EXE names {executable}, which is no program.",
            "unset IMAGEIO_FFMPEG_EXE",
        )
    return executable
