"""The same random start flowing to the same target under several losses."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from latentflow import losses
from latentflow.config import CompareConfig, RunConfig
from latentflow.errors import DivergedError, InputError, LatentflowError
from latentflow.files import check_writable, write_whole
from latentflow.interrupts import Interrupts, Say
from latentflow.inversion.metrics import image_metrics
from latentflow.inversion.objective import Objective, parse
from latentflow.inversion.optimize import optimize
from latentflow.models.autoencoder import Autoencoder
from latentflow.models.networks import Networks
from latentflow.pictures.draw import Panels
from latentflow.records import Comparison
from latentflow.runs.plan import Plan, make_plan
from latentflow.runs.report import facts, readable, table
from latentflow.runs.run import Scene, frame_count, load, set_up, spare
from latentflow.sinks import EveryNth, Sink, run_sinks
from latentflow.sinks.advice import Advice
from latentflow.sinks.contact_sheet import ContactSheet
from latentflow.sinks.frames import open_frames
from latentflow.sinks.manifest import Manifest
from latentflow.sinks.progress import Progress


def compare(
    autoencoder: Autoencoder, objectives: Mapping[str, Objective], start: Tensor, **options: Any
) -> Iterator[Comparison]:
    """Run `optimize` under each objective from the latent `start`, (1, c, rows, columns), in step; `options` are its.

    One picture is decoded at a time, so memory grows with the number of runs by a latent each. Raises what
    `optimize` raises, a `DivergedError` with the name of the run.
    """
    runs = {name: optimize(autoencoder, objective, start, **options) for name, objective in objectives.items()}
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
    """The losses of a list parted by commas, those inside parentheses apart; raises `InputError` for none, and for one
    that stands twice."""
    found = [each.strip() for each in re.split(r",(?![^(]*\))", text) if each.strip()]
    if not found:
        raise InputError("--losses names no loss.", "For example: --losses mse,l1,ssim")
    for each in found:
        if found.count(each) > 1:
            raise InputError(f"--losses: {each} stands twice.")
    return found


@dataclass(frozen=True, slots=True)
class ComparePlan:
    """A checked comparison: the plan of its runs (their loss aside), the losses, and where sheet and table go."""

    config: CompareConfig
    runs: Plan
    losses: list[str]

    @property
    def sheet(self) -> Path:
        """Where the contact sheet goes: beside the frames."""
        return self._beside(".sheet.png")

    @property
    def table(self) -> Path:
        """Where the table goes: beside the frames."""
        return self._beside(".md")

    def _beside(self, suffix: str) -> Path:
        return self.runs.frames.with_name(self.runs.frames.stem + suffix)


def make_compare_plan(config: CompareConfig) -> ComparePlan:
    """Check everything that can be checked before torch is imported; raises `InputError` and `OutputError`."""
    found = split(config.losses)
    shared = {each.name for each in fields(config)} & {each.name for each in fields(RunConfig)}
    values = {name: value for name, value in asdict(config).items() if name in shared}
    runs = make_plan(RunConfig(**values, loss_type=found[0]))
    for text in found:
        parse(text)
    settled = replace(config, seed=runs.seed, optimizer=runs.config.optimizer, lr=runs.config.lr)
    plan = ComparePlan(settled, runs, found)
    for path in (plan.sheet, plan.table):
        if path.resolve() == runs.image_path.resolve():
            raise InputError(f"--output_path would put {path} in the place of the image.")
        check_writable(path, "--output_path")
    return plan


class CompareReport:
    """A sink that keeps the last step of every run, and says at the end how near each came."""

    def __init__(self, plan: ComparePlan, scene: Scene, load: Networks) -> None:
        self.plan, self.scene, self.load = plan, scene, load
        self.first: Comparison | None = None
        self.last: Comparison | None = None
        self.seconds: dict[str, float] = {}
        self.frames_written = 0
        self.error: LatentflowError | None = None

    def __enter__(self) -> "CompareReport":
        return self

    def write(self, record: Comparison) -> None:
        """Take down one step of every run."""
        self.first = self.first or record
        self.last = record
        for name, step in record.steps.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + step.seconds

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.last is not None:
            write_whole(self.plan.table, self.markdown().encode(), "--output_path")

    @cached_property
    def result(self) -> dict[str, Any]:
        """The figures of every run, by its name, and those of the encoder's own reconstruction; once all is over."""
        assert self.first is not None and self.last is not None
        target, autoencoder = self.scene.target, self.scene.loaded.autoencoder
        with torch.no_grad():
            ceiling = image_metrics(autoencoder.decode(autoencoder.encode(target), self.scene.size), target, self.load)
        runs = {
            name: {
                "loss_first": float(self.first.steps[name].loss[0]),
                "loss_last": float(step.loss[0]),
                "quality": image_metrics(step.image, target, self.load),
                "seconds_a_step": round(self.seconds[name] / (step.index + 1), 4),
            }
            for name, step in self.last.steps.items()
        }
        return {"steps": self.last.index, "runs": runs, "encoder_quality": ceiling}

    def summary(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        plan, resolved = self.plan, self.scene.loaded.resolved
        written = [plan.runs.frames, plan.sheet, plan.table, plan.runs.manifest]
        return {
            "outcome": "done" if self.error is None else str(self.error),
            "written": [str(path) for path in written if path.exists()],
            "frames": self.frames_written,
            "seed": plan.runs.seed,
            "weights": {"name": resolved.name, "source": resolved.source, "notice": resolved.notice},
            "notices": self.scene.loaded.networks.notices,
            **self.result,
        }

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """The table's head and its rows, as text."""
        result = self.result
        keys = list(result["encoder_quality"])
        names = {"psnr": "PSNR dB", "ssim": "SSIM"}
        head = ["loss", "first", "last", *(names.get(key, key) for key in keys), "s a step"]

        def shown(found: dict[str, float]) -> list[str]:
            return [f"{found[key]:.{2 if key == 'psnr' else 4}f}" for key in keys]

        rows = [
            [
                *(name, f"{run['loss_first']:.4g}", f"{run['loss_last']:.4g}"),
                *(*shown(run["quality"]), f"{run['seconds_a_step']:.2g}"),
            ]
            for name, run in result["runs"].items()
        ]
        return head, [*rows, ["encoder's own", "", "", *shown(result["encoder_quality"]), ""]]

    def markdown(self) -> str:
        """The table as Markdown."""
        head, rows = self.rows()
        lines = [head, ["---"] * len(head), *rows]
        return "".join("| " + " | ".join(line) + " |\n" for line in lines)

    def __str__(self) -> str:
        """The report for people."""
        plan = self.plan
        head, rows = self.rows()
        lines = [
            f"wrote    {path} ({readable(path.stat().st_size)})"
            for path in (plan.runs.frames, plan.sheet, plan.table)
            if path.is_file()
        ]
        if plan.runs.frames.is_dir():
            lines.insert(0, f"wrote    {plan.runs.frames} ({self.frames_written} frames)")
        lines.append(f"seed     {plan.runs.seed}")
        return "\n".join([*lines, *table(head, rows)])


def run_compare(plan: ComparePlan, interrupts: Interrupts, say: Say, *, quiet: bool = False) -> CompareReport:
    """Compare as planned and write frames, contact sheet, table and manifest; `say` shows a line.

    A comparison that broke off after its first step has the error in its report. Raises `LatentflowError` for
    everything that is wrong before.
    """
    config = plan.runs.config
    loaded = load(config, say)
    scene = set_up(config, plan.runs.image_path, plan.runs.seed, loaded)
    spare(config, loaded.autoencoder, scene.size, say)
    made = [scene.objective(text, say) for text in plan.losses]
    objectives = {objective.label: objective for objective in made}
    report = CompareReport(plan, scene, loaded.figures)
    frames = open_frames(
        plan.runs.frames,
        fps=config.fps,
        hold=config.hold,
        overwrite=config.overwrite,
        draw=_panels(scene, loaded.figures),
    )
    autoencoder = loaded.autoencoder
    options = asdict(plan.config) | {"dtype": autoencoder.precision}
    known = facts(options, plan.runs.image_path, scene.size, loaded.resolved, autoencoder.device)
    sinks: list[Sink[Any]] = [
        Manifest(plan.runs.manifest, known | {"notices": loaded.networks.notices}, lambda: report.result),
        report,
        ContactSheet(plan.sheet),
        EveryNth(config.skip_step, frames),
    ]
    if not quiet:
        for note in scene.picture.notes:
            say(f"{plan.runs.image_path} {note}.")
        hints = [f"--size {config.size // 2} takes about a quarter of it"] if config.size > 256 else []
        sinks += [
            Advice(say, frame_count(config), frames, hints),
            Progress(config.steps, describe=lambda record: f"{len(record.steps)} losses"),
        ]
    records = compare(
        autoencoder,
        objectives,
        scene.latent,
        steps=config.steps,
        lr=config.lr,
        optimizer=config.optimizer,
        schedule=config.schedule,
    )
    try:
        run_sinks(interrupts.watch(records), sinks)
    except LatentflowError as error:
        if report.last is None:
            raise
        report.error = error
    report.frames_written = frames.frames
    return report


def _panels(scene: Scene, load: Networks) -> Panels:
    """Panels with the perceptual distance, where the picture is large enough for it."""
    lpips = losses.find("lpips")
    if min(scene.target.shape[-2:]) < lpips.declaration.min_size:  # type: ignore[attr-defined]
        return Panels(scene.target)
    measure = lpips(load)
    with torch.no_grad():
        bound = measure.bind(scene.target)

    def likeness(image: Tensor) -> Tensor:
        with torch.no_grad():
            return bound(image)

    return Panels(scene.target, likeness, measure.label)
