"""What is heard in a sound: its energy, that of its hits, and what beats and pitch classes are found from.

A sound is read once, block by block, so memory grows by what is kept of each millisecond alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from latentflow.sound.reading import Clip, SoundReader, cut, nothing_there

BINS = 1000  # a second, of the curves
WINDOW_SECONDS = 0.046  # of the short-time Fourier transform, rounded to a power of two of samples
OVERLAP = 4  # windows over each sample
MEDIAN = 17  # frames, or frequencies, of the median filters that separate hits from tones
GROUP = 1024  # frames that are transformed together
BASS_HZ = 150.0
PITCH_WINDOWS = 4  # of the usual windows in one that tells the pitches of low notes apart


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Heard:
    """What is heard in a `clip`.

    Every millisecond has its `energy` (n,), the mean square of its samples, that of hits, `percussive` (n,), and its
    lowest and highest sample, `waveform` (n, 2). Every window, at `times` (m,) seconds of the clip, has the rise of the
    spectrum, `onsets` (m,), that of its bass, `bass` (m,), and the strengths of the twelve pitch classes from C,
    `chroma` (m, 12), in [0, 1], if they were asked for.
    """

    clip: Clip
    energy: np.ndarray
    percussive: np.ndarray
    waveform: np.ndarray
    times: np.ndarray
    onsets: np.ndarray
    bass: np.ndarray
    chroma: np.ndarray | None

    @property
    def seconds(self) -> float:
        """How long the clip is."""
        return self.clip.seconds


def listen(
    path: str | PathLike[str],
    begin: float = 0.0,
    end: float | None = None,
    *,
    margin: float = 1.0,
    pitches: bool = False,
    option: str = "audio",
) -> Heard:
    """Listen to a sound file, in any format that ffmpeg decodes, from second `begin` to second `end`, or to its end.

    Hits are what is wide in the spectrum and short, told from tones by median filters (Fitzgerald, 2010): a value of
    the spectrogram belongs to them by the share p² / (p² + (margin · h)²) of its medians over frequencies, p, and over
    time, h. `pitches` finds the pitch classes too, which needs librosa. Raises `InputError` for a file that can't be
    read and for a part that holds nothing, `MissingPackageError` without ffmpeg or librosa.
    """
    path = Path(path).expanduser()
    with SoundReader(path, option) as reader:
        first, last = round(begin * reader.rate), None if end is None else round(end * reader.rate)
        analysis = _Analysis(reader.rate, margin, pitches)
        for block in cut(reader.blocks(), first, last):
            analysis.add(block)
        analysis.finish()
    if analysis.count == 0:
        raise nothing_there(path, begin, option)
    return analysis.heard(Clip(path, reader.rate, reader.channels, first, first + analysis.count))


class _Analysis:
    """The analysis of samples as they come."""

    def __init__(self, rate: int, margin: float, pitches: bool) -> None:
        self.rate, self.margin = rate, margin
        self.size = 1 << max(6, round(np.log2(rate * WINDOW_SECONDS)))
        self.hop = self.size // OVERLAP
        self.window = np.hanning(self.size + 1)[:-1].astype(np.float32)
        self.count = 0
        self.energy, self.hits = _Bins(rate), _Bins(rate)
        self.extremes: list[np.ndarray] = []
        self.waiting = np.zeros((0, 1), np.float32)  # samples of an unfinished millisecond
        self.onsets: list[np.ndarray] = []
        self.bass: list[np.ndarray] = []
        self.bass_bins = max(2, round(BASS_HZ * self.size / rate))
        self.pitches = _Pitches(rate, self.size * PITCH_WINDOWS, self.hop) if pitches else None
        # the first frame is centered on the first sample; context before the first frame is silence
        self.context = MEDIAN // 2 + OVERLAP
        self.mono = np.zeros(self.context * self.hop + self.size // 2, np.float32)
        self.frames = 0  # that are finished

    def add(self, block: np.ndarray) -> None:
        """Take samples (n, channels)."""
        self._measure(block)
        self.count += len(block)
        mono = block.mean(1)
        if self.pitches:
            self.pitches.add(mono)
        self.mono = np.concatenate([self.mono, mono])
        while len(self.mono) >= (GROUP + 2 * self.context) * self.hop + self.size:
            self._transform(GROUP)

    def _measure(self, block: np.ndarray) -> None:
        """Energy and extremes of each millisecond."""
        self.energy.add((block.astype(np.float64) ** 2).mean(1))
        both = np.stack([block.min(1), block.max(1)], 1)
        both = np.concatenate([self.waiting.reshape(-1, 2) if self.waiting.size else both[:0], both])
        at = self.count - (len(both) - len(block))
        edges = _edges(self.rate, at, at + len(both))
        if len(edges) > 1:
            starts = edges[:-1] - at
            complete = both[: edges[-1] - at]
            low = np.minimum.reduceat(complete[:, 0], starts)
            self.extremes.append(np.stack([low, np.maximum.reduceat(complete[:, 1], starts)], 1))
            both = both[edges[-1] - at :]
        self.waiting = both

    def _transform(self, frames: int) -> None:
        """Transform the next frames, whose context is there, and move on."""
        around = self.context
        length = (frames + 2 * around - 1) * self.hop + self.size
        windows = np.lib.stride_tricks.sliding_window_view(self.mono[:length], self.size)[:: self.hop]
        spectrum = np.fft.rfft(windows * self.window, axis=1).astype(np.complex64)
        size = np.abs(spectrum)
        tones, hits = medians(size, 0), medians(size, 1)
        tones *= self.margin
        share = hits**2 / np.maximum(hits**2 + tones**2, np.finfo(np.float32).tiny)
        self.hits.add(self._resynthesized(spectrum * share, frames))
        level = np.log1p(1000 / self.size * size[around - 1 : around + frames])
        rise = np.maximum(np.diff(level, axis=0), 0)
        self.onsets.append(rise.mean(1))
        self.bass.append(rise[:, 1 : self.bass_bins].mean(1))
        self.mono = self.mono[frames * self.hop :]
        self.frames += frames

    def _resynthesized(self, spectrum: np.ndarray, frames: int) -> np.ndarray:
        """The energy of the samples from the first frame's center to the next group's, by overlap and add."""
        parts = np.fft.irfft(spectrum, self.size, axis=1) * self.window
        total = np.zeros((len(parts) + OVERLAP - 1, self.hop))
        for place in range(OVERLAP):
            total[place : place + len(parts)] += parts[:, place * self.hop : (place + 1) * self.hop]
        samples = total.reshape(-1) / 1.5  # the sum of squared Hann windows that overlap four times
        begin = self.context * self.hop + self.size // 2
        return samples[begin : begin + frames * self.hop] ** 2

    def finish(self) -> None:
        """Transform what is left, as if silence followed."""
        if self.count == 0:
            return
        left = -(-self.count // self.hop) + 1 - self.frames
        self.mono = np.append(self.mono, np.zeros((2 * self.context + GROUP) * self.hop + self.size, np.float32))
        while left > 0:
            step = min(left, GROUP)
            self._transform(step)
            left -= step
        if self.pitches:
            self.pitches.finish()

    def heard(self, clip: Clip) -> Heard:
        """What was found."""
        bins = -(-self.count * BINS // self.rate)
        if self.waiting.size:
            self.extremes.append(np.array([[self.waiting[:, 0].min(), self.waiting[:, 1].max()]]))
        waveform = np.concatenate([*self.extremes, np.zeros((bins, 2), np.float32)])[:bins]
        onsets, bass = np.concatenate(self.onsets), np.concatenate(self.bass)
        return Heard(
            clip=clip,
            energy=self.energy.total(bins),
            percussive=self.hits.total(bins),
            waveform=waveform,
            times=np.arange(len(onsets)) * self.hop / self.rate,
            onsets=onsets,
            bass=bass,
            chroma=self.pitches.chroma(len(onsets)) if self.pitches else None,
        )


def medians(values: np.ndarray, axis: int, count: int = MEDIAN) -> np.ndarray:
    """The medians of `count` neighbors of each value (m, n) along an axis; edges are reflected."""
    from scipy.ndimage import median_filter

    rows = np.moveaxis(values, axis, 1)
    pad = count // 2
    extended = np.pad(rows, ((0, 0), (pad, pad)), mode="reflect" if rows.shape[1] > pad else "edge")
    # one long row: scipy has a faster filter for one dimension, and the padding keeps rows apart
    found = median_filter(np.ascontiguousarray(extended).ravel(), size=count).reshape(extended.shape)
    return np.ascontiguousarray(np.moveaxis(found[:, pad:-pad], 1, axis))


def _edges(rate: int, first: int, last: int) -> np.ndarray:
    """The first samples of the milliseconds that begin in samples `first` to `last`, both inclusive. Each is computed
    from its number, so that a rate that is no multiple of 1000 doesn't drift."""
    begin, end = -(-first * BINS // rate), last * BINS // rate
    edges = -(-np.arange(begin, end + 1, dtype=np.int64) * rate // BINS)
    return edges[(edges >= first) & (edges <= last)]


class _Bins:
    """Means of a value a sample over milliseconds."""

    def __init__(self, rate: int) -> None:
        self.rate, self.count = rate, 0
        self.sums: list[np.ndarray] = []
        self.open = 0.0  # the sum of an unfinished millisecond

    def add(self, values: np.ndarray) -> None:
        """Take values (n,) of the next samples."""
        edges = _edges(self.rate, self.count + 1, self.count + len(values)) - self.count
        covered = np.concatenate([[0.0], np.cumsum(values)])
        if len(edges):
            sums = np.diff(covered[edges], prepend=0.0)
            sums[0] += self.open
            self.sums.append(sums)
            self.open = 0.0
        self.open += covered[-1] - (covered[edges[-1]] if len(edges) else 0.0)
        self.count += len(values)

    def total(self, bins: int) -> np.ndarray:
        """The means (bins,) of all milliseconds."""
        return np.concatenate([*self.sums, [self.open], np.zeros(bins)])[:bins] * (BINS / self.rate)


class _Pitches:
    """The strengths of the pitch classes, from long windows."""

    def __init__(self, rate: int, size: int, hop: int) -> None:
        from latentflow.sound.beats import import_librosa

        librosa = import_librosa("`motion` chroma")
        self.size, self.hop = size, hop
        self.bank = librosa.filters.chroma(sr=rate, n_fft=size, tuning=0.0).astype(np.float32)  # (12, frequencies)
        self.window = np.hanning(size + 1)[:-1].astype(np.float32)
        self.mono = np.zeros(size // 2, np.float32)
        self.found: list[np.ndarray] = []

    def add(self, mono: np.ndarray) -> None:
        """Take samples (n,)."""
        self.mono = np.concatenate([self.mono, mono])
        frames = (len(self.mono) - self.size) // self.hop + 1
        if frames <= 0:
            return
        views = np.lib.stride_tricks.sliding_window_view(self.mono, self.size)[:: self.hop][:frames]
        for some in np.array_split(views, -(-len(views) // 64)):
            power = np.abs(np.fft.rfft(some * self.window, axis=1)) ** 2
            self.found.append((power @ self.bank.T).astype(np.float32))
        self.mono = self.mono[frames * self.hop :]

    def finish(self) -> None:
        """Take silence after the last sample."""
        self.add(np.zeros(self.size, np.float32))

    def chroma(self, frames: int) -> np.ndarray:
        """The strengths (frames, 12), relative to the strongest of each frame; 0 in silence."""
        found = np.concatenate(self.found)[:frames]
        found = np.pad(found, ((0, frames - len(found)), (0, 0)))
        # a hit is short, and has about as much of every class
        found = medians(found, 0, 2 * MEDIAN - 1)
        found = np.maximum(found - np.median(found, axis=1, keepdims=True), 0)
        strongest = found.max(1, keepdims=True)
        quiet = strongest <= 1e-6 * max(float(strongest.max()), 1e-9)
        return np.where(quiet, 0, found / np.maximum(strongest, 1e-30))
