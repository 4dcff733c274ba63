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

from latentflow.base.errors import InputError, LatentflowError, OutputError
from latentflow.base.files import check_writable, manifest_path, sha256, written_in
from latentflow.base.options import counted, options_that
from latentflow.base.pixels import to_uint8
from latentflow.base.records import Record
from latentflow.base.session import Session
from latentflow.latents.sources import parse_source
from latentflow.models.device import describe
from latentflow.pictures.config import ReadingOptions
from latentflow.pictures.draw import LabeledDrawing
from latentflow.pictures.figure import new_figure, save_figure, write_below
from latentflow.pictures.reader import Reader
from latentflow.prompts.config import FRAMES_PER_SEGMENT, STRENGTH, PromptsConfig
from latentflow.prompts.loading import load_pipeline
from latentflow.prompts.pipelines import TextToImage
from latentflow.prompts.schedules import DenoisingStep
from latentflow.prompts.stops import Stop, parse_stops
from latentflow.prompts.walk import (
    FORMAT,
    Generation,
    Pictures,
    PlayedPath,
    Point,
    PromptPath,
    bisect,
    evenly,
    pictures_of,
)
from latentflow.runs.job import Files, Job, Report, Stages, run_job
from latentflow.runs.report import versions
from latentflow.sinks import run_sinks
from latentflow.sinks.background import Background
from latentflow.sinks.frames import check_frames_path, frame_options, open_frames
from latentflow.sound.config import MusicConfig
from latentflow.sound.motions import mixes_images
from latentflow.sound.score import Moves, Score, check_music, has_music, read_score, soundtrack

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OTHER_TIMING = ("hold_stops", "bounce", "show_steps")  # which music does instead
LEVELS = 16  # of a note, from silent to full: frames with the same levels share a picture
GRID_COLUMNS = 8
GRID_INCHES = 1.6


@dataclass(frozen=True, kw_only=True)
class Generated(Record):
    """A frame of n generated pictures (n, 3, height, width) in [0, 1], with `titles` above them and a `caption` below,
    in parts that stay together."""

    image: Tensor
    titles: list[list[str]] = field(default_factory=list)
    caption: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Making:
    """One command at work: the prompts, how they are walked, the model, where its files go, and the report it fills
    in."""

    stops: Sequence[Stop]
    config: PromptsConfig
    session: Session
    model: TextToImage
    size: int
    output: Path
    companion: Path
    report: Report


def run_prompts(
    texts: Sequence[str], config: PromptsConfig, session: Session, model: TextToImage | None = None
) -> Report:
    """Generate the pictures of a walk through prompts, or the steps of each, and write them as frames; with a `model`
    that is loaded already, or the one that the options name.

    Raises `InputError` for options that are wrong or contradict each other, `WeightsError` for a model that can't be
    loaded, `OutputError` where nothing can be written, and what diffusers raises. A walk that is stopped keeps its
    pictures, which `resume` uses.
    """
    return run_job(PROMPTS, texts, config, session, model)


def _check(texts: Sequence[str], config: PromptsConfig) -> Files:
    stops = parse_stops(texts, config.seeds, config.negative)
    output = Path(config.output_path).expanduser()
    companion = _companion(output, config)
    _check_options(stops, config, output, companion)
    return Files(
        outputs=[output, companion],
        inputs=[each for each in (config.init, config.audio, config.midi, config.map_) if each is not None],
        own=[companion] if config.resume and pictures_of(companion) is not None else [],
        found=stops,
    )


def _load(config: PromptsConfig, files: Files, session: Session) -> TextToImage:
    loading: dict[str, Any] = {"scheduler": config.scheduler, "offload": config.offload, "say": session.say}
    return load_pipeline(config.model, config.device, config.dtype, **loading)


def _make(job: Job[PromptsConfig]) -> None:
    config, model, stops = job.config, job.loaded, job.found
    size = _size(model, config)
    model.check_steps(config.steps)
    _say_what_is_ignored(model, stops, config, job.session)
    output, companion = job.outputs
    making = Making(stops, config, job.session, model, size, output, companion, job.report)
    (_show_steps if config.show_steps else _walk)(making)


def _facts(job: Job[PromptsConfig]) -> dict[str, Any]:
    config, model, size = job.config, job.loaded, _size(job.loaded, job.config)
    named = {"model": model.name, "pipeline": model.kind, "size": size, "stops": [asdict(each) for each in job.found]}
    job.report.figures |= named
    content = {"stops": named["stops"], "options": asdict(config) | {"model": model.name}, "size": size}
    content |= {"model": {"name": model.name, "pipeline": model.kind, "sha256": model.fingerprint()}}
    return content | {"versions": versions(), "machine": describe(model.device)}


PROMPTS = Stages(check=_check, load=_load, make=_make, facts=_facts)


def _companion(output: Path, config: PromptsConfig) -> Path:
    """Return the path beside the frames: the grid of the steps, or the folder of a walk's pictures."""
    return output.with_name(output.stem + (".steps.png" if config.show_steps else ".pictures"))


def _check_options(stops: Sequence[Stop], config: PromptsConfig, output: Path, companion: Path) -> None:
    usual = PromptsConfig()
    walking = ("loop", "frames", "even", "budget_seconds", "hold_stops", "embeddings", "resume", "batch_size")
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
    if mixes_images(config.motion):
        raise InputError(f"`motion` {config.motion} mixes the images of a walk; prompts have an order.")
    if config.midi is not None and config.even:
        raise InputError("`even` and `midi` both say which pictures are made.", "Give one of them.")
    if config.show_steps:
        check_writable(companion, "`output_path`")
        return
    if companion.exists() and not companion.is_dir():
        raise OutputError(f"`output_path` {output}: {companion} is a file, and pictures go into a folder of that name.")
    if pictures_of(companion) is not None and not (config.resume or config.overwrite):
        raise OutputError(f"{companion} holds pictures.", "`resume` uses them, `overwrite` starts over.")


def _frame_options(config: PromptsConfig) -> dict[str, Any]:
    return frame_options(config) | {"loop": 0}  # `loop` is about the walk


def _size(model: TextToImage, config: PromptsConfig) -> int:
    size = config.size or model.default_size
    if size % model.stride:
        near = max(model.stride, round(size / model.stride) * model.stride)
        raise InputError(f"`size` {size}: {model.kind} makes pictures of multiples of {model.stride}.", f"Try {near}.")
    return size


def _say_what_is_ignored(model: TextToImage, stops: Sequence[Stop], config: PromptsConfig, session: Session) -> None:
    """Say which words a model doesn't know or doesn't read, and what has no effect; raises `InputError` for guidance
    and negative prompts without effect."""
    remark = model.check_guidance(config.guidance, any(stop.negative for stop in stops))
    if remark:
        session.say(remark)
    texts = dict.fromkeys(text for stop in stops for text in (stop.prompt, stop.negative) if text)
    unknown = dict.fromkeys(word for text in texts for word in model.unknown_words(text))
    if unknown:
        session.say(f"{model.name} has never seen: {', '.join(unknown)}.")
    for text in texts:
        for count, words in model.left_out(text).items():
            session.say(f"{model.name} reads the first {count} tokens of a prompt; left out: {words!r}.")
    if config.embeddings != "lerp" and len({(stop.prompt, stop.negative) for stop in stops}) == 1:
        session.say("`embeddings` has no effect: all prompts have the same words.")


def _walk(job: Making) -> None:
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
    report.figures |= {"pictures": len(shown), "widest_over_narrowest": widest}
    ratio = "" if widest is None else f"; largest step over smallest: {widest:.2f}"
    report.lines.append(f"walk     {' → '.join(map(str, job.stops))}, {counted(len(shown), 'picture')}{ratio}")


def _play(job: Making, path: PromptPath, score: Score) -> None:
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
    job.report.figures["pictures"] = len(points)
    job.report.lines.append(f"walk     {' → '.join(map(str, job.stops))}, {counted(len(points), 'picture')}")


def _begin(pictures: Pictures, job: Making, notes: str | None = None) -> None:
    earlier = written_in(job.companion, manifest_path(job.output))
    there = pictures.begin(_identity(job) | {"notes": notes}, earlier, resume=job.config.resume)
    if there:
        job.session.say(f"{counted(there, 'picture', 'are')} there already.")


def _made(made: Iterator[list[float]], count: int, job: Making) -> list[float]:
    """Make pictures to the end, or as far as possible, and return their positions; what broke it off stands in the
    report."""
    meter = job.session.start_meter(count, "picture")
    positions: list[float] = []
    try:
        with job.session.interruptible():  # a picture is complete or absent
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


def _how(job: Making) -> Generation:
    """Return the settings that pictures are made with; reads `init`, cut to a square."""
    config = job.config
    how = Generation(config.steps, config.guidance, config.batch_size)
    if config.init is None:
        return how
    reader = Reader(ReadingOptions(), job.session.say)
    source = parse_source(config.init, config.latent_of)
    latents, _ = source.latent(job.model.autoencoder, (job.size, job.size), "`init`", reader)
    reader.say_notes()
    return replace(how, start=latents.cpu(), strength=STRENGTH if config.strength is None else config.strength)


def _identity(job: Making) -> dict[str, Any]:
    """Return the settings that pictures depend on."""
    config, model = job.config, job.model
    others = {"even", "show_steps", "shown", "seeds", "negative", "init", *(each.name for each in fields(MusicConfig))}
    fixed = options_that(PromptsConfig, affects="result") - others
    options = {name: value for name, value in asdict(config).items() if name in fixed}
    exact = {"device": model.device.type, "dtype": str(model.vae.dtype), "threads": torch.get_num_threads()}
    found = versions()
    made = {name: found[name] for name in ("torch", "diffusers") if name in found}
    noisy = model.pipeline.scheduler
    scheduler = repr((type(noisy).__name__, sorted(noisy.config.items(), key=str)))
    own = {"format": FORMAT, "size": job.size, "model": model.fingerprint(), "scheduler": scheduler}
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
    """The nearest existing position for each `wanted` one (n,)."""
    there = np.array(positions)
    gaps = np.abs(wanted[:, None] - there)
    if path.loop:  # its end is its beginning
        gaps = np.minimum(gaps, path.segments - gaps)
    return [float(each) for each in there[gaps.argmin(1)]]


def _words(position: float, path: PromptPath) -> list[str]:
    """Describe a position in words."""
    names, place = [str(stop) for stop in path.stops], min(int(position), path.segments - 1)
    return [names[place], f"to {names[(place + 1) % len(names)]}", f"{position - place:.0%}"]


def _frames(positions: Sequence[float], pictures: Pictures, path: PromptPath) -> Iterator[Generated]:
    """The frames at positions, each of which has a picture."""
    for index, position in enumerate(positions):
        image, caption = pictures.image(position), _words(position, path)
        yield Generated(index=index, total=len(positions) - 1, image=image, caption=caption)


def _write(
    frames: Iterable[Generated], job: Making, *, score: Score | None = None, captions: Sequence[list[str]] = ()
) -> None:
    """Write frames, with the sound of a score; all have room for the longest of the `captions`."""
    config = job.config
    drawing = LabeledDrawing(caption=config.caption, captions=captions if config.caption else ())
    with nullcontext() if score is None else soundtrack(score, config, job.output, job.session) as sound:
        options = _frame_options(config) | {"hold": config.hold, "sound": sound}
        sink = open_frames(job.output, **options, draw=drawing, session=job.session)
        watched = frames if job.report.error else job.session.watch(frames, "the frames end there")
        try:
            run_sinks(watched, [Background(sink)])
        except LatentflowError as error:
            if not sink.frames:
                raise
            job.report.error = error
        job.report.figures["frames"] = sink.frames


def _show_steps(job: Making) -> None:
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
    job.report.figures["shown"] = config.shown
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
