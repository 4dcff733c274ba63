"""Beats and bars: a tempo that may change is heard in the rises of the spectrum, and the hits near each beat say when
exactly it falls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from latentflow.base.surroundings import undisturbed

if TYPE_CHECKING:
    from latentflow.sound.hearing import Heard

BASS = 0.3  # weight of the bass among the rises: a bass drum falls on the beat, a hi-hat as often between two
SLOWEST, FASTEST, STEPS = 45.0, 240.0, 24  # beats per minute, and tempos per octave that are tried
USUAL, OCTAVES, PRIOR = 125.0, 0.7, 0.35  # the tempo most often tapped, how far others are, and how much that counts
WINDOW, HOP = 6.0, 1.0  # seconds in which a tempo is heard
MULTIPLES = ((1, 1.0), (2, 0.8), (3, 0.5), (4, 0.8))  # of a beat at which the rises repeat, and what each counts
CHANGE = 4.0  # what a change of tempo by an octave costs
TIGHTNESS = 100.0  # what a beat costs that is early or late
SEARCH = 60  # ms around a beat in which its hit is looked for
NEAR = 30  # ms from a steady beat within which a hit belongs to it
STEADY, HEARD, STRETCH = 0.7, 0.4, 16  # shares of the hits, and of the beats, that a steady tempo explains
TEMPO_RANGE = 0.04  # of the tempo of the windows, in which the steady one is looked for
ATTACKS = 0.005  # seconds by which hits of different instruments are found early or late
MIN_RISE = 1.5  # of the logarithm of the energy, for a hit
FAINT = 1.0  # dB: a smaller rise of the bands in a window isn't a beat
CLEAR, UNEVEN, FEW = 0.15, 0.11, 0.25  # clarity below which there are no beats if gaps are uneven, or hits are few
ALIKE = 0.18  # two tempos, or two phases, that differ by less can't be told apart


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Beats:
    """The `times` (n,) in seconds of the beats of a clip, and of its bars among them, `bars`.

    `tempo` is in beats per minute, 0 where none was found; `tempo_error` is its possible error where the tempo is
    `steady` (two standard errors, and 5 ms from the first hit to the last, by which attacks differ), 0 where it was
    given, else the standard deviation of the tempo from beat to beat. `tracked` is the tempo that was heard before hits
    were looked for. `doubts` are sentences on ambiguities in the sound.
    """

    times: np.ndarray
    bars: np.ndarray
    tempo: float
    tempo_error: float
    steady: bool
    tracked: float
    doubts: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.tempo:
            return "no beats found"
        if not self.steady:
            said = f"about {self.tempo:.0f} beats per minute, which vary by {self.tempo_error:.0f}"
        elif self.tempo_error:
            said = f"{self.tempo:.2f} ± {max(self.tempo_error, 0.005):.2f} beats per minute"
        else:
            said = f"{self.tempo:g} beats per minute, as given"
        return ", ".join((said, *self.doubts))


@undisturbed
def find_beats(
    heard: Heard, beats_per_bar: int = 4, *, bpm: float | None = None, first_beat: float | None = None
) -> Beats:
    """The beats of what was heard, and every `beats_per_bar`-th of them as bars.

    A tempo is heard in every few seconds, as the one at which the rises of the spectrum repeat; beats are a path
    through the rises that keeps it (Ellis, 2007). Then they are moved to the hits beside them, at a millisecond, and
    where these keep a steady tempo, to that. Bars begin on the beats with the strongest bass and the largest change of
    chroma. With `bpm` beats keep that tempo exactly; `first_beat` is the second of
    the clip at the first beat. A bar begins there.
    """
    tracked = _track(heard, bpm)
    if bpm is not None:
        pace = _given(heard, _Tracked(np.zeros(0), bpm) if tracked is None else tracked, first_beat)
    elif tracked is not None:
        pace = _moved(heard, tracked)
    else:
        empty = np.zeros(0)
        return Beats(times=empty, bars=empty, tempo=0.0, tempo_error=0.0, steady=False, tracked=0.0)
    if first_beat is None:
        first, doubts = _first_of_bar(heard, pace.times, beats_per_bar), _off_beats(heard, pace.times)
    else:
        first, doubts = 0, ()
        if bpm is None:
            pace = replace(pace, times=_from(pace.times, first_beat, heard.seconds))
    return Beats(
        times=pace.times,
        bars=pace.times[first::beats_per_bar],
        tempo=bpm or pace.tempo,
        tempo_error=pace.error,
        steady=pace.steady,
        tracked=pace.tracked,
        doubts=pace.doubts + doubts,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pace:
    """When beats fall, at which tempo, and how sure that is: as in `Beats`."""

    times: np.ndarray
    tempo: float
    error: float
    steady: bool
    tracked: float
    doubts: tuple[str, ...]


def _given(heard: Heard, tracked: _Tracked, first_beat: float | None) -> _Pace:
    """Beats of the tempo that is known, from the first if that is known too, else where the hits are."""
    doubts: tuple[str, ...] = ()
    hits, gap = _hits(heard, tracked.times), 60 / tracked.tempo
    hits = hits[~np.isnan(hits)]
    start, agreement = _phase(hits, gap)
    times = _evenly(start, gap, heard.seconds)
    if first_beat is not None:
        times = np.arange(first_beat, heard.seconds, gap)
    elif agreement < STEADY:
        doubts = ("which the hits don't keep" if len(hits) else "with no hit to say where",)
    return _Pace(times=times, tempo=tracked.tempo, error=0.0, steady=True, tracked=tracked.tempo, doubts=doubts)


def _moved(heard: Heard, tracked: _Tracked) -> _Pace:
    """Beats at a steady tempo if the hits keep one, else each at its hit."""
    hits = _hits(heard, tracked.times)
    line = _steady(hits, float(np.median(np.diff(tracked.times))))
    if line is not None:
        start, gap, error = line
        tempo, error, times = 60 / gap, 60 * error / gap**2, _evenly(start, gap, heard.seconds)
    else:
        times = np.unique(np.where(np.isnan(hits), tracked.times, hits))
        tempos = 60 / np.diff(times)
        tempo, error = float(np.median(tempos)), float(tempos.std())
    doubts = tuple(f"or {factor * tempo:.0f}" for factor in tracked.factors) + tracked.doubts
    made: dict[str, Any] = {"tempo": tempo, "error": error, "tracked": tracked.tempo, "doubts": doubts}
    return _Pace(times=times, steady=line is not None, **made)


@dataclass(frozen=True, slots=True)
class _Tracked:
    """Beats as the rises say them, at a window: their `times` (n,), their median `tempo`, by which `factors` it may be
    wrong, and the `doubts` besides."""

    times: np.ndarray
    tempo: float
    factors: tuple[float, ...] = ()
    doubts: tuple[str, ...] = ()


def _track(heard: Heard, bpm: float | None) -> _Tracked | None:
    """Follow the beat through the rises, if there is one; that of `bpm` if it is given."""
    if len(heard.onsets) < 8:
        return None
    rate = 1 / (heard.times[1] - heard.times[0])
    rises = _sharpened(heard.onsets + BASS * heard.bass, rate)
    if rises.std() < 1e-6:
        return None
    rises /= rises.std()
    tempos, scores = _tempogram(rises, rate)
    liked = scores - PRIOR / 2 * (np.log2(tempos / USUAL) / OCTAVES) ** 2
    chosen = _smoothest(liked)
    at = np.arange(len(rises)) / rate
    heard_tempos = np.interp(at, np.arange(len(chosen)) * HOP, tempos[chosen]) if bpm is None else np.full(len(at), bpm)
    times = _path(rises, 60 * rate / heard_tempos) / rate
    if len(times) < 4:
        return None
    if bpm is not None:
        return _Tracked(times, bpm)
    clarity = float(np.median(scores[np.arange(len(chosen)), chosen]))
    if not _is_beat(heard, times, clarity):
        return None
    tempo = float(np.median(tempos[chosen]))
    return _Tracked(times, tempo, _octaves(liked, chosen), ("hard to hear",) if clarity < CLEAR else ())


def _sharpened(rises: np.ndarray, rate: float) -> np.ndarray:
    """The rises above their mean over a second, a little smoothed."""
    length = max(3, round(rate))
    edges = np.clip(np.arange(len(rises))[:, None] + [-(length // 2), length // 2 + 1], 0, len(rises))
    mean = np.diff(np.concatenate([[0.0], np.cumsum(rises)])[edges], axis=1)[:, 0] / np.diff(edges, axis=1)[:, 0]
    kernel = np.hanning(7)[1:-1]
    return np.convolve(np.maximum(rises - mean, 0), kernel / kernel.sum(), "same")


def _tempogram(rises: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Tempos (k,), and how well each explains the windows around every second, (n, k), at most 1: the mean of the
    autocorrelation at a beat and its multiples."""
    tempos = 2 ** np.arange(np.log2(SLOWEST), np.log2(FASTEST), 1 / STEPS)
    length = min(len(rises), round(WINDOW * rate))
    lags, whole = 60 * rate / tempos, np.arange(length)
    scores = []
    for second in np.arange(0.0, len(rises) / rate, HOP):
        first = int(np.clip(second * rate - length // 2, 0, len(rises) - length))
        part = rises[first : first + length] - rises[first : first + length].mean()
        alike = np.fft.irfft(np.abs(np.fft.rfft(part, 2 * length)) ** 2)[:length] / (1 - whole / length)
        total, weights = np.zeros(len(tempos)), np.full(len(tempos), 1e-12)
        for number, weight in MULTIPLES:
            inside = number * lags < 0.8 * length
            total += weight * inside * np.interp(number * lags, whole, alike)
            weights += weight * inside
        scores.append(total / weights / max(float(alike[0]), 1e-12))
    return tempos, np.array(scores)


def _smoothest(scores: np.ndarray) -> np.ndarray:
    """The column of each row (n, k) on the best way through them, on which a change costs."""
    number = np.arange(scores.shape[1])
    costs = CHANGE / STEPS * np.abs(number[:, None] - number)
    best, before = scores[0], []
    for row in scores[1:]:
        ways = best[:, None] - costs
        before.append(ways.argmax(0))
        best = ways.max(0) + row
    chosen = [int(best.argmax())]
    for each in reversed(before):
        chosen.append(int(each[chosen[-1]]))
    return np.array(chosen[::-1])


def _path(rises: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """The windows of the beats: the path of the largest sum of rises (n,), from which the square of the logarithm of
    each gap over the wanted one, `gaps` (n,), is taken away."""
    scores, before = rises.copy(), np.full(len(rises), -1)
    logs = np.log(np.arange(1, 2 * int(gaps.max()) + 4))  # of 1, 2, … windows
    for at, gap in enumerate(gaps.tolist()):
        first, last = max(0, at - int(2 * gap)), at - int(gap / 2)
        if last <= first:
            continue
        ways = scores[first:last] - TIGHTNESS * (logs[at - last : at - first][::-1] - np.log(gap)) ** 2
        best = int(ways.argmax())
        if ways[best] > 0:
            scores[at] += ways[best]
            before[at] = first + best
    tail = max(1, int(1.2 * gaps[-1]))
    at = len(scores) - tail + int(scores[-tail:].argmax()) if tail < len(scores) else int(scores.argmax())
    beats = []
    while at >= 0:
        beats.append(at)
        at = int(before[at])
    return np.array(beats[::-1])


def _is_beat(heard: Heard, times: np.ndarray, clarity: float) -> bool:
    """Tell whether times are beats, and not what a path finds in any sound.

    In a drone hardly any window rises. Where the sound doesn't repeat, beats may still be there, of a player who takes
    his time: then they have hits, and similar gaps from one to the next; the gaps of speech vary.
    """
    if np.percentile(_strongest(heard.onsets, heard, times), 75) < FAINT:
        return False
    hits = _hits(heard, times)
    found = ~np.isnan(hits)
    gaps = np.diff(np.where(found, hits, times))
    uneven = np.percentile(np.abs(np.diff(gaps)), 80) / np.median(gaps)
    return clarity >= CLEAR or (found.mean() >= FEW and uneven <= UNEVEN)


def _octaves(liked: np.ndarray, chosen: np.ndarray) -> tuple[float, ...]:
    """The factors, 0.5 and 2, by which more or fewer beats are liked nearly as well."""
    rows = np.arange(len(chosen))
    own = liked[rows, chosen].mean()
    found = []
    for step, factor in ((-STEPS, 0.5), (STEPS, 2.0)):
        other = chosen + step
        if other.min() >= 0 and other.max() < liked.shape[1] and own - liked[rows, other].mean() < ALIKE:
            found.append(factor)
    return tuple(found)


def _off_beats(heard: Heard, times: np.ndarray) -> tuple[str, ...]:
    """The doubt, in words, that beats are half a beat late or early, if the sound rises as much between them."""
    if len(times) < 4:
        return ()
    between = (times[:-1] + times[1:]) / 2
    for curve in (heard.onsets, heard.bass):
        on, off = (_strongest(curve, heard, at).mean() for at in (times, between))
        if off < (1 - ALIKE) * on:
            return ()
    return ("or half a beat later",)


def _strongest(curve: np.ndarray, heard: Heard, times: np.ndarray) -> np.ndarray:
    """The largest value of a curve (m,) of windows within three windows of each of the `times` (n,)."""
    windows = np.searchsorted(heard.times, times)
    return np.array([curve[max(0, at - 3) : at + 4].max(initial=0.0) for at in windows])


def _rises(heard: Heard) -> np.ndarray:
    """Compute the rise of the energy of hits at each millisecond: the logarithm of the 5 ms from there over the 20
    before, weighted by its amplitude."""
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


def _evenly(start: float, gap: float, seconds: float) -> np.ndarray:
    """All beats of a steady tempo in a clip; one that is cut off by a hair is at its beginning."""
    first = start - gap * np.floor((start + NEAR / 1000) / gap)
    return np.maximum(first + gap * np.arange(int(np.ceil((seconds - first) / gap))), 0.0)


def _phase(hits: np.ndarray, gap: float) -> tuple[float, float]:
    """A second at which hits agree that beats with a gap fall, and how well they agree, from 0 to 1."""
    if len(hits) == 0:
        return 0.0, 0.0
    mean = np.exp(2j * np.pi * hits / gap).mean()
    start = float(np.angle(mean)) / (2 * np.pi) * gap
    late = (hits - start + gap / 2) % gap - gap / 2
    return start + float(np.median(late)), float(abs(mean))


def _steady(hits: np.ndarray, near: float) -> tuple[float, float, float] | None:
    """First beat, gap and what the gap may be wrong by, in seconds, of a tempo that most hits keep, if any, everywhere;
    its gap is about `near`, and beats without a hit have NaN."""
    least = max(4, STEADY * np.isfinite(hits).sum(), HEARD * len(hits))
    hits = hits[np.isfinite(hits)]
    if len(hits) < least:
        return None
    step = 0.1 / max(float(np.ptp(hits)), 1.0)  # Hz: a tenth of what the length resolves
    frequencies = np.arange((1 - TEMPO_RANGE) / near, (1 + TEMPO_RANGE) / near, step)
    strengths = [abs(np.exp(-2j * np.pi * each * hits).sum()) for each in frequencies]
    gap = 1 / float(frequencies[int(np.argmax(strengths))])
    start, _ = _phase(hits, gap)
    for _ in range(3):  # a line through the hits that are near it
        numbers = np.round((hits - start) / gap)
        residuals = hits - start - gap * numbers
        inside = np.abs(residuals - np.median(residuals)) <= NEAR / 1000
        if inside.sum() < least or np.ptp(numbers[inside]) == 0:
            return None
        (gap, start), covariance = np.polyfit(numbers[inside], hits[inside], 1, cov="unscaled")
    stretches = (numbers - numbers.min()).astype(int) // STRETCH
    counts = np.bincount(stretches)
    if (np.bincount(stretches, inside) < STEADY / 2 * counts)[counts >= 4].any():
        return None
    spread = float(np.std(hits[inside] - start - gap * numbers[inside]))
    attacks = ATTACKS / np.ptp(numbers[inside])
    return float(start), float(gap), float(np.hypot(2 * spread * np.sqrt(covariance[0, 0]), attacks))


def _from(times: np.ndarray, first_beat: float, seconds: float) -> np.ndarray:
    """Beats with the same gaps that begin at the given second: each lies at the same fraction between two of the
    `times`."""
    early, late = times[1] - times[0], times[-1] - times[-2]
    before = np.arange(int(max(0.0, times[0] - first_beat) / early) + 1, 0, -1)
    after = np.arange(1, int(max(seconds - times[-1], first_beat - times[-1], 0.0) / late) + 3)
    around = np.concatenate([times[0] - early * before, times, times[-1] + late * after])
    numbers = np.arange(len(around))
    place = float(np.interp(first_beat, around, numbers))
    moved = np.interp(np.arange(place, len(around) - 1), numbers, around)
    return np.concatenate([[first_beat], moved[1:]])[: int((moved < seconds).sum())]


def _first_of_bar(heard: Heard, times: np.ndarray, beats_per_bar: int) -> int:
    """The number of the first beat that begins a bar."""
    if len(times) < 2 * beats_per_bar:
        return 0
    windows = np.searchsorted(heard.times, times)
    scores = _standardized(_strongest(heard.bass, heard, times))
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
