"""A simple sound of notes, so that one hears what moves: a tone with overtones for each."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np

from latentflow.sound.midi import LOUDEST, Note
from latentflow.sound.reading import go_on

RATE = 44_100
OVERTONES = (1.0, 0.5, 0.25, 0.125)
PEAK = 0.8
RISE = 0.005  # seconds at least, since a sudden start or end clicks


def write_tones(
    path: Path,
    notes: list[Note],
    seconds: float,
    attack: float,
    release: float,
    check: Callable[[], object] = go_on,
) -> int:
    """Write the notes as a mono .wav of `seconds` length and return its number of samples; `attack` and `release`
    belong to the notes' levels. The sound is made one second at a time; `check` is called before each, and may
    raise."""
    attack, release = max(attack, RISE), max(release, RISE)
    count = round(seconds * RATE)
    loudest = _most_together(notes, release)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        for first in range(0, count, RATE):
            check()
            time = np.arange(first, min(first + RATE, count)) / RATE
            total = np.zeros(len(time))
            for note in notes:
                if note.start < time[-1] and note.stop + release > time[0]:
                    total += _tone(note, time, attack, release)
            file.writeframes((PEAK / loudest * 32767 * total).astype("<i2").tobytes())
    return count


def _tone(note: Note, time: np.ndarray, attack: float, release: float) -> np.ndarray:
    level = np.clip((np.minimum(time, note.stop) - note.start) / attack, 0, 1)
    level = level * np.clip(1 - (time - note.stop) / release, 0, 1) * note.velocity / LOUDEST
    frequency = 440 * 2 ** ((note.pitch - 69) / 12)
    phase = 2 * np.pi * frequency * (time - note.start)
    audible = [(number, share) for number, share in enumerate(OVERTONES, 1) if number * frequency < RATE / 2]
    tone = sum((share * np.sin(number * phase) for number, share in audible), np.zeros(len(time)))
    return np.asarray(level * tone / sum(OVERTONES))


def _most_together(notes: list[Note], release: float) -> float:
    """The largest sum of levels that sound at once."""
    events = [(note.start, note.velocity / LOUDEST) for note in notes]
    events += [(note.stop + release, -note.velocity / LOUDEST) for note in notes]
    return max(1.0, float(np.cumsum([change for _, change in sorted(events)]).max(initial=0)))
