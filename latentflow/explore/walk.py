"""Walks: pictures on a way between points of a latent space."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentflow import losses
from latentflow.errors import InputError
from latentflow.explore.config import WalkConfig
from latentflow.explore.moving import write_moving
from latentflow.explore.report import ViewReport, check_outputs, finite, write_view_manifest
from latentflow.interrupts import NOTHING, Interrupts, Say
from latentflow.inversion.objective import Objective
from latentflow.inversion.optimize import optimize
from latentflow.latents.paths import TIMINGS, LatentPath, frame_times, place_evenly
from latentflow.latents.sources import Anchors, check_anchors, read_anchors
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.draw import captioned
from latentflow.pictures.files import to_uint8
from latentflow.records import Frame
from latentflow.runs.run import Loaded, load
from latentflow.sinks.frames import check_frames_path, open_frames

STRETCH = 48  # frames from one anchor to the next
ROUNDS = 4  # of evening, if no budget says otherwise
EVEN_ENOUGH = 1.05
REFINING_LR = 0.04  # from the encoder's latent

Measure = Callable[[Tensor, Tensor], float]


def walk(
    autoencoder: Autoencoder, way: LatentPath, positions: Sequence[float], size: tuple[int, int]
) -> Iterator[Frame]:
    """The pictures (1, 3, height, width) at positions in [0, stretches] of a way, decoded as they are asked for."""
    for index, position in enumerate(positions):
        latent = way(float(position))
        with torch.no_grad():
            image = autoencoder.decode(latent, size)
        yield Frame(index=index, total=len(positions) - 1, latent=latent, image=image)


def picture_distance(name: str, load: Callable[[str], Any] | None = None) -> tuple[str, Measure]:
    """How far pictures (1, 3, h, w) are apart, and what that is called: the root of mse or of lpips, both of which
    grow with the square of small changes."""
    if name == "mse":
        return "RMSE", lambda one, two: float((one.clamp(0, 1) - two.clamp(0, 1)).square().mean().sqrt())
    lpips = losses.find("lpips")(load)

    def measure(one: Tensor, two: Tensor) -> float:
        with torch.no_grad():
            return float(lpips(one.clamp(0, 1), two.clamp(0, 1))[0].clamp(min=0).sqrt())

    return f"root of {lpips.label}", measure


@dataclass(frozen=True, slots=True)
class Steps:
    """How far each frame's picture is from the next one's, in the order of the frames, and how far each step is to
    be, in `wanted` of any unit: for a walk whose time runs evenly, all the same."""

    positions: np.ndarray
    sizes: list[float]
    wanted: np.ndarray

    @property
    def ratio(self) -> float:
        """The largest step over the smallest, each against what is wanted; 1 when nothing changes anywhere."""
        steps = np.array(self.sizes)[self.wanted > 0] / self.wanted[self.wanted > 0]
        low, high = (float(each) for each in (steps.min(initial=np.inf), steps.max(initial=0.0)))
        return 1.0 if high == 0 else high / low if low > 0 else float("inf")


def step_sizes(pictures: Iterator[Frame], measure: Measure) -> list[float]:
    """Measure the steps between successive pictures, two of which are held at a time."""
    sizes, before = [], None
    for frame in pictures:
        if before is not None:
            sizes.append(measure(before, frame.image))
        before = frame.image
    return sizes


def even_out(
    look: Callable[[np.ndarray], list[float]],
    positions: np.ndarray,
    shares: np.ndarray,
    *,
    decodings: int | None = None,
    seconds: float | None = None,
) -> tuple[Steps, Steps]:
    """Move frames along a way until each changes the picture as much as the next; the steps before and after.

    The way's length in pictures is measured between its frames with `look`, and they are set anew at `shares` of it
    ([0, 1], ascending); this is done over and over with the new ones until the largest step, against its share, is
    1.05 × the smallest or a budget, of decoded pictures or of seconds, would be passed; once it is measured in any
    case. The evenest frames found are given.
    """
    began, wanted = time.monotonic(), np.diff(shares)
    before = best = now = Steps(positions, look(positions), wanted)
    spent = len(positions)
    while best.ratio > EVEN_ENOUGH:
        if seconds is not None and (time.monotonic() - began) * (1 + len(positions) / spent) > seconds:
            break
        if seconds is None and spent + len(positions) > (decodings or ROUNDS * len(positions)):
            break
        placed = place_evenly(now.positions, now.sizes, shares)
        now = Steps(placed, look(placed), wanted)
        spent += len(positions)
        if now.ratio < best.ratio:
            best = now
    return before, best


def refine(
    autoencoder: Autoencoder, latent: Tensor, target: Tensor, steps: int, interrupts: Interrupts | None = None
) -> tuple[Tensor, float, float]:
    """The latent nearest to a picture in so many steps from the encoder's, and its PSNR in dB before and after."""
    best, first, found = latent, 0.0, -np.inf
    records = optimize(autoencoder, Objective("mse", target), latent, steps=steps, lr=REFINING_LR)
    for step in interrupts.watch(records, "its image is left unfinished") if interrupts else records:
        value = float(step.psnr[0])
        first = value if step.index == 0 else first
        if value > found:
            best, found = step.latent, value
    return best, first, found


def run_walk(
    sources: Sequence[str], config: WalkConfig, interrupts: Interrupts, say: Say, *, quiet: bool = False
) -> ViewReport:
    """Walk between sources as configured and write the frames; raises `LatentflowError` as the parts do."""
    check_anchors(sources, 2)
    if not config.even and (config.budget_frames or config.budget_seconds or config.measure != WalkConfig().measure):
        raise InputError("--measure, --budget_frames and --budget_seconds go with --even.", "Add it.")
    if config.budget_frames and config.budget_seconds:
        raise InputError("--budget_frames and --budget_seconds both limit --even.", "Give one of them.")
    if config.frames is not None and config.seconds is not None:
        raise InputError("--frames and --seconds both say how long the walk is.", "Give one of them.")
    stretches = len(sources) if config.loop else len(sources) - 1
    frames = config.frames or (round(config.seconds * config.fps) if config.seconds else STRETCH * stretches)
    if frames < 2:
        raise InputError(f"--seconds {config.seconds:g} at --fps {config.fps:g} is {frames} frames; a walk has two.")
    output = Path(config.output_path).expanduser()
    check_frames_path(output, config.fps, config.overwrite)
    check_outputs([output], sources)
    loaded = load(config, say)
    autoencoder = loaded.autoencoder
    anchors = read_anchors(sources, autoencoder, config.size, config.fit)
    report = ViewReport(written=[output])
    if config.refine:
        anchors = _refined(anchors, autoencoder, config.refine, interrupts, report)
    way = LatentPath(anchors.latents, config.method, loop=config.loop)
    times = frame_times(frames, loop=config.loop)
    shares = TIMINGS[config.ease](times, way.stretches)
    positions = shares * way.stretches
    if config.even:
        positions = _evened(way, positions, shares, config, loaded, anchors.size, interrupts, report)

    stops = [*anchors.names, anchors.names[0]] if config.loop else anchors.names

    def draw(frame: Frame) -> np.ndarray:
        picture = to_uint8(frame.image)
        return captioned(picture, where(float(positions[frame.index]), stops)) if config.caption else picture

    sink = open_frames(output, fps=config.fps, hold=config.hold, overwrite=config.overwrite, draw=draw)
    report.figures |= {"seconds": round(frames / config.fps, 3), "size": list(anchors.size[::-1])}
    records = walk(autoencoder, way, list(positions), anchors.size)
    write_moving(
        *(sink, records, frames - 1, interrupts, report),
        quiet=quiet,
        describe=lambda frame: where(float(positions[frame.index]), stops),
    )
    report.lines.insert(0, f"walk     {' → '.join(stops)}, {frames} frames")
    write_view_manifest(output, config, {"anchors": list(sources)}, loaded, report)
    return report


def where(position: float, stops: Sequence[str]) -> str:
    """A position on the way through the anchors in words."""
    index = min(int(position), len(stops) - 2)
    return f"{stops[index]} to {stops[index + 1]} {position - index:4.0%}"


def _refined(
    anchors: Anchors, autoencoder: Autoencoder, steps: int, interrupts: Interrupts, report: ViewReport
) -> Anchors:
    latents = []
    for (name, latent), target in zip(anchors, anchors.targets):
        if target is not None:
            latent, before, after = refine(autoencoder, latent, target, steps, interrupts)
            report.figures.setdefault("refined", {})[name] = {"psnr_before": before, "psnr_after": after}
            report.lines.append(f"refined  {name}: {before:.2f} → {after:.2f} dB")
        latents.append(latent)
    return replace(anchors, latents=torch.cat(latents))


def _evened(
    way: LatentPath,
    positions: np.ndarray,
    shares: np.ndarray,
    config: WalkConfig,
    loaded: Loaded,
    size: tuple[int, int],
    interrupts: Interrupts,
    report: ViewReport,
) -> np.ndarray:
    """Positions with even steps; a loop's last step, back to the first frame, counts too."""
    name, measure = picture_distance(config.measure, loaded.figures)
    close = [float(way.stretches)] if config.loop else []
    closing = [1.0] if config.loop else []

    def look(at: np.ndarray) -> list[float]:
        return step_sizes(interrupts.watch(walk(loaded.autoencoder, way, list(at), size), NOTHING), measure)

    before, after = even_out(
        look,
        np.append(positions, close),
        np.append(shares, closing),
        decodings=config.budget_frames,
        seconds=config.budget_seconds,
    )
    report.figures["steps"] = {
        "measure": name,
        "ratio_before": finite(before.ratio),
        "ratio_after": finite(after.ratio),
        "mean": float(np.mean(after.sizes)),
    }
    eased = "" if config.ease == "linear" else f", against what --ease {config.ease} wants"
    report.lines.append(f"steps    largest over smallest, {name}{eased}: {before.ratio:.2f} → {after.ratio:.2f}")
    return after.positions[:-1] if config.loop else after.positions
