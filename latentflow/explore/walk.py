"""Walks: pictures on a path through points of a latent space."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from latentflow.base.errors import InputError
from latentflow.base.options import counted
from latentflow.base.records import Frame, Labeled
from latentflow.base.session import NOTHING_WRITTEN, Session
from latentflow.base.surroundings import undisturbed
from latentflow.explore.concept.run import read_concept
from latentflow.explore.config import WalkConfig
from latentflow.explore.distances import Space
from latentflow.explore.evening import even_out, picture_distance
from latentflow.inversion.refine import refine
from latentflow.latents.decode import decode_frames
from latentflow.latents.index import check_folder
from latentflow.latents.paths import TIMINGS, LatentPath, frame_times, pass_through, step_sizes
from latentflow.latents.sources import AnchorLike, Anchors, check_anchors, latents_in_memory, read_anchors
from latentflow.models.autoencoder import Autoencoder
from latentflow.models.loading import Loaded
from latentflow.pictures.draw import LabeledDrawing
from latentflow.pictures.figure import save_figure
from latentflow.pictures.folders import captured, find_images
from latentflow.pictures.reader import Reader
from latentflow.runs.job import Files, Job, Report, Stages, beside, finite, moving, run_job
from latentflow.sinks.ffmpeg import Soundtrack
from latentflow.sinks.frames import check_frames_path, frame_options
from latentflow.sound.plot import draw_heard
from latentflow.sound.score import Player, Score, check_music, has_music, read_score, score_words, soundtrack

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OTHER_TIMING = ("frames", "seconds", "hold_anchors", "even", "bounce", "ease")  # which music does instead
PLACING = ("frames", "seconds", "even", "ease", "audio", "midi")  # which `positions` do instead
FRAMES_PER_SEGMENT = 48
FEW_FRAMES_PER_SEGMENT = 4  # below which a walk jumps


@undisturbed
def decode_path(
    autoencoder: Autoencoder, path: LatentPath, positions: Sequence[float], size: tuple[int, int]
) -> Iterator[Frame]:
    """The pictures (1, 3, height, width) at positions in [0, segments] of a path, decoded as they are asked for."""
    latents = (path(float(position)) for position in positions)
    return decode_frames(autoencoder, latents, size, total=len(positions) - 1)


def run_walk(sources: Sequence[str], config: WalkConfig, session: Session) -> Report:
    """Walk between sources as configured and write the frames; raises `LatentflowError` as the parts do."""
    named = [str(source) for source in _images_of(sources, config, session)]
    return run_job(Stages(check=_check, make=_make), named, config, session)


@undisturbed
def walk_frames(
    sources: Sequence[AnchorLike],
    options: Mapping[str, Any],
    vae: str | PathLike[str] | Autoencoder,
    positions: Sequence[float] | np.ndarray | None,
    session: Session,
) -> Iterator[Labeled]:
    """The frames of a walk with these options of `WalkConfig`, as `run_walk` writes them, or those at `positions` on
    the path; raises `LatentflowError` as the parts do."""
    config = WalkConfig(**options)
    if positions is not None and (other := config.changed(*PLACING)):
        raise InputError(f"`positions` and `{other[0]}` both place the frames.", "Give one of them.")
    anchors = _images_of(sources, config, session)
    _check_walk(anchors, config)
    loaded = session.load(vae, config.weights, config.device, config.dtype, config.vae_config)
    for latent in latents_in_memory(anchors) if "size" in options else ():
        height, width = latent.size(loaded.autoencoder.stride)
        if config.size != max(height, width):
            raise InputError(
                f"`size` {config.size}: {latent.name} makes pictures of {width} × {height}.", "Leave `size` out."
            )
    made = make_walk(anchors, config, loaded, Reader(config, session.say), session, positions)
    return session.watch(made.frames, "no file is written")


def _images_of(sources: Sequence[AnchorLike], config: WalkConfig, session: Session) -> list[AnchorLike]:
    """The sources, or the images of the only one if it is a folder, by name or by date."""
    only = sources[0] if len(sources) == 1 else None
    folder = Path(only).expanduser() if isinstance(only, str | PathLike) else None
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
    """The anchors as they are or, for `order` nearest, from each to the nearest remaining one."""
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
    _check_walk(sources, config)
    output = Path(config.output_path).expanduser()
    check_frames_path(output, **_frame_options(config))
    named = {"audio": config.audio, "midi": config.midi, "map": config.map_}
    heard = {name: path for name, path in named.items() if path is not None}
    figure = [_heard_path(output)] if has_music(config) else []
    shown = {"anchors": list(sources), **heard}
    return Files(outputs=moving(output) + figure, inputs=[*sources, *heard.values()], shown=shown)


def _check_walk(sources: Sequence[AnchorLike], config: WalkConfig) -> None:
    """Raise `InputError` for sources and options that make no walk, whatever is written of it."""
    check_anchors(sources, 2, latent_of=config.latent_of, max_pixels=config.max_pixels)
    if not config.even and config.changed("budget_frames", "budget_seconds", "measure"):
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


def _heard_path(output: Path) -> Path:
    """Return the path of the figure of what was heard."""
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
    return fractions, pass_through(fractions * segments, stops, float(segments) if config.loop else None)


def _stops(config: WalkConfig, segments: int) -> list[float]:
    """The positions of the anchors; a loop's last segment ends where its first frame comes again."""
    return [float(each) for each in range(segments if config.loop else segments + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A walk that is ready to be decoded: its `frames`, decoded as they are asked for, how many there are, `size`
    (height, width) of their pictures, and the names of its `stops`.

    `score` is what it follows, if it follows music. `captions` are the longest there will be, so that all frames can
    leave room for them. `figures` and `lines` report what was done so far.
    """

    frames: Iterator[Labeled]
    count: int
    size: tuple[int, int]
    stops: list[str]
    names: list[str]
    score: Score | None
    captions: list[list[str]]
    figures: dict[str, Any]
    lines: list[str]


def direction_reader(autoencoder: Autoencoder, size: tuple[int, int]) -> Callable[[Path], Tensor]:
    """A function that reads the directions which notes move along; it raises `InputError` for a file that belongs to a
    different autoencoder, or to pictures that aren't of `size` (height, width)."""

    def read(file: Path) -> Tensor:
        concept = read_concept(file, autoencoder)
        if concept.size != size:
            raise InputError(
                f"`map_`: the direction {file} is for pictures of {concept.size[1]} × {concept.size[0]} pixels, "
                f"not {size[1]} × {size[0]}."
            )
        return concept.direction

    return read


@dataclass(slots=True, kw_only=True)
class _Making:
    """The parts of a walk while it is made, and remarks for its report."""

    config: WalkConfig
    loaded: Loaded
    session: Session
    anchors: Anchors
    figures: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    @property
    def autoencoder(self) -> Autoencoder:
        return self.loaded.autoencoder


def make_walk(
    sources: Sequence[AnchorLike],
    config: WalkConfig,
    loaded: Loaded,
    reader: Reader,
    session: Session,
    positions: Sequence[float] | np.ndarray | None = None,
) -> Walk:
    """Everything of a walk but its pictures: anchors, their order, their refinement, the places of its frames. With
    `positions` the frames are there on the path, from 0 to the number of segments."""
    anchors = read_anchors(*(sources, loaded.autoencoder, config.size, config.fit, reader), latent_of=config.latent_of)
    making = _Making(config=config, loaded=loaded, session=session, anchors=_ordered(anchors, config))
    if config.refine:
        making.anchors = _refined(making)
    anchors = making.anchors
    path = LatentPath(anchors.latents, config.method, loop=config.loop)
    stops = [*anchors.names, anchors.names[0]] if config.loop else anchors.names
    score, captions = None, [[f"{one} to {two} 100%"] for one, two in pairwise(stops)]
    if has_music(config):
        score = read_score(config, path, len(anchors.names), config.fps, session)
        reading = direction_reader(loaded.autoencoder, anchors.size)
        player = Player(score, config, path, anchors.latents, reading)
        making.figures |= score.figures()
        making.lines += score.lines()
        words, count = score_words(score, stops, where), len(score.times)
        captions.append(max((words(frame) for frame in range(count)), key=lambda caption: len(" ".join(caption))))
        decoded = decode_frames(loaded.autoencoder, player.latents(), anchors.size, total=count - 1)
    else:
        at, times = _places(path, making, positions)
        count, shown = int(times.sum()), np.repeat(at, times)
        decoded = _repeated(decode_path(loaded.autoencoder, path, list(at), anchors.size), times)

        def words(frame: int) -> list[str]:
            return [where(float(shown[frame]), stops)]

    return Walk(
        frames=(Labeled(**vars(frame), caption=words(frame.index)) for frame in decoded),
        count=count,
        size=anchors.size,
        stops=stops,
        names=anchors.names,
        score=score,
        captions=captions,
        figures=making.figures,
        lines=making.lines,
    )


def _places(
    path: LatentPath, making: _Making, positions: Sequence[float] | np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The positions of the frames on a path, and how many times each is shown."""
    config = making.config
    if positions is None:
        fractions, places = _positions(config, path, making.session)
        if config.even:
            places = _evened(path, places, fractions, making)
    else:
        places = np.asarray(positions, dtype=float)
    at_anchor = np.isin(places, _stops(config, path.segments))
    return places, np.where(at_anchor, 1 + round(config.hold_anchors * config.fps), 1)


def _make(job: Job[WalkConfig]) -> None:
    made = make_walk(job.sources, job.config, job.loaded, job.reader, job.session)
    job.report.figures |= made.figures
    job.report.lines += made.lines
    if made.score is None:
        _write(made, job)
        return
    save_figure(_draw_score(made.score, made), _heard_path(job.output))
    with soundtrack(made.score, job.config, job.output, job.session) as sound:
        _write(made, job, sound)


def _draw_score(score: Score, walk: Walk) -> "Figure":
    followed, played = score.followed, score.performance
    heard, beats = (None, None) if followed is None else (followed.heard, followed.beats)
    notes = [] if played is None else played.notes
    shown: dict[str, Any] = {"heard": heard, "beats": beats, "notes": notes, "offset": score.offset}
    return draw_heard(
        *(score.times,),
        names=walk.names if score.positions is None else walk.stops,
        positions=score.positions,
        weights=score.weights,
        label="image",
        finding="; ".join(line[8:].strip() for line in score.lines()),
        **shown,
    )


def _write(walk: Walk, job: Job[WalkConfig], sound: Soundtrack | None = None) -> None:
    """Write the frames of a walk with their captions."""
    config, report = job.config, job.report
    report.figures |= {"seconds": round(walk.count / config.fps, 3), "size": list(walk.size[::-1])}
    drawing = LabeledDrawing(caption=config.caption, captions=walk.captions)
    job.write_labeled(
        *(job.output, walk.frames, walk.count - 1, lambda frame: "  ".join(frame.caption), walk.size, drawing),
        loop=0,
        sound=sound,
    )
    assert report.frames is not None
    _, written, wanted = report.frames
    report.figures["seconds"] = round(written / config.fps, 3)
    count = counted(written, "frame") if written == wanted else f"{written} of {counted(wanted, 'frame')}"
    report.lines.insert(0, f"walk     {' → '.join(walk.stops)}, {count}")


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


def _refined(making: _Making) -> Anchors:
    anchors, latents = making.anchors, []
    for (name, latent), target in zip(anchors, anchors.targets):
        if target is not None:
            latent, before, after = refine(making.autoencoder, latent, target, making.config.refine, making.session)
            refined = making.figures.setdefault("refined", {})
            refined[_unlike(name, refined)] = {"psnr_before": before, "psnr_after": after}
            making.lines.append(f"refined  {name}: {before:.2f} → {after:.2f} dB")
        latents.append(latent)
    return replace(anchors, latents=torch.cat(latents))


def _unlike(name: str, taken: Iterable[str]) -> str:
    """A name, with a number where it is taken: two folders may hold a cat.png each."""
    again = sum(each == name or each.startswith(f"{name} (") for each in taken)
    return f"{name} ({again + 1})" if again else name


def _evened(path: LatentPath, positions: np.ndarray, fractions: np.ndarray, making: _Making) -> np.ndarray:
    """Positions with even steps; a loop's last step, back to the first frame, counts too."""
    config = making.config
    name, metric = picture_distance(config.measure, making.loaded.metrics)
    close = [float(path.segments)] if config.loop else []
    closing = [1.0] if config.loop else []

    def measure(at: np.ndarray) -> list[float]:
        frames = decode_path(making.autoencoder, path, list(at), making.anchors.size)
        return step_sizes(making.session.watch(frames, NOTHING_WRITTEN), metric)

    before, after = even_out(
        measure,
        np.append(positions, close),
        np.append(fractions, closing),
        stops=_stops(config, path.segments) + close,
        decodings=config.budget_frames,
        seconds=config.budget_seconds,
    )
    making.figures["steps"] = {
        "measure": name,
        "ratio_before": finite(before.ratio),
        "ratio_after": finite(after.ratio),
        "mean": float(np.mean(after.sizes)),
    }
    eased = "" if config.ease == "linear" else f", relative to what `ease` {config.ease} wants"
    making.lines.append(f"steps    largest over smallest, {name}{eased}: {before.ratio:.2f} → {after.ratio:.2f}")
    return after.positions[:-1] if config.loop else after.positions
