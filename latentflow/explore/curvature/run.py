"""How the decoder bends a plane of its latent space, and a shorter way across it."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentflow.explore.config import CurvatureConfig
from latentflow.explore.curvature.figure import DecodedPath, Lattice, draw_bending, lay_lattice
from latentflow.explore.curvature.metric import (
    Curve,
    MetricAt,
    apart,
    basis,
    find_geodesic,
    measure_plane,
    straight,
    stretches,
    trace,
)
from latentflow.explore.moving import write_moving
from latentflow.explore.report import ViewReport, check_outputs, sweep_path, write_view_manifest
from latentflow.interrupts import NOTHING, Interrupts, Say
from latentflow.latents.paths import frame_times, place_evenly
from latentflow.latents.planes import Plane, check_plane, make_plane
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.draw import titled
from latentflow.pictures.figure import check_figure_path, save_figure
from latentflow.pictures.files import to_uint8
from latentflow.records import AnyRecord, Frame
from latentflow.runs.run import load
from latentflow.sinks import Collect, Sink, run_sinks
from latentflow.sinks.frames import check_frames_path, open_frames
from latentflow.sinks.progress import Progress

PIECES = np.linspace(0, 1, 65)  # where a way is cut to measure its length
SHOWN = 13  # pictures of a way in the figure
UNITS = "pictures: grey levels (1/255), RMS; latents: standard deviations, RMS"


def ends(plane: Plane) -> tuple[tuple[float, float], tuple[float, float]]:
    """The places of a plane to go between: its first two marks, or where there are none, its left and right."""
    if len(plane.marks) > 1:
        first, second, *_ = plane.marks.values()
        return first, second
    left, right, bottom, top = plane.extent
    middle = (bottom + top) / 2
    return (left, middle), (right, middle)


def project(plane: Plane, latents: Tensor) -> tuple[np.ndarray, float]:
    """The places (n, 2) of a plane nearest to latents (n, c, rows, columns), and how far the farthest of them is away
    from its place, in standard deviations, RMS."""
    offsets = latents - plane.origin
    x, y = ((offsets * axis).mean((1, 2, 3), keepdim=True) for axis in (plane.across, plane.up))
    away = offsets - x * plane.across - y * plane.up
    return torch.cat([x, y], 1).flatten(1).cpu().numpy(), float(away.square().mean((1, 2, 3)).sqrt().max())


def side_by_side(
    autoencoder: Autoencoder, curves: Sequence[Curve], shares: Sequence[np.ndarray], size: tuple[int, int]
) -> Iterator[Frame]:
    """Frames whose latents and pictures, (n, …), are those of n curves, each at shares of its own."""
    for frames in zip(*(trace(autoencoder, curve, at, size) for curve, at in zip(curves, shares))):
        latents, images = torch.cat([frame.latent for frame in frames]), torch.cat([frame.image for frame in frames])
        yield Frame(index=frames[0].index, total=frames[0].total, latent=latents, image=images)


def run_curvature(
    sources: Sequence[str], config: CurvatureConfig, interrupts: Interrupts, say: Say, *, quiet: bool = False
) -> ViewReport:
    """Measure a plane, find a geodesic across it, draw both; raises `LatentflowError` as the parts do."""
    check_plane(sources)
    output = Path(config.output_path).expanduser()
    moving = sweep_path(output, config.sweep)
    check_figure_path(output)
    check_frames_path(moving, config.fps, config.overwrite)
    check_outputs([output, moving], sources)
    loaded = load(config, say)
    plane = make_plane(
        *(sources, loaded.autoencoder, config.size, config.fit, interrupts, say),
        seed=config.seed,
        reach=config.reach,
        quiet=quiet,
    )
    scene = _Scene(loaded.autoencoder, plane, interrupts, quiet)
    began = time.monotonic()
    lattice = lay_lattice(plane, config.resolution)
    bends = scene.bends(lattice, basis(plane, config.subspace, config.seed))
    measured = time.monotonic()
    curves = scene.curves(config.steps)
    ways = {name: scene.way(curve) for name, curve in curves.items()}
    found = time.monotonic()
    report = ViewReport(written=[output, moving, *plane.written])
    report.figures = _of_plane(plane, lattice, bends) | {"ways": scene.lengths(curves, ways)}
    report.figures["seconds"] = {"metric": round(measured - began, 2), "ways": round(found - measured, 2)}
    report.lines = _lines(report.figures)
    tiles = [to_uint8(scene.decoded(plane.at(*place))) for place in lattice.tiles]
    chord = report.figures["ways"]["chord"]
    save_figure(draw_bending(loaded.autoencoder.name, plane, lattice, bends, tiles, ways, chord), output)
    scene.write_moving(moving, config, curves, ways, report)
    write_view_manifest(output, config, {"plane": list(sources)}, loaded, report)
    return report


@dataclass(frozen=True, slots=True)
class _Scene:
    """What all parts work with: they stop at interrupts, and show how far they are."""

    autoencoder: Autoencoder
    plane: Plane
    interrupts: Interrupts
    quiet: bool

    def bends(self, lattice: Lattice, directions: Tensor) -> list[MetricAt]:
        """The metric at the lattice's points, then at its ellipses."""
        places = [*lattice.points, *lattice.ellipses]
        records = measure_plane(self.autoencoder, self.plane, places, directions)
        return self._kept(records, len(places) - 1, "point", lambda bend: f"anisotropy {bend.anisotropy:.2f}")

    def curves(self, steps: int) -> dict[str, Curve]:
        """The straight line across the plane, and the geodesic."""
        start, end = (self.plane.at(*place) for place in ends(self.plane))
        records = find_geodesic(self.autoencoder, start, end, self.plane.size, steps=steps)
        relaxed = self._kept(records, steps, "step", lambda record: f"root of the energy {record.energy**0.5:.2f}")
        return {"straight": straight(start, end), "geodesic": relaxed[-1].curve}

    def way(self, curve: Curve) -> DecodedPath:
        """A curve as its pictures have it."""
        frames = self.interrupts.watch(trace(self.autoencoder, curve, PIECES, self.plane.size), NOTHING)
        steps = stretches(frames)
        even = place_evenly(PIECES, list(steps), frame_times(SHOWN))
        shown = self.interrupts.watch(trace(self.autoencoder, curve, even, self.plane.size), NOTHING)
        pictures = [to_uint8(frame.image) for frame in shown]
        return DecodedPath(places=project(self.plane, self._latents(curve))[0], stretches=steps, pictures=pictures)

    def lengths(self, curves: dict[str, Curve], ways: dict[str, DecodedPath]) -> dict[str, Any]:
        """How long the ways are, how far they leave the plane, and how their latents' RMS runs."""
        start, end = (self.decoded(self.plane.at(*place)) for place in ends(self.plane))
        figures: dict[str, Any] = {"ends": ends(self.plane), "chord": apart(start, end)}
        for name, curve in curves.items():
            latents = self._latents(curve)
            rms = latents.square().mean((1, 2, 3)).sqrt()
            figures[name] = {
                "length": ways[name].length,
                "speed_ratio": float(ways[name].stretches.max() / max(ways[name].stretches.min(), 1e-12)),
                "off_plane": project(self.plane, latents)[1],
                "latent_rms": {"least": float(rms.min()), "largest": float(rms.max())},
            }
        before, after = ways["straight"].length, ways["geodesic"].length
        detour = before - figures["chord"]
        figures["ratio"] = after / before if before else 1.0
        figures["detour_saved"] = (before - after) / detour if detour > 0 else 0.0
        return figures

    def write_moving(
        self,
        path: Path,
        config: CurvatureConfig,
        curves: dict[str, Curve],
        ways: dict[str, DecodedPath],
        report: ViewReport,
    ) -> None:
        """Write both ways beside each other, at an even pace in pictures; what breaks that off goes to the report."""
        shares = [place_evenly(PIECES, list(way.stretches), frame_times(config.frames)) for way in ways.values()]

        def draw(frame: Frame) -> np.ndarray:
            return np.concatenate(
                [
                    titled(to_uint8(image), f"{name}: {way.length:.1f} grey levels")
                    for image, (name, way) in zip(frame.image.split(1), ways.items())
                ],
                1,
            )

        sink = open_frames(path, fps=config.fps, overwrite=config.overwrite, draw=draw)
        records = side_by_side(self.autoencoder, list(curves.values()), shares, self.plane.size)
        write_moving(
            *(sink, records, config.frames - 1, self.interrupts, report),
            quiet=self.quiet,
            describe=lambda frame: "written",
        )

    def decoded(self, latent: Tensor) -> Tensor:
        """The picture (1, 3, height, width) of a latent."""
        self.interrupts.check()
        with torch.no_grad():
            return self.autoencoder.decode(latent, self.plane.size)

    def _latents(self, curve: Curve) -> Tensor:
        return curve(torch.from_numpy(PIECES).to(curve.start))

    def _kept(
        self, records: Iterator[AnyRecord], total: int, unit: str, describe: Callable[[Any], str]
    ) -> list[AnyRecord]:
        kept: Collect[AnyRecord] = Collect()
        self._drive(records, [kept], total, unit, describe)
        return kept

    def _drive(
        self, records: Iterator[Any], sinks: list[Sink[Any]], total: int, unit: str, describe: Callable[[Any], str]
    ) -> None:
        line = [] if self.quiet else [Progress(total, describe=describe, unit=unit)]
        run_sinks(self.interrupts.watch(records), [*sinks, *line])


def _of_plane(plane: Plane, lattice: Lattice, bends: Sequence[MetricAt]) -> dict[str, Any]:
    points = bends[: len(lattice.points)]
    return {
        "units": UNITS,
        "extent": list(map(float, plane.extent)),
        "marks": plane.marks,
        "axes": list(plane.axes),
        "volume_directions": len(points[0].metric),
        "log_volume": _range([bend.log_volume for bend in points]),
        "speed_across": _range([bend.speeds[0] for bend in points]),
        "speed_up": _range([bend.speeds[1] for bend in points]),
        "anisotropy": _range([bend.anisotropy for bend in points]),
        "points": [{"place": bend.place, "metric": bend.metric[:2, :2].tolist()} for bend in points],
    }


def _range(values: Sequence[float]) -> dict[str, float | None]:
    """The least, the middle and the largest of the finite values; nothing where there are none."""
    finite = [value for value in values if np.isfinite(value)]
    found = np.quantile(finite, [0, 0.5, 1]).tolist() if finite else [None] * 3
    return dict(zip(("least", "median", "largest"), found))


def _lines(figures: dict[str, Any]) -> list[str]:
    def said(name: str) -> str:
        least, middle, largest = figures[name].values()
        return "nowhere finite" if middle is None else f"{middle:.3g} ({least:.3g} to {largest:.3g})"

    ways = figures["ways"]
    return [
        f"speed    across {said('speed_across')}, up {said('speed_up')} grey levels a standard deviation",
        f"ratio    of the fastest to the slowest direction: {said('anisotropy')}",
        f"volume   log element in {figures['volume_directions']} directions: {said('log_volume')}",
        f"ways     straight {ways['straight']['length']:.2f}, geodesic {ways['geodesic']['length']:.2f} grey levels "
        f"({ways['ratio']:.3f} of it); their ends are {ways['chord']:.2f} apart",
    ]
