"""What a view is, and the one runner of all: check → load → compute and draw → report → manifest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from latentflow.config import ViewConfig, counted
from latentflow.errors import LatentflowError
from latentflow.files import WrittenFiles, check_outputs, manifest_path
from latentflow.pictures.draw import LabeledDrawing
from latentflow.pictures.reader import Reader
from latentflow.records import AnyRecord, Labeled
from latentflow.runs.report import circumstances, readable, size_of
from latentflow.session import Session, ignore
from latentflow.sinks import Sink, run_sinks
from latentflow.sinks.background import Background
from latentflow.sinks.frames import frame_options, open_frames
from latentflow.sinks.manifest import write_manifest
from latentflow.sinks.progress import Progress
from latentflow.sinks.trajectory import Trajectory, trajectory_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from latentflow.models.autoencoder import Autoencoder
    from latentflow.models.loading import Loaded
    from latentflow.sinks import Draw

Config = TypeVar("Config", bound=ViewConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What a view reads and writes: its main output first in `outputs`, its companions after it; `inputs` are files and
    folders that must not be written into; `shown` names the inputs in the manifest."""

    outputs: list[Path]
    inputs: Sequence[str | Path] = ()
    shown: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class ViewReport:
    """The outcome of a view: the files `written`, its `figures` as plain values, and `lines` that say them to people.

    `error` holds what broke the view off, if anything did.
    """

    written: WrittenFiles
    figures: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    error: LatentflowError | None = None
    frames: tuple[Path, int, int] | None = None  # where moving pictures are, how many, and how many there should be

    def summary(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        outcome = "done" if self.error is None else str(self.error)
        return {"outcome": outcome, "written": [str(path) for path in self.written.paths], **self.figures}

    def __str__(self) -> str:
        """The report for people."""
        return "\n".join([*map(self._written, self.written.paths), *self.lines])

    def _written(self, path: Path) -> str:
        size = readable(size_of(path))
        if self.frames is None or path != self.frames[0]:
            return f"wrote    {path} ({size})"
        _, count, wanted = self.frames
        whole = counted(count, "frame") if count == wanted else f"{count} of {counted(wanted, 'frame')}"
        return f"wrote    {path} ({size}, {whole})"


@dataclass(slots=True, kw_only=True)
class Job(Generic[Config]):
    """One view at work: what it was asked for, the models, the reader of its images, the report it fills in, and its
    inputs as they are `shown` in manifests."""

    sources: Sequence[str]
    config: Config
    session: Session
    loaded: Loaded
    outputs: list[Path]
    report: ViewReport
    reader: Reader
    shown: dict[str, Any]

    @property
    def autoencoder(self) -> Autoencoder:
        """The autoencoder that is looked at."""
        return self.loaded.autoencoder

    @property
    def output(self) -> Path:
        """The main output."""
        return self.outputs[0]

    def write_labeled(
        self,
        path: Path,
        frames: Iterable[Labeled],
        total: int,
        describe: Callable[[Labeled], str],
        size: tuple[int, int],
        drawing: LabeledDrawing | None = None,
        **options: Any,
    ) -> None:
        """Write moving pictures of `size` (height, width) and, beside them, the trajectory from which they can be drawn
        again; the rest is as in `write_frames`."""
        drawing = drawing or LabeledDrawing()
        shown = {"columns": drawing.columns, "caption": drawing.caption}
        sink = self.trajectory(path, size, shown)
        self.write_frames(path, frames, total, describe, draw=drawing, sinks=[sink], **options)

    def trajectory(self, path: Path, size: tuple[int, int], shown: dict[str, Any]) -> Trajectory:
        """The sink of the latents that moving pictures at `path` are made of; `shown` says how they are drawn."""
        made = {"inputs": self.shown, "image": {"fitted_height": size[0], "fitted_width": size[1]}, **shown}
        return Trajectory(trajectory_path(path), made | self.facts(), every=1)

    def facts(self) -> dict[str, Any]:
        """Options, weights and machine, as a manifest has them."""
        options = asdict(self.config) | {"dtype": self.autoencoder.precision}
        return circumstances(options, self.loaded.weights, self.autoencoder.device)

    def write_frames(
        self,
        path: Path,
        frames: Iterable[AnyRecord],
        total: int,
        describe: Callable[[AnyRecord], str],
        *,
        draw: Draw,
        sinks: Sequence[Sink[Any]] = (),
        **options: Any,
    ) -> None:
        """Write moving pictures, the last of which has index `total`, and send them to further `sinks`; how many goes
        to the report. `options` are those of `open_frames` that are not the config's.

        What breaks them off goes to the report as well, but is raised when there are none and the view has nothing
        else.
        """
        options = frame_options(self.config) | {"hold": getattr(self.config, "hold", 0)} | options
        sink = open_frames(path, **options, draw=draw)
        progress = Progress(self.session, total, describe, "frame")
        try:
            run_sinks(self.session.watch(frames), [Background(sink), *sinks, progress])
        except LatentflowError as error:
            if not sink.frames and self.output == path:
                raise
            self.report.error = error
        self.report.figures["frames"] = sink.frames
        self.report.frames = (path, sink.frames, total + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewSteps(Generic[Config]):
    """The two steps of a view. `check` finds what is wrong before anything is loaded and says which files there will
    be; `make` computes, draws and fills in the report. Both raise `LatentflowError`."""

    check: Callable[[Sequence[str], Config], Files]
    make: Callable[[Job[Config]], None]


def run_view(steps: ViewSteps[Any], sources: Sequence[str], config: ViewConfig, session: Session) -> ViewReport:
    """Run one view; raises `LatentflowError` for everything that is wrong before its first output is there."""
    files = steps.check(sources, config)
    check_outputs(files.outputs, files.inputs, overwrite=config.overwrite)
    manifest = manifest_path(files.outputs[0])
    report = ViewReport(written=WrittenFiles([*files.outputs, manifest]))
    loaded = session.load(config.vae, config.weights, config.device, config.dtype, config.vae_config)
    reader = Reader(config, ignore if session.quiet else session.say)
    made: dict[str, Any] = {"session": session, "loaded": loaded, "reader": reader, "report": report}
    job: Job[Any] = Job(sources=sources, config=config, outputs=files.outputs, shown=files.shown, **made)
    try:
        steps.make(job)
        reader.say_notes()
        add_notes(report, reader)
    except LatentflowError as error:
        report.error = error
        if report.written.paths:  # so that the next command knows whose files they are
            _write_manifest(manifest, job, files)
        raise
    _write_manifest(manifest, job, files)
    return report


def add_notes(report: ViewReport, reader: Reader) -> None:
    """Add to a report what reading the images changed, if anything."""
    if notes := reader.notes.sentences():
        report.figures["notes"] = notes


def _write_manifest(path: Path, job: Job[Any], files: Files) -> None:
    loaded, report = job.loaded, job.report
    content = {"inputs": files.shown, **job.facts()}
    content |= {"notices": list(loaded.networks.notices.values()), "result": report.summary()}
    write_manifest(path, content, report.written.paths)


def moving(path: Path) -> list[Path]:
    """The files of moving pictures at `path`: these, and their trajectory."""
    return [path, trajectory_path(path)]


def beside(path: Path, suffix: str) -> Path:
    """The file that belongs to a view's picture: `x.png` has `x` + suffix."""
    return path.with_name(path.stem + suffix)


def frames_beside(path: Path, suffix: str) -> Path:
    """Where the moving picture that belongs to a view's picture goes; without a suffix, a folder of PNGs."""
    return beside(path, suffix) if suffix else path.with_name(path.stem.replace(".", "_") + "_frames")


def finite(value: float) -> float | None:
    """The value, or None for what JSON has no number for."""
    return value if math.isfinite(value) else None
