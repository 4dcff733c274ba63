"""Pictures from prompts, from options to files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from latentflow.config import MusicConfig, ReadingOptions, counted, options_that
from latentflow.errors import InputError, LatentflowError, OutputError
from latentflow.explore.music import Moves, Score, check_music, has_music, read_score, soundtrack
from latentflow.files import WrittenFiles, check_outputs, manifest_path, sha256
from latentflow.latents.sources import parse_source
from latentflow.models.device import describe
from latentflow.pictures.draw import LabeledDrawing
from latentflow.pictures.figure import new_figure, save_figure, write_below
from latentflow.pictures.files import to_uint8
from latentflow.pictures.reader import Reader
from latentflow.prompts.config import FRAMES_PER_SEGMENT, STRENGTH, PromptsConfig
from latentflow.prompts.pipelines import DenoisingStep, TextToImage, load_pipeline
from latentflow.prompts.stops import Stop, parse_stops
from latentflow.prompts.walk import IDENTITY, Generation, Pictures, PlayedPath, Point, PromptPath, bisect, evenly
from latentflow.records import Record
from latentflow.runs.report import readable, size_of, versions
from latentflow.session import Session
from latentflow.sinks import run_sinks
from latentflow.sinks.background import Background
from latentflow.sinks.frames import check_frames_path, frame_options, open_frames
from latentflow.sinks.manifest import write_manifest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OTHER_TIMING = ("hold_stops", "bounce", "show_steps")  # which music does instead
LEVELS = 16  # of a note, from silent to full: frames whose levels are the same share a picture
GRID_COLUMNS = 8
GRID_INCHES = 1.6


@dataclass(frozen=True, kw_only=True)
class Generated(Record):
    """A frame of n generated pictures (n, 3, height, width) in [0, 1], with `titles` above them and a `caption` below,
    in parts that stay together."""

    image: Tensor
    titles: list[list[str]] = field(default_factory=list)
    caption: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class PromptsReport:
    """What was made: the files, the `figures` as plain values, and `lines` that say them to people; `error` is what
    broke it off, if anything did."""

    written: WrittenFiles
    figures: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    error: LatentflowError | None = None

    def summary(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        outcome = "done" if self.error is None else str(self.error)
        return {"outcome": outcome, "written": [str(path) for path in self.written.paths], **self.figures}

    def __str__(self) -> str:
        """The report for people."""
        return "\n".join(
            [*(f"wrote    {path} ({readable(size_of(path))})" for path in self.written.paths), *self.lines]
        )


@dataclass(frozen=True, slots=True)
class Job:
    """One command at work: what it was asked for, the model, where its files go, and the report it fills in."""

    stops: Sequence[Stop]
    config: PromptsConfig
    session: Session
    model: TextToImage
    size: int
    output: Path
    companion: Path
    report: PromptsReport


def run_prompts(
    texts: Sequence[str], config: PromptsConfig, session: Session, model: TextToImage | None = None
) -> PromptsReport:
    """Generate the pictures of a walk through prompts, or the steps of each, and write them as frames; with a `model`
    that is loaded already, or the one that the options name.

    Raises `InputError` for options that are wrong or contradict each other, `WeightsError` for a model that can't be
    loaded, `OutputError` where nothing can be written, and what diffusers raises. A walk that is stopped keeps its
    pictures, which `resume` uses.
    """
    stops = parse_stops(texts, config.seeds, config.negative)
    output = Path(config.output_path).expanduser()
    companion = _companion(output, config)
    _check(stops, config, output, companion)
    check_outputs(
        [output, companion],
        [each for each in (config.init, config.audio, config.midi, config.map_) if each is not None],
        overwrite=config.overwrite or config.resume,
    )
    report = PromptsReport(written=WrittenFiles([output, companion, manifest_path(output)]))
    loading: dict[str, Any] = {"scheduler": config.scheduler, "offload": config.offload, "say": session.say}
    model = model or load_pipeline(config.model, config.device, config.dtype, **loading)
    size = _size(model, config)
    unknown = dict.fromkeys(word for stop in stops for word in model.unknown_words(f"{stop.prompt} {stop.negative}"))
    if unknown:
        session.say(f"{model.name} has never seen: {', '.join(unknown)}.")
    job = Job(stops, config, session, model, size, output, companion, report)
    (_show_steps if config.show_steps else _walk)(job)
    report.figures |= {
        "model": model.name,
        "pipeline": model.kind,
        "size": size,
        "stops": [asdict(each) for each in stops],
    }
    content = {"stops": report.figures["stops"], "options": asdict(config) | {"model": model.name}, "size": size}
    content |= {"model": {"name": model.name, "pipeline": model.kind, "sha256": model.fingerprint()}}
    content |= {"versions": versions(), "machine": describe(model.device), "result": report.summary()}
    write_manifest(manifest_path(output), content, report.written.paths)
    return report


def _companion(output: Path, config: PromptsConfig) -> Path:
    """What goes beside the frames: the grid of the steps, or the folder of a walk's pictures."""
    return output.with_name(output.stem + (".steps.png" if config.show_steps else ".pictures"))


def _check(stops: Sequence[Stop], config: PromptsConfig, output: Path, companion: Path) -> None:
    usual = PromptsConfig()
    walking = ("loop", "frames", "even", "budget_seconds", "hold_stops", "embeddings", "resume")
    wrong = walking if config.show_steps else ("shown",)
    for name in wrong:
        if getattr(config, name) != getattr(usual, name):
            raise InputError(
                f"`{name}` would have no effect {'with' if config.show_steps else 'without'} `show_steps`."
            )
    if not config.show_steps and len(stops) < 2:
        raise InputError("A walk needs two prompts, or one with two seeds.", 'For example: "a face@1" "@2"')
    if config.init is None and (config.strength is not None or config.latent_of is not None):
        raise InputError("`strength` and `latent_of` go with `init`.", "Name an image or a latent.")
    if config.init is not None:
        source = parse_source(config.init, config.latent_of)
        if source.seed is not None:
            raise InputError(f"`init` {config.init}: noise belongs to a prompt.", 'For example: "a face@7"')
        source.check("`init`")
    if config.budget_seconds is not None and not config.even:
        raise InputError("`budget_seconds` goes with `even`.", "Add it.")
    if config.frames is not None and config.frames < len(stops) and config.even:
        raise InputError(f"`frames` {config.frames} can't show each of {len(stops)} prompts.")
    check_frames_path(output, **_frame_options(config))
    if config.seed is not None and config.midi is None:
        raise InputError(
            "`seed` is of the directions of notes.", "The noise of prompts has `seeds`, or @7 after words."
        )
    check_music(config, len(stops), loop=config.loop, timing=OTHER_TIMING)
    if config.motion == "chroma":
        raise InputError("`motion` chroma mixes the images of a walk; prompts have an order.")
    if config.midi is not None and config.even:
        raise InputError("`even` and `midi` both say which pictures are made.", "Give one of them.")
    if not config.show_steps and (companion / IDENTITY).is_file() and not (config.resume or config.overwrite):
        raise OutputError(f"{companion} holds pictures.", "`resume` uses them, `overwrite` starts over.")


def _frame_options(config: PromptsConfig) -> dict[str, Any]:
    return frame_options(config) | {"loop": 0}  # `loop` is about the walk


def _size(model: TextToImage, config: PromptsConfig) -> int:
    size = config.size or model.default_size
    if size % model.stride:
        near = max(model.stride, round(size / model.stride) * model.stride)
        raise InputError(f"`size` {size}: {model.kind} makes pictures of multiples of {model.stride}.", f"Try {near}.")
    return size


def _walk(job: Job) -> None:
    """Make the pictures of a walk, and write them as frames."""
    config, session, report = job.config, job.session, job.report
    path = PromptPath(job.model, job.stops, job.size, embeddings=config.embeddings, loop=config.loop)
    score = read_score(config, path, len(job.stops), config.fps, session) if has_music(config) else None
    if score is not None:
        report.figures |= score.figures()
        report.lines += score.lines()
    if score is not None and score.performance is not None:
        _play(job, path, score)
        return
    pictures = Pictures(job.companion, job.model, path, _how(job))
    _begin(pictures, job)
    count = config.frames or FRAMES_PER_SEGMENT * path.segments + (0 if config.loop else 1)
    places = [float(place) for place in range(len(job.stops))]
    ends = [*places, float(path.segments)] if config.loop and config.even else places
    if config.even:
        wanted = count + (1 if config.loop else 0)  # the last of a loop is the first again
        made = bisect(pictures, ends, wanted, budget_seconds=config.budget_seconds, check=session.check)
    else:
        made = _in_order(pictures, evenly(count, path.segments, loop=config.loop), session)
    positions = _made(made, count, job)
    shown = [position for position in positions if position < path.segments or not config.loop]
    if score is None:
        held = 1 + round(config.hold_stops * config.fps)
        timed = [position for position in shown for _ in range(held if position == int(position) else 1)]
    else:
        assert score.positions is not None
        timed = _nearest(shown, score.positions, path)
    steps = np.array([pictures.difference(one, two) for one, two in pairwise(positions)])
    widest = float(steps.max() / steps.min()) if len(steps) and steps.min() > 0 else None
    _write(_frames(timed, pictures, path), job, score=score, captions=[_words(position, path) for position in shown])
    report.figures |= {"frames": len(timed), "pictures": len(shown), "widest_over_narrowest": widest}
    ratio = "" if widest is None else f"; largest step over smallest: {widest:.2f}"
    report.lines.append(f"walk     {' → '.join(map(str, job.stops))}, {counted(len(shown), 'picture')}{ratio}")


def _play(job: Job, path: PromptPath, score: Score) -> None:
    """Make a picture for each different frame of a walk to notes, and write the frames."""
    config = job.config

    def no_direction(file: Path) -> Tensor:
        raise InputError(f"`map_`: the direction {file} is one of latents, and notes move the noise of prompts here.")

    moves = Moves(score, config, path.noise(0.0).shape, no_direction)
    assert score.positions is not None
    positions: Sequence[float] = [round(float(each), 8) for each in score.positions]
    if config.frames is not None:
        positions = _nearest(evenly(config.frames, path.segments, loop=config.loop), score.positions, path)
    points: dict[Point, int] = {}  # each different one, and its number
    order = []
    for frame, position in enumerate(positions):
        levels = {key: round(level * LEVELS) / LEVELS for key, level in sorted(moves.of(frame).items(), key=repr)}
        point = Point(position, tuple((key, level) for key, level in levels.items() if level))
        order.append(points.setdefault(point, len(points)))
    played = PlayedPath(path, list(points), moves.move)
    pictures = Pictures(job.companion, job.model, played, _how(job))
    _begin(pictures, job, hashlib.sha256(repr((list(points), moves.reach, moves.seed)).encode()).hexdigest())
    _made(_in_order(pictures, [float(number) for number in range(len(points))], job.session), len(points), job)
    if job.report.error is not None:
        job.session.say("The pictures so far are kept; `resume` uses them.")
        raise job.report.error
    captions = [[*_words(position, path), *score.sounding(frame)] for frame, position in enumerate(positions)]
    frames = (
        Generated(index=frame, total=len(order) - 1, image=pictures.image(float(number)), caption=captions[frame])
        for frame, number in enumerate(order)
    )
    _write(frames, job, score=score, captions=captions)
    job.report.figures |= {"frames": len(order), "pictures": len(points)}
    job.report.lines.append(f"walk     {' → '.join(map(str, job.stops))}, {counted(len(points), 'picture')}")


def _begin(pictures: Pictures, job: Job, notes: str | None = None) -> None:
    there = pictures.begin(_identity(job) | {"notes": notes}, resume=job.config.resume)
    if there:
        job.session.say(f"{counted(there, 'picture', 'are')} there already.")


def _made(made: Iterator[list[float]], count: int, job: Job) -> list[float]:
    """Make pictures to the end, or as far as possible, and return their positions; what broke it off stands in the
    report."""
    meter = job.session.start_meter(count, "picture")
    positions: list[float] = []
    try:
        for positions in made:
            if meter is not None:
                meter.update(len(positions), "")
    except LatentflowError as error:
        job.report.error = error
        if not positions:
            raise
    finally:
        if meter is not None:
            meter.close()
    return positions


def _how(job: Job) -> Generation:
    """How pictures are made; reads `init`, cut to a square."""
    config = job.config
    how = Generation(config.steps, config.guidance, config.batch_size)
    if config.init is None:
        return how
    reader = Reader(ReadingOptions(), job.session.say)
    source = parse_source(config.init, config.latent_of)
    latents, _ = source.latent(job.model.autoencoder, (job.size, job.size), "`init`", reader)
    reader.say_notes()
    return replace(how, start=latents.cpu(), strength=STRENGTH if config.strength is None else config.strength)


def _identity(job: Job) -> dict[str, Any]:
    """What pictures depend on."""
    config, model = job.config, job.model
    others = {"even", "show_steps", "shown", "seeds", "negative", "init", *(each.name for each in fields(MusicConfig))}
    fixed = options_that(PromptsConfig, affects="result") - others
    options = {name: value for name, value in asdict(config).items() if name in fixed}
    exact = {"device": model.device.type, "dtype": str(model.vae.dtype), "threads": torch.get_num_threads()}
    found = versions()
    made = {name: found[name] for name in ("torch", "diffusers") if name in found}
    scheduler = repr(sorted(model.pipeline.scheduler.config.items(), key=str))
    own = {"size": job.size, "model": model.fingerprint(), "scheduler": scheduler}
    own["init"] = None if config.init is None else sha256(Path(config.init).expanduser())
    own["stops"] = [asdict(each) for each in job.stops]
    return options | exact | made | own


def _in_order(pictures: Pictures, positions: list[float], session: Session) -> Iterator[list[float]]:
    batch = pictures.how.batch_size
    for first in range(0, len(positions), batch):
        session.check()
        pictures.make(positions[first : first + batch])
        yield positions[: first + batch]


def _nearest(positions: Sequence[float], wanted: np.ndarray, path: PromptPath) -> list[float]:
    """For each position (n,) that is wanted, the nearest of those that are there."""
    there = np.array(positions)
    gaps = np.abs(wanted[:, None] - there)
    if path.loop:  # its end is its beginning
        gaps = np.minimum(gaps, path.segments - gaps)
    return [float(each) for each in there[gaps.argmin(1)]]


def _words(position: float, path: PromptPath) -> list[str]:
    """Where a position is, in words."""
    names, place = [str(stop) for stop in path.stops], min(int(position), path.segments - 1)
    return [names[place], f"to {names[(place + 1) % len(names)]}", f"{position - place:.0%}"]


def _frames(positions: Sequence[float], pictures: Pictures, path: PromptPath) -> Iterator[Generated]:
    """The frames at positions, each of which has a picture."""
    for index, position in enumerate(positions):
        image, caption = pictures.image(position), _words(position, path)
        yield Generated(index=index, total=len(positions) - 1, image=image, caption=caption)


def _write(
    frames: Iterable[Generated], job: Job, *, score: Score | None = None, captions: Sequence[list[str]] = ()
) -> None:
    """Write frames, with the sound of a score; all have room for the longest of the `captions`."""
    config = job.config
    drawing = LabeledDrawing(caption=config.caption, captions=captions if config.caption else ())
    with nullcontext() if score is None else soundtrack(score, config, job.output, job.session) as sound:
        options = _frame_options(config) | {"hold": config.hold, "sound": sound}
        run_sinks(frames, [Background(open_frames(job.output, **options, draw=drawing))])


def _show_steps(job: Job) -> None:
    """The denoising of each prompt: a frame for each step, with all prompts side by side, and a grid of some steps."""
    config, model, size, names = job.config, job.model, job.size, [str(stop) for stop in job.stops]
    columns = []
    how = _how(job)
    for stop in job.stops:
        job.session.check()
        steps: list[DenoisingStep] = []
        last = model.generate(
            model.noise(stop.seed, size),
            model.encode(stop.prompt, stop.negative),
            steps=config.steps,
            guidance=config.guidance,
            start=how.start,
            strength=how.strength,
            seeds=[stop.seed],
            watch=steps.append,
        )
        decoded = [model.decode(getattr(step, config.shown), size).clamp(0, 1) for step in steps]
        columns.append([*decoded, last])
    count = min(map(len, columns))
    frames = [
        Generated(
            index=index,
            total=count - 1,
            image=torch.cat([column[index] for column in columns]),
            titles=[[name] for name in names] if config.caption else [],
            caption=[f"step {index} of {count - 1}"],
        )
        for index in range(count)
    ]
    save_figure(draw_steps(columns, names), job.companion)
    _write(frames, job)
    job.report.figures |= {"frames": count, "shown": config.shown}
    words = f"{count - 1} of {counted(len(names), 'prompt')}, as {config.shown}, and the picture"
    job.report.lines.append(f"steps    {words}")


def draw_steps(pictures: Sequence[Sequence[Tensor]], names: Sequence[str]) -> Figure:
    """A row for each prompt, with up to eight of its pictures (1, 3, h, w), the first and the last among them."""
    count = min(map(len, pictures))
    chosen = sorted({round(place) for place in np.linspace(0, count - 1, min(GRID_COLUMNS, count))})
    figure = new_figure(GRID_INCHES * len(chosen), (GRID_INCHES + 0.5) * len(names))
    axes = figure.subplots(len(names), len(chosen), squeeze=False)
    for row, (name, column) in enumerate(zip(names, pictures)):
        for place, index in enumerate(chosen):
            axes[row, place].imshow(to_uint8(column[index]))
            axes[row, place].set_axis_off()
            title = "picture" if index == count - 1 else f"step {index}"
            # the prompt has the line above to itself, however long it is
            axes[row, place].set_title(title if place else f"{name}\n{title}", fontsize=8, loc="left")
    write_below(figure)
    return figure
