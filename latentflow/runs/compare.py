"""A comparison: the same initial latent optimized towards the same target under several losses."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentflow import losses
from latentflow.base.errors import DivergedError, InputError, LatentflowError
from latentflow.base.files import WrittenFiles, check_outputs, check_writable, write_file
from latentflow.base.options import counted
from latentflow.base.records import Comparison
from latentflow.base.session import Session
from latentflow.base.surroundings import undisturbed
from latentflow.inversion.config import RunConfig
from latentflow.inversion.invert import make_objective, network_notices, prepare_decoder
from latentflow.inversion.metrics import encoder_metrics, image_metrics, metric_rows
from latentflow.inversion.objective import Objective, parse, same_sum
from latentflow.inversion.optimize import optimize
from latentflow.inversion.plugins import load_plugin
from latentflow.inversion.target import Target, read_target
from latentflow.latents.sources import initial_latent
from latentflow.models.autoencoder import Autoencoder
from latentflow.models.loading import Loaded
from latentflow.models.networks import Networks
from latentflow.pictures.draw import Panels
from latentflow.pictures.reader import Reader
from latentflow.runs.config import CompareConfig
from latentflow.runs.job import load_for
from latentflow.runs.plan import Plan, make_plan
from latentflow.runs.report import facts, masked_line, readable, size_of, table
from latentflow.runs.run import frame_count
from latentflow.sinks import EveryNth, Sink, run_sinks
from latentflow.sinks.advice import Advice
from latentflow.sinks.contact_sheet import ContactSheet
from latentflow.sinks.frames import frame_options, open_frames
from latentflow.sinks.manifest import Manifest
from latentflow.sinks.progress import Progress
from latentflow.sinks.trajectory import Trajectory


@undisturbed
def compare(
    autoencoder: Autoencoder, objectives: Mapping[str, Objective], latent: Tensor, **options: Any
) -> Iterator[Comparison]:
    """Run `optimize` with each objective from one `latent` (1, c, rows, columns), step by step; `options` are those of
    `optimize`.

    One picture is decoded at a time, so each further run only adds a latent to the memory needed. Raises what
    `optimize` raises; a `DivergedError` has the name of the run.
    """
    runs = {name: optimize(autoencoder, objective, latent, **options) for name, objective in objectives.items()}
    while True:
        steps = {}
        for name, run in runs.items():
            try:
                step = next(run, None)
            except DivergedError as error:
                raise DivergedError(f"{name}: {error}") from error
            if step is None:
                return
            steps[name] = step
        first = next(iter(steps.values()))
        yield Comparison(index=first.index, total=first.total, steps=steps)


def split(text: str) -> list[str]:
    """The losses of a list separated by commas, except for commas in parentheses; raises `InputError` for an empty
    list."""
    found = [each.strip() for each in re.split(r",(?![^(]*\))", text) if each.strip()]
    if not found:
        raise InputError("`losses` names no loss.", "For example: `losses` mse,l1,ssim")
    return found


def _check_losses(found: list[str]) -> None:
    """Raise `InputError` for a text that is no sum of losses and for a sum that is there twice: its two runs would be
    one, and have one name."""
    for index, text in enumerate(found):
        parse(text, "losses")
        for earlier in found[:index]:
            if text == earlier:
                raise InputError(f"`losses`: {text} is named twice.")
            if same_sum(text, earlier):
                raise InputError(f"`losses`: {text} is {earlier} again.", "Leave one of them out.")


def _by_label(objectives: list[Objective]) -> dict[str, Objective]:
    """Objectives by their labels, which name the runs; raises `InputError` for two with one label."""
    labels = [each.label for each in objectives]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"`losses`: two have the label {label}.", "Give one of them another label.")
    return dict(zip(labels, objectives))


@dataclass(frozen=True, slots=True)
class ComparePlan:
    """A checked comparison: the plan of its runs (except for the loss), the losses, and the paths of sheet and
    table."""

    config: CompareConfig
    runs: Plan
    losses: list[str]

    @property
    def outputs(self) -> list[Path]:
        """All files that are written except for the manifest, the frames first."""
        return [self.runs.frames, self.sheet, self.table, self.runs.trajectory]

    @property
    def sheet(self) -> Path:
        """The path of the contact sheet, beside the frames."""
        return self._beside(".sheet.png")

    @property
    def table(self) -> Path:
        """The path of the table, beside the frames."""
        return self._beside(".md")

    def _beside(self, suffix: str) -> Path:
        return self.runs.frames.with_name(self.runs.frames.stem + suffix)


def make_compare_plan(config: CompareConfig) -> ComparePlan:
    """Check everything that can be checked without torch; raises `InputError` and `OutputError`."""
    found = split(config.losses)
    shared = {each.name for each in fields(config)} & {each.name for each in fields(RunConfig)}
    values = {name: value for name, value in asdict(config).items() if name in shared}
    if config.plugin is not None:
        load_plugin(Path(config.plugin))
    _check_losses(found)
    runs = make_plan(RunConfig(**values, loss_type=found[0]))
    settled = replace(config, **{name: getattr(runs.config, name) for name in shared})
    plan = ComparePlan(settled, runs, found)
    for path in (plan.sheet, plan.table):
        check_writable(path, "`output_path`")
    check_outputs(plan.outputs, [runs.image_path], overwrite=config.overwrite)
    return plan


class CompareReport(Sink[Comparison]):
    """A sink that keeps the first and the last step of every run, and reports losses and metrics at the end."""

    def __init__(self, plan: ComparePlan, loaded: Loaded, target: Target) -> None:
        self.plan, self.loaded, self.target, self.notes = plan, loaded, target, target.notes.sentences()
        self.first: Comparison | None = None
        self.last: Comparison | None = None
        self.seconds: dict[str, float] = {}
        self.frames_written = 0
        self.error: LatentflowError | None = None
        self.written = WrittenFiles([*plan.outputs, plan.runs.manifest])
        self.notices = [notice for text in plan.losses for notice in network_notices(text, loaded.networks)]

    def write(self, record: Comparison) -> None:
        """Note one step of every run."""
        self.first = self.first or record
        self.last = record
        for name, step in record.steps.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + step.seconds

    def close(self, error: BaseException | None) -> None:
        """Write the table."""
        if self.last is not None:
            write_file(self.plan.table, self.markdown().encode(), "`output_path`")

    @cached_property
    def result(self) -> dict[str, Any]:
        """Losses, metrics and speed of every run by its name, and the metrics of the encoder's own reconstruction; for
        use after the last record."""
        assert self.first is not None and self.last is not None
        target, load = self.target, self.loaded.metrics
        runs = {
            name: {
                "loss_first": float(self.first.steps[name].loss[0]),
                "loss_last": float(step.loss[0]),
                "metrics": image_metrics(step.image, target.image, load, target.mask).labeled(),
                "seconds_per_step": round(self.seconds[name] / (step.index + 1), 4),
            }
            for name, step in self.last.steps.items()
        }
        own = encoder_metrics(self.loaded.autoencoder, target.image, load, target.mask).labeled()
        masked = {} if target.mask is None else {"mask_share": target.share}
        return {"steps": self.last.index, "runs": runs, **masked, "encoder_metrics": own}

    def summary(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        plan, found = self.plan, self.loaded.weights
        return {
            "outcome": "done" if self.error is None else str(self.error),
            "written": [str(path) for path in self.written.paths],
            "frames": self.frames_written,
            "seed": plan.runs.seed,
            "weights": {"name": found.name, "source": found.source, "notice": found.notice},
            "notices": self.notices,
            "notes": self.notes,
            **self.result,
        }

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """The headings and the rows of the table, as text."""
        result = self.result
        runs = result["runs"]
        headings, shown = metric_rows(
            {name: run["metrics"] for name, run in runs.items()} | {"encoder's own": result["encoder_metrics"]}
        )
        rows = [
            [
                name,
                f"{run['loss_first']:.4g}",
                f"{run['loss_last']:.4g}",
                *shown[name],
                f"{run['seconds_per_step']:.2g}",
            ]
            for name, run in runs.items()
        ]
        own = ["encoder's own", "", "", *shown["encoder's own"], ""]
        return ["loss", "first", "last", *headings, "s per step"], [*rows, own]

    def markdown(self) -> str:
        """The table as Markdown."""
        head, rows = self.rows()
        lines = [head, ["---"] * len(head), *rows]
        return "".join("| " + " | ".join(line) + " |\n" for line in lines)

    def __str__(self) -> str:
        """The report for people."""
        lines = []
        for path in self.written.paths:
            frames = f", {counted(self.frames_written, 'frame')}" if path == self.plan.runs.frames else ""
            lines.append(f"wrote    {path} ({readable(size_of(path))}{frames})")
        lines.append(f"seed     {self.plan.runs.seed}")
        if self.target.share is not None:
            lines.append(masked_line(self.plan.config.mask, self.target.share))
        return "\n".join([*lines, *table(*self.rows())])


def run_compare(plan: ComparePlan, session: Session) -> CompareReport:
    """Run a comparison and write frames, contact sheet, table and manifest.

    An error after the first step ends the comparison and is kept in the report. Raises `LatentflowError` for errors
    before that.
    """
    config = plan.runs.config
    loaded = load_for(config, session)
    autoencoder = loaded.autoencoder
    reader = Reader(config)
    target = read_target(config, plan.runs.image_path, reader, autoencoder.device)
    start = (config.init, autoencoder, target.image, plan.runs.seed, reader)
    latent = initial_latent(*start, latent_of=config.latent_of)
    prepare_decoder(config, autoencoder, target.size, session)
    named = _by_label([make_objective(text, target, loaded.networks, session) for text in plan.losses])
    report = CompareReport(plan, loaded, target)
    frames = open_frames(
        plan.runs.frames,
        **frame_options(config),
        hold=config.hold,
        draw=_panels(target, loaded.metrics),
        session=session,
    )
    options = asdict(plan.config) | {"dtype": autoencoder.precision}
    known = facts(options, plan.runs.image_path, target.size, loaded.weights, autoencoder.device)
    sheet_title = f"{plan.runs.image_path.name}: losses compared, autoencoder {autoencoder.name}"
    sinks: list[Sink[Any]] = [
        Manifest(
            plan.runs.manifest,
            known | {"notices": report.notices, "notes": report.notes},
            lambda: report.result,
            report.written,
        ),
        report,
        ContactSheet(plan.sheet, sheet_title, target.image),
        EveryNth(config.skip_step, frames),
        Trajectory(plan.runs.trajectory, known, config.skip_step),
    ]
    if not session.quiet:
        for note in report.notes:
            session.say(note)
        hints = [f"`size` {config.size // 2} takes about a quarter of it"] if config.size > 256 else []
        sinks.append(Advice(session.say, frames.in_file(frame_count(config)), frames, hints))
    sinks.append(Progress(session, config.steps, describe=lambda record: "compared"))
    records = compare(
        autoencoder,
        named,
        latent,
        steps=config.steps,
        lr=config.lr,
        optimizer=config.optimizer,
        betas=config.betas,
        schedule=config.schedule,
    )
    try:
        run_sinks(session.watch(records), sinks)
    except LatentflowError as error:
        if report.last is None:
            raise
        report.error = error
    report.frames_written = frames.frames
    return report


def _panels(target: Target, load: Networks) -> Panels:
    """Panels with the LPIPS of each picture, if the target is large enough for it."""
    lpips = losses.find("lpips")
    if min(target.size) < lpips.declaration.min_size:  # type: ignore[attr-defined]
        return Panels(target.image)
    metric = lpips(load)
    with torch.no_grad():
        bound = metric.bind(target.image, target.mask)

    def distance(image: Tensor) -> Tensor:
        with torch.no_grad():
            return bound(image)

    return Panels(target.image, distance, "lpips")
