"""The analysis of a sound: its energy, the energy of its hits, and the curves that beats and pitch classes are found
from.

A sound is read once, block by block, so memory grows only by the values that are kept of each millisecond.

Hits are separated from tones in the short-time spectrum, a picture of frequencies over time. A tone is a horizontal
line there: it keeps its frequency for many windows. A hit is a vertical line: it lasts a few windows and covers many
frequencies. A median over time keeps tones and removes hits, because a hit is an outlier among its neighbors in time; a
median over frequencies does the reverse. The squares of both medians then share each value between tones and hits. The
share of the hits is transformed back to samples, so that their energy is known for every millisecond and not only for
every window. Both steps need neighbors: the medians `MEDIAN` // 2 windows on each side, overlapping windows `OVERLAP`
more. So windows are transformed in groups with that much context around them, and no result depends on where a group
ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from latentflow.base.surroundings import undisturbed
from latentflow.sound.reading import Clip, SoundReader, cut, go_on, nothing_there

BINS = 1000  # per second, of the curves
WINDOW_SECONDS = 0.046  # of the short-time Fourier transform, rounded to a power of two of samples
OVERLAP = 4  # windows over each sample
MEDIAN = 17  # frames, or frequencies, of the median filters that separate hits from tones
GROUP = 1024  # frames that are transformed together, of one channel
BAND = 55.0  # mel of a band, about 64 of them up to 16 kHz
HIGHEST_HZ = 16_000.0
BASS_HZ = 150.0
RANGE = 80.0  # dB below the loudest band that count as silence
LOWEST_A = 27.5  # Hz, of a piano
LOUDEST_OCTAVE = 5  # above it: that of 880 Hz counts most for the pitch classes
PITCH_WINDOWS = 4  # of the usual windows in one that tells the pitches of low notes apart


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Heard:
    """The analysis of a `clip`.

    Every millisecond has its `energy` (n,), the mean square of its samples, that of hits, `percussive` (n,), and its
    lowest and highest sample, `waveform` (n, 2). Every window, at `times` (m,) seconds of the clip, has the rise of the
    spectrum, `onsets` (m,), and of its bass, `bass` (m,), as means over bands of equal width to the ear, in dB from the
    window before, and the strengths of the twelve pitch classes from C, `chroma` (m, 12), in [0, 1], if they were asked
    for.
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
        """The length of the clip."""
        return self.clip.seconds


@undisturbed
def listen(
    path: str | PathLike[str],
    begin: float = 0.0,
    end: float | None = None,
    *,
    margin: float = 1.0,
    pitches: bool = False,
    option: str = "audio",
    check: Callable[[], object] = go_on,
) -> Heard:
    """Listen to a sound file, in any format that ffmpeg decodes, from second `begin` to second `end`, or to its end.

    Median filters separate hits from tones (Fitzgerald, 2010): hits are short and wide in the spectrum, tones long and
    narrow. A value of the spectrogram belongs to hits by the share p² / (p² + (margin · h)²), where p is its median
    over frequencies and h its median over time. `pitches` finds the pitch classes too. `check` is called now and
    then, and may raise. Raises `InputError` for a file that can't be read and for a part that holds nothing,
    `MissingPackageError` without ffmpeg.
    """
    path = Path(path).expanduser()
    with SoundReader(path, option) as reader:
        first, last = round(begin * reader.rate), None if end is None else round(end * reader.rate)
        analysis = _Analysis(reader.rate, reader.channels, margin, pitches)
        for block in cut(reader.blocks(), first, last):
            check()
            analysis.add(block)
        analysis.finish()
    if analysis.count == 0:
        raise nothing_there(path, begin, option)
    return analysis.heard(Clip(path, reader.rate, reader.channels, first, first + analysis.count, reader.damage))


class _Analysis:
    """The analysis of samples as they come."""

    def __init__(self, rate: int, channels: int, margin: float, pitches: bool) -> None:
        self.rate, self.margin = rate, margin
        self.size = 1 << max(6, round(np.log2(rate * WINDOW_SECONDS)))
        self.hop = self.size // OVERLAP
        self.window = np.hanning(self.size + 1)[:-1].astype(np.float32)
        self.count = 0
        self.energy, self.hits = _Bins(rate), _Bins(rate)
        self.extremes: list[np.ndarray] = []
        self.waiting = np.zeros((0, 2), np.float32)  # samples of an unfinished millisecond
        self.bank = mel_bank(rate, self.size)
        self.levels: list[np.ndarray] = []  # dB of each band, at half precision: 12 minutes are 8 MB
        self.pitches = _Pitches(rate, channels, self.size * PITCH_WINDOWS, self.hop) if pitches else None
        # the first frame is centered on the first sample; context before the first frame is silence
        self.context = MEDIAN // 2 + OVERLAP
        self.samples = np.zeros((self.context * self.hop + self.size // 2, channels), np.float32)
        self.group = max(64, GROUP // channels)  # frames transformed together: many channels take no more memory
        self.frames = 0  # that are finished

    def add(self, block: np.ndarray) -> None:
        """Take samples (n, channels)."""
        self._measure(block)
        self.count += len(block)
        if self.pitches:
            self.pitches.add(block)
        self.samples = np.concatenate([self.samples, block])
        while len(self.samples) >= (self.group + 2 * self.context) * self.hop + self.size:
            self._transform(self.group)

    def _measure(self, block: np.ndarray) -> None:
        """Energy and extremes of each millisecond."""
        self.energy.add((block.astype(np.float64) ** 2).mean(1))
        both = np.stack([block.min(1), block.max(1)], 1)
        both = np.concatenate([self.waiting, both])
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
        """Transform the next frames and move on; the context of the frames is there.

        The medians are taken of the energy of all channels together. Each channel is transformed back alone: where two
        are out of phase, their mean would be silence.
        """
        around = self.context
        length = (frames + 2 * around - 1) * self.hop + self.size
        windows = np.lib.stride_tricks.sliding_window_view(self.samples[:length].T, self.size, axis=1)
        spectra = [np.fft.rfft(each[:: self.hop] * self.window, axis=1).astype(np.complex64) for each in windows]
        power = np.mean([each.real**2 + each.imag**2 for each in spectra], axis=0)
        size = np.sqrt(power)
        tones, hits = medians(size, 0), medians(size, 1)
        tones *= self.margin
        share = hits**2 / np.maximum(hits**2 + tones**2, np.finfo(np.float32).tiny)
        self.hits.add(np.mean([self._resynthesized(each * share, frames) for each in spectra], axis=0))
        bands = power[around : around + frames] @ self.bank
        self.levels.append((10 * np.log10(np.maximum(bands / self.size**2, 1e-16))).astype(np.float16))
        self.samples = self.samples[frames * self.hop :]
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
        silence = (2 * self.context + self.group) * self.hop + self.size
        self.samples = np.pad(self.samples, ((0, silence), (0, 0)))
        while left > 0:
            step = min(left, self.group)
            self._transform(step)
            left -= step
        if self.pitches:
            self.pitches.finish()

    def _rises(self) -> tuple[np.ndarray, np.ndarray]:
        """The rises of all bands and of those of the bass."""
        floor = max(float(each.max()) for each in self.levels) - RANGE
        centers = (self.bank * np.arange(len(self.bank))[:, None]).sum(0) / self.bank.sum(0) * self.rate / self.size
        bass = np.maximum(np.arange(len(centers)) < 2, centers < BASS_HZ)
        onsets, low = [], []
        last = np.full(len(centers), floor, np.float32)
        for some in self.levels:
            levels = np.maximum(np.concatenate([last[None], some.astype(np.float32)]), floor)
            rise = np.maximum(np.diff(levels, axis=0), 0)
            onsets.append(rise.mean(1))
            low.append(rise[:, bass].mean(1))
            last = levels[-1]
        return np.concatenate(onsets), np.concatenate(low)

    def heard(self, clip: Clip) -> Heard:
        """Return the result of the analysis."""
        bins = -(-self.count * BINS // self.rate)
        if self.waiting.size:
            self.extremes.append(np.array([[self.waiting[:, 0].min(), self.waiting[:, 1].max()]]))
        waveform = np.concatenate([*self.extremes, np.zeros((bins, 2), np.float32)])[:bins]
        onsets, bass = self._rises()
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


def mel_bank(rate: int, size: int) -> np.ndarray:
    """Triangular weights (frequencies, bands) of the bins of a transform of `size` samples, in bands with centers that
    are equally far apart to the ear; each is at least one bin wide."""
    top = 2595 * np.log10(1 + min(HIGHEST_HZ, rate / 2) / 700)
    edges = 700 * (10 ** (np.linspace(0, top, max(4, round(top / BAND)) + 2) / 2595) - 1) * size / rate
    bins = np.arange(size // 2 + 1)[:, None]
    centers = edges[1:-1]
    rising = (bins - centers) / np.maximum(centers - edges[:-2], 1) + 1
    falling = (centers - bins) / np.maximum(edges[2:] - centers, 1) + 1
    return np.maximum(np.minimum(rising, falling), 0).astype(np.float32)


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
    """Means over milliseconds of a value that each sample has."""

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


def chroma_bank(rate: int, size: int) -> np.ndarray:
    """Return the share (12, size // 2 + 1) that each pitch class, from C to B, has in each frequency of a spectrum of
    `size` samples at `rate` Hz.

    A frequency belongs to the classes beside it by a bell curve, as wide as a bin is in semitones, at least one. High
    and low octaves count less (Ellis, Chroma Feature Analysis and Synthesis, 2007). The values are those of librosa's
    `filters.chroma` at standard pitch; its first import compiles code for 17 seconds, and these lines take a
    hundredth of one.
    """
    tones = 12 * np.log2(np.arange(1, size) * rate / size / LOWEST_A)
    tones = np.concatenate([[tones[0] - 18], tones])  # frequency 0 lies far below, and between two classes
    widths = np.append(np.maximum(np.diff(tones), 1), 1)
    apart = (tones - np.arange(12)[:, None] + 6) % 12 - 6
    bank = np.exp(-0.5 * (2 * apart / widths) ** 2)
    bank /= np.linalg.norm(bank, axis=0)
    bank *= np.exp(-0.5 * ((tones / 12 - LOUDEST_OCTAVE) / 2) ** 2)
    return np.roll(bank, -3, axis=0)[:, : size // 2 + 1].astype(np.float32)  # from C instead of A


class _Pitches:
    """The strengths of the pitch classes, from long windows."""

    def __init__(self, rate: int, channels: int, size: int, hop: int) -> None:
        self.size, self.hop = size, hop
        self.bank = chroma_bank(rate, size)
        self.window = np.hanning(size + 1)[:-1].astype(np.float32)
        self.samples = np.zeros((size // 2, channels), np.float32)
        self.found: list[np.ndarray] = []

    def add(self, block: np.ndarray) -> None:
        """Take samples (n, channels)."""
        self.samples = np.concatenate([self.samples, block])
        frames = (len(self.samples) - self.size) // self.hop + 1
        if frames <= 0:
            return
        views = np.lib.stride_tricks.sliding_window_view(self.samples, self.size, axis=0)[:: self.hop][:frames]
        for some in np.array_split(views, -(-len(views) // 64)):
            power = (np.abs(np.fft.rfft(some * self.window, axis=2)) ** 2).mean(1)
            self.found.append((power @ self.bank.T).astype(np.float32))
        self.samples = self.samples[frames * self.hop :]

    def finish(self) -> None:
        """Take silence after the last sample."""
        self.add(np.zeros((self.size, self.samples.shape[1]), np.float32))

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
