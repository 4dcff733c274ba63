"""Frames of an earlier run, comparison or view, decoded from its trajectory: in another format, speed or size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from latentflow.base.errors import InputError, LatentflowError, OutputError, WeightsError
from latentflow.base.files import MANIFEST_SUFFIX, manifest_path, sha256, written_before
from latentflow.base.records import Record, Step
from latentflow.base.session import Session
from latentflow.latents.decode import decode_frames
from latentflow.models.autoencoder import Autoencoder
from latentflow.models.loading import Loaded
from latentflow.pictures.config import ReadingOptions
from latentflow.pictures.draw import Drawing, LabeledDrawing
from latentflow.pictures.files import fit, to_tensor
from latentflow.pictures.reader import Reader
from latentflow.runs.config import RenderConfig
from latentflow.runs.job import Files, Job, Report, Stages, run_job
from latentflow.runs.report import versions
from latentflow.sinks import Sink, run_sinks
from latentflow.sinks.background import Background
from latentflow.sinks.ffmpeg import Soundtrack
from latentflow.sinks.frames import check_frames_path, frame_options, open_frames
from latentflow.sinks.mosaic import Crop, Mosaic, Tile, pan
from latentflow.sinks.progress import Progress
from latentflow.sinks.resample import ResampleByChange
from latentflow.sinks.trajectory import Past, read_trajectory, trajectory_path
from latentflow.sound.follow import check_sound, follow, read_clip, say_silent
from latentflow.sound.motions import mixes_images

if TYPE_CHECKING:
    from latentflow.sinks.sink import Draw

TRAJECTORY_SUFFIX = ".trajectory"


def find_trajectory(source: Path) -> Path:
    """The trajectory that belongs to a file: to itself, to frames, to their manifest, or to any other file that the
    same command wrote; raises `InputError` when there is none."""
    if not source.exists():
        raise InputError(f"{source} does not exist.")
    named = source.with_name(source.name.removesuffix(MANIFEST_SUFFIX))
    beside = trajectory_path(named)
    if beside.is_file():
        return beside
    if source.is_file() and _begins_like_one(source):
        return source
    manifests = [source] if source.name.endswith(MANIFEST_SUFFIX) else _manifests_that_name(source)
    for manifest in manifests:
        for name in written_before(manifest) or []:
            path = manifest.parent / name
            if path.name.endswith(TRAJECTORY_SUFFIX) and path.is_file():
                return path
    raise InputError(
        f"No trajectory belongs to {source}.",
        "Runs, comparisons and views that move leave one beside their frames: frames.gif.trajectory.",
    )


def _begins_like_one(path: Path) -> bool:
    with path.open("rb") as file:
        return path.name.endswith(TRAJECTORY_SUFFIX) or (file.read(1) == b"{" and path.suffix != ".json")


def _manifests_that_name(source: Path) -> list[Path]:
    """The manifests in its folder that say they belong to a file, its own first."""
    others = sorted(source.absolute().parent.glob(f"*{MANIFEST_SUFFIX}"))
    return [path for path in (manifest_path(source), *others) if source.name in (written_before(path) or [])]


def render(sources: Sequence[str], config: RenderConfig, session: Session) -> Report:
    """Decode the latents of the trajectory that belongs to the one source, and write them as frames.

    Raises `InputError` where there is none and for a target image that has changed since the run, `OutputError` for an
    output that is a file of the run's own, `WeightsError` for weights other than the run's, and what writing frames
    raises. An `audio` goes under the frames; with a `motion` they follow it: each shows the frame of the run that is
    nearest to the motion's position.
    """
    return run_job(Stages(check=_check, load=_load, make=_make, facts=_facts), sources, config, session)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """A trajectory that can be rendered: its records with latents, and what its facts say of size and autoencoder."""

    past: Past
    shown: list[Any]
    size: tuple[int, int]
    vae: str
    dtype: str
    vae_config: str | None


def _check(sources: Sequence[str], config: RenderConfig) -> Files:
    past = read_trajectory(find_trajectory(Path(sources[0]).expanduser()))
    shown = [entry for entry in past.records if entry.latent_at is not None]
    if not shown:
        raise InputError(f"The trajectory {past.path} has no frames yet.")
    output = Path(config.output_path).expanduser()
    check_frames_path(output, **frame_options(config))
    _check_output(output, past, overwrite=config.overwrite)
    _check_sound(output, config)
    try:
        options, image = past.facts["options"], past.facts["image"]
        vae_config = options.get("vae_config") and str(options["vae_config"])
        size = (int(image["fitted_height"]), int(image["fitted_width"]))
        named = {"vae": str(options["vae"]), "dtype": str(options.get("dtype", "float32")), "vae_config": vae_config}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"The trajectory {past.path} doesn't describe its run: {error}.") from error
    if config.side_by_side and "image_path" not in options:
        raise InputError("`side_by_side` would have no effect: only runs and comparisons have a target.")
    is_own = output.resolve() in _own_files(past)  # then the run's manifest goes on naming it
    found = _Source(past=past, shown=shown, size=size, **named)
    return Files(outputs=[output], shown={"trajectory": str(past.path.resolve())}, has_manifest=not is_own, found=found)


def _load(config: RenderConfig, files: Files, session: Session) -> Loaded:
    source: _Source = files.found
    loaded = session.load(source.vae, "auto", config.device, source.dtype, source.vae_config)
    past, owner = source.past, source.past.facts["weights"]
    if loaded.weights.sha256 != owner.get("sha256"):
        raise WeightsError(
            f"The weights of {loaded.weights.name} are not those of the trajectory: their SHA-256 is "
            f"{loaded.weights.sha256}, not {owner.get('sha256')}."
        )
    if loaded.autoencoder.geometry.latent_shape(*source.size) != tuple(past.facts["shape"][-3:]):
        width, height = source.size[1], source.size[0]
        raise InputError(f"The latents of {past.path} don't fit a picture of {width} × {height} pixels.")
    return loaded


def _facts(job: Job[RenderConfig]) -> dict[str, Any]:
    """Return facts on the trajectory that the frames were drawn from."""
    known = {"inputs": job.shown, "options": asdict(job.config), "versions": versions()}
    return known | {"outcome": job.report.outcome}


def _make(job: Job[RenderConfig]) -> None:
    config, session, autoencoder = job.config, job.session, job.autoencoder
    source: _Source = job.found
    past, shown, size = source.past, source.shown, source.size
    if "pan" in past.facts:
        views, draw, count = _panned(past, config, autoencoder, size)
        sound, times = _heard(config, count, session)
        _write(job, _repeated(views, times), draw, count - 1, sound)
        return
    target = _target(past.facts, size) if config.side_by_side else None
    chosen = [*shown[:-1][:: config.skip_step], shown[-1]]
    if config.pace == "change":
        chosen = shown
    sound, times = _heard(config, len(chosen), session)
    if times is not None:
        chosen = [entry for entry, count in zip(chosen, times) if count]
        times = times[times > 0]
    frames = _repeated(_decoded(replace(past, records=chosen), autoencoder, size), times)

    def decode(latent: Tensor) -> Tensor:
        return autoencoder.decode(latent.to(autoencoder.device), size)

    def paced(sink: Sink[Any]) -> Sink[Any]:
        kept = len([*shown[:-1][:: config.skip_step], shown[-1]])
        return ResampleByChange(sink, kept, decode, session) if config.pace == "change" else sink

    _write(job, frames, _drawing(past, config, target, size), shown[-1].figures["step"], sound, paced)


def _check_sound(output: Path, config: RenderConfig) -> None:
    """Raise `InputError` for options of sound that contradict others."""
    check_sound(config, config.motion)
    if config.audio is not None and output.resolve() == Path(config.audio).expanduser().resolve():
        raise InputError(f"`output_path` {output} is the sound.")
    if mixes_images(config.motion):
        raise InputError(f"`motion` {config.motion} mixes the images of a walk; the frames of a run have an order.")
    if config.motion is not None:
        usual = RenderConfig()
        for name in ("skip_step", "pace", "bounce"):
            if getattr(config, name) != getattr(usual, name):
                raise InputError(f"`{name}` and `motion` both time the frames.", "Give one of them.")


def _heard(config: RenderConfig, count: int, session: Session) -> tuple[Soundtrack | None, np.ndarray | None]:
    """The sound to go under the frames and, with a motion, how many times each of `count` frames is shown."""
    if config.audio is None:
        return None, None
    say_silent(Path(config.output_path), session)
    if config.motion is None:
        return read_clip(config, session).track, None
    followed = follow(config, config.motion, session)
    fractions = followed.fractions(config.fps)
    places = np.floor(fractions * (count - 1) + 0.5).astype(int)
    places[0], places[-1] = 0, count - 1
    return followed.heard.clip.track, np.bincount(places, minlength=count)


def _repeated(records: Iterator[Any], times: np.ndarray | None) -> Iterator[Any]:
    """Each record as many times as `times` (n,) says, or once."""
    if times is None:
        yield from records
        return
    for record, count in zip(records, times.tolist()):
        for _ in range(count):
            yield record


def _check_output(output: Path, past: Past, *, overwrite: bool) -> None:
    """Raise `InputError` where the output would replace what the frames are made from, `OutputError` where it would
    replace another file of the same run without `overwrite`."""
    options, inputs = past.facts.get("options"), past.facts.get("inputs")
    sources = [options.get("image_path") if isinstance(options, dict) else None]
    for value in inputs.values() if isinstance(inputs, dict) else ():
        sources += value if isinstance(value, list) else [value]
    if output.resolve() in {Path(str(source)).expanduser().resolve() for source in sources if source is not None}:
        raise InputError(f"`output_path` {output} is the image of the run.")
    if not overwrite and output.exists() and output.resolve() in _own_files(past):
        raise OutputError(
            f"`output_path` {output} is a file of the run that is rendered.", "Name another one, or add `overwrite`."
        )


def _own_files(past: Past) -> set[Path]:
    """The files of the run that a trajectory is of."""
    frames = past.path.with_name(past.path.name.removesuffix(TRAJECTORY_SUFFIX))
    own = {frames, past.path, manifest_path(frames)}
    for manifest in {manifest_path(frames), *_manifests_that_name(past.path)}:
        own |= {manifest.parent / name for name in written_before(manifest) or []}
    return {path.resolve() for path in own}


def _drawing(past: Past, config: RenderConfig, target: Tensor | None, size: tuple[int, int]) -> Draw:
    if past.is_of_run:
        shown = torch.zeros(1, 3, *size, dtype=torch.float32) if target is None else target
        return Drawing(shown, side_by_side=config.side_by_side, caption=config.caption, size=config.size)
    columns = past.facts.get("columns")
    return LabeledDrawing(
        columns=columns if isinstance(columns, int) and columns > 0 else None,
        caption=config.caption,
        target=target,
        size=config.size,
        captions=[entry.figures["caption"] for entry in past.records],
    )


def _write(
    job: Job[RenderConfig],
    records: Iterator[Any],
    draw: Draw,
    total: int,
    sound: Soundtrack | None,
    paced: Callable[[Sink[Any]], Sink[Any]] = lambda sink: sink,
) -> None:
    config, session, report = job.config, job.session, job.report
    shown: dict[str, Any] = {"sound": sound, "by_frame": config.motion is not None}
    frames = open_frames(job.output, **frame_options(config), hold=config.hold, draw=draw, session=session, **shown)
    try:
        run_sinks(session.watch(records), [paced(Background(frames)), Progress(session, total)])
    except LatentflowError as error:
        if not frames.frames:
            raise
        report.error = error
    report.figures |= {"written": str(job.output), "frames": frames.frames}
    report.frames = (job.output, frames.frames, frames.frames)


def _decoded(past: Past, autoencoder: Autoencoder, size: tuple[int, int]) -> Iterator[Record]:
    """The frames of a trajectory that kept all latents, some decoded together."""
    device, total = autoencoder.device, len(past.records) - 1
    if not past.is_of_run:
        texts, records = tee(past.labeled(torch.empty(0, dtype=torch.float32)))
        latents = (record.latent.to(device) for record in records)
        for record, frame in zip(texts, decode_frames(autoencoder, latents, size, total=total)):
            yield replace(record, latent=frame.latent, image=frame.image)
        return
    figures, steps = tee(past.read())
    on_device = (latent.to(device) for _, latent in steps if latent is not None)
    for (each, _), frame in zip(figures, decode_frames(autoencoder, on_device, size, total=total)):
        yield Step(latent=frame.latent, image=frame.image, **vars(each))


def _panned(
    past: Past, config: RenderConfig, autoencoder: Autoencoder, size: tuple[int, int]
) -> tuple[Iterator[Crop], Draw, int]:
    """The views of a plane, from the tiles in the trajectory; all tiles are decoded."""
    try:
        rows, columns, side, window = (int(past.facts["pan"][name]) for name in ("rows", "columns", "side", "window"))
        frames = past.facts["pan"]["frames"]
        if min(rows, columns, side, window) < 1 or rows * columns != len(past.records):
            raise ValueError("tiles are missing")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"The trajectory {past.path} doesn't describe its plane: {error}.") from error
    mosaic = Mosaic(size, columns, rows, side if config.size is None else max(1, round(side * config.size / window)))
    for index, frame in enumerate(_decoded(past, autoencoder, size)):
        row, column = divmod(index, columns)
        shown = {"latent": frame.latent, "image": frame.image}  # type: ignore[attr-defined]
        mosaic.write(Tile(index=index, total=rows * columns - 1, row=row, column=column, place=(0, 0), **shown))
    views = list(pan(mosaic.pixels.shape[:2], mosaic.window(config.size or window), frames))
    chosen = [*views[:-1][:: config.skip_step], views[-1]]
    return iter(chosen), mosaic.cut, len(chosen)


def _target(facts: dict[str, Any], size: tuple[int, int]) -> Tensor:
    path, options = Path(facts["options"]["image_path"]), facts["options"]
    reading = ReadingOptions(**{each.name: options.get(each.name, each.default) for each in fields(ReadingOptions)})
    picture = Reader(reading).read(path)
    if sha256(path) != facts["image"]["sha256"]:
        raise InputError(
            f"{path} is not the image of the trajectory: its SHA-256 differs.", "Leave out `side_by_side`."
        )
    target = to_tensor(fit(picture, options["size"], options["fit"]))
    if tuple(target.shape[-2:]) != size:
        raise InputError(f"{path} differs in size from the trajectory.")
    return target
