"""A figure of what was heard: the waveform with its beats, where the frames are, and the notes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from latentflow.pictures.figure import new_figure, write_below
from latentflow.sound.hearing import BINS
from latentflow.sound.midi import PITCH_CLASSES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from latentflow.sound.beats import Beats
    from latentflow.sound.hearing import Heard
    from latentflow.sound.midi import Note

WIDTH, PANEL = 10.0, 2.0  # inches
COLUMNS = 2000  # of the waveform


def draw_heard(
    times: np.ndarray,
    *,
    names: Sequence[str] = (),
    positions: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    label: str = "position",
    heard: Heard | None = None,
    beats: Beats | None = None,
    notes: Sequence[Note] = (),
    offset: float = 0.0,
    finding: str = "",
) -> Figure:
    """Panels over the same seconds: the waveform, with beats and bars as lines; the pitch classes, where they were
    heard; the `notes`, which begin at second `offset`; and the `positions` (n,) of the frames at `times` (n,) between
    the images `names`, or their `weights` (n, images)."""
    chroma = heard is not None and heard.chroma is not None
    panels = [heard is not None, chroma, bool(notes), True]
    figure = new_figure(WIDTH, PANEL * sum(panels) + 0.6)
    axes = iter(figure.subplots(sum(panels), 1, sharex=True, squeeze=False)[:, 0])
    seconds = heard.seconds if heard is not None else float(times[-1])
    if heard is not None:
        _draw_waveform(next(axes), heard, beats)
    if chroma:
        _draw_chroma(next(axes), heard)
    if notes:
        _draw_notes(next(axes), notes, offset)
    last = next(axes)
    if positions is not None:
        last.plot(times, positions, color="tab:blue", linewidth=1, label="frames")
        if names:
            last.set_yticks(range(len(names)), list(names))
            for place in range(len(names)):
                last.axhline(place, color="0.85", linewidth=0.8, zorder=0)
    elif weights is not None:
        last.stackplot(times, weights.T, labels=list(names))
        last.legend(loc="upper right", fontsize=8)
        last.set_ylim(0, 1)
    last.set(xlabel="seconds", ylabel=label, xlim=(0, seconds))
    write_below(figure, finding)
    return figure


def _draw_waveform(axes: Any, heard: Heard, beats: Beats | None) -> None:
    step = max(1, len(heard.waveform) // COLUMNS)
    starts = np.arange(0, len(heard.waveform), step)
    low = np.minimum.reduceat(heard.waveform[:, 0], starts)
    high = np.maximum.reduceat(heard.waveform[:, 1], starts)
    axes.fill_between(starts / BINS, low, high, color="0.6", linewidth=0, label="waveform", step="post")
    loudest = float(heard.percussive.max())
    if loudest > 0:
        hits = np.sqrt(np.maximum.reduceat(heard.percussive, starts) / loudest)
        height = max(float(high.max()), 1e-6)
        axes.plot(starts / BINS, hits * height, color="tab:orange", linewidth=0.8, label="hits")
    if beats is not None:
        for kind, times, color, width in (
            ("beats", beats.times, "tab:blue", 0.5),
            ("bars", beats.bars, "tab:red", 1.0),
        ):
            axes.vlines(times, 0, 1, transform=axes.get_xaxis_transform(), color=color, linewidth=width, label=kind)
    axes.set(ylabel="sound")
    axes.legend(loc="upper right", fontsize=8)


def _draw_chroma(axes: Any, heard: Any) -> None:
    edge = float(heard.times[-1]) if len(heard.times) > 1 else 1.0
    axes.imshow(heard.chroma.T, aspect="auto", origin="lower", extent=(0, edge, -0.5, 11.5), cmap="magma")
    axes.set_yticks(range(12), PITCH_CLASSES, fontsize=6)
    axes.set(ylabel="pitch class")


def _draw_notes(axes: Any, notes: Sequence[Note], offset: float) -> None:
    starts = [note.start + offset for note in notes]
    lengths = [note.stop - note.start for note in notes]
    loudness = [0.3 + 0.7 * note.velocity / 127 for note in notes]
    colors = [(0.12, 0.47, 0.71, alpha) for alpha in loudness]
    axes.barh([note.pitch for note in notes], lengths, left=starts, height=0.8, color=colors)
    axes.set(ylabel="MIDI note")
