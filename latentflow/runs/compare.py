"""A comparison: the same initial latent optimized towards the same target under several losses."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentflow import losses
from latentflow.base.errors import DivergedError, InputError
from latentflow.base.files import check_writable, write_file
from latentflow.base.records import Comparison, Step
from latentflow.base.session import Session
from latentflow.base.surroundings import undisturbed
from latentflow.inversion.config import RunConfig
from latentflow.inversion.invert import Run, network_notices
from latentflow.inversion.metrics import encoder_metrics, image_metrics, metric_rows
from latentflow.inversion.objective import Objective, parse, same_sum
from latentflow.inversion.optimize import optimize
from latentflow.inversion.plugins import load_plugin
from latentflow.inversion.target import Target, read_target
from latentflow.models.autoencoder import Autoencoder
from latentflow.models.loading import Loaded
from latentflow.models.networks import Networks
from latentflow.pictures.draw import Panels
from latentflow.runs.config import CompareConfig
from latentflow.runs.job import Files, Job, Report, Stages, beside, run_job
from latentflow.runs.plan import make_plan
from latentflow.runs.report import facts, masked_line, table
from latentflow.sinks import Sink
from latentflow.sinks.contact_sheet import ContactSheet
from latentflow.sinks.trajectory import Trajectory

RESULT = ("steps", "runs", "mask_share", "encoder_metrics")  # of the figures, in the manifest


@undisturbed
def compare(
    autoencoder: Autoencoder, objectives: Mapping[str, Objective], latent: Tensor, **options: Any
) -> Iterator[Comparison]:
    """Run `optimize` with each objective from one `latent` (1, c, rows, columns), step by step; `options` are those of
    `optimize`.

    One picture is decoded at a time, so each further run only adds a latent to the memory needed. Raises what
    `optimize` raises; a `DivergedError` has the name of the run.
    """
    yield from _together({name: optimize(autoencoder, each, latent, **options) for name, each in objectives.items()})


def _together(runs: Mapping[str, Iterator[Step]]) -> Iterator[Comparison]:
    """The steps of several runs side by side, until one of them ends."""
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


def _by_label(runs: list[Run]) -> dict[str, Run]:
    """Runs by the labels of their losses, which name them; raises `InputError` for two with one label."""
    labels = [each.objective.label for each in runs]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"`losses`: two have the label {label}.", "Give one of them another label.")
    return dict(zip(labels, runs))


class Ends(Sink[Comparison]):
    """A sink that keeps the first and the last step of every run, and how long its steps took."""

    def __init__(self) -> None:
        self.first: Comparison | None = None
        self.last: Comparison | None = None
        self.seconds: dict[str, float] = {}

    def write(self, record: Comparison) -> None:
        """Note one step of every run."""
        self.first, self.last = self.first or record, record
        for name, step in record.steps.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + step.seconds

    def result(self, loaded: Loaded, target: Target) -> dict[str, Any]:
        """Losses, metrics and speed of every run by its name, and the metrics of the encoder's own reconstruction; for
        use after the last record."""
        assert self.first is not None and self.last is not None
        load = loaded.metrics
        runs = {
            name: {
                "loss_first": float(self.first.steps[name].loss[0]),
                "loss_last": float(step.loss[0]),
                "metrics": image_metrics(step.image, target.image, load, target.mask).labeled(),
                "seconds_per_step": round(self.seconds[name] / (step.index + 1), 4),
            }
            for name, step in self.last.steps.items()
        }
        own = encoder_metrics(loaded.autoencoder, target.image, load, target.mask).labeled()
        masked = {} if target.mask is None else {"mask_share": target.share}
        return {"steps": self.last.index, "runs": runs, **masked, "encoder_metrics": own}


def rows(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The headings and the rows of the table of a result, as text."""
    runs, own = result["runs"], "encoder's own"
    headings, shown = metric_rows(
        {name: run["metrics"] for name, run in runs.items()} | {own: result["encoder_metrics"]}
    )
    found = [
        [name, f"{run['loss_first']:.4g}", f"{run['loss_last']:.4g}", *shown[name], f"{run['seconds_per_step']:.2g}"]
        for name, run in runs.items()
    ]
    return ["loss", "first", "last", *headings, "s per step"], [*found, [own, "", "", *shown[own], ""]]


def run_compare(sources: Sequence[str], config: CompareConfig, session: Session) -> Report:
    """Run a comparison and write frames, contact sheet, table and manifest; it has no `sources` but its image.

    An error after the first step ends the comparison and is kept in the report. Raises `LatentflowError` for errors
    before that.
    """
    return run_job(Stages(check=_check, make=_make, facts=_facts), sources, config, session)


def _check(sources: Sequence[str], config: CompareConfig) -> Files:
    found = split(config.losses)
    shared = {each.name for each in fields(config)} & {each.name for each in fields(RunConfig)}
    if config.plugin is not None:
        load_plugin(Path(config.plugin))
    _check_losses(found)
    plan = make_plan(RunConfig(**{name: getattr(config, name) for name in shared}, loss_type=found[0]))
    settled = replace(config, **{name: getattr(plan.config, name) for name in shared})
    companions = [beside(plan.frames, ".sheet.png"), beside(plan.frames, ".md")]
    for path in companions:
        check_writable(path, "`output_path`")
    outputs = [plan.frames, *companions, plan.trajectory]
    return Files(outputs=outputs, inputs=[plan.image_path], config=settled, found=(plan, found))


def _runs(job: Job[CompareConfig], target: Target) -> dict[str, Run]:
    """A run for each loss by its label, all from the latent of the first."""
    plan, texts = job.found
    runs: list[Run] = []
    for text in texts:
        config, init = replace(plan.config, loss_type=text), runs[0].latent if runs else None
        runs.append(Run(config, target, job.loaded, [plan.seed], job.session, reader=job.reader, init=init))
    return _by_label(runs)


def _make(job: Job[CompareConfig]) -> None:
    (plan, texts), config, loaded = job.found, job.config, job.loaded
    target = read_target(plan.config, plan.image_path, job.reader, job.autoencoder.device)
    runs, ends = _runs(job, target), Ends()
    job.reader.say_notes()
    notices = [notice for text in texts for notice in network_notices(text, loaded.networks)]
    options = asdict(config) | {"dtype": job.autoencoder.precision}
    job.shown |= facts(options, plan.image_path, target.size, loaded.weights, job.autoencoder.device)
    job.shown |= {"notices": notices, "notes": target.notes.sentences()}
    title = f"{plan.image_path.name}: losses compared, autoencoder {job.autoencoder.name}"
    job.write_frames(
        job.output,
        _together({name: run.inversion for name, run in runs.items()}),
        config.steps,
        lambda record: "compared",
        draw=_panels(target, loaded.metrics),
        every=config.skip_step,
        hints=[f"`size` {config.size // 2} takes about a quarter of it"] if config.size > 256 else [],
        sinks=[
            ends,
            ContactSheet(job.outputs[1], title, target.image),
            Trajectory(plan.trajectory, job.shown, config.skip_step),
        ],
    )
    weights, result = loaded.weights, ends.result(loaded, target)
    named = {"name": weights.name, "source": weights.source, "notice": weights.notice}
    job.report.figures |= {"seed": plan.seed, "weights": named, **_notes(job), **result}
    head, body = rows(result)
    lines = "".join("| " + " | ".join(line) + " |\n" for line in [head, ["---"] * len(head), *body])
    write_file(job.outputs[2], lines.encode(), "`output_path`")
    masked = [] if target.share is None else [masked_line(config.mask, target.share)]
    job.report.lines += [f"seed     {plan.seed}", *masked, *table(head, body)]


def _notes(job: Job[CompareConfig]) -> dict[str, Any]:
    return {name: job.shown[name] for name in ("notices", "notes")}


def _facts(job: Job[CompareConfig]) -> dict[str, Any]:
    error, figures = job.report.error, job.report.figures
    outcome = "done" if error is None else f"{type(error).__name__}: {error}"
    result = {name: figures[name] for name in RESULT if name in figures}
    return job.shown | {"outcome": outcome, "result": result}


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
