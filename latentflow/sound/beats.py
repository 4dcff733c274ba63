"""Beats and bars: librosa follows the beat, and the hits near it say when exactly it falls."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from latentflow.errors import MissingPackageError

if TYPE_CHECKING:
    from latentflow.sound.listen import Heard

SEARCH = 60  # ms around a beat in which its hit is looked for
NEAR = 30  # ms from a steady beat within which a hit belongs to it
STEADY = 0.6  # share of the hits that a steady tempo explains
TEMPO_RANGE = 0.04  # librosa's tempo is one of few, up to 4% from each other
ATTACKS = 0.005  # seconds by which hits of different instruments are found early or late
MIN_RISE = 1.5  # of the logarithm of the energy, for a hit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Beats:
    """The `times` (n,) in seconds of the beats of a clip, and of its bars among them, `bars`.

    `tempo` is in beats a minute, 0 where none was found; `tempo_error` is what it may be wrong by where the tempo is
    `steady` (two standard errors, and 5 ms from the first hit to the last, by which attacks differ), else the standard
    deviation of the tempo from beat to beat. `tracked` is the tempo that librosa says.
    """

    times: np.ndarray
    bars: np.ndarray
    tempo: float
    tempo_error: float
    steady: bool
    tracked: float

    def __str__(self) -> str:
        if not self.tempo:
            return "no beats found"
        if self.steady:
            return f"{self.tempo:.2f} ± {max(self.tempo_error, 0.005):.2f} beats a minute"
        return f"about {self.tempo:.0f} beats a minute, which vary by {self.tempo_error:.0f}"


def import_librosa(what: str) -> Any:
    """The package; raises `MissingPackageError` saying that `what` needs it."""
    try:
        import librosa
        import librosa.beat
        import librosa.filters
    except ImportError as error:
        raise MissingPackageError(f"{what} needs librosa: {error}.", "pip install latentflow[sound]") from error
    return librosa


def find_beats(heard: Heard, beats_per_bar: int = 4) -> Beats:
    """The beats of what was heard, and every `beats_per_bar`-th of them as bars.

    librosa tracks them (Ellis, 2007) in steps of a window, 12 ms, and knows tempos of whole windows only: 120 beats a
    minute are 117.45 to it. So a tempo near its own is taken at which the phases of all onsets agree best, beats are
    moved to the hits beside them, at a millisecond, and where these keep a steady tempo, to that. Bars begin on the
    beats with the strongest bass and the largest change of chroma. Raises `MissingPackageError` without librosa.
    """
    librosa = import_librosa("`motion` beats")
    none = Beats(times=np.zeros(0), bars=np.zeros(0), tempo=0.0, tempo_error=0.0, steady=False, tracked=0.0)
    if len(heard.onsets) < 8 or heard.onsets.max() <= 1e-6:
        return none
    rate = 1 / (heard.times[1] - heard.times[0])
    tempo, frames = librosa.beat.beat_track(onset_envelope=heard.onsets, sr=rate, hop_length=1, trim=False)
    tracked, times = float(np.atleast_1d(tempo)[0]), frames / rate
    if len(times) < 4:
        return none
    hits = _hits(heard, times)
    found = ~np.isnan(hits)
    steady = _steady(heard, hits[found], tracked)
    if steady is None:
        moved = np.where(found, hits, times)
        gaps = np.diff(moved)
        tempos = 60 / gaps[gaps > 0]
        made: dict[str, Any] = {"times": moved, "tempo": float(np.median(tempos)), "tempo_error": float(tempos.std())}
    else:
        start, gap, error = steady
        count = int((heard.seconds - start) / gap) + 1
        made = {"times": start + gap * np.arange(count), "tempo": 60 / gap, "tempo_error": 60 * error / gap**2}
    bars = made["times"][_first_of_bar(heard, made["times"], beats_per_bar) :: beats_per_bar]
    return Beats(**made, bars=bars, steady=steady is not None, tracked=tracked)


def _rises(heard: Heard) -> np.ndarray:
    """How much the energy of hits rises at each millisecond: the logarithm of the 5 ms from there over the 20 before,
    weighted by its amplitude."""
    energy = heard.percussive
    covered = np.concatenate([np.zeros(21), np.cumsum(energy), np.full(5, energy.sum())])
    at = np.arange(len(energy)) + 20
    after = np.maximum(covered[at + 5] - covered[at], 0) / 5
    before = np.maximum(covered[at] - covered[at - 20], 0) / 20
    floor = 1e-4 * max(float(energy.max()), 1e-12)
    rise = np.log((after + floor) / (before + floor))
    return np.where(rise > MIN_RISE, rise * np.sqrt(after), 0.0)


def _hits(heard: Heard, times: np.ndarray) -> np.ndarray:
    """The second of the strongest hit near each time; NaN where there is none."""
    rises, found = _rises(heard), np.full(len(times), np.nan)
    for index, time in enumerate(times):
        begin = max(0, round(1000 * time) - SEARCH)
        near = rises[begin : begin + 2 * SEARCH + 1]
        if len(near) and near.max() > 0:
            found[index] = (begin + near.argmax()) / 1000
    return found


def _steady(heard: Heard, hits: np.ndarray, tracked: float) -> tuple[float, float, float] | None:
    """First beat, gap and what the gap may be wrong by, in seconds, of a tempo that most hits keep, if any."""
    if len(hits) < 4:
        return None
    near = tracked / 60
    seconds = max(heard.seconds, 1.0)
    step = 0.1 / seconds  # Hz: a tenth of what the length resolves
    frequencies = np.arange(near * (1 - TEMPO_RANGE), near * (1 + TEMPO_RANGE), step)
    strengths = np.array([abs(heard.onsets @ np.exp(-2j * np.pi * each * heard.times)) for each in frequencies])
    gap = 1 / float(frequencies[strengths.argmax()])
    phases = np.exp(2j * np.pi * hits / gap)
    start = float(np.angle(phases.mean()) / (2 * np.pi) * gap) % gap
    for _ in range(3):  # a line through the hits that are near it
        numbers = np.round((hits - start) / gap)
        residuals = hits - start - gap * numbers
        inside = np.abs(residuals - np.median(residuals)) <= NEAR / 1000
        if inside.sum() < max(4, STEADY * len(hits)) or np.ptp(numbers[inside]) == 0:
            return None
        (gap, start), covariance = np.polyfit(numbers[inside], hits[inside], 1, cov="unscaled")
    spread = float(np.std(hits[inside] - start - gap * numbers[inside]))
    first = start - gap * np.floor((start + 1e-3) / gap)
    attacks = ATTACKS / np.ptp(numbers[inside])
    return float(first), float(gap), float(np.hypot(2 * spread * np.sqrt(covariance[0, 0]), attacks))


def _first_of_bar(heard: Heard, times: np.ndarray, beats_per_bar: int) -> int:
    """The number of the first beat that begins a bar."""
    if len(times) < 2 * beats_per_bar:
        return 0
    windows = np.searchsorted(heard.times, times)
    bass = np.array([heard.bass[max(0, at - 4) : at + 5].max(initial=0) for at in windows])
    scores = _standardized(bass)
    if heard.chroma is not None:
        parts = [part.mean(0) if len(part) else np.zeros(12) for part in np.split(heard.chroma, windows)]
        changes = [1 - _cosine(one, two) for one, two in pairwise(parts)]
        scores = scores + _standardized(np.array(changes))
    return int(np.argmax([scores[phase::beats_per_bar].mean() for phase in range(beats_per_bar)]))


def _standardized(values: np.ndarray) -> np.ndarray:
    spread = float(values.std())
    return (values - values.mean()) / spread if spread > 1e-12 else np.zeros(len(values))


def _cosine(one: np.ndarray, two: np.ndarray) -> float:
    norms = float(np.linalg.norm(one) * np.linalg.norm(two))
    return float(one @ two) / norms if norms > 0 else 1.0
