"""A command at work, and the one runner of all: check → guard → load → make → report → manifest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from latentflow.base.errors import LatentflowError
from latentflow.base.files import WrittenFiles, check_outputs, manifest_path
from latentflow.base.options import Options, counted
from latentflow.base.records import AnyRecord, Labeled
from latentflow.base.session import Session, ignore
from latentflow.pictures.config import ReadingOptions
from latentflow.pictures.draw import LabeledDrawing
from latentflow.pictures.reader import Reader
from latentflow.runs.report import circumstances, readable, size_of
from latentflow.sinks import EveryNth, Sink, run_sinks
from latentflow.sinks.advice import Advice
from latentflow.sinks.background import Background
from latentflow.sinks.frames import frame_options, open_frames
from latentflow.sinks.manifest import Claim, owning, write_manifest
from latentflow.sinks.progress import Progress
from latentflow.sinks.trajectory import Trajectory, trajectory_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from latentflow.models.autoencoder import Autoencoder
    from latentflow.models.loading import Loaded
    from latentflow.sinks.sink import Draw

Config = TypeVar("Config", bound=Options)
MOST_NAMED = 12  # files in the report for people


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The paths that a command reads and writes: its main output first in `outputs`, its companions after it; `inputs`
    are files and folders that must not be written into; `shown` names the inputs in the manifest.

    With `is_named` the command was given the names of all outputs, and none is a companion of the first. The outputs in
    `own` may be replaced although no manifest names them. The `manifest` goes beside the main output by
    default; without `has_manifest` none is written, because another command's names the output. `config` has the
    options as they were settled, where checking settles any. `found` holds results of checking, for making.
    """

    outputs: list[Path]
    inputs: Sequence[str | Path] = ()
    shown: dict[str, Any] = field(default_factory=dict)
    is_named: bool = False
    own: Sequence[Path] = ()
    manifest: Path | None = None
    has_manifest: bool = True
    config: Options | None = None
    found: Any = None


@dataclass(slots=True, kw_only=True)
class Report:
    """The outcome of a command: the files `written`, its `figures` as plain values, and `lines` that say them to
    people.

    `error` holds what broke it off, if anything did.
    """

    written: WrittenFiles
    figures: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    error: LatentflowError | None = None
    frames: tuple[Path, int, int] | None = None  # where moving pictures are, how many, and how many there should be
    exit_code: int = 0  # of the command, where some of many things failed

    @property
    def outcome(self) -> str:
        """The text "done", or the error that broke it off."""
        return "done" if self.error is None else str(self.error)

    def summary(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return {"outcome": self.outcome, "written": [str(path) for path in self.written.paths], **self.figures}

    def __str__(self) -> str:
        """The report for people."""
        paths = self.written.paths
        if len(paths) <= MOST_NAMED:
            return "\n".join([*map(self._written, paths), *self.lines])
        return "\n".join([f"wrote    {len(paths)} files, the first {paths[0]}", *self.lines])

    def _written(self, path: Path) -> str:
        size = readable(size_of(path))
        if self.frames is None or path != self.frames[0]:
            return f"wrote    {path} ({size})"
        _, count, wanted = self.frames
        whole = counted(count, "frame") if count == wanted else f"{count} of {counted(wanted, 'frame')}"
        return f"wrote    {path} ({size}, {whole})"


@dataclass(slots=True, kw_only=True)
class Job(Generic[Config]):
    """One command at work: its options, the `loaded` models, the reader of its images, the report it fills in, its
    inputs as they are `shown` in manifests, and the results of checking, `found`."""

    sources: Sequence[str]
    config: Config
    session: Session
    loaded: Any
    outputs: list[Path]
    report: Report
    reader: Reader
    shown: dict[str, Any]
    manifest: Path | None = None
    found: Any = None

    @property
    def autoencoder(self) -> Autoencoder:
        """The autoencoder that is looked at."""
        autoencoder: Autoencoder = self.loaded.autoencoder
        return autoencoder

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
        every: int = 1,
        hints: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        """Write moving pictures, every n-th of records the last of which has index `total`, and send the records to
        further `sinks`; how many pictures there are goes to the report. With `hints`, how to be done sooner, a person
        is told when it will take long. `options` are those of `open_frames` that are not the config's.

        What breaks them off goes to the report as well, but is raised when there are none and the view has nothing
        else.
        """
        options = frame_options(self.config) | {"hold": getattr(self.config, "hold", 0)} | options
        sink = open_frames(path, **options, draw=draw, session=self.session)
        wanted = sink.in_file(len({*range(0, total + 1, every), total}))
        claim = [] if self.manifest is None else [Claim(self.manifest, self.facts(), self.report.written)]
        advice = [] if hints is None or self.session.quiet else [Advice(self.session.say, wanted, sink, hints)]
        progress = Progress(self.session, total, describe, "frame" if hints is None else "step")
        try:
            all_sinks = [*claim, EveryNth(every, Background(sink)), *sinks, *advice, progress]
            run_sinks(self.session.watch(frames), all_sinks)
        except LatentflowError as error:
            if not sink.frames and self.output == path:
                raise
            self.report.error = error
        self.report.figures["frames"] = sink.frames
        self.report.frames = (path, sink.frames, wanted)


def load_for(config: Any, session: Session) -> Loaded:
    """Load the autoencoder that a config names, with the networks of losses and figures."""
    return session.load(config.vae, config.weights, config.device, config.dtype, config.vae_config)


def _facts(job: Job[Any]) -> dict[str, Any]:
    return {"inputs": job.shown, **job.facts(), "notices": list(job.loaded.networks.notices.values())}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages(Generic[Config]):
    """The stages of a command. `check` finds what is wrong before anything is loaded and says which files there will
    be; `load` loads its models; `make` computes, draws and fills in the report; `facts` go into the manifest beside the
    result. They raise `LatentflowError`."""

    check: Callable[[Sequence[str], Config], Files]
    make: Callable[[Job[Config]], None]
    load: Callable[[Config, Files, Session], Any] = lambda config, files, session: load_for(config, session)
    facts: Callable[[Job[Config]], dict[str, Any]] = _facts


def run_job(stages: Stages[Any], sources: Sequence[str], config: Any, session: Session, loaded: Any = None) -> Report:
    """Run one command, with the models that are `loaded` already or that its options name; raises `LatentflowError` for
    everything that is wrong before its first output is there."""
    files = stages.check(sources, config)
    config = files.config or config
    manifest = files.manifest or manifest_path(files.outputs[0])
    typed = dict.fromkeys(files.outputs if files.is_named else (), "`output_path`")
    options: dict[str, Any] = {"overwrite": config.overwrite, "own": files.own, "manifest": manifest, "typed": typed}
    check_outputs(files.outputs, files.inputs, **options)
    report = Report(written=WrittenFiles([*files.outputs, *([manifest] if files.has_manifest else [])]))
    loaded = loaded or stages.load(config, files, session)
    reader = Reader(config if isinstance(config, ReadingOptions) else None, ignore if session.quiet else session.say)
    made: dict[str, Any] = {"session": session, "loaded": loaded, "reader": reader, "report": report}
    known: dict[str, Any] = {"outputs": files.outputs, "shown": files.shown, "found": files.found}
    known["manifest"] = manifest if files.has_manifest else None
    job: Job[Any] = Job(sources=sources, config=config, **known, **made)

    def write() -> None:
        if files.has_manifest:
            content, summary = stages.facts(job), report.summary()
            summary["written"] = [path for path in summary["written"] if path != str(manifest)]  # which was claimed
            write_manifest(manifest, content | {"result": content.get("result", summary)}, report.written)

    with owning(session, report.written, write, report):
        stages.make(job)
        reader.say_notes()
        add_notes(report, reader)
    if report.error is None:
        session.check()
    return report


def add_notes(report: Report, reader: Reader) -> None:
    """Add to a report what reading the images changed, if anything."""
    if notes := reader.notes.sentences():
        report.figures["notes"] = notes


def moving(path: Path) -> list[Path]:
    """The files of moving pictures at `path`: these, and their trajectory."""
    return [path, trajectory_path(path)]


def beside(path: Path, suffix: str) -> Path:
    """The file that belongs to a view's picture: `x.png` has `x` + suffix."""
    return path.with_name(path.stem + suffix)


def frames_beside(path: Path, suffix: str) -> Path:
    """Return the path of the moving picture beside a view's picture; without a suffix, a folder of PNGs."""
    return beside(path, suffix) if suffix else path.with_name(path.stem.replace(".", "_") + "_frames")


def finite(value: float) -> float | None:
    """The value, or None for what JSON has no number for."""
    return value if math.isfinite(value) else None
