"""One training, from a plan to its folder."""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np

from latentflow.base.errors import InputError, Interrupted, LatentflowError
from latentflow.base.files import WrittenFiles, frames_in, says_ours, written_in
from latentflow.base.options import counted, options_that
from latentflow.base.records import Update
from latentflow.base.session import Session
from latentflow.base.state import unpack
from latentflow.models.device import describe, pick_device
from latentflow.models.networks import Networks
from latentflow.models.weight_files import WEIGHTS_FILE
from latentflow.pictures.reader import Notes, Reader
from latentflow.runs.report import versions
from latentflow.sinks import Sink, run_sinks
from latentflow.sinks.checkpoint import Checkpoints
from latentflow.sinks.manifest import Manifest, owning, write_manifest
from latentflow.sinks.metrics import Metrics
from latentflow.sinks.model import write_model
from latentflow.sinks.progress import Progress
from latentflow.sinks.validation_sheets import ValidationSheets
from latentflow.training import compression
from latentflow.training.clock import Clock
from latentflow.training.compression import measure
from latentflow.training.config import TrainConfig, TrainingOptions
from latentflow.training.data import DRAWING_BATCH, Folder, Generated, Remarks
from latentflow.training.models import check_model, read_config
from latentflow.training.plan import GENERATED, METRICS, SAMPLES, TrainPlan
from latentflow.training.provenance import check_provenance
from latentflow.training.report import TrainReport
from latentflow.training.trainer import FEWEST_STATISTICS, Trainer

FEWEST_VALIDATION = 2
Made = TypeVar("Made", bound=Any)


def train(plan: TrainPlan, session: Session) -> TrainReport | None:
    """Train as planned, and write the checkpoint, metrics, samples and model.

    `session.stop()`, from any thread, ends the training after the update in hand. A training that is stopped or
    diverges after its first update writes the model it has by then, and its report holds the error; it can be resumed.
    Raises `LatentflowError` for everything that is wrong before. Returns None in all processes of `accelerate launch`
    but the main one.

    It runs in any thread, several trainings at once included. `workers` of a training outside the main thread are
    forked from a process with several threads, which can block them; with `workers` 0 there are none.
    """
    config = plan.config
    model_config = read_config(config.config, config.channels)
    check_model(model_config, config)
    checkpoint = _read_checkpoint(plan, model_config)
    clock = Clock(config.max_minutes, plan.began)
    pictures = _open_data(plan, session, clock)
    data = pictures.provenance()
    if checkpoint:
        check_provenance(plan.checkpoint, checkpoint.get("data"), data, session.say)
    written = WrittenFiles(plan.files)
    networks = Networks(config.weights, pick_device(config.device), download=True)
    trainer = Trainer(config, model_config, pictures, networks, clock)
    if checkpoint:
        trainer.restore(checkpoint["training"])
        session.say(f"Resuming from step {trainer.step}.")
    if not trainer.is_main:
        for _ in trainer.updates(plan.workers):
            pass
        return None
    error = None
    if trainer.step < config.steps:
        error = run_updates(
            trainer.updates(plan.workers),
            plan,
            trainer,
            {"options": identity(plan.config, plan.data) | _content(model_config), "data": data},
            session,
            written,
        )
    if isinstance(error, Interrupted) and not session.quiet:
        session.say("Measuring and writing the model; a second Ctrl-C leaves only the checkpoint.")
    if trainer.statistics < compression.STATISTICS_IMAGES:
        session.say(
            f"The statistics of the latents come from {trainer.statistics} images: `max_minutes` "
            f"{config.max_minutes:g} leaves no time for {compression.STATISTICS_IMAGES}."
        )
    for notice in networks.notices.values():
        session.say(notice)
    if config.weights != TrainConfig.weights and not networks.used:
        session.say(f"`weights` has no effect: `loss_type` {config.loss_type} has no network.")
    if not session.quiet:
        _say_remarks(trainer.remarks, session)
    return finish(plan, written, session, lambda: _finish(plan, trainer, error, session))


def finish(plan: Any, written: WrittenFiles, session: Session, make: Callable[[], Made]) -> Made:
    """Measure and write a model by `make()`, which gives the report of its training, and write the manifest, which
    says so where that is broken off."""
    ended = SimpleNamespace(summary={}, error=None)

    def write() -> None:
        outcome = str(ended.error) if ended.error else ended.summary["outcome"]
        result = {"result": ended.summary} if ended.summary else {}
        write_manifest(plan.manifest, {**facts_of(plan), "outcome": outcome, **result}, written, "`output_dir`")

    with owning(session, written, write, ended):
        report = make()
        ended.summary = report.summary()
    return report


def facts_of(plan: Any) -> dict[str, Any]:
    """The options, versions and machine of a training, for its manifest."""
    return {
        "options": asdict(plan.config),
        "versions": versions(),
        "machine": describe(pick_device(plan.config.device)),
    }


def _say_remarks(remarks: Remarks, session: Session) -> None:
    notes = Notes()
    for path, note in remarks.notes:
        notes.add(path, [note])
    for sentence in notes.sentences():
        session.say(sentence)
    if remarks.skipped:
        skipped = counted(len(remarks.skipped), "file")
        session.say(f"{skipped} can't be decoded and left out, such as {min(remarks.skipped)}.")


def run_updates(
    updates: Generator[Update, None, None],
    plan: Any,
    trainer: Any,
    kept: dict[str, Any],
    session: Session,
    written: WrittenFiles,
) -> LatentflowError | None:
    """Let a trainer's updates go by to the end, with checkpoints that hold what is `kept`, metrics and samples in the
    folder of the plan, and a manifest that names what is `written`; returns what ended the training early, but raises
    what ended it before its first update."""
    first, samples = trainer.step, plan.folder / SAMPLES
    earlier = written_in(samples, plan.manifest) | (frames_in(samples) if says_ours(plan.checkpoint) else set())
    sinks: list[Sink[Any]] = [
        Manifest(plan.manifest, facts_of(plan), lambda: {"steps": trainer.step}, written, "`output_dir`"),
        Checkpoints(
            plan.checkpoint,
            lambda: kept | {"training": trainer.state()},
            plan.config.checkpoint_every,
            "`output_dir`",
        ),
        Metrics(plan.folder / METRICS, after=first),
        ValidationSheets(samples, after=first, earlier=earlier),
        Progress(session, plan.config.steps),
    ]
    try:
        with closing(updates):
            records = session.watch(updates, "the checkpoint and the model are of that step")
            begin = next(records, None)
            if begin is None:  # the time limit leaves none
                trainer.clock.require_time(first)
                session.say(f"No time is left of `max_minutes` {plan.config.max_minutes:g}: nothing more is trained.")
                return None
            with session.held():  # until the sinks are closed
                run_sinks(chain([begin], records), sinks)
            session.check()
    except LatentflowError as error:
        if trainer.step == first:
            raise
        return error
    return None


def _open_data(plan: TrainPlan, session: Session, clock: Clock) -> Folder | Generated:
    config = plan.config
    if plan.data is not None:
        folder = Folder(plan.data, config.seed, Reader(config, session.say))
        folder.take(np.random.default_rng(0))  # raises here, rather than in every worker, if none can be decoded
        return folder
    if config.pictures:
        session.say(f"Drawing {config.pictures} images.")
    prepared = clock.preparing(config.pictures, DRAWING_BATCH, session.check)
    return Generated(config.pictures, config.seed, plan.workers, config.drawings, prepared)


def _read_checkpoint(plan: TrainPlan, model_config: dict[str, Any]) -> dict[str, Any] | None:
    """The checkpoint to resume from, if there is one; raises `InputError` when it belongs to a different training."""
    if not (plan.config.resume and plan.checkpoint.exists()):
        return None
    checkpoint = unpack(plan.checkpoint)
    then = asdict(TrainConfig()) | checkpoint.get("options", {})  # an option it doesn't have is newer than it
    now = identity(plan.config, plan.data) | _content(model_config)
    changed = changes(then, now)
    if then.get("model") != now["model"]:
        changed[-1:] = [] if changed[:-1] else ["the content of `config`"]
    check_same(plan.checkpoint, changed)
    return checkpoint


def changes(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Describe the differences between the identities of two trainings."""
    return [f"`{key}` {then.get(key)} → {value}" for key, value in now.items() if then.get(key) != value]


def check_same(path: Path, changed: list[str]) -> None:
    """Raise `InputError` for a checkpoint of a different training; `changed` says what differs."""
    if changed:
        raise InputError(
            f"The checkpoint {path} belongs to a different training: {', '.join(changed)}.",
            "Use the same options, or `overwrite`.",
        )


def identity(config: TrainingOptions, data: Path | None) -> dict[str, Any]:
    """Return the settings that a checkpoint and the training that resumes from it must have in common."""
    fixed = options_that(type(config), may_change=False)
    options = {key: value for key, value in asdict(config).items() if key in fixed}
    return options | {"data": GENERATED if data is None else str(data.resolve())}


def _content(model_config: dict[str, Any]) -> dict[str, str]:
    return {"model": repr(sorted(model_config.items()))}


def _finish(plan: TrainPlan, trainer: Trainer, error: LatentflowError | None, session: Session) -> TrainReport:
    """Measure the averaged model and write its folder; a training that was stopped is measured on few images, since
    nobody wants to wait for more then."""
    assert trainer.validation_images is not None
    autoencoder, held_back, count = trainer.autoencoder, trainer.validation_images, trainer.statistics
    if isinstance(error, Interrupted):
        held_back, count = held_back[:FEWEST_VALIDATION], min(count, FEWEST_STATISTICS)
        error.remedy = f"Its figures are of {counted(len(held_back), 'validation image')} alone."
    report = TrainReport(
        plan=plan,
        model=type(autoencoder.model).__name__,
        parameters=sum(each.numel() for each in autoencoder.model.parameters()),
        step=trainer.step,
        seconds=trainer.seconds,
        skipped=len(trainer.remarks.skipped),
        validation_images=len(held_back),
        machine=describe(autoencoder.device),
        compression=measure(autoencoder, trainer.pictures, held_back, plan.config.seed, count),
        error=error,
    )
    with session.held():
        write_model(plan.folder, autoencoder.model, report.compression.scaling_factor, report.summary(), report.card())
    report.weights_bytes = (plan.folder / WEIGHTS_FILE).stat().st_size
    return report
