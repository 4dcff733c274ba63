"""Sound files: decoded by ffmpeg, block by block, at their own rate."""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from latentflow.base.errors import InputError
from latentflow.sinks.ffmpeg import Soundtrack, ffmpeg_executable

SHORT = "do not match"  # of a warning: an .mp3 is shorter than its header says
BLOCK = 1 << 17  # samples that are read together, of all channels


@dataclass(frozen=True, slots=True)
class Clip:
    """A part of a sound file: samples `first` to `last` (exclusive) of `channels` channels, `rate` samples per second.
    `damage` is ffmpeg's message where part of the file can't be read."""

    path: Path
    rate: int
    channels: int
    first: int
    last: int
    damage: str = ""

    @property
    def seconds(self) -> float:
        """The length of the clip."""
        return (self.last - self.first) / self.rate

    @property
    def starts_at(self) -> float:
        """Second of the file at which it starts."""
        return self.first / self.rate

    @property
    def track(self) -> Soundtrack:
        """It as the sound of a video."""
        return Soundtrack(self.path, self.first, self.last, self.channels)

    def __str__(self) -> str:
        channels = {1: "mono", 2: "stereo"}.get(self.channels, f"{self.channels} channels")
        part = f", from {clock(self.starts_at)}" if self.first else ""
        return f"{self.path.name}, {clock(self.seconds)}{part}, {self.rate} Hz, {channels}"


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, "1:02.5"."""
    tenths = round(10 * seconds)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"


def read_time(text: str, option: str) -> float:
    """The seconds that "12.5", "1:02.5" or "1:00:00" mean; raises `InputError` naming the option."""
    parts = text.strip().split(":")
    try:
        values = [float(part) for part in parts]
        if not 1 <= len(parts) <= 3 or not all(0 <= value < 1e6 for value in values):
            raise ValueError
        if any(value >= 60 for value in values[1:]) or any(not part.isdecimal() for part in parts[:-1]):
            raise ValueError
    except ValueError:
        raise InputError(
            f"`{option}` {text!r} is no time.", "Write seconds, or minutes and seconds: 72.5 or 1:12.5."
        ) from None
    seconds = 0.0
    for value in values:
        seconds = 60 * seconds + value
    return seconds


class SoundReader:
    """Decodes a sound file from its beginning: `rate` and `channels` are known once it is entered, and `blocks()` gives
    samples (n, channels) float32, nominally in [-1, 1], without resampling. When it is left, `damage` is ffmpeg's
    message on parts that can't be decoded.

    Raises `InputError` for a file that can't be read or holds no sound, `MissingPackageError` without ffmpeg.
    """

    def __init__(self, path: Path, option: str = "audio") -> None:
        self.path, self.option = path, option
        self.rate = self.channels = 0
        self.damage = ""

    def __enter__(self) -> SoundReader:
        if not self.path.is_file():
            raise InputError(f"`{self.option}` {self.path} does not exist.")
        self._messages, self._ended = tempfile.TemporaryFile(), False
        # Sun's format, because its header can be streamed: rate and channels, then samples as they are
        read = ["-v", "level+warning", "-nostdin", "-i", str(self.path.absolute())]
        self._process = subprocess.Popen(
            [ffmpeg_executable(), *read, "-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:"],
            stdout=subprocess.PIPE,
            stderr=self._messages,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        header = self._pipe.read(24)
        if len(header) < 24:
            self.__exit__()
            said = self._said()
            raise InputError(f"`{self.option}` {self.path.name} holds no sound that can be read{said and f': {said}'}.")
        magic, offset, _, _, self.rate, self.channels = struct.unpack(">4s5I", header)
        if magic != b".snd" or self.rate < 1 or self.channels < 1:
            self.__exit__()
            raise InputError(f"`{self.option}` {self.path.name} holds no sound that can be read.")
        self._pipe.read(offset - 24)
        return self

    @property
    def _pipe(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _said(self) -> str:
        said = os.pread(self._messages.fileno(), 1 << 16, 0)  # ffmpeg may still write where reading would end
        lines = said.decode(errors="replace").splitlines()
        graver = [line for line in lines if "[warning]" not in line or SHORT in line]
        return graver[0].split("] ")[-1].rstrip(".") if graver else ""

    def __exit__(self, *_: object) -> None:
        if self._ended:
            self._process.wait()  # it has said all
        self.damage = self._said()  # before the pipe breaks, of which it would complain
        self._pipe.close()
        self._process.wait()

    def blocks(self) -> Iterator[np.ndarray]:
        """The samples, some at a time, each once."""
        size = 4 * self.channels
        while chunk := self._pipe.read(max(1, BLOCK // self.channels) * size):
            count = len(chunk) // size
            samples = np.frombuffer(chunk, ">f4", count * self.channels).astype(np.float32)
            yield np.nan_to_num(samples.reshape(count, self.channels), posinf=0, neginf=0)
        self._ended = True


def cut(blocks: Iterator[np.ndarray], first: int, last: int | None) -> Iterator[np.ndarray]:
    """Samples `first` to `last` (exclusive), or to the end, of a stream of blocks (n, channels)."""
    position = 0
    for block in blocks:
        begin, end = max(first - position, 0), len(block) if last is None else min(last - position, len(block))
        position += len(block)
        if end > begin:
            yield block[begin:end]
        if last is not None and position >= last:
            return


def go_on() -> None:
    """Let reading go on."""


def measure_clip(
    path: Path,
    begin: float = 0.0,
    end: float | None = None,
    option: str = "audio",
    check: Callable[[], object] = go_on,
) -> Clip:
    """The part of a file from second `begin` to second `end`, or to its end; `check` is called now and then, and may
    raise. Raises `InputError` for a file that can't be read, and where there is nothing."""
    with SoundReader(path, option) as reader:
        first, last = round(begin * reader.rate), None if end is None else round(end * reader.rate)
        count = 0
        for block in cut(reader.blocks(), first, last):
            check()
            count += len(block)
    if count == 0:
        raise nothing_there(path, begin, option)
    return Clip(path, reader.rate, reader.channels, first, first + count, reader.damage)


def nothing_there(path: Path, begin: float, option: str) -> InputError:
    """The error of a part of a sound that holds nothing."""
    return InputError(f"`{option}` {path.name} holds no sound{f' after second {begin:g}' if begin else ''}.")
