"""Motions: functions from time to a place between images. Every frame asks for its own time, so nothing adds up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from latentflow.base.surroundings import undisturbed
from latentflow.sound.hearing import BINS, Heard

Position = Callable[[np.ndarray], np.ndarray]  # of seconds (n,) of the clip
SILENT = 1e-9  # mean square of samples below which a stretch counts as silent: -90 dB
FIFTHS = 7  # semitones from each class to the next in the circle of fifths


@undisturbed
def frame_count(seconds: float, fps: float) -> int:
    """Count the frames that cover a sound: the last begins before it ends."""
    return max(1, int(np.ceil(seconds * fps - 1e-6)))


@undisturbed
def frame_seconds(frames: int, fps: float) -> np.ndarray:
    """The second (n,) at which each frame is shown, from its number alone."""
    return np.arange(frames) / fps


@undisturbed
def follow_energy(
    energy: np.ndarray,
    seconds: float,
    segments: int,
    *,
    marks: Sequence[float] = (),
    smooth: float = 0.0,
    sensitivity: float = 1.0,
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from seconds (n,) to positions (n,) in [0, segments], which rise with the energy (m,) of each
    millisecond.

    The share `sensitivity` of a stretch of the path is covered as its energy comes in, the rest evenly; a stretch that
    is silent is covered evenly. `marks` are the seconds at which the whole positions between 0 and `segments` are
    reached, segments - 1 of them; without them the path is one stretch. `smooth` spreads every millisecond over that
    many seconds after it, never before.
    """
    stops = np.array([0.0, *marks, seconds])
    goals = np.arange(segments + 1.0) if len(marks) else np.array([0.0, float(segments)])
    edges = np.arange(len(energy) + 1) / BINS
    covered = np.concatenate([[0.0], np.cumsum(_spread(energy, smooth))])
    at_stops = np.interp(stops, edges, covered)

    def position(time: np.ndarray) -> np.ndarray:
        time = np.clip(np.asarray(time, dtype=float), 0.0, seconds)
        stretch = np.clip(np.searchsorted(stops, time, side="right") - 1, 0, len(stops) - 2)
        begin, end = stops[stretch], stops[stretch + 1]
        evenly = (time - begin) / np.maximum(end - begin, 1e-12)
        total = at_stops[stretch + 1] - at_stops[stretch]
        heard = np.interp(time + 1 / BINS, edges, covered)  # the millisecond that begins now is heard now
        share = np.clip((heard - at_stops[stretch]) / np.maximum(total, 1e-30), 0.0, 1.0)
        is_silent = total <= SILENT * BINS * np.maximum(end - begin, 1 / BINS)
        moved = np.where(is_silent, evenly, sensitivity * share + (1 - sensitivity) * evenly)
        return goals[stretch] + (goals[stretch + 1] - goals[stretch]) * moved

    return position


def _spread(energy: np.ndarray, smooth: float) -> np.ndarray:
    """The energy with every millisecond spread over `smooth` seconds from there, falling linearly to zero."""
    length = round(smooth * BINS)
    if length < 2:
        return energy
    from scipy.signal import fftconvolve

    weights = np.arange(length, 0, -1, dtype=float)
    return np.maximum(fftconvolve(energy, weights / weights.sum())[: len(energy)], 0.0)


@undisturbed
def follow_times(
    times: np.ndarray, seconds: float, segments: int, *, every: int | None = None, loop: bool = False
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from seconds (n,) to positions (n,) in [0, segments], which are whole at some of the ascending `times`
    (m,), and move from each to the next slowly at both ends.

    Without `every` the path is walked once, and each position between its ends falls on one of the times, as evenly as
    they allow. With it every `every`-th time has the next position, from 0 at the first; the path goes back and forth
    or, with `loop`, around, and then comes back to 0 at the end. Where that is less than half a leg after the
    last of these times, the last two legs share theirs. Without times it moves evenly.
    """
    inner = times[(times > 0) & (times < seconds)]
    if every is None:
        count = min(segments - 1, len(inner))
        chosen = np.round((np.arange(1, count + 1)) * (len(inner) + 1) / (count + 1)).astype(int) - 1
        stops = np.array([0.0, *inner[chosen], seconds])
        goals = np.linspace(0, segments, len(stops))  # whole numbers, unless there are fewer times than images
    else:
        stops = times[(times >= 0) & (times < seconds)][::every]
        if len(stops) > 1 and not loop:  # on its way to the next when the sound ends
            stops = np.append(stops, max(2 * stops[-1] - stops[-2], seconds))
        goals = np.arange(float(len(stops)))
        if len(stops) == 0 or loop:
            around = segments if loop else 1
            legs = max(around, (len(stops) // around) * around)
            stops = np.append(stops[:legs], seconds)
            if len(stops) > 2 and seconds - stops[-2] < (stops[-2] - stops[-3]) / 2:  # the sound ends soon after a beat
                stops[-2] = (stops[-3] + seconds) / 2  # which would be a jump: the last two legs share their time
            goals = np.arange(float(len(stops))) if len(stops) == legs + 1 else np.linspace(0, legs, len(stops))
    if len(stops) < 2:
        stops, goals = np.array([0.0, seconds]), np.array([0.0, float(segments)])

    def position(time: np.ndarray) -> np.ndarray:
        time = np.asarray(time, dtype=float)
        place = np.clip(np.searchsorted(stops, time, side="right") - 1, 0, len(stops) - 2)
        part = np.clip((time - stops[place]) / np.maximum(stops[place + 1] - stops[place], 1e-12), 0.0, 1.0)
        eased = part * part * (3 - 2 * part) if len(times) else part
        return folded(goals[place] + (goals[place + 1] - goals[place]) * eased, segments, loop=loop)

    return position


def folded(position: np.ndarray, segments: int, *, loop: bool) -> np.ndarray:
    """Positions beyond a path's end, brought back to [0, segments]: around a loop, else back and forth."""
    if loop:
        return np.where(position == segments, segments, np.mod(position, segments))
    turned = np.mod(position, 2 * segments)
    return np.where(turned > segments, 2 * segments - turned, turned)


def chroma_weights(
    heard: Heard, images: int, *, smooth: float = 0.0, sensitivity: float = 1.0
) -> Callable[[float], np.ndarray]:
    """The weights (images,) of the images at a second, which add up to 1.

    The circle of fifths, C G D A …, is dealt to the images in equal parts, in their order; an image's weight is the sum
    of the squared strengths of its classes. The share 1 - `sensitivity` goes to all images alike, and so does
    everything in silence. `smooth` spreads each window over that many seconds after it.
    """
    assert heard.chroma is not None
    owner = np.empty(12, int)
    owner[(FIFTHS * np.arange(12)) % 12] = np.arange(12) * images // 12
    weights = np.zeros((len(heard.times), images))
    for pitch_class in range(12):
        weights[:, owner[pitch_class]] += heard.chroma[:, pitch_class] ** 2
    gap = heard.times[1] if len(heard.times) > 1 else 1.0
    length = round(smooth / gap)
    if length > 1:
        kernel = np.arange(length, 0, -1, dtype=float)
        weights = np.stack([np.convolve(each, kernel / kernel.sum())[: len(each)] for each in weights.T], 1)
    total = weights.sum(1, keepdims=True)
    weights = np.where(total > 1e-9, weights / np.maximum(total, 1e-9), 1 / images)
    weights = sensitivity * weights + (1 - sensitivity) / images

    def at(second: float) -> np.ndarray:
        found = np.array([np.interp(second, heard.times, column) for column in weights.T])
        return found / found.sum()

    return at
