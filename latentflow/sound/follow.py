"""From options to a motion: what is asked for is checked, the sound is heard, and frames get their places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from latentflow.base.errors import InputError
from latentflow.base.options import counted
from latentflow.base.session import Session
from latentflow.sinks.ffmpeg import MOST_CHANNELS, can_sound
from latentflow.sound.beats import Beats, find_beats
from latentflow.sound.config import SoundConfig
from latentflow.sound.hearing import Heard, listen
from latentflow.sound.motion import SILENT, Position, follow_energy, follow_times, frame_count, frame_seconds
from latentflow.sound.motions import BEATS_PER_BAR, MARGIN, MOTION_OPTIONS, MOTIONS, SENSITIVITY
from latentflow.sound.reading import Clip, measure_clip, read_time

MOST_FRAMES = 100_000
FEW_HITS = 0.002  # of the energy: what the beginning and the end of a tone have


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
    first_beat = _first_beat(config)
    if first_beat is not None and (first_beat < begin or (end is not None and first_beat >= end)):
        raise InputError("`first_beat` must lie between the beginning and the end of the sound.")


def _part(config: SoundConfig) -> tuple[float, float | None]:
    begin = 0.0 if config.from_ is None else read_time(config.from_, "from_")
    return begin, None if config.to is None else read_time(config.to, "to")


def _first_beat(config: SoundConfig) -> float | None:
    return None if config.first_beat is None else read_time(config.first_beat, "first_beat")


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
        heard, follows = self.heard, MOTIONS[self.motion].follows
        if self.beats is not None:
            return follow_times(self._stops, heard.seconds, segments, every=self.config.every, loop=loop)
        silence = np.zeros_like(heard.energy)
        energy = {"hits": heard.percussive, "energy": heard.energy, "time": silence}[follows]
        options: dict[str, Any] = {"smooth": self.smooth, "sensitivity": self.sensitivity}
        return follow_energy(energy, heard.seconds, segments, marks=self.marks, **options)

    @property
    def _stops(self) -> np.ndarray:
        """The beats, or the bars, whichever are followed."""
        assert self.beats is not None
        return {"beats": self.beats.times, "bars": self.beats.bars}[MOTIONS[self.motion].follows]

    def fractions(self, fps: float) -> np.ndarray:
        """The fraction (n,) in [0, 1] of a run that each frame shows, at `fps` frames per second. It never falls; beats
        or bars, or every few of them, divide the run into equal parts."""
        times = frame_seconds(count_frames(self.heard.seconds, fps), fps)
        segments = len(self.marks) + 1
        if self.beats is not None:
            found = self._stops[:: self.config.every or 1]
            segments = int(((found > 0) & (found < self.heard.seconds)).sum()) + 1
            return follow_times(found, self.heard.seconds, segments)(times) / segments
        return self.position(segments)(times) / segments

    def notices(self) -> Iterator[str]:
        """A sentence for everything that was not found, or only in part."""
        heard, beats = self.heard, self.beats
        if float(heard.energy.mean()) < SILENT:
            yield "The sound is silent; the picture moves evenly."
        elif MOTIONS[self.motion].follows == "hits" and heard.percussive.sum() < FEW_HITS * heard.energy.sum():
            yield "Hardly any hits were found; `motion` energy follows all that sounds."
        if beats is None:
            return
        if not beats.tempo:
            yield "No beats were found; the picture moves evenly."
            return
        if self.config.every is not None and len(self._stops[:: self.config.every]) < 2:
            yield f"The sound has no second stop {self.config.every} {MOTIONS[self.motion].follows} after the first."
        if beats.doubts and self.config.first_beat is None:
            yield f"The beats are in doubt: {beats}. `bpm` and `first_beat` say what you know better."

    @property
    def rises(self) -> bool:
        """True if positions never go back."""
        return MOTIONS[self.motion].rises

    def figures(self) -> dict[str, Any]:
        """Return the figures of what was heard, as plain values."""
        clip = self.heard.clip
        found: dict[str, Any] = {"seconds": clip.seconds, "rate": clip.rate, "channels": clip.channels}
        found |= {"motion": self.motion}
        if self.beats is not None:
            names = ("tempo", "tempo_error", "steady")
            found |= {name: getattr(self.beats, name) for name in names} | {"doubts": list(self.beats.doubts)}
            found |= {"beats": self.beats.times.tolist(), "bars": self.beats.bars.tolist()}
        return {"sound": found}

    def line(self) -> str:
        """Describe what was heard."""
        return f"sound    {self.heard.clip}" + (f"; {self.beats}" if self.beats is not None else "")


def follow(config: SoundConfig, motion: str, session: Session) -> Followed:
    """Listen to the `audio` of a config for a motion; says what takes long, and what was not found. Raises `InputError`
    and `MissingPackageError` as `listen` does."""
    assert config.audio is not None
    begin, end = _part(config)
    first_beat, follows = _first_beat(config), MOTIONS[motion].follows
    margin = MARGIN if config.margin is None else config.margin
    pitches = follows == "pitches" or (follows == "bars" and first_beat is None)
    heard = listen(config.audio, begin, end, margin=margin, pitches=pitches, check=session.check)
    for name, times in (("marks", _marks(config)), ("first_beat", [] if first_beat is None else [first_beat])):
        late = [time for time in times if time >= heard.seconds + heard.clip.starts_at]
        if late:
            raise InputError(f"`{name}`: the sound ends before {late[0]:g} s.")
    beats = None
    if MOTIONS[motion].has_beats:
        known = {"bpm": config.bpm, "first_beat": None if first_beat is None else first_beat - heard.clip.starts_at}
        beats = find_beats(heard, config.beats_per_bar or BEATS_PER_BAR, **known)
    found = Followed(heard=heard, beats=beats, motion=motion, config=config)
    for notice in (*clip_notices(heard.clip), *found.notices()):
        session.say(notice)
    return found


def clip_notices(clip: Clip) -> Iterator[str]:
    """A sentence for everything that is odd in a sound file."""
    if clip.damage:
        yield f"{clip.path.name} is damaged, and may crackle or end early. ffmpeg says: {clip.damage}."
    if clip.channels > MOST_CHANNELS:
        yield f"The {clip.channels} channels of {clip.path.name} are mixed down to two in a video."


def count_frames(seconds: float, fps: float) -> int:
    """The number of frames in a number of seconds; raises `InputError` for too many, and for one alone."""
    count = frame_count(seconds, fps)
    if not 2 <= count <= MOST_FRAMES:
        remedy = "Take more of the sound, or more `fps`." if count < 2 else "Take less of the sound, or fewer `fps`."
        raise InputError(
            f"{_readable(seconds)} seconds at `fps` {fps:g} are {counted(count, 'frame')}; 2 to {MOST_FRAMES} can be "
            "made.",
            remedy,
        )
    return count


def _readable(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds >= 1 else f"{seconds:.4f}".rstrip("0")


def read_clip(config: SoundConfig, session: Session) -> Clip:
    """The part of the `audio` of a config that is wanted, without listening to it; says what is odd in it. Raises
    `InputError` where there is nothing."""
    assert config.audio is not None
    begin, end = _part(config)
    clip = measure_clip(Path(config.audio).expanduser(), begin, end, check=session.check)
    for notice in clip_notices(clip):
        session.say(notice)
    return clip


def say_silent(path: Path, session: Session) -> None:
    """Say that a format has no sound, if so."""
    if not can_sound(path):
        kind = path.suffix.lower() if path.suffix else "folder of PNGs"
        session.say(f"A {kind} is silent; an .mp4 or .webm plays the sound.")
