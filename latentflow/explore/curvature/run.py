"""The curvature of a plane of the latent space, and a geodesic across it."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentflow.base.pixels import to_uint8
from latentflow.base.records import AnyRecord, Frame, Labeled
from latentflow.base.session import NOTHING_WRITTEN, Session
from latentflow.base.surroundings import undisturbed
from latentflow.explore.config import CurvatureConfig
from latentflow.explore.curvature.figure import DecodedPath, Lattice, draw_curvature, make_lattice, path_titles
from latentflow.explore.curvature.metric import (
    Curve,
    MetricAt,
    decode_curves,
    find_geodesic,
    gray_level_distance,
    measure_plane,
    plane_basis,
    straight_line,
)
from latentflow.latents.decode import decode_frames
from latentflow.latents.paths import frame_times, place_evenly, step_sizes
from latentflow.latents.planes import Plane, check_plane, make_plane
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.draw import LabeledDrawing
from latentflow.pictures.figure import check_figure_path, save_figure
from latentflow.runs.job import Files, Job, Report, Stages, frames_beside, moving, run_job
from latentflow.sinks import Collect, run_sinks
from latentflow.sinks.frames import check_frames_path, frame_options
from latentflow.sinks.progress import Progress

MEASURED = np.linspace(0, 1, 65)  # fractions of a path between which its length is measured
PICTURES_IN_STRIP = 13
HOLD = 1.5  # seconds that the ends of the paths stay
FLAT_FACTOR, FLAT_SAVING = 1.25, 0.02  # of areas and of lengths, below which a plane is called nearly flat
MIN_STEP = 1e-12  # gray levels; keeps ratios of speeds finite
UNITS = "pictures: gray levels (1/255), RMS; latents: standard deviations, RMS"


def path_ends(plane: Plane) -> tuple[tuple[float, float], tuple[float, float]]:
    """The coordinates that paths across a plane connect: its first two marks, or where there are fewer, its left and
    right edge."""
    if len(plane.marks) > 1:
        first, second, *_ = plane.marks.values()
        return first, second
    left, right, bottom, top = plane.extent
    middle = (bottom + top) / 2
    return (left, middle), (right, middle)


def project(plane: Plane, latents: Tensor) -> tuple[np.ndarray, float]:
    """The coordinates (n, 2) on a plane that are nearest to latents (n, c, rows, columns), and the largest distance of
    a latent from the plane in standard deviations, RMS."""
    offsets = latents - plane.origin
    x, y = ((offsets * axis).mean((1, 2, 3), keepdim=True) for axis in (plane.across, plane.up))
    away = offsets - x * plane.across - y * plane.up
    return torch.cat([x, y], 1).flatten(1).cpu().numpy(), float(away.square().mean((1, 2, 3)).sqrt().max())


@undisturbed
def measure_path(autoencoder: Autoencoder, plane: Plane, curve: Curve, session: Session | None = None) -> DecodedPath:
    """Decode a curve, measure its length in pictures, and take pictures at equal distances along it."""

    def decode(fractions: np.ndarray) -> Iterator[Frame]:
        frames = decode_curves(autoencoder, [curve], [fractions], plane.size)
        return (session or Session()).watch(frames, NOTHING_WRITTEN)

    steps = step_sizes(decode(MEASURED), gray_level_distance)
    even = place_evenly(MEASURED, steps, frame_times(PICTURES_IN_STRIP))
    return DecodedPath(
        places=project(plane, _latents(curve))[0],
        steps=np.array(steps),
        pictures=[to_uint8(frame.image) for frame in decode(even)],
    )


def compare_paths(
    plane: Plane, curves: Mapping[str, Curve], paths: Mapping[str, DecodedPath], chord: float
) -> dict[str, Any]:
    """Figures of the paths "straight" and "geodesic" as plain values: lengths in gray levels, distance from the plane,
    RMS of the latents, and how much of the detour over the `chord`, the distance of the pictures at their ends, the
    geodesic saves."""
    figures: dict[str, Any] = {"ends": path_ends(plane), "chord": chord}
    for name, curve in curves.items():
        latents, steps = _latents(curve), paths[name].steps
        rms = latents.square().mean((1, 2, 3)).sqrt()
        figures[name] = {
            "length": paths[name].length,
            "speed_ratio": float(steps.max() / max(steps.min(), MIN_STEP)),
            "off_plane": project(plane, latents)[1],
            "latent_rms": {"least": float(rms.min()), "largest": float(rms.max())},
        }
    before, after = paths["straight"].length, paths["geodesic"].length
    detour = before - chord
    figures["ratio"] = after / before if before else 1.0
    figures["detour_saved"] = (before - after) / detour if detour > 0 else 0.0
    return figures


def _latents(curve: Curve) -> Tensor:
    return curve(torch.from_numpy(MEASURED).to(curve.start))


def run_curvature(sources: Sequence[str], config: CurvatureConfig, session: Session) -> Report:
    """Measure a plane, find a geodesic across it, draw both; raises `LatentflowError` as the parts do."""
    return run_job(Stages(check=_check, make=_make), sources, config, session)


def _check(sources: Sequence[str], config: CurvatureConfig) -> Files:
    around = config.changed("reach", "seed") if config.subspace == 2 else config.changed("reach")
    check_plane(sources, latent_of=config.latent_of, max_pixels=config.max_pixels, around=around)
    output = Path(config.output_path).expanduser()
    frames = frames_beside(output, config.sweep)
    check_figure_path(output)
    check_frames_path(frames, **frame_options(config))
    return Files(outputs=[output, *moving(frames)], inputs=sources, shown={"plane": list(sources)})


def _make(job: Job[CurvatureConfig]) -> None:
    config, autoencoder, report = job.config, job.autoencoder, job.report
    plane = make_plane(
        *(job.sources, autoencoder, config.size, config.fit, job.session, job.reader),
        seed=config.seed,
        reach=config.reach,
        latent_of=config.latent_of,
        written=report.written,
    )
    began = time.monotonic()
    lattice = make_lattice(plane, config.resolution)
    metrics = _measure(job, plane, lattice)
    measured = time.monotonic()
    curves = _find_curves(job, plane)
    paths = {name: measure_path(autoencoder, plane, curve, job.session) for name, curve in curves.items()}
    found = time.monotonic()
    start, end = (frame.image for frame in _decode(job, plane, path_ends(plane)))
    chord = gray_level_distance(start, end)
    report.figures = _plane_figures(plane, metrics[: len(lattice.points)])
    report.figures["paths"] = compare_paths(plane, curves, paths, chord)
    report.figures["seconds"] = {"metric": round(measured - began, 2), "paths": round(found - measured, 2)}
    report.figures["finding"] = finding = curvature_in_words(report.figures)
    report.lines = [*_lines(report.figures), f"finding  {finding}"]
    tiles = [to_uint8(frame.image) for frame in _decode(job, plane, lattice.tiles)]
    save_figure(draw_curvature(autoencoder.name, plane, lattice, metrics, tiles, paths, chord, finding), job.output)
    _write_paths(job, plane, curves, paths)


def _measure(job: Job[CurvatureConfig], plane: Plane, lattice: Lattice) -> list[MetricAt]:
    """The metric at the lattice's points, then at its ellipses."""
    places = [*lattice.points, *lattice.ellipses]
    directions = plane_basis(plane, job.config.subspace, job.config.seed)
    records = measure_plane(job.autoencoder, plane, places, directions)
    return _collect(job, records, len(places) - 1, "point", lambda each: f"anisotropy {each.anisotropy:.2f}")


def _find_curves(job: Job[CurvatureConfig], plane: Plane) -> dict[str, Curve]:
    """The straight line across the plane, and the geodesic."""
    start, end = (plane.at(*place) for place in path_ends(plane))
    records = find_geodesic(job.autoencoder, start, end, plane.size, steps=job.config.steps)
    found = _collect(job, records, job.config.steps, "step", lambda step: f"root of the energy {step.energy**0.5:.2f}")
    return {"straight": straight_line(start, end), "geodesic": found[-1].curve}


def _collect(
    job: Job[CurvatureConfig],
    records: Iterator[AnyRecord],
    total: int,
    unit: str,
    describe: Callable[[AnyRecord], str],
) -> list[AnyRecord]:
    collected: Collect[AnyRecord] = Collect()
    run_sinks(job.session.watch(records, NOTHING_WRITTEN), [collected, Progress(job.session, total, describe, unit)])
    return collected


def _decode(job: Job[CurvatureConfig], plane: Plane, places: Sequence[tuple[float, float]]) -> Iterator[Frame]:
    """The pictures at coordinates of the plane."""
    latents = [plane.at(*place) for place in places]
    return job.session.watch(decode_frames(job.autoencoder, latents, plane.size), NOTHING_WRITTEN)


def _write_paths(
    job: Job[CurvatureConfig], plane: Plane, curves: Mapping[str, Curve], paths: Mapping[str, DecodedPath]
) -> None:
    """Write both paths side by side, with pictures that change evenly."""
    config = job.config
    fractions = [place_evenly(MEASURED, list(path.steps), frame_times(config.frames)) for path in paths.values()]

    titles = path_titles(paths)
    frames = decode_curves(job.autoencoder, list(curves.values()), fractions, plane.size)
    labeled = (Labeled(**vars(frame), titles=titles) for frame in frames)
    drawing = LabeledDrawing(columns=len(paths))
    job.write_labeled(
        job.outputs[1], labeled, config.frames - 1, lambda frame: "written", plane.size, drawing, hold=HOLD
    )


def _plane_figures(plane: Plane, metrics: Sequence[MetricAt]) -> dict[str, Any]:
    return {
        "units": UNITS,
        "extent": list(plane.extent),
        "marks": plane.marks,
        "axes": list(plane.axes),
        "volume_directions": len(metrics[0].metric),
        "log_volume": _range([each.log_volume for each in metrics]),
        "speed_across": _range([each.speeds[0] for each in metrics]),
        "speed_up": _range([each.speeds[1] for each in metrics]),
        "anisotropy": _range([each.anisotropy for each in metrics]),
        "points": [{"place": each.place, "metric": each.metric[:2, :2].tolist()} for each in metrics],
    }


def _range(values: Sequence[float]) -> dict[str, float | None]:
    """The least, the median and the largest of the finite values; None where there are none."""
    finite = [value for value in values if np.isfinite(value)]
    found = np.quantile(finite, [0, 0.5, 1]).tolist() if finite else [None] * 3
    return dict(zip(("least", "median", "largest"), found))


def curvature_in_words(figures: Mapping[str, Any]) -> str:
    """Describe the curvature of a plane in one sentence, from its figures."""
    volume, paths = figures["log_volume"], figures["paths"]
    if volume["median"] is None:
        return "The pictures don't change in some direction anywhere on this plane."
    factor = math.exp((volume["largest"] - volume["least"]) * 2 / figures["volume_directions"])
    saved = 1 - paths["ratio"]
    flat = "This plane is nearly flat: the" if factor < FLAT_FACTOR and saved < FLAT_SAVING else "The"
    return (
        f"{flat} decoder stretches areas up to {factor:.2f} times as much in one place of the plane as in another, and "
        f"the geodesic is {max(0.0, saved):.1%} shorter than the straight line."
    )


def _lines(figures: dict[str, Any]) -> list[str]:
    def describe(name: str) -> str:
        least, median, largest = figures[name].values()
        return "nowhere finite" if median is None else f"{median:.3g} ({least:.3g} to {largest:.3g})"

    paths = figures["paths"]
    return [
        f"speed    across {describe('speed_across')}, up {describe('speed_up')} gray levels per standard deviation",
        f"ratio    of the fastest to the slowest direction: {describe('anisotropy')}",
        f"volume   log element in {figures['volume_directions']} directions: {describe('log_volume')}",
        f"paths    straight {paths['straight']['length']:.2f}, geodesic {paths['geodesic']['length']:.2f} gray levels "
        f"(ratio {paths['ratio']:.3f}); the pictures at their ends are {paths['chord']:.2f} apart",
    ]
