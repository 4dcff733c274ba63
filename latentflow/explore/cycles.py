"""`cycles`: what repeated round trips through an autoencoder do to a picture, by its encoder alone and refined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from latentflow.base.errors import InputError
from latentflow.base.options import counted
from latentflow.base.pixels import to_uint8
from latentflow.base.records import Record
from latentflow.base.session import Session
from latentflow.explore.config import CyclesConfig
from latentflow.explore.to_latents import refined
from latentflow.inversion.metrics import psnr
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.figure import check_figure_path, drawn_figure, new_figure, save_figure
from latentflow.pictures.files import check_image, fit, to_tensor
from latentflow.runs.job import Files, Job, Report, Stages, run_job
from latentflow.sinks.config import OUTPUT_SUFFIXES
from latentflow.sinks.frames import check_frames_path, frame_options

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALONE, REFINED = "encoder alone", "refined"
COLORS = {ALONE: "#b3261e", REFINED: "#1b5e9b"}
PICTURE_INCHES = 4.0
CURVE_INCHES = 2.6
FIGURE_OPTIONS = ("fps", "hold", "loop")  # which a figure doesn't have


@dataclass(frozen=True, kw_only=True)
class Cycle(Record):
    """The pictures after `index` round trips, by name, each (1, 3, h, w) of 8-bit values in [0, 1], and the PSNR in dB
    against the original after each round trip so far, by name."""

    pictures: dict[str, Tensor]
    psnr: dict[str, list[float]]


def round_trips(autoencoder: Autoencoder, original: Tensor, config: CyclesConfig, session: Session) -> Iterator[Cycle]:
    """Encode and decode a picture (1, 3, h, w) in [0, 1] `count` times, by the encoder alone and refined as the options
    say. Between two round trips pictures are clamped and rounded to 8 bits."""
    pictures = {ALONE: original, REFINED: original}
    rows: dict[str, list[float]] = {ALONE: [], REFINED: []}
    yield Cycle(index=0, total=config.count, pictures=dict(pictures), psnr={name: [] for name in rows})
    for index in range(1, config.count + 1):
        for name, picture in pictures.items():
            with torch.no_grad():
                latent = (
                    autoencoder.encode(picture) if name == ALONE else refined(autoencoder, picture, config, session)[0]
                )
                decoded = autoencoder.decode(latent, (picture.shape[-2], picture.shape[-1]))
            pictures[name] = (decoded.clamp(0, 1) * 255).round() / 255
            rows[name].append(float(psnr(pictures[name], original)[0]))
        shown = {name: list(values) for name, values in rows.items()}
        yield Cycle(index=index, total=config.count, pictures=dict(pictures), psnr=shown)


def draw_cycle(cycle: Cycle, original: Tensor, autoencoder: str = "") -> Figure:
    """The figure of a record: the original and both pictures in a row, and their PSNR over the round trips, under the
    name of the `autoencoder`. Raises
    `MissingPackageError` without matplotlib."""
    height, width = original.shape[-2:]
    tall = PICTURE_INCHES * min(1.5, height / width)
    figure = new_figure(3 * PICTURE_INCHES, tall + 0.8 + CURVE_INCHES)
    parts: Any = figure.subfigures(2, 1, height_ratios=(tall + 0.8, CURVE_INCHES))
    above, below = parts
    places = above.subplots(1, 3)
    _draw_picture(places[0], to_uint8(original), "original", "")
    trips = f"after {counted(cycle.index, 'round trip')}"
    for axes, (name, picture) in zip(places[1:], cycle.pictures.items()):
        figures = f"{cycle.psnr[name][-1]:.2f} dB" if cycle.psnr[name] else ""
        _draw_picture(axes, to_uint8(picture), f"{name}, {trips}", figures)
    _draw_curve(below.subplots(), cycle)
    if autoencoder:
        figure.suptitle(f"autoencoder: {autoencoder}", fontsize=11)
    return figure


def _draw_picture(axes: Axes, picture: np.ndarray, title: str, below: str) -> None:
    axes.imshow(picture)
    axes.set_title(title, fontsize=11)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(below, fontsize=13)


def _draw_curve(axes: Axes, cycle: Cycle) -> None:
    for name, values in cycle.psnr.items():
        axes.plot(range(1, len(values) + 1), values, "o-", color=COLORS[name], label=name, markersize=4)
    axes.set(xlim=(0.5, cycle.total + 0.5), xlabel="round trips", ylabel="PSNR, dB")
    axes.legend(loc="lower left", fontsize=9)
    axes.grid(alpha=0.3)


def run_cycles(sources: Sequence[str], config: CyclesConfig, session: Session) -> Report:
    """Send a picture, the one source, through repeated round trips and draw them; raises `LatentflowError` as its parts
    do."""
    return run_job(Stages(check=_check, make=_make), sources, config, session)


def _check(sources: Sequence[str], config: CyclesConfig) -> Files:
    (source,) = sources
    check_image(Path(source).expanduser(), "The image", config.max_pixels)
    output = Path(config.output_path).expanduser()
    if output.suffix.lower() in OUTPUT_SUFFIXES:
        check_frames_path(output, **frame_options(config))
    else:
        check_figure_path(output)
        if given := config.changed(*FIGURE_OPTIONS):
            raise InputError(f"`{given[0]}` would have no effect on a figure.", "Name a .gif or .mp4, or leave it out.")
    return Files(outputs=[output], inputs=sources, shown={"image": source})


def _make(job: Job[CyclesConfig]) -> None:
    config, report = job.config, job.report
    picture = fit(job.reader.read(Path(job.sources[0]).expanduser(), "The image"), config.size, config.fit)
    original = to_tensor(picture).to(job.autoencoder.device)
    last: list[Cycle] = []

    def kept() -> Iterator[Cycle]:
        for cycle in round_trips(job.autoencoder, original, config, job.session):
            last[:] = [cycle]
            yield cycle

    def draw(cycle: Cycle) -> np.ndarray:
        return drawn_figure(draw_cycle(cycle, original, job.autoencoder.name))

    if job.output.suffix.lower() in OUTPUT_SUFFIXES:
        job.write_frames(job.output, kept(), config.count, describe, draw=draw)
    else:
        for _ in job.session.watch(kept(), "no figure is written"):
            pass
        save_figure(draw_cycle(last[0], original, job.autoencoder.name), job.output)
    report.figures |= {"round_trips": last[0].index, "psnr": last[0].psnr}
    report.lines = [
        f"psnr     {name}: {values[0]:.2f} dB after 1 round trip, {values[-1]:.2f} dB after {len(values)}"
        for name, values in last[0].psnr.items()
        if values
    ]


def describe(cycle: Cycle) -> str:
    """What a meter shows of a record."""
    return ", ".join(f"{name} {values[-1]:.2f} dB" for name, values in cycle.psnr.items() if values)
