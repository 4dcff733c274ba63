"""Makes a minute of music, drums, bass and chords, as song.wav and, with the notes alone, as song.mid (needs mido)."""

import argparse
import wave
from pathlib import Path

import numpy as np

RATE = 44_100
TEMPO = 112.0  # beats a minute
BEATS_PER_BAR = 4
CHORDS = ((57, 60, 64), (53, 57, 60), (48, 52, 55), (55, 59, 62))  # A minor, F, C, G: a bar each, as MIDI notes


def note(pitch: float, seconds: float, shape: float) -> np.ndarray:
    """A decaying tone (n,) of a MIDI note, with overtones that fall off by `shape`."""
    time = np.arange(round(seconds * RATE)) / RATE
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    tone = sum(np.sin(2 * np.pi * number * frequency * time) * shape**number for number in range(1, 6))
    fade = np.minimum(1, np.minimum(time / 0.01, (seconds - time) / 0.05))
    return np.asarray(tone * fade * np.exp(-time / seconds))


def kick() -> np.ndarray:
    """A bass drum (n,)."""
    time = np.arange(round(0.25 * RATE)) / RATE
    return np.asarray(np.sin(2 * np.pi * (50 * time + 8 * (1 - np.exp(-time / 0.03)))) * np.exp(-time / 0.08))


def noise(seconds: float, generator: np.random.Generator) -> np.ndarray:
    """A snare or a cymbal (n,)."""
    time = np.arange(round(4 * seconds * RATE)) / RATE
    return generator.standard_normal(len(time)) * np.exp(-time / seconds)


def song(seconds: float = 60.0, tempo: float = TEMPO) -> tuple[np.ndarray, list[tuple[int, float, float, int]]]:
    """The samples (n, 2) in [-1, 1], and the notes of bass and chords: pitch, start, seconds, velocity.

    The first and the last bar have chords only; drums come in one after the other.
    """
    generator, beat = np.random.default_rng(0), 60 / tempo
    sound = np.zeros((round(seconds * RATE), 2))
    notes: list[tuple[int, float, float, int]] = []

    def add(start: float, samples: np.ndarray, level: float, pan: float = 0.0) -> None:
        first = round(start * RATE)
        part = samples[: max(0, len(sound) - first)] * level
        sound[first : first + len(part)] += np.stack([part * (1 - pan), part * (1 + pan)], 1)

    bars = int(seconds / (beat * BEATS_PER_BAR))
    for bar in range(bars):
        start, chord = bar * BEATS_PER_BAR * beat, CHORDS[bar % len(CHORDS)]
        for place, pitch in enumerate(chord):
            notes.append((pitch, start, BEATS_PER_BAR * beat * 0.95, 64))
            add(start, note(pitch, BEATS_PER_BAR * beat * 0.95, 0.5), 0.10, (place - 1) * 0.4)
        if bar in (0, bars - 1):
            continue
        for number in range(BEATS_PER_BAR):
            now = start + number * beat
            notes.append((chord[0] - 24, now, beat * 0.8, 100 if number == 0 else 80))
            add(now, note(chord[0] - 24, beat * 0.8, 0.4), 0.30)
            if number % 2 == 0:
                add(now, kick(), 0.7)
            elif bar > 2:
                add(now, noise(0.05, generator), 0.18, 0.1)
            if bar > 4:
                for half in (0.0, 0.5):
                    add(now + half * beat, noise(0.012, generator), 0.08, -0.3)
    return sound / max(1.0, np.abs(sound).max()), notes


def write_wav(path: Path, sound: np.ndarray) -> None:
    """Write samples (n, channels) in [-1, 1] with 16 bits."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(sound.shape[1])
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())


def write_midi(path: Path, notes: list[tuple[int, float, float, int]], tempo: float = TEMPO) -> None:
    """Write notes as one track."""
    import mido

    file = mido.MidiFile(ticks_per_beat=480)
    track = mido.MidiTrack()
    file.tracks.append(track)
    track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo)))
    events = [(start, "note_on", pitch, velocity) for pitch, start, _, velocity in notes]
    events += [(start + length, "note_off", pitch, 0) for pitch, start, length, _ in notes]
    before = 0
    for seconds, kind, pitch, velocity in sorted(events):
        tick = round(seconds * tempo / 60 * 480)
        track.append(mido.Message(kind, note=pitch, velocity=velocity, time=tick - before))
        before = tick
    file.save(path)


def main() -> None:
    """Write both files into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path())
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    sound, notes = song(arguments.seconds)
    write_wav(arguments.folder / "song.wav", sound)
    print(f"wrote    {arguments.folder / 'song.wav'}")
    write_midi(arguments.folder / "song.mid", notes)
    print(f"wrote    {arguments.folder / 'song.mid'}")


if __name__ == "__main__":
    main()
