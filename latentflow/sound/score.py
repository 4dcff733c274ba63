"""Walks that keep time: where on the walk each frame is, from a sound, and how far notes move it from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from latentflow.base.errors import InputError
from latentflow.base.options import counted
from latentflow.base.session import Session
from latentflow.latents.directions import channel_direction, mixture, smooth_directions, with_norm_of
from latentflow.latents.paths import LatentPath, pass_through
from latentflow.sinks.ffmpeg import Soundtrack
from latentflow.sound.config import MusicConfig
from latentflow.sound.follow import Followed, check_sound, count_frames, follow, say_silent
from latentflow.sound.midi import (
    AXES,
    CENTER,
    PITCHES,
    POSITION,
    Mapping,
    Performance,
    glides,
    note_name,
    read_mapping,
    read_midi,
)
from latentflow.sound.motion import chroma_weights, frame_seconds
from latentflow.sound.motions import ATTACK, MOTION, REACH, RELEASE, mixes_images
from latentflow.sound.tones import write_tones
from latentflow.sound.unheard import leading_control, without_effect

NEEDS_MIDI = ("map_", "offset", "attack", "release", "reach", "seed")


def has_music(config: MusicConfig) -> bool:
    """Tell whether a walk keeps the time of a sound or of notes."""
    return config.audio is not None or config.midi is not None


def check_music(config: MusicConfig, images: int, *, loop: bool, timing: Sequence[str]) -> None:
    """Raise `InputError` for options of music that contradict each other, that have no effect, or that name files which
    can't be read; `images` is the number of images of the walk, a `loop` or not. The options `timing` say when frames
    are shown, which music does."""
    segments = images if loop else images - 1
    check_sound(config, _motion(config) if config.audio is not None else None, segments)
    if config.midi is None:
        named = [name for name in NEEDS_MIDI if getattr(config, name) is not None] + ["tones"] * config.tones
        if named:
            raise InputError(f"`{named[0]}` goes with `midi`.", "Name a MIDI file.")
    else:
        read_midi(Path(config.midi).expanduser())
        mapping = _mapping(config)
        far = [image for image in mapping.programs.values() if image >= images]
        if far:
            raise InputError(f"`map_`: there is no image {far[0]}; the walk has images 0 to {images - 1}.")
    if loop and mixes_images(config.motion):
        raise InputError(f"`loop` has no effect on `motion` {config.motion}, which has no path.", "Leave it out.")
    if config.tones and config.audio is not None:
        raise InputError("`tones` and `audio` are both the sound of the walk.", "Give one of them.")
    if config.offset is not None and config.audio is None:
        raise InputError("`offset` places a MIDI file in a sound.", "Name the sound as `audio`.")
    if has_music(config):
        usual = type(config)()
        for name in timing:
            if getattr(config, name) != getattr(usual, name):
                music = "audio" if config.audio is not None else "midi"
                raise InputError(f"`{name}` and `{music}` both time the walk.", "Give one of them.")


def _motion(config: MusicConfig) -> str:
    return config.motion or MOTION


def _mapping(config: MusicConfig) -> Mapping:
    return Mapping() if config.map_ is None else read_mapping(Path(config.map_).expanduser())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Score:
    """The music that a walk follows: `seconds` of it, the `followed` sound, the `performance` of a MIDI file, and the
    second at which each frame is shown, `times` (n,). Second 0 of the performance is second `offset` of the walk.

    Each frame has a position on the path, `positions` (n,), or `weights` (n, images) of the images, and the levels of
    the pitches, `levels` (n, 128), of which notes that don't play have none.
    """

    seconds: float
    followed: Followed | None
    performance: Performance | None
    offset: float
    times: np.ndarray
    positions: np.ndarray | None
    weights: np.ndarray | None
    levels: np.ndarray | None

    def sounding(self, frame: int) -> list[str]:
        """The names of the pitches that move a frame."""
        return [] if self.levels is None else [note_name(int(pitch)) for pitch in np.flatnonzero(self.levels[frame])]

    def figures(self) -> dict[str, Any]:
        """Return the figures of what was heard and played, as plain values."""
        found = {} if self.followed is None else self.followed.figures()
        if self.performance is not None:
            played = self.performance
            found["midi"] = {
                "seconds": played.seconds,
                "notes": len(played.notes),
                "controllers": sorted(played.controls),
                "programs": played.programs,
                "notices": played.notices,
            }
        return found

    def lines(self) -> list[str]:
        """The same in words."""
        lines = [] if self.followed is None else [self.followed.line()]
        if self.performance is not None:
            played = self.performance
            pitches = len({note.pitch for note in played.notes})
            different = f"{pitches} of them different, in" if pitches else "in"
            lines.append(f"midi     {counted(len(played.notes), 'note')}, {different} {played.seconds:.1f} s")
        return lines


class Segmented(Protocol):
    """A path through images: its number of `segments`, and whether it is a `loop`."""

    loop: bool

    @property
    def segments(self) -> int: ...


def read_score(config: MusicConfig, path: Segmented, images: int, fps: float, session: Session) -> Score:
    """Listen to the sound and read the notes of a walk with `fps` frames per second; says what is odd in them. Raises
    `InputError` and `MissingPackageError` as reading them does."""
    followed = None if config.audio is None else follow(config, _motion(config), session)
    played = None if config.midi is None else read_midi(Path(config.midi).expanduser())
    for notice in played.notices if played else ():
        session.say(notice)
    offset = (config.offset or 0.0) - (followed.heard.clip.starts_at if followed else 0.0)
    if followed is not None:
        seconds = followed.heard.seconds
    else:
        assert played is not None
        seconds = played.seconds + _given(config.release, RELEASE)
    times = frame_seconds(count_frames(seconds, fps), fps)
    positions = weights = None
    if followed is not None and mixes_images(followed.motion):
        at = chroma_weights(followed.heard, images, smooth=followed.smooth, sensitivity=followed.sensitivity)
        weights = np.stack([at(float(second)) for second in times])
    else:
        positions = _positions(config, path, followed, played, times, seconds, offset, images)
    levels = None
    if played is not None:
        heard = played.levels(_given(config.attack, ATTACK), _given(config.release, RELEASE))
        levels = np.stack([heard(float(second) - offset) for second in times])
        for sentence in without_effect(config, _mapping(config), played, (-offset, seconds - offset)):
            session.say(sentence)
        if positions is not None and not np.ptp(positions):
            session.say("All frames are at the same place on the walk: nothing that is played moves it.")
    made: dict[str, Any] = {"positions": positions, "weights": weights, "levels": levels}
    return Score(seconds=seconds, followed=followed, performance=played, offset=offset, times=times, **made)


def _given(value: float | None, usual: float) -> float:
    return usual if value is None else value


def _positions(
    config: MusicConfig,
    path: Segmented,
    followed: Followed | None,
    played: Performance | None,
    times: np.ndarray,
    seconds: float,
    offset: float,
    images: int,
) -> np.ndarray:
    """The position of each frame: of a controller, of program changes, of the sound, or even, whichever comes first."""
    mapping = _mapping(config)
    if played is not None:
        number = leading_control(mapping, played)
        if number is not None:
            values = [played.control(number, float(second) - offset) or 0.0 for second in times]
            return np.array(values) / (PITCHES - 1) * path.segments
        if len(played.cues[0]):
            place = glides(played.cues, lambda program: mapping.programs.get(int(program), int(program) % images))
            return np.asarray(place(times - offset))
    if followed is None:
        positions = times / seconds * path.segments
    else:
        positions = followed.position(path.segments, loop=path.loop)(times)
        if not followed.rises:
            return positions
    stops = range(path.segments if path.loop else path.segments + 1)
    return pass_through(positions, [float(stop) for stop in stops], end=float(path.segments) if path.loop else None)


class Moves:
    """The moves of the latents (1, c, rows, columns) of a score's frames, by the notes that sound and the controllers.

    `read_direction` reads the file of a direction, for a mapping that names one.
    """

    def __init__(
        self, score: Score, config: MusicConfig, shape: Sequence[int], read_direction: Callable[[Path], Tensor]
    ) -> None:
        self.score, self.shape, self.read_direction = score, (1, *shape[1:]), read_direction
        self.reach, self.seed = _given(config.reach, REACH), config.seed or 0
        self.mapping = _mapping(config)
        self._made: dict[Any, Tensor] = {}
        for target in (*self.mapping.notes.values(), *self.mapping.controls.values()):
            if isinstance(target, dict):  # so that what is wrong with it is found before anything is written
                self._direction(next(iter(target.items())))
        if score.performance is not None and score.performance.notes:
            self._direction(("note", 0))

    def of(self, frame: int) -> dict[Any, float]:
        """Return the distance that a frame is moved along each direction, by the direction's key."""
        played, moves = self.score.performance, dict[Any, float]()
        if played is None or self.score.levels is None:
            return moves
        for pitch in np.flatnonzero(self.score.levels[frame]):
            target = self.mapping.notes.get(int(pitch))
            key = ("note", int(pitch)) if target is None else next(iter(target.items()))
            moves[key] = moves.get(key, 0.0) + float(self.score.levels[frame, pitch])
        second = float(self.score.times[frame]) - self.score.offset
        for number, target in self.mapping.controls.items():
            value = played.control(number, second)
            if target != POSITION and value is not None and value != CENTER:
                key = ("axis", AXES.index(target)) if target in AXES else next(iter(target.items()))
                moves[key] = moves.get(key, 0.0) + float(np.clip((value - CENTER) / (CENTER - 1), -1, 1))
        return moves

    def move(self, base: Tensor, moves: dict[Any, float]) -> Tensor:
        """A latent moved along directions, with the norm that it had."""
        if not moves:
            return base
        for key in moves:  # on the device of the latent from now on
            self._made[key] = self._direction(key).to(base)
        moved = base + sum(self.reach * level * self._made[key] for key, level in moves.items())
        return with_norm_of(moved, base)

    def _direction(self, key: tuple[str, Any]) -> Tensor:
        if key not in self._made:
            self._made[key] = self._make(*key)
        return self._made[key]

    def _make(self, kind: str, value: Any) -> Tensor:
        if kind == "channel":
            return channel_direction(self.shape, value)
        if kind == "seed":
            return smooth_directions(self.shape, 1, value)
        if kind == "direction":
            return self.read_direction(Path(value))
        every = smooth_directions(self.shape, PITCHES + len(AXES), self.seed)
        place = value if kind == "note" else PITCHES + value
        self._made |= {("note", pitch): every[pitch : pitch + 1] for pitch in range(PITCHES)}
        return every[place : place + 1]


class Player:
    """Makes the latents of a score's frames: a place on the walk, moved as its notes and controllers say."""

    def __init__(
        self,
        score: Score,
        config: MusicConfig,
        path: LatentPath,
        anchors: Tensor,
        read_direction: Callable[[Path], Tensor],
    ) -> None:
        """`anchors` are (n, c, rows, columns); `read_direction` reads the direction of a file that `map_` names."""
        self.score, self.path, self.anchors = score, path, anchors
        self.moves = Moves(score, config, anchors.shape, read_direction)

    def latents(self) -> Iterator[Tensor]:
        """The latent (1, c, rows, columns) of each frame, as they are asked for."""
        return (self.latent(frame) for frame in range(len(self.score.times)))

    def latent(self, frame: int) -> Tensor:
        """The latent (1, c, rows, columns) of one frame."""
        score = self.score
        if score.weights is not None:
            base = mixture(self.anchors, torch.from_numpy(score.weights[frame]))
        else:
            assert score.positions is not None
            base = self.path(float(score.positions[frame]))
        return self.moves.move(base, self.moves.of(frame))


@contextmanager
def soundtrack(score: Score, config: MusicConfig, output: Path, session: Session) -> Iterator[Soundtrack | None]:
    """The sound of a walk as long as it is needed: that of `audio`, or tones of the notes, or none; says where the
    format of `output` has none."""
    if config.audio is not None or config.tones:
        say_silent(output, session)
    if score.followed is not None:
        yield score.followed.heard.clip.track
    elif config.tones and score.performance is not None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "tones.wav"
            envelope = (_given(config.attack, ATTACK), _given(config.release, RELEASE))
            yield Soundtrack(
                path, 0, write_tones(path, score.performance.notes, score.seconds, *envelope, session.check)
            )
    else:
        yield None


def score_words(
    score: Score, stops: Sequence[str], where: Callable[[float, Sequence[str]], str]
) -> Callable[[int], list[str]]:
    """A function from frames to their captions: the place on the walk between the names in `stops`, in words by
    `where`, or the weights of the images; and the notes that sound."""

    def words(frame: int) -> list[str]:
        if score.positions is not None:
            place = where(float(score.positions[frame]), stops)
        else:
            assert score.weights is not None
            place = ", ".join(f"{name} {weight:.0%}" for name, weight in zip(stops, score.weights[frame]))
        notes = score.sounding(frame)
        return [place, " ".join(notes)] if notes else [place]

    return words
