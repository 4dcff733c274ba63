"""From options to a motion: what is asked for is checked, the sound is heard, and frames get their places."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from latentflow.config import SoundConfig, counted
from latentflow.errors import InputError
from latentflow.session import Session
from latentflow.sinks.ffmpeg import can_sound
from latentflow.sound.beats import Beats, find_beats
from latentflow.sound.listen import Heard, listen
from latentflow.sound.motion import Position, follow_energy, follow_times, frame_count, frame_seconds
from latentflow.sound.motions import BEATS_PER_BAR, MARGIN, MOTION_OPTIONS, MOTIONS, NEEDING_LIBROSA, SENSITIVITY
from latentflow.sound.reading import Clip, measure_clip, read_time

MOST_FRAMES = 100_000


def check_sound(config: SoundConfig, motion: str | None, segments: int | None = None) -> None:
    """Raise `InputError` for options of sound that contradict each other or would have no effect with a motion;
    `segments` is the number of pieces of the path, if it is known."""
    if config.audio is None:
        for name in ("motion", "from_", "to", *MOTION_OPTIONS):
            if getattr(config, name) is not None:
                raise InputError(f"`{name}` goes with `audio`.", "Name a sound file.")
        return
    if not Path(config.audio).expanduser().is_file():
        raise InputError(f"`audio` {config.audio} does not exist.")
    begin, end = _part(config)
    if end is not None and end <= begin:
        raise InputError(f"`to` {config.to} is not after `from_` {config.from_ or 0}.")
    for name in MOTION_OPTIONS:
        if getattr(config, name) is None:
            continue
        if motion is None:
            raise InputError(f"`{name}` goes with `motion`.", "Choose one.")
        if name not in MOTIONS[motion].options:
            suited = " or ".join(each for each, words in MOTIONS.items() if name in words.options)
            raise InputError(f"`{name}` would have no effect on `motion` {motion}.", f"It is for {suited}.")
    marks = _marks(config)
    if marks and segments is not None and len(marks) != segments - 1:
        raise InputError(
            f"`marks` has {counted(len(marks), 'time')}; {segments - 1} are wanted, one for each image between the "
            "first and the last."
        )
    if any(one >= two for one, two in pairwise(marks)):
        raise InputError("`marks` must rise from each to the next.")
    if marks and (marks[0] <= begin or (end is not None and marks[-1] >= end)):
        raise InputError("`marks` must lie between the beginning and the end of the sound.")


def _part(config: SoundConfig) -> tuple[float, float | None]:
    begin = 0.0 if config.from_ is None else read_time(config.from_, "from_")
    return begin, None if config.to is None else read_time(config.to, "to")


def _marks(config: SoundConfig) -> list[float]:
    return [read_time(each, "marks") for each in config.marks or ()]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Followed:
    """A sound that frames follow: what was `heard` in it, its `beats` where the motion needs them, the name of the
    `motion`, and its `config`."""

    heard: Heard
    beats: Beats | None
    motion: str
    config: SoundConfig

    @property
    def sensitivity(self) -> float:
        """The share of the path that follows the sound."""
        return SENSITIVITY if self.config.sensitivity is None else self.config.sensitivity

    @property
    def smooth(self) -> float:
        """Seconds over which what is heard moves the picture."""
        return MOTIONS[self.motion].smooth if self.config.smooth is None else self.config.smooth

    @property
    def marks(self) -> list[float]:
        """The marks, in seconds of the clip."""
        return [mark - self.heard.clip.starts_at for mark in _marks(self.config)]

    def position(self, segments: int, *, loop: bool = False) -> Position:
        """The position in [0, segments] at seconds of the clip, for every motion but chroma."""
        heard = self.heard
        if self.motion in ("beats", "bars"):
            assert self.beats is not None
            times = self.beats.times if self.motion == "beats" else self.beats.bars
            return follow_times(times, heard.seconds, segments, every=self.config.every, loop=loop)
        energy = {"percussive": heard.percussive, "energy": heard.energy}.get(self.motion)
        if energy is None:
            energy = np.zeros_like(heard.energy)
        options: dict[str, Any] = {"smooth": self.smooth, "sensitivity": self.sensitivity}
        return follow_energy(energy, heard.seconds, segments, marks=self.marks, **options)

    def fractions(self, fps: float) -> np.ndarray:
        """The fraction (n,) in [0, 1] of a run of frames at which each of `fps` a second is: it never falls, and beats
        or bars, or every so many of them, divide the run into equal parts."""
        times = frame_seconds(count_frames(self.heard.seconds, fps), fps)
        segments = len(self.marks) + 1
        if self.beats is not None:
            found = (self.beats.times if self.motion == "beats" else self.beats.bars)[:: self.config.every or 1]
            segments = int(((found > 0) & (found < self.heard.seconds)).sum()) + 1
            return follow_times(found, self.heard.seconds, segments)(times) / segments
        return self.position(segments)(times) / segments

    @property
    def rises(self) -> bool:
        """Whether positions never go back."""
        return self.motion in ("percussive", "energy", "constant")

    def figures(self) -> dict[str, Any]:
        """What was heard, as plain values."""
        clip = self.heard.clip
        found: dict[str, Any] = {"seconds": clip.seconds, "rate": clip.rate, "channels": clip.channels}
        found |= {"motion": self.motion}
        if self.beats is not None:
            names = ("tempo", "tempo_error", "steady")
            found |= {name: getattr(self.beats, name) for name in names}
            found |= {"beats": self.beats.times.tolist(), "bars": self.beats.bars.tolist()}
        return {"sound": found}

    def line(self) -> str:
        """What was heard, in words."""
        return f"sound    {self.heard.clip}" + (f"; {self.beats}" if self.beats is not None else "")


def follow(config: SoundConfig, motion: str, session: Session) -> Followed:
    """Listen to the `audio` of a config for a motion; says what takes long, and what was not found. Raises `InputError`
    and `MissingPackageError` as `listen` does."""
    assert config.audio is not None
    begin, end = _part(config)
    if motion in NEEDING_LIBROSA:
        session.say("Listening; the first time, librosa takes about twenty seconds to compile.")
    pitches = motion in ("chroma", "bars")
    margin = MARGIN if config.margin is None else config.margin
    heard = listen(config.audio, begin, end, margin=margin, pitches=pitches)
    beats = find_beats(heard, config.beats_per_bar or BEATS_PER_BAR) if motion in ("beats", "bars") else None
    found = Followed(heard=heard, beats=beats, motion=motion, config=config)
    late = [mark for mark in found.marks if mark >= heard.seconds]
    if late:
        raise InputError(f"`marks`: the sound ends before {late[0] + heard.clip.starts_at:g} s.")
    if beats is not None and not beats.tempo:
        session.say("No beats were found; the picture moves evenly.")
    if float(heard.energy.mean()) < 1e-9:
        session.say("The sound is silent; the picture moves evenly.")
    return found


def count_frames(seconds: float, fps: float) -> int:
    """The number of frames of so many seconds; raises `InputError` for too many, and for one alone."""
    count = frame_count(seconds, fps)
    if not 2 <= count <= MOST_FRAMES:
        raise InputError(
            f"{seconds:.1f} seconds at `fps` {fps:g} are {counted(count, 'frame')}; 2 to {MOST_FRAMES} can be made."
        )
    return count


def read_clip(config: SoundConfig) -> Clip:
    """The part of the `audio` of a config that is wanted, without listening to it; raises `InputError` where there is
    nothing."""
    assert config.audio is not None
    begin, end = _part(config)
    return measure_clip(Path(config.audio).expanduser(), begin, end)


def say_silent(path: Path, session: Session) -> None:
    """Say that a format has no sound, if so."""
    if not can_sound(path):
        kind = path.suffix.lower() if path.suffix else "folder of PNGs"
        session.say(f"A {kind} is silent; an .mp4 or .webm plays the sound.")
