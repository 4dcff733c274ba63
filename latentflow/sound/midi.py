"""MIDI files: notes with envelopes, controllers and program changes at seconds. Read by mido."""

from __future__ import annotations

import io
import json
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from latentflow.base.errors import InputError, MissingPackageError
from latentflow.base.options import counted
from latentflow.sound.midi_file import cleaned

PITCHES = 128
LOUDEST = 127
CENTER = 64  # of a controller that moves both ways
BEND_SEMITONES = 2.0  # of the wheel at its end
WHEEL, SUSTAIN, ALL_SOUND_OFF, RESET = 1, 64, 120, 121
NOTES_OFF = range(123, 128)  # all notes off, and the modes that include it
DRUMS = 9  # the channel, counted from 0: its programs are drum kits
FILM = {29: 29.97}  # frames per second that are written as whole numbers
USUAL_TEMPO = 500_000  # microseconds a beat, until a file says something else
SAVE_AGAIN = "Open it in a sequencer and save it again."
GLIDE = 0.5  # seconds from one image to the next after a program change
NOTE = re.compile(r"([A-G])([#b]?)(-?\d)")
SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
POSITION = "position"
AXES = ("x", "y")
USUAL_CONTROLS: dict[int, Any] = {WHEEL: POSITION, 16: "x", 17: "y"}

Changes = tuple[np.ndarray, np.ndarray]  # seconds, ascending, and the value from each on


@dataclass(frozen=True, slots=True)
class Note:
    """A note of a MIDI `pitch`, from second `start` to `stop`, as loud as `velocity` / 127."""

    pitch: int
    start: float
    stop: float
    velocity: int
    channel: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Performance:
    """The events of a MIDI file of `seconds` length: its notes, controllers by number, and, by channel, bends in
    semitones. Of its program changes, `cues` lead to images; `notices` are sentences on oddities of the file."""

    notes: list[Note]
    seconds: float
    controls: dict[int, Changes] = field(default_factory=dict)
    bends: dict[int, Changes] = field(default_factory=dict)
    programs: int = 0
    cues: Changes = field(default_factory=lambda: (np.zeros(0), np.zeros(0)))
    notices: list[str] = field(default_factory=list)

    def levels(self, attack: float, release: float) -> Callable[[float], np.ndarray]:
        """A function from seconds to the levels (128,) in [0, 1] of the pitches.

        A note rises to velocity / 127 over `attack` seconds, stays there until it ends, and falls from where it is to 0
        over `release`, both linearly; equal pitches don't add up. A pitch that is bent to a share f of the way to the
        next is cos(f π/2) of the lower and sin(f π/2) of the higher.
        """
        columns = [(note.pitch, note.start, note.stop, note.velocity, note.channel) for note in self.notes]
        pitch, start, stop, velocity, channel = np.array(columns, dtype=float).reshape(-1, 5).T

        def rise(time: Any) -> np.ndarray:
            return np.clip((time - start) / attack, 0, 1) if attack > 0 else np.where(time >= start, 1.0, 0.0)

        def at(second: float) -> np.ndarray:
            left = np.clip(1 - (second - stop) / release, 0, 1) if release > 0 else np.where(second < stop, 1.0, 0.0)
            level = velocity / LOUDEST * np.where(second < start, 0.0, rise(np.minimum(second, stop)) * left)
            found = np.zeros(PITCHES)
            sounding = np.flatnonzero(level > 0)
            if not len(sounding):
                return found
            bend = {each: float(_value(self.bends[each], second, 0.0)) for each in self.bends}
            for index in sounding:
                exact = np.clip(pitch[index] + bend.get(int(channel[index]), 0.0), 0, PITCHES - 1)
                lower = int(exact)
                part = (exact - lower) * np.pi / 2
                found[lower] = max(found[lower], level[index] * np.cos(part))
                if part > 0:
                    found[lower + 1] = max(found[lower + 1], level[index] * np.sin(part))
            return found

        return at

    def control(self, number: int, second: float) -> float | None:
        """The value in [0, 127] of a controller at a second, None before its first."""
        changes = self.controls.get(number)
        return None if changes is None else _value(changes, second, None)

    def span(self, number: int) -> float:
        """The range that a controller moves through, in [0, 127]; before its first value it is at 0."""
        seconds, values = self.controls[number]
        return float(values.max() - (0.0 if seconds[0] > 0 else values.min()))


def _value(changes: Changes, second: float, before: Any) -> Any:
    place = int(np.searchsorted(changes[0], second, side="right")) - 1
    return before if place < 0 else float(changes[1][place])


def glides(
    changes: Changes, places: Callable[[float], float], first: float = 0.0
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from seconds (n,) to positions: `first`, and after each change to the place of its value, in half a
    second."""
    times, positions = [-1.0], [first]
    for second, value in zip(*changes):
        now = float(np.interp(second, times, positions))
        kept = [index for index, time in enumerate(times) if time < second]
        times, positions = [times[index] for index in kept], [positions[index] for index in kept]
        times += [float(second), float(second) + GLIDE]
        positions += [now, places(float(value))]
    return lambda second: np.interp(second, times, positions)


def read_midi(path: Path) -> Performance:
    """Read a MIDI file of type 0 or 1 with its tempo map; raises `InputError` for anything else, and for one that plays
    nothing, `MissingPackageError` without mido.

    A note ends when its key is released or has velocity 0 or, while the sustain pedal is down, when that comes up. A
    note that is never released lasts to the end of the file. A damaged file is read as far as it goes, which is among
    the notices.
    """
    try:
        import mido
    except ImportError as error:
        raise MissingPackageError(f"`midi` needs mido: {error}.", "pip install latentflow[sound]") from error
    if not path.is_file():
        raise InputError(f"`midi` {path} does not exist.")
    try:
        content, faults = cleaned(path.read_bytes())
    except (OSError, ValueError) as error:
        said = (getattr(error, "strerror", None) or str(error)).rstrip(".")
        raise InputError(f"`midi` {path.name} is no MIDI file that can be read: {said}.", SAVE_AGAIN) from error
    file = mido.MidiFile(file=io.BytesIO(content))
    if file.type == 2:
        raise InputError(
            f"`midi` {path.name} is of type 2, with tracks that are pieces of their own.",
            "Save one of them as type 0 or 1.",
        )
    if not file.ticks_per_beat:
        raise InputError(f"`midi` {path.name} doesn't say how long a tick is.", SAVE_AGAIN)
    reading = _Reading(file.ticks_per_beat)
    for message in mido.merge_tracks(file.tracks):
        reading.take(message)
    return reading.performance(path.name, faults)


class _Reading:
    """The messages of a file, one after the other."""

    def __init__(self, division: int) -> None:
        self.division = division
        self.tick = self.tempo_tick = 0
        self.tempo_second = 0.0
        self.tempo = USUAL_TEMPO
        self.second = 0.0
        self.held: dict[tuple[int, int], list[tuple[float, int]]] = defaultdict(list)
        self.sustained: list[tuple[int, int, float, int]] = []
        self.pedal: set[int] = set()
        self.notes: list[Note] = []
        self.controls: dict[int, list[tuple[float, float]]] = defaultdict(list)
        self.turned: dict[int, int] = {}  # the channel that moved a controller last
        self.bends: dict[int, list[tuple[float, float]]] = defaultdict(list)
        self.programs: list[tuple[float, float, int]] = []

    def _seconds(self, tick: int) -> float:
        """The second of a tick, from the last change of tempo, so that nothing adds up."""
        if self.division < 0:  # frames of film per second, and ticks per frame
            frames, ticks = -(self.division >> 8), max(1, self.division & 0xFF)
            return tick / (FILM.get(frames, frames) * ticks)
        return self.tempo_second + (tick - self.tempo_tick) * self.tempo / (1e6 * self.division)

    def take(self, message: Any) -> None:
        """Take the next message."""
        self.tick += int(message.time)
        self.second = self._seconds(self.tick)
        if message.type == "set_tempo":
            self.tempo_tick, self.tempo_second, self.tempo = self.tick, self.second, message.tempo
        elif message.type == "note_on" and message.velocity > 0:
            self.held[message.channel, message.note].append((self.second, message.velocity))
        elif message.type in ("note_on", "note_off"):
            self._release(message.channel, message.note)
        elif message.type == "control_change":
            self._control(message)
        elif message.type == "pitchwheel":
            self.bends[message.channel].append((self.second, BEND_SEMITONES * message.pitch / 8192))
        elif message.type == "program_change":
            self.programs.append((self.second, message.program, message.channel))

    def _release(self, channel: int, pitch: int) -> None:
        if not self.held[channel, pitch]:
            return
        start, velocity = self.held[channel, pitch].pop(0)
        if channel in self.pedal:
            self.sustained.append((channel, pitch, start, velocity))
        else:
            self.notes.append(Note(pitch, start, self.second, velocity, channel))

    def _control(self, message: Any) -> None:
        number, channel = message.control, message.channel
        if number == SUSTAIN and message.value >= 64:
            self.pedal.add(channel)
        elif number == SUSTAIN:
            self._lift(channel)
        elif number == RESET:
            self._reset(channel)
        elif number == ALL_SOUND_OFF:
            self._release_all(channel)
            self._end_sustained(channel)
        elif number in NOTES_OFF:  # as if all keys were let go: the pedal still holds them
            self._release_all(channel)
        else:
            self.controls[number].append((self.second, message.value))
            self.turned[number] = channel

    def _release_all(self, channel: int) -> None:
        for each, pitch in list(self.held):
            while each == channel and self.held[each, pitch]:
                self._release(each, pitch)

    def _reset(self, channel: int) -> None:
        """Put pedal, bend and modulation wheel of a channel back (MIDI Association, RP-015)."""
        self._lift(channel)
        if channel in self.bends:
            self.bends[channel].append((self.second, 0.0))
        if self.turned.get(WHEEL) == channel:
            self.controls[WHEEL].append((self.second, 0))

    def _lift(self, channel: int) -> None:
        self.pedal.discard(channel)
        self._end_sustained(channel)

    def _end_sustained(self, channel: int) -> None:
        for each, pitch, start, velocity in self.sustained:
            if each == channel:
                self.notes.append(Note(pitch, start, self.second, velocity, channel))
        self.sustained = [each for each in self.sustained if each[0] != channel]

    def _cues(self, notes: list[Note]) -> list[tuple[float, float]]:
        """The program changes that lead to images. Changes of drums don't count, nor changes before the first note of
        their channel (of any channel, if it has no notes): they choose instruments."""
        first = {note.channel: note.start for note in reversed(notes)}
        whole = min(first.values(), default=0.0)
        return [
            (second, program)
            for second, program, channel in self.programs
            if channel != DRUMS and second > first.get(channel, whole)
        ]

    def performance(self, name: str, faults: list[str]) -> Performance:
        """All of it, with the `faults` of the file; raises `InputError` when that is nothing."""
        for channel in list(self.pedal):
            self._lift(channel)
        hanging = [
            Note(pitch, start, self.second, velocity, channel)
            for (channel, pitch), starts in self.held.items()
            for start, velocity in starts
        ]
        notes = sorted([*self.notes, *hanging], key=lambda note: (note.start, note.pitch))
        damage = f" It is damaged: {'; '.join(faults)}." if faults else ""
        remedy = SAVE_AGAIN if faults else ""
        if not notes and not self.controls and not self.programs:
            raise InputError(
                f"`midi` {name} plays nothing: it has no notes, controllers or program changes.{damage}", remedy
            )
        if self.second <= 0:
            raise InputError(f"`midi` {name} lasts no time.{damage}", remedy)
        notices = []
        if faults:
            notices.append(
                f"{name} is damaged, and what can be read of it is played: {'; '.join(faults)}. If notes are missing, "
                "open it in a sequencer and save it again."
            )
        if hanging:
            notices.append(f"{counted(len(hanging), 'note', 'are')} never released in {name}, and held to the end.")
        return Performance(
            notes=notes,
            seconds=self.second,
            controls={number: _changes(found) for number, found in self.controls.items()},
            bends={channel: _changes(found) for channel, found in self.bends.items()},
            programs=len(self.programs),
            cues=_changes(self._cues(notes)),
            notices=notices,
        )


def _changes(found: list[tuple[float, float]]) -> Changes:
    seconds, values = np.array(found, dtype=float).reshape(-1, 2).T
    return seconds, values


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """The effects of notes, controllers and programs, by their numbers, and whether the controllers were `chosen`; see
    `read_mapping`."""

    notes: dict[int, dict[str, Any]] = field(default_factory=dict)
    controls: dict[int, Any] = field(default_factory=lambda: dict(USUAL_CONTROLS))
    programs: dict[int, int] = field(default_factory=dict)
    chosen: bool = False


def read_mapping(path: Path) -> Mapping:
    """Read a mapping, JSON with "notes", "controls" and "programs"; raises `InputError` saying what is wrong in it.

    A note ("60", or "C4") has a target: {"channel": 2}, {"direction": "smile.safetensors"}, as concept saves them,
    beside the mapping, or {"seed": 5}. A controller has a target, too, or "position", for the place on the walk, or
    "x" or "y", two directions of their own. A program has the number of an image, from 0.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is no object")
        unknown = set(content) - {"notes", "controls", "programs"}
        if unknown:
            raise ValueError(f"{min(unknown)!r} is not one of notes, controls and programs")
        parts = {name: content.get(name, {}) for name in ("notes", "controls", "programs")}
        for name, part in parts.items():
            if not isinstance(part, dict):
                raise ValueError(f"{name} is no object")
        notes = {note_number(name): _target(name, target, path) for name, target in parts["notes"].items()}
        controls = {_number(name): _target(name, target, path, True) for name, target in parts["controls"].items()}
        programs = {_number(name): image for name, image in parts["programs"].items()}
        for number, image in programs.items():
            if isinstance(image, bool) or not isinstance(image, int) or image < 0:
                raise ValueError(f"program {number} has no number of an image")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"`map_` {path} is no mapping: {str(error).rstrip('.')}.") from error
    chosen = "controls" in content
    return Mapping(notes=notes, controls=controls if chosen else dict(USUAL_CONTROLS), programs=programs, chosen=chosen)


def note_number(name: str) -> int:
    """The MIDI number of "60" or of "C4", which is the same; raises ValueError."""
    found = NOTE.fullmatch(name)
    if found is None:
        return _number(name)
    letter, sign, octave = found.groups()
    return _number(str(12 * (int(octave) + 1) + SEMITONES[letter] + {"#": 1, "b": -1, "": 0}[sign]))


def note_name(pitch: int) -> str:
    """The name of a MIDI number: 60 is C4."""
    return f"{PITCH_CLASSES[pitch % 12]}{pitch // 12 - 1}"


def _number(name: str) -> int:
    if not name.isdecimal() or int(name) >= PITCHES:
        raise ValueError(f"{name!r} is no number from 0 to {PITCHES - 1}")
    return int(name)


def _target(name: str, target: Any, path: Path, is_control: bool = False) -> Any:
    if is_control and target in (POSITION, *AXES):
        return target
    if not isinstance(target, dict) or len(target) != 1:
        raise ValueError(f'{name} has no target such as {{"channel": 2}}')
    ((kind, value),) = target.items()
    if kind == "direction" and isinstance(value, str):
        return {kind: str(path.parent / Path(value).expanduser())}
    if kind in ("channel", "seed") and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return {kind: value}
    raise ValueError(f'{name} has no target such as {{"channel": 2}}')
