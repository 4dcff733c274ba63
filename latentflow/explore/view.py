"""What a view is, and the one runner of all: check → load → compute and draw → report → manifest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from latentflow.config import ViewConfig
from latentflow.errors import LatentflowError
from latentflow.files import WrittenFiles, check_outputs, manifest_path
from latentflow.pictures.reader import Reader
from latentflow.records import AnyRecord
from latentflow.runs.report import circumstances, counted, readable, size_of
from latentflow.session import Session, ignore
from latentflow.sinks import FrameSink, run_sinks
from latentflow.sinks.background import Background
from latentflow.sinks.manifest import write_manifest
from latentflow.sinks.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from latentflow.models.autoencoder import Autoencoder
    from latentflow.models.loading import Loaded

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

    def summary(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        outcome = "done" if self.error is None else str(self.error)
        return {"outcome": outcome, "written": [str(path) for path in self.written.paths], **self.figures}

    def __str__(self) -> str:
        """The report for people."""
        return "\n".join([*map(_written, self.written.paths), *self.lines])


def _written(path: Path) -> str:
    files = f", {counted(len(list(path.iterdir())), 'file')}" if path.is_dir() else ""
    return f"wrote    {path} ({readable(size_of(path))}{files})"


@dataclass(slots=True, kw_only=True)
class Job(Generic[Config]):
    """One view at work: what it was asked for, the models, the reader of its images, and the report it fills in."""

    sources: Sequence[str]
    config: Config
    session: Session
    loaded: Loaded
    outputs: list[Path]
    report: ViewReport
    reader: Reader

    @property
    def autoencoder(self) -> Autoencoder:
        """The autoencoder that is looked at."""
        return self.loaded.autoencoder

    @property
    def output(self) -> Path:
        """The main output."""
        return self.outputs[0]

    def write_frames(
        self, sink: FrameSink, frames: Iterable[AnyRecord], total: int, describe: Callable[[AnyRecord], str]
    ) -> None:
        """Write moving pictures, the last of which has index `total`; how many goes to the report's figures.

        What breaks them off goes to the report as well, but is raised when there are none and the view has nothing
        else.
        """
        progress = Progress(self.session, total, describe, "frame")
        try:
            run_sinks(self.session.watch(frames), [Background(sink), progress])
        except LatentflowError as error:
            if not sink.frames and self.outputs == [sink.path]:
                raise
            self.report.error = error
        self.report.figures["frames"] = sink.frames


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
    job: Job[Any] = Job(sources=sources, config=config, outputs=files.outputs, **made)
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
    options = asdict(job.config) | {"dtype": loaded.autoencoder.precision}
    content = {"inputs": files.shown, **circumstances(options, loaded.weights, loaded.autoencoder.device)}
    content |= {"notices": list(loaded.networks.notices.values()), "result": report.summary()}
    write_manifest(path, content, report.written.paths)


def beside(path: Path, suffix: str) -> Path:
    """The file that belongs to a view's picture: `x.png` has `x` + suffix."""
    return path.with_name(path.stem + suffix)


def frames_beside(path: Path, suffix: str) -> Path:
    """Where the moving picture that belongs to a view's picture goes; without a suffix, a folder of PNGs."""
    return beside(path, suffix) if suffix else path.with_name(path.stem.replace(".", "_") + "_frames")


def finite(value: float) -> float | None:
    """The value, or None for what JSON has no number for."""
    return value if math.isfinite(value) else None
