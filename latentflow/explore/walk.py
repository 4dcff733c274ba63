"""Walks: pictures on a path through points of a latent space."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from latentflow import losses
from latentflow.config import counted
from latentflow.errors import InputError
from latentflow.explore.config import WalkConfig
from latentflow.explore.distances import Space
from latentflow.explore.music import Player, Score, check_music, has_music, read_score, score_words, soundtrack
from latentflow.explore.view import Files, Job, ViewReport, ViewSteps, beside, finite, moving, run_view
from latentflow.inversion.refine import refine
from latentflow.latents.decode import decode_frames
from latentflow.latents.index import check_folder
from latentflow.latents.paths import TIMINGS, LatentPath, frame_times, pass_through, place_evenly, step_sizes
from latentflow.latents.sources import Anchors, check_anchors, read_anchors
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.draw import LabeledDrawing
from latentflow.pictures.figure import save_figure
from latentflow.pictures.folders import captured, find_images
from latentflow.pictures.reader import Reader
from latentflow.records import Frame, Labeled
from latentflow.session import NOTHING_WRITTEN, Session
from latentflow.sinks.ffmpeg import Soundtrack
from latentflow.sinks.frames import check_frames_path, frame_options
from latentflow.sound.plot import draw_heard

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OTHER_TIMING = ("frames", "seconds", "hold_anchors", "even", "bounce", "ease")  # which music does instead
FRAMES_PER_SEGMENT = 48
FEW_FRAMES_PER_SEGMENT = 4  # below which a walk jumps
EVENING_ROUNDS = 4  # unless a budget is given; a round decodes every frame once
EVEN_RATIO = 1.05  # of the largest step to the smallest, from which on steps are even

Measure = Callable[[Tensor, Tensor], float]


def decode_path(
    autoencoder: Autoencoder, path: LatentPath, positions: Sequence[float], size: tuple[int, int]
) -> Iterator[Frame]:
    """The pictures (1, 3, height, width) at positions in [0, segments] of a path, decoded as they are asked for."""
    latents = (path(float(position)) for position in positions)
    return decode_frames(autoencoder, latents, size, total=len(positions) - 1)


def walk(
    sources: Sequence[str | PathLike[str]],
    *,
    vae: str | PathLike[str] | Autoencoder = "bundled",
    size: int = WalkConfig.size,
    fit: str = WalkConfig.fit,
    method: str = WalkConfig.method,
    order: str = WalkConfig.order,
    loop: bool = WalkConfig.loop,
    frames: int | None = None,
    ease: str = WalkConfig.ease,
    positions: Sequence[float] | np.ndarray | None = None,
    latent_of: str | None = None,
    weights: str = WalkConfig.weights,
    device: str = WalkConfig.device,
    dtype: str = WalkConfig.dtype,
    background: str = WalkConfig.background,
    max_pixels: int = WalkConfig.max_pixels,
    session: Session | None = None,
) -> Iterator[Frame]:
    """Walk through the latent space from source to source; frames come as they are decoded, and no file is written.

    `sources` are images, saved latents or "random:SEED", at least two, or one folder of images; `vae` is a name, a
    folder, a file or an `Autoencoder`. The other options are those of the command line, with its defaults: `frames`
    counts all of them, 48 a segment and, unless it is a loop, the last if omitted. Every source has a frame of its
    own where there are as many frames. `positions` are those of the frames, from 0 at the first source, one from each
    to the next, instead of `frames` and `ease`. `session` shares loaded models, and its `stop()`, from any thread,
    ends the walk with `Interrupted` after the frame in hand. Raises `InputError` for a wrong option or source,
    `WeightsError` for weights that are missing.
    """
    if isinstance(sources, str):
        raise InputError("`sources` is a list of images, saved latents or random:SEED, not one text.")
    names = [str(source) for source in sources]
    reading: dict[str, Any] = {"background": background, "max_pixels": max_pixels}
    config = WalkConfig(size=size, fit=fit, method=method, order=order, loop=loop, frames=frames, ease=ease, **reading)
    session = session or Session()
    names = _images_of(names, config, session)
    check_anchors(names, 2, latent_of=latent_of, max_pixels=max_pixels)
    loaded = session.load(vae if isinstance(vae, Autoencoder) else str(vae), weights, device, dtype)
    anchors = read_anchors(names, loaded.autoencoder, size, fit, Reader(config, session.say), latent_of=latent_of)
    anchors = _ordered(anchors, config)
    path = LatentPath(anchors.latents, method, loop=loop)
    if positions is None:
        _, positions = _positions(config, path, session)
    return session.watch(decode_path(loaded.autoencoder, path, list(positions), anchors.size), "no file is written")


def picture_distance(name: str, load: Callable[[str], Any] | None = None) -> tuple[str, Measure]:
    """The name and the function of a distance of pictures (1, 3, h, w): the root of "mse" or of "lpips", both of which
    grow with the square of small changes. `load` gives lpips its network, by name."""
    if name == "mse":
        return "RMSE", lambda one, two: float((one.clamp(0, 1) - two.clamp(0, 1)).square().mean().sqrt())
    lpips = losses.find("lpips")(load)

    def measure(one: Tensor, two: Tensor) -> float:
        with torch.no_grad():
            return float(lpips(one.clamp(0, 1), two.clamp(0, 1))[0].clamp(min=0).sqrt())

    return f"root of {lpips.label}", measure


@dataclass(frozen=True, slots=True)
class Steps:
    """Frames at `positions` (n + 1,) of a path, the `sizes` (n,) of the steps from each picture to the next, and how
    large the steps are `wanted` (n,), in any unit: all equal for a walk with linear timing."""

    positions: np.ndarray
    sizes: list[float]
    wanted: np.ndarray

    @property
    def ratio(self) -> float:
        """The largest step over the smallest, each relative to its wanted size; 1 when nothing changes anywhere."""
        steps = np.array(self.sizes)[self.wanted > 0] / self.wanted[self.wanted > 0]
        low, high = (float(each) for each in (steps.min(initial=np.inf), steps.max(initial=0.0)))
        return 1.0 if high == 0 else high / low if low > 0 else float("inf")


def even_out(
    measure: Callable[[np.ndarray], list[float]],
    positions: np.ndarray,
    fractions: np.ndarray,
    *,
    stops: Sequence[float] = (),
    decodings: int | None = None,
    seconds: float | None = None,
) -> tuple[Steps, Steps]:
    """Move frames along a path until their pictures change evenly; return the steps before and after.

    `measure` gives the sizes of the steps between frames at `positions` (n + 1,). The frames are then moved to
    `fractions` (n + 1,) of the length so measured, ascending in [0, 1], and from there to the positions `stops` that
    are nearest to one of them. This is repeated until the largest step,
    relative to its fraction, is at most 1.05 × the smallest, or a budget of `decodings` or of `seconds` would be
    exceeded; steps are measured at least once. The most even frames found are returned.
    """
    began, wanted = time.monotonic(), np.diff(fractions)
    before = best = now = Steps(positions, measure(positions), wanted)
    spent = len(positions)
    while best.ratio > EVEN_RATIO:
        if seconds is not None and (time.monotonic() - began) * (1 + len(positions) / spent) > seconds:
            break
        if seconds is None and spent + len(positions) > (decodings or EVENING_ROUNDS * len(positions)):
            break
        placed = pass_through(place_evenly(now.positions, now.sizes, fractions), stops)
        now = Steps(placed, measure(placed), wanted)
        spent += len(positions)
        if now.ratio < best.ratio:
            best = now
    return before, best


def run_walk(sources: Sequence[str], config: WalkConfig, session: Session) -> ViewReport:
    """Walk between sources as configured and write the frames; raises `LatentflowError` as the parts do."""
    return run_view(ViewSteps(check=_check, make=_make), _images_of(sources, config, session), config, session)


def _images_of(sources: Sequence[str], config: WalkConfig, session: Session) -> list[str]:
    """The sources, or the images of the only one if it is a folder, by name or by date."""
    folder = Path(sources[0]).expanduser() if len(sources) == 1 else None
    if folder is None or not folder.is_dir():
        if config.order != "name":
            raise InputError("`order` is that of a folder's images.", "Name one folder instead of images.")
        return list(sources)
    check_folder(folder)
    found = find_images(folder)
    if found.passed_over:
        session.say(found.passed_over)
    paths = sorted(found.paths, key=lambda path: (captured(path), path)) if config.order == "date" else found.paths
    return [str(path) for path in paths]


def _ordered(anchors: Anchors, config: WalkConfig) -> Anchors:
    """The anchors as they are or, for `order` nearest, from each to the nearest of those that are left."""
    if config.order != "nearest":
        return anchors
    order = tour(anchors.latents)
    return replace(
        anchors,
        names=[anchors.names[index] for index in order],
        latents=anchors.latents[order],
        targets=[anchors.targets[index] for index in order],
    )


def tour(latents: Tensor) -> list[int]:
    """The order of latents (n, c, rows, columns) in which each is followed by the nearest that has not been there,
    beginning with the first."""
    space, order = Space(latents.cpu()), [0]
    while len(order) < len(latents):
        distances = space.from_query(latents[order[-1:]].cpu())
        distances[order] = torch.inf
        order.append(int(distances.argmin()))
    return order


def _check(sources: Sequence[str], config: WalkConfig) -> Files:
    check_anchors(sources, 2, latent_of=config.latent_of, max_pixels=config.max_pixels)
    if not config.even and (config.budget_frames or config.budget_seconds or config.measure != WalkConfig().measure):
        raise InputError("`measure`, `budget_frames` and `budget_seconds` go with `even`.", "Add it.")
    if config.budget_frames and config.budget_seconds:
        raise InputError("`budget_frames` and `budget_seconds` both limit `even`.", "Give one of them.")
    if config.frames is not None and config.seconds is not None:
        raise InputError("`frames` and `seconds` both say how long the walk is.", "Give one of them.")
    frames = _frame_count(config, _segments(config, len(sources)))
    check_music(config, len(sources), loop=config.loop, timing=OTHER_TIMING)
    if frames < 2:
        raise InputError(
            f"`seconds` {config.seconds:g} at `fps` {config.fps:g} is {counted(frames, 'frame')}; a walk needs 2."
        )
    output = Path(config.output_path).expanduser()
    check_frames_path(output, **_frame_options(config))
    named = {"audio": config.audio, "midi": config.midi, "map": config.map_}
    heard = {name: path for name, path in named.items() if path is not None}
    figure = [_heard_path(output)] if has_music(config) else []
    shown = {"anchors": list(sources), **heard}
    return Files(outputs=moving(output) + figure, inputs=[*sources, *heard.values()], shown=shown)


def _heard_path(output: Path) -> Path:
    """Where the figure of what was heard goes."""
    return beside(output, ".heard.png")


def _frame_options(config: WalkConfig) -> dict[str, Any]:
    return frame_options(config) | {"loop": 0}  # `loop` of a walk is about its path


def _segments(config: WalkConfig, anchors: int) -> int:
    return anchors if config.loop else anchors - 1


def _frame_count(config: WalkConfig, segments: int) -> int:
    return config.frames or (round(config.seconds * config.fps) if config.seconds else _usual_count(config, segments))


def _usual_count(config: WalkConfig, segments: int) -> int:
    return FRAMES_PER_SEGMENT * segments + (0 if config.loop else 1)


def _positions(config: WalkConfig, path: LatentPath, session: Session) -> tuple[np.ndarray, np.ndarray]:
    """The position of each frame on the path, as a fraction in [0, 1] of its timing and in segments; every anchor is
    one of them, or it is said that it can't be."""
    count, segments = _frame_count(config, path.segments), path.segments
    stops = _stops(config, segments)
    usual = f"{_usual_count(config, segments)} are usual."
    if count < len(stops):
        session.say(
            f"{counted(count, 'frame')} can't show each of {len(stops)} images; {len(stops)} are needed, and {usual}"
        )
    elif count - 1 < FEW_FRAMES_PER_SEGMENT * segments and segments > 1:
        session.say(
            f"{counted(count, 'frame', 'are')} few for {len(stops)} images, and the walk jumps between them; {usual}"
        )
    fractions = TIMINGS[config.ease](frame_times(count, loop=config.loop), segments)
    return fractions, pass_through(fractions * segments, stops)


def _stops(config: WalkConfig, segments: int) -> list[float]:
    """The positions of the anchors; a loop's last segment ends where its first frame comes again."""
    return [float(each) for each in range(segments if config.loop else segments + 1)]


def _make(job: Job[WalkConfig]) -> None:
    config = job.config
    anchors = read_anchors(
        *(job.sources, job.autoencoder, config.size, config.fit, job.reader), latent_of=config.latent_of
    )
    anchors = _ordered(anchors, config)
    if config.refine:
        anchors = _refined(anchors, job)
    path = LatentPath(anchors.latents, config.method, loop=config.loop)
    stops = [*anchors.names, anchors.names[0]] if config.loop else anchors.names
    if has_music(config):
        _play(path, anchors, stops, job)
        return
    fractions, positions = _positions(config, path, job.session)
    if config.even:
        positions = _evened(path, positions, fractions, anchors.size, job)
    at_anchor = np.isin(positions, _stops(config, path.segments))
    shown = np.where(at_anchor, 1 + round(config.hold_anchors * config.fps), 1)
    frames, shown_positions = int(shown.sum()), np.repeat(positions, shown)

    def words(frame: int) -> list[str]:
        return [where(float(shown_positions[frame]), stops)]

    decoded = _repeated(decode_path(job.autoencoder, path, list(positions), anchors.size), shown)
    _write(decoded, frames, words, anchors.size, stops, job)


def _play(path: LatentPath, anchors: Anchors, stops: Sequence[str], job: Job[WalkConfig]) -> None:
    """Write a walk to music, and the figure of what was heard."""
    config, report = job.config, job.report
    score = read_score(config, path, len(anchors.names), config.fps, job.session)
    player = Player(score, config, path, anchors.latents, job.autoencoder, anchors.size)
    save_figure(_draw_score(score, anchors.names if score.positions is None else stops), _heard_path(job.output))
    report.figures |= score.figures()
    report.lines += score.lines()
    words, frames = score_words(score, stops, where), len(score.times)
    longest = max((words(frame) for frame in range(frames)), key=lambda caption: len(" ".join(caption)))
    decoded = decode_frames(job.autoencoder, player.latents(), anchors.size, total=frames - 1)
    with soundtrack(score, config, job.output, job.session) as sound:
        _write(decoded, frames, words, anchors.size, stops, job, captions=[longest], sound=sound)


def _draw_score(score: Score, names: Sequence[str]) -> "Figure":
    followed, played = score.followed, score.performance
    heard, beats = (None, None) if followed is None else (followed.heard, followed.beats)
    notes = [] if played is None else played.notes
    shown: dict[str, Any] = {"heard": heard, "beats": beats, "notes": notes, "offset": score.offset}
    return draw_heard(
        *(score.times,),
        names=names,
        positions=score.positions,
        weights=score.weights,
        label="image",
        finding="; ".join(line[8:].strip() for line in score.lines()),
        **shown,
    )


def _write(
    decoded: Iterable[Frame],
    frames: int,
    words: Callable[[int], list[str]],
    size: tuple[int, int],
    stops: Sequence[str],
    job: Job[WalkConfig],
    *,
    captions: Sequence[list[str]] = (),
    sound: Soundtrack | None = None,
) -> None:
    """Write the frames of a walk, with their captions in `words`; all leave room for `captions`, too."""
    config, report = job.config, job.report
    report.figures |= {"seconds": round(frames / config.fps, 3), "size": list(size[::-1])}
    labeled = (Labeled(**vars(frame), caption=words(frame.index)) for frame in decoded)
    legs = [[f"{one} to {two} 100%"] for one, two in pairwise(stops)]
    drawing = LabeledDrawing(caption=config.caption, captions=[*legs, *captions])
    job.write_labeled(
        *(job.output, labeled, frames - 1, lambda frame: "  ".join(words(frame.index)), size, drawing),
        loop=0,
        sound=sound,
    )
    written = report.figures["frames"]
    count = counted(frames, "frame") if written == frames else f"{written} of {counted(frames, 'frame')}"
    report.lines.insert(0, f"walk     {' → '.join(stops)}, {count}")


def _repeated(frames: Iterable[Frame], times: np.ndarray) -> Iterator[Frame]:
    """Each frame as many times as `times` (n,) says, counted anew."""
    index, total = 0, int(times.sum()) - 1
    for frame, count in zip(frames, times):
        for _ in range(count):
            yield replace(frame, index=index, total=total)
            index += 1


def where(position: float, stops: Sequence[str]) -> str:
    """A position on a path through anchors in words, such as "cat to dog 25%"."""
    index = min(int(position), len(stops) - 2)
    return f"{stops[index]} to {stops[index + 1]} {position - index:4.0%}"


def _refined(anchors: Anchors, job: Job[WalkConfig]) -> Anchors:
    latents = []
    for (name, latent), target in zip(anchors, anchors.targets):
        if target is not None:
            latent, before, after = refine(job.autoencoder, latent, target, job.config.refine, job.session)
            job.report.figures.setdefault("refined", {})[name] = {"psnr_before": before, "psnr_after": after}
            job.report.lines.append(f"refined  {name}: {before:.2f} → {after:.2f} dB")
        latents.append(latent)
    return replace(anchors, latents=torch.cat(latents))


def _evened(
    path: LatentPath, positions: np.ndarray, fractions: np.ndarray, size: tuple[int, int], job: Job[WalkConfig]
) -> np.ndarray:
    """Positions with even steps; a loop's last step, back to the first frame, counts too."""
    config, report = job.config, job.report
    name, metric = picture_distance(config.measure, job.loaded.metrics)
    close = [float(path.segments)] if config.loop else []
    closing = [1.0] if config.loop else []

    def measure(at: np.ndarray) -> list[float]:
        frames = decode_path(job.autoencoder, path, list(at), size)
        return step_sizes(job.session.watch(frames, NOTHING_WRITTEN), metric)

    before, after = even_out(
        measure,
        np.append(positions, close),
        np.append(fractions, closing),
        stops=_stops(config, path.segments) + close,
        decodings=config.budget_frames,
        seconds=config.budget_seconds,
    )
    report.figures["steps"] = {
        "measure": name,
        "ratio_before": finite(before.ratio),
        "ratio_after": finite(after.ratio),
        "mean": float(np.mean(after.sizes)),
    }
    eased = "" if config.ease == "linear" else f", relative to what `ease` {config.ease} wants"
    report.lines.append(f"steps    largest over smallest, {name}{eased}: {before.ratio:.2f} → {after.ratio:.2f}")
    return after.positions[:-1] if config.loop else after.positions
