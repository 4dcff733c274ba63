"""One training, from a plan to its folder."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from latentflow.config import counted, options_that
from latentflow.errors import InputError, LatentflowError
from latentflow.models.device import describe, pick_device
from latentflow.models.networks import Networks
from latentflow.models.weight_files import WEIGHTS_FILE
from latentflow.pictures.reader import Notes, Reader
from latentflow.records import Update
from latentflow.session import Session
from latentflow.sinks import run_sinks
from latentflow.sinks.checkpoint import Checkpoints
from latentflow.sinks.metrics import Metrics
from latentflow.sinks.model import write_model
from latentflow.sinks.progress import Progress
from latentflow.sinks.validation_sheets import ValidationSheets
from latentflow.state_files import unpack
from latentflow.training.compression import measure
from latentflow.training.config import TrainConfig, TrainingOptions
from latentflow.training.data import Folder, Generated, Pictures, Remarks
from latentflow.training.models import check_model, read_config
from latentflow.training.plan import GENERATED, TrainPlan
from latentflow.training.report import TrainReport
from latentflow.training.trainer import Trainer


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
    pictures = _open_data(plan, session)
    networks = Networks(config.weights, pick_device(config.device), download=True)
    trainer = Trainer(config, model_config, pictures, networks)
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
            identity(plan.config, plan.data) | _content(model_config),
            session,
        )
    if not session.quiet:
        _say_remarks(trainer.remarks, session)
    return _finish(plan, trainer, error)


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
    updates: Generator[Update, None, None], plan: Any, trainer: Any, options: dict[str, Any], session: Session
) -> LatentflowError | None:
    """Let a trainer's updates go by to the end, with checkpoints that hold `options`, metrics and samples in the folder
    of the plan; returns what ended the training early, but raises what ended it before its first update."""
    first = trainer.step
    sinks = [
        Checkpoints(
            plan.checkpoint,
            lambda: {"options": options, "training": trainer.state()},
            plan.config.checkpoint_every,
            "`output_dir`",
        ),
        Metrics(plan.folder / "metrics.jsonl", after=first),
        ValidationSheets(plan.folder / "samples", after=first),
        Progress(session, plan.config.steps),
    ]
    try:
        with closing(updates):
            run_sinks(session.watch(updates, "the checkpoint and the model are of that step"), sinks)
    except LatentflowError as error:
        if trainer.step == first:
            raise
        return error
    return None


def _open_data(plan: TrainPlan, session: Session) -> Pictures:
    config = plan.config
    if plan.data is not None:
        folder = Folder(plan.data, config.seed, Reader(config, session.say))
        folder.take(np.random.default_rng(0))  # raises here, rather than in every worker, if none can be decoded
        return folder
    if config.pictures:
        session.say(f"Drawing {config.pictures} images.")
    return Generated(config.pictures, config.seed, plan.workers, config.drawings, session.check)


def _read_checkpoint(plan: TrainPlan, model_config: dict[str, Any]) -> dict[str, Any] | None:
    """The checkpoint to resume from, if there is one; raises `InputError` when it is of another training."""
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
    """What differs between the identities of two trainings, in words."""
    return [f"`{key}` {then.get(key)} → {value}" for key, value in now.items() if then.get(key) != value]


def check_same(path: Path, changed: list[str]) -> None:
    """Raise `InputError` for a checkpoint of another training, of which `changed` says what differs."""
    if changed:
        raise InputError(
            f"The checkpoint {path} is of another training: {', '.join(changed)}.",
            "Use the same options, or `overwrite`.",
        )


def identity(config: TrainingOptions, data: Path | None) -> dict[str, Any]:
    """What a checkpoint and the training that resumes from it must have in common."""
    fixed = options_that(type(config), may_change=False)
    options = {key: value for key, value in asdict(config).items() if key in fixed}
    return options | {"data": GENERATED if data is None else str(data.resolve())}


def _content(model_config: dict[str, Any]) -> dict[str, str]:
    return {"model": repr(sorted(model_config.items()))}


def _finish(plan: TrainPlan, trainer: Trainer, error: LatentflowError | None) -> TrainReport:
    """Measure the averaged model and write its folder."""
    assert trainer.validation_images is not None
    autoencoder = trainer.autoencoder
    report = TrainReport(
        plan=plan,
        model=type(autoencoder.model).__name__,
        parameters=sum(each.numel() for each in autoencoder.model.parameters()),
        step=trainer.step,
        seconds=trainer.seconds,
        skipped=len(trainer.remarks.skipped),
        validation_images=len(trainer.validation_images),
        machine=describe(autoencoder.device),
        compression=measure(autoencoder, trainer.pictures, trainer.validation_images, plan.config.seed),
        error=error,
    )
    write_model(plan.folder, autoencoder.model, report.compression.scaling_factor, report.summary(), report.card())
    report.weights_bytes = (plan.folder / WEIGHTS_FILE).stat().st_size
    return report
