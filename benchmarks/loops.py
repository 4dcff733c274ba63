"""Loops whose beats are known, made by code: drums, bass, chords and a voice of sorts, with the second of each beat."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

RATE = 44_100
PLAYED = 24.0  # seconds of a loop


@dataclass(frozen=True)
class Loop:
    """Samples (n, channels), the seconds of the beats that a listener taps, and whether there is a beat at all."""

    samples: np.ndarray
    beats: np.ndarray


class Mixer:
    """A sound to which short ones are added at their seconds."""

    def __init__(self, seconds: float = PLAYED, seed: int = 0) -> None:
        self.total = np.zeros(round(seconds * RATE))
        self.random = np.random.default_rng(seed)

    def put(self, sound: np.ndarray, second: float, level: float = 1.0) -> None:
        """Add a sound; what lies outside is cut."""
        first = round(second * RATE)
        begin, end = max(first, 0), min(first + len(sound), len(self.total))
        if end > begin:
            self.total[begin:end] += level * sound[begin - first : end - first]

    def noise(self, seconds: float, decay: float, low: float, high: float = 20_000) -> np.ndarray:
        """Noise between two frequencies that fades; at once, as a stick does."""
        count = round(seconds * RATE)
        spectrum = np.fft.rfft(self.random.standard_normal(count + 2000))
        hertz = np.fft.rfftfreq(count + 2000, 1 / RATE)
        spectrum[(hertz < low) | (hertz > high)] = 0
        made = np.fft.irfft(spectrum)[1000 : 1000 + count]
        return made / np.abs(made).max() * np.exp(-np.arange(count) / (decay * RATE))

    def kick(self) -> np.ndarray:
        """A bass drum: a tone that falls from 160 to 50 Hz, with the click of its beater."""
        time = np.arange(round(0.3 * RATE)) / RATE
        phase = 2 * np.pi * np.cumsum(50 + 110 * np.exp(-time / 0.03)) / RATE
        made = np.sin(phase) * np.exp(-time / 0.09)
        made[:200] += 0.25 * self.noise(200 / RATE, 0.001, 1000, 6000)
        return made

    def snare(self) -> np.ndarray:
        """A snare drum: noise over a tone."""
        made = 0.7 * self.noise(0.2, 0.06, 700, 9000)
        time = np.arange(len(made)) / RATE
        return made + 0.5 * np.sin(2 * np.pi * 190 * time) * np.exp(-time / 0.05)

    def hat(self, open_for: float = 0.025) -> np.ndarray:
        """A hi-hat."""
        return 0.5 * self.noise(5 * open_for, open_for, 6500)

    def ride(self) -> np.ndarray:
        """A ride cymbal."""
        return 0.4 * self.noise(0.5, 0.18, 3500) + 0.3 * self.noise(0.5, 0.01, 3500)


def tone(pitch: float, seconds: float, decay: float = 0.0, rise: float = 0.004, overtones: int = 8) -> np.ndarray:
    """A note of a MIDI pitch with overtones; it fades in `decay` seconds, or not, and stops softly."""
    time = np.arange(round(seconds * RATE)) / RATE
    hertz = 440 * 2 ** ((pitch - 69) / 12)
    made = sum(np.sin(2 * np.pi * n * hertz * time) / n**1.3 for n in range(1, overtones + 1) if n * hertz < RATE / 2)
    level = np.minimum(time / rise, 1) * np.minimum((seconds - time) / min(0.02, seconds / 4), 1)
    return np.asarray(0.4 * made * level * (np.exp(-time / decay) if decay else 1.0))


def evenly(tempo: float, start: float = 0.2, seconds: float = PLAYED) -> np.ndarray:
    """Beats of a steady tempo."""
    return np.arange(start, seconds - 0.02, 60 / tempo)


def at_tempo(tempo: Callable[[float], float], start: float = 0.2, seconds: float = PLAYED) -> np.ndarray:
    """Beats whose tempo is a function of the second."""
    beats = [start]
    while beats[-1] < seconds - 0.02:
        beats.append(beats[-1] + 60 / tempo(beats[-1]))
    return np.array(beats[:-1])


def gaps(beats: np.ndarray) -> np.ndarray:
    """The seconds from each beat to the next."""
    return np.diff(beats, append=2 * beats[-1] - beats[-2])


def house(beats: np.ndarray, *, hats: float = 0.8, claps: bool = True, bass: bool = True) -> Loop:
    """A bass drum on every beat, and open hi-hats between them at a level `hats`."""
    mixer = Mixer()
    for number, (beat, gap) in enumerate(zip(beats, gaps(beats), strict=True)):
        mixer.put(mixer.kick(), beat, 0.9)
        mixer.put(mixer.hat(0.07), beat + gap / 2, hats)
        if claps and number % 2:
            mixer.put(mixer.noise(0.15, 0.05, 900, 5000), beat, 0.5)
        if bass:
            mixer.put(tone(33 + (number // 8) % 2 * 3, 0.4 * gap, rise=0.01), beat + gap / 2, 0.35)
    return Loop(mixer.total, beats)


def rock(beats: np.ndarray, *, hats: float = 0.5) -> Loop:
    """Bass drum on 1 and 3, snare on 2 and 4, hi-hats in eighths, a guitar."""
    mixer = Mixer(seed=1)
    for number, (beat, gap) in enumerate(zip(beats, gaps(beats), strict=True)):
        mixer.put(mixer.snare() if number % 2 else mixer.kick(), beat, 0.8)
        if number % 8 == 6:
            mixer.put(mixer.kick(), beat + gap / 2, 0.7)
        for half in (0, gap / 2):
            mixer.put(mixer.hat(), beat + half, hats * (0.7 if half else 1))
            for pitch in (40 + 5 * (number // 4 % 2), 47 + 5 * (number // 4 % 2)):
                mixer.put(tone(pitch, 0.45 * gap, decay=0.3), beat + half, 0.2)
    return Loop(mixer.total, beats)


def swing(beats: np.ndarray, *, hats: float = 0.6) -> Loop:
    """A walking bass, a ride with triplets, a hi-hat on 2 and 4."""
    mixer = Mixer(seed=2)
    walk = [36, 40, 43, 45, 46, 45, 43, 40]
    for number, (beat, gap) in enumerate(zip(beats, gaps(beats), strict=True)):
        mixer.put(tone(walk[number % 8], 0.9 * gap, decay=0.4, rise=0.008), beat, 0.6)
        mixer.put(mixer.ride(), beat, hats)
        if number % 2:
            mixer.put(mixer.ride(), beat + gap * 2 / 3, 0.8 * hats)
            mixer.put(mixer.hat(0.015), beat, hats)
    return Loop(mixer.total, beats)


def waltz(beats: np.ndarray, *, drums: bool = False) -> Loop:
    """A bass note on 1, chords on 2 and 3, a melody; with drums or without."""
    mixer = Mixer(seed=3)
    for number, (beat, gap) in enumerate(zip(beats, gaps(beats), strict=True)):
        root = 36 + [0, 5, 7, 0][number // 3 % 4]
        chord = [root] if number % 3 == 0 else [root + 24, root + 28, root + 31]
        for pitch in chord:
            mixer.put(tone(pitch, 0.8 * gap, decay=0.5), beat, 0.5 / len(chord) ** 0.5)
        if number % 3 == 0 or mixer.random.random() < 0.4:
            mixer.put(tone(72 + int(mixer.random.integers(0, 12)), gap, decay=0.6), beat, 0.3)
        if drums:
            mixer.put(mixer.snare() if number % 3 else mixer.kick(), beat, 0.3 if number % 3 else 0.9)
    return Loop(mixer.total, beats)


def breakbeat(beats: np.ndarray, *, hats: float = 0.4) -> Loop:
    """Bass drum on 1, 1½ and 3¾, snare on 2 and 4 and a soft one before, hi-hats in eighths."""
    mixer = Mixer(seed=4)
    for number, (beat, gap) in enumerate(zip(beats, gaps(beats), strict=True)):
        place = number % 4
        if place in (1, 3):
            mixer.put(mixer.snare(), beat, 0.9)
        if place == 0:
            mixer.put(mixer.kick(), beat, 0.9)
            mixer.put(mixer.kick(), beat + gap / 2, 0.8)
        if place == 2:
            mixer.put(mixer.kick(), beat + gap / 2, 0.8)
            mixer.put(mixer.snare(), beat - gap / 4, 0.25)
        for half in (0, gap / 2):
            mixer.put(mixer.hat(), beat + half, hats)
    return Loop(mixer.total, beats)


def hip_hop(beats: np.ndarray) -> Loop:
    """Slow drums, with a hi-hat that is late between the beats."""
    mixer = Mixer(seed=5)
    for number, (beat, gap) in enumerate(zip(beats, gaps(beats), strict=True)):
        mixer.put(mixer.snare() if number % 2 else mixer.kick(), beat, 0.9)
        if number % 4 == 2:
            mixer.put(mixer.kick(), beat + gap * 0.58, 0.7)
        mixer.put(mixer.hat(), beat, 0.4)
        mixer.put(mixer.hat(), beat + 0.58 * gap, 0.3)
        mixer.put(tone(31 + (number // 4) % 3 * 2, 0.8 * gap, rise=0.01), beat, 0.4 if number % 4 == 0 else 0)
    return Loop(mixer.total, beats)


def piano(beats: np.ndarray) -> Loop:
    """Broken chords, a note on each beat and on some halves."""
    mixer = Mixer(seed=6)
    for number, (beat, gap) in enumerate(zip(beats, gaps(beats), strict=True)):
        root = 45 + [0, 5, 3, 7][number // 4 % 4]
        mixer.put(tone(root + [0, 7, 12, 16][number % 4], 1.5 * gap, decay=0.7), beat, 0.6)
        if mixer.random.random() < 0.4:
            mixer.put(tone(root + 24, gap, decay=0.5), beat + gap / 2, 0.3)
    return Loop(mixer.total, beats)


def pad(seconds: float = PLAYED) -> Loop:
    """Chords that come and go over seconds."""
    mixer = Mixer(seed=7)
    for number, second in enumerate(np.arange(0.0, seconds, 3.7)):
        for pitch in (45, 52, 57, 60 + number % 3):
            mixer.put(tone(pitch + number % 4, 5.0, rise=1.5) * np.linspace(1, 0, round(5 * RATE)), second, 0.2)
    return Loop(mixer.total, np.zeros(0))


def drone(seconds: float = PLAYED) -> Loop:
    """Two tones that don't change but beat against each other."""
    time = np.arange(round(seconds * RATE)) / RATE
    return Loop(0.3 * np.sin(2 * np.pi * 110 * time) + 0.2 * np.sin(2 * np.pi * 165.3 * time), np.zeros(0))


def noise(seconds: float = PLAYED) -> Loop:
    """Rain."""
    return Loop(0.1 * np.random.default_rng(8).standard_normal(round(seconds * RATE)), np.zeros(0))


def speech(seconds: float = PLAYED, seed: int = 9) -> Loop:
    """Syllables of uneven length from pulses through formants, with fricatives, stops, and pauses between phrases."""
    mixer = Mixer(seconds, seed)
    random, second = mixer.random, 0.1
    while second < seconds:
        for _ in range(int(random.integers(4, 12))):
            length = float(random.uniform(0.09, 0.26))
            kind = random.random()
            if kind < 0.35:
                mixer.put(mixer.noise(0.07, 0.05, 3000, 9000), second, 0.15)
                second += 0.06
            elif kind < 0.7:
                second += 0.05
                mixer.put(mixer.noise(0.015, 0.005, 800, 5000), second, 0.3)
            mixer.put(_vowel(random, length), second, float(random.uniform(0.3, 0.7)))
            second += length * float(random.uniform(0.9, 1.1))
        second += float(random.uniform(0.2, 0.9))
    return Loop(mixer.total, np.zeros(0))


def _vowel(random: np.random.Generator, length: float) -> np.ndarray:
    count = round(length * RATE)
    hertz = np.linspace(*random.uniform(95, 150, 2), count)
    pulses = np.diff(np.floor(np.cumsum(hertz) / RATE), prepend=0.0)
    spectrum, bins = np.fft.rfft(pulses, 2 * count), np.fft.rfftfreq(2 * count, 1 / RATE)
    formants = zip(random.uniform([250, 800, 2200], [800, 2200, 3000]), (1.0, 0.5, 0.3), strict=True)
    spectrum = spectrum * sum(share / (1 + ((bins - center) / 90) ** 2) for center, share in formants)
    made = np.fft.irfft(spectrum)[:count]
    return made / max(np.abs(made).max(), 1e-9) * np.sin(np.pi * np.arange(count) / count) ** 0.5


def clipped(loop: Loop, gain: float = 6.0) -> Loop:
    """A loop that is far too loud."""
    return Loop(np.clip(gain * loop.samples, -1, 1), loop.beats)


def stereo(loop: Loop, right: float) -> Loop:
    """The loop on both sides, the right one times `right`: -1 is out of phase."""
    return Loop(np.stack([loop.samples, right * loop.samples], 1), loop.beats)


def tight(loop: Loop) -> Loop:
    """A loop that is cut at its first beat."""
    first = round(loop.beats[0] * RATE)
    return Loop(loop.samples[first:], loop.beats - first / RATE)


def two_tempos(one: float, two: float) -> np.ndarray:
    """Beats whose tempo changes in the middle."""
    return at_tempo(lambda second: one if second < PLAYED / 2 else two)


def rubato(tempo: float, depth: float) -> np.ndarray:
    """Beats that hurry and linger over eight seconds."""
    return at_tempo(lambda second: tempo * (1 + depth * np.sin(2 * np.pi * second / 8)))


LOOPS: dict[str, Callable[[], Loop]] = {
    "house, 128": lambda: house(evenly(128)),
    "house, 140": lambda: house(evenly(140)),
    "house, 128, soft hats": lambda: house(evenly(128), hats=0.15),
    "house, 124, no hats": lambda: house(evenly(124), hats=0, bass=False),
    "house, 128, out of phase": lambda: stereo(house(evenly(128)), -1.0),
    "house, 126, cut tightly": lambda: tight(house(evenly(126))),
    "house, 120 to 138": lambda: house(two_tempos(120, 138)),
    "house, 100 to 140, slowly": lambda: house(at_tempo(lambda second: 100 + 40 * second / PLAYED)),
    "rock, 100": lambda: rock(evenly(100)),
    "rock, 160": lambda: rock(evenly(160)),
    "rock, 92, no hats": lambda: rock(evenly(92), hats=0),
    "swing, 150": lambda: swing(evenly(150)),
    "swing, 120, clipped": lambda: clipped(swing(evenly(120))),
    "swing, 200, stereo": lambda: stereo(swing(evenly(200)), 0.5),
    "waltz, 90": lambda: waltz(evenly(90)),
    "waltz, 160, drums": lambda: waltz(evenly(160), drums=True),
    "breakbeat, 136": lambda: breakbeat(evenly(136)),
    "breakbeat, 172": lambda: breakbeat(evenly(172)),
    "breakbeat, 110, no hats": lambda: breakbeat(evenly(110), hats=0),
    "hip-hop, 84": lambda: hip_hop(evenly(84)),
    "piano, 72": lambda: piano(evenly(72)),
    "piano, 80, rubato": lambda: piano(rubato(80, 0.12)),
    "pad": pad,
    "drone": drone,
    "speech": speech,
    "rain": noise,
    "silence": lambda: Loop(np.zeros(round(PLAYED * RATE)), np.zeros(0)),
}


def unseen(seed: int) -> Loop:
    """A loop of chance: a tempo from 70 to 180, drums on places of the bar that are drawn, other levels, swing, bass,
    chords, noise. Bass drum on 1, and bass drum or snare on most beats, so that a listener would tap them."""
    random = np.random.default_rng(seed)
    tempo, swung = float(random.uniform(70, 180)), float(random.choice([0.5, 0.5, 0.5, 0.6, 0.667]))
    beats = evenly(tempo, float(random.uniform(0.0, 0.6)))
    gap, mixer = 60 / tempo, Mixer(seed=seed)
    mixer.random = random
    places = [0, swung / 2, swung, (1 + swung) / 2] if swung == 0.5 else [0, swung]
    four = random.random() < 0.4
    kicks = [(0, 0.0)] + [(place, 0.0) for place in (1, 2, 3) if four or (place == 2 and random.random() < 0.7)]
    kicks += [(int(random.integers(0, 4)), swung) for _ in range(int(random.integers(0, 2 if four else 3)))]
    snares = [(1, 0.0), (3, 0.0)] if random.random() < 0.85 else []
    snares += [(int(random.integers(0, 4)), places[-1])] if random.random() < 0.3 else []
    hats = [(beat, place) for beat in range(4) for place in places if random.random() < random.choice([0.2, 0.5, 0.9])]
    levels = {"kick": random.uniform(0.4, 1), "snare": random.uniform(0.3, 0.9), "hat": random.uniform(0.0, 0.7)}
    opened = float(random.choice([0.02, 0.06]))
    bass, chords = random.random() < 0.6, random.random() < 0.5
    for number, beat in enumerate(beats):
        human = lambda: float(random.normal(0, 0.004))  # noqa: E731
        for place, part in kicks:
            if place == number % 4:
                mixer.put(mixer.kick(), beat + part * gap + human(), levels["kick"])
        for place, part in snares:
            if place == number % 4:
                mixer.put(mixer.snare(), beat + part * gap + human(), levels["snare"])
        for place, part in hats:
            if place == number % 4:
                mixer.put(mixer.hat(opened), beat + part * gap + human(), levels["hat"])
        if bass and random.random() < 0.7:
            part = float(random.choice([0.0, 0.0, swung]))
            mixer.put(tone(33 + int(random.integers(0, 8)), 0.5 * gap, rise=0.008), beat + part * gap, 0.3)
        if chords and number % 4 == 0:
            for pitch in (57, 60 + int(random.integers(0, 2)), 64):
                mixer.put(tone(pitch + number // 4 % 3 * 2, 3.9 * gap, rise=0.03), beat, 0.12)
    total = mixer.total + 10 ** float(random.uniform(-4, -2.3)) * random.standard_normal(len(mixer.total))
    return Loop(total / max(1.0, np.abs(total).max()), beats)


def phase_errors(found: np.ndarray, beats: np.ndarray) -> np.ndarray:
    """Seconds from each beat to the found one that is nearest, within half the shortest gap; NaN where none is."""
    if len(found) == 0:
        return np.full(len(beats), np.nan)
    nearest = found[np.abs(found[:, None] - beats).argmin(0)] - beats
    shortest = min((two - one for one, two in pairwise(beats)), default=1.0)
    return np.where(np.abs(nearest) < shortest / 2, nearest, np.nan)
