"""Sound files: decoded by ffmpeg, block by block, at their own rate."""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from latentflow.errors import InputError
from latentflow.sinks.ffmpeg import Soundtrack, ffmpeg_executable

BLOCK = 1 << 17  # samples that are read together


@dataclass(frozen=True, slots=True)
class Clip:
    """A part of a sound file: samples `first` to `last` (exclusive) of `channels` channels, `rate` samples a second."""

    path: Path
    rate: int
    channels: int
    first: int
    last: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.last - self.first) / self.rate

    @property
    def starts_at(self) -> float:
        """Second of the file at which it starts."""
        return self.first / self.rate

    @property
    def track(self) -> Soundtrack:
        """It as the sound of a video."""
        return Soundtrack(self.path, self.first, self.last)

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
    samples (n, channels) float32, nominally in [-1, 1], without resampling.

    Raises `InputError` for a file that can't be read or holds no sound, `MissingPackageError` without ffmpeg.
    """

    def __init__(self, path: Path, option: str = "audio") -> None:
        self.path, self.option = path, option
        self.rate = self.channels = 0

    def __enter__(self) -> SoundReader:
        if not self.path.is_file():
            raise InputError(f"`{self.option}` {self.path} does not exist.")
        self._messages = tempfile.TemporaryFile()
        # Sun's format, because its header can be streamed: rate and channels, then samples as they are
        line = ["-v", "error", "-nostdin", "-i", str(self.path.absolute()), "-map", "0:a:0", "-c:a", "pcm_f32be"]
        self._process = subprocess.Popen(
            [ffmpeg_executable(), *line, "-f", "au", "pipe:"],
            stdout=subprocess.PIPE,
            stderr=self._messages,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        header = self._pipe.read(24)
        if len(header) < 24:
            self.__exit__()
            raise InputError(f"`{self.option}` {self.path.name} holds no sound that can be read{self._said()}.")
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
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        return f": {lines[0].split('] ')[-1].rstrip('.')}" if lines else ""

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.wait()

    def blocks(self) -> Iterator[np.ndarray]:
        """The samples, some at a time, each once."""
        size = 4 * self.channels
        while chunk := self._pipe.read(BLOCK * size):
            count = len(chunk) // size
            samples = np.frombuffer(chunk, ">f4", count * self.channels).astype(np.float32)
            yield np.nan_to_num(samples.reshape(count, self.channels), posinf=0, neginf=0)


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


def measure_clip(path: Path, begin: float = 0.0, end: float | None = None, option: str = "audio") -> Clip:
    """The part of a file from second `begin` to second `end`, or to its end; raises `InputError` for a file that can't
    be read, and where there is nothing."""
    with SoundReader(path, option) as reader:
        first, last = round(begin * reader.rate), None if end is None else round(end * reader.rate)
        count = sum(len(block) for block in cut(reader.blocks(), first, last))
    if count == 0:
        raise nothing_there(path, begin, option)
    return Clip(path, reader.rate, reader.channels, first, first + count)


def nothing_there(path: Path, begin: float, option: str) -> InputError:
    """The error of a part of a sound that holds nothing."""
    return InputError(f"`{option}` {path.name} holds no sound{f' after second {begin:g}' if begin else ''}.")
