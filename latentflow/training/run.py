"""One training, from a plan to its folder."""

from contextlib import closing
from dataclasses import asdict
from typing import Any

import numpy as np

from latentflow.errors import InputError, LatentflowError
from latentflow.interrupts import Interrupts, Say
from latentflow.models.device import describe, pick_device
from latentflow.models.networks import Networks
from latentflow.models.weights import WEIGHTS_FILE
from latentflow.sinks import Sink, run_sinks
from latentflow.sinks.checkpoint import Checkpoints
from latentflow.sinks.metrics import Metrics
from latentflow.sinks.model import write_model
from latentflow.sinks.progress import Progress
from latentflow.sinks.validation_sheets import Sheets
from latentflow.state_files import unpack
from latentflow.training.compression import measure
from latentflow.training.data import Folder, Generated, Pictures
from latentflow.training.models import check_crop, has_posterior, read_config
from latentflow.training.plan import TrainPlan
from latentflow.training.report import TrainReport
from latentflow.training.trainer import Trainer

# What may differ between a checkpoint and the options that go on with it.
FREE = {
    *("output_dir", "resume", "overwrite", "workers", "validate_every", "checkpoint_every", "device", "precision"),
    *("compile", "steps", "max_minutes", "data"),
}


def train(plan: TrainPlan, interrupts: Interrupts, say: Say, *, quiet: bool = False) -> TrainReport | None:
    """Train as planned and write checkpoint, metrics, samples and model; `say` shows a line.

    A training that was stopped or diverged after its first step leaves the model it had and has the error in its
    report. Raises `LatentflowError` for everything that is wrong before. In the processes that help the main one
    (see `accelerate launch`) the result is None.
    """
    config = plan.config
    model_config = read_config(config.config, config.channels)
    if config.kl_weight != type(config)().kl_weight and not has_posterior(model_config):
        raise InputError(
            f"--kl_weight is for models with a posterior, and {model_config['_class_name']} has none.",
            "Use --latent_weight, or --config small-kl.",
        )
    check_crop(model_config, config)
    earlier = _earlier(plan, model_config)
    pictures = _pictures(plan, say)
    networks = Networks(config.weights, pick_device(config.device), download=True)
    trainer = Trainer(config, model_config, pictures, networks)
    if earlier:
        trainer.restore(earlier["training"])
        say(f"Going on from step {trainer.step}.")
    if not trainer.is_main:
        for _ in trainer.updates(plan.workers):
            pass
        return None
    error = None
    if trainer.step < config.steps:
        first = trainer.step
        try:
            with closing(trainer.updates(plan.workers)) as updates:
                run_sinks(interrupts.watch(updates), _sinks(plan, trainer, model_config, quiet))
        except LatentflowError as caught:
            if trainer.step == first:
                raise
            error = caught
    if trainer.skipped and not quiet:
        say(f"{len(trainer.skipped)} files can't be decoded and were passed over, the first {min(trainer.skipped)}.")
    return _finish(plan, trainer, error)


def _pictures(plan: TrainPlan, say: Say) -> Pictures:
    if plan.data is not None:
        folder = Folder(plan.data, plan.config.seed)
        folder.take(np.random.default_rng(0))  # if none can be decoded it is said here, and not by every worker
        return folder
    if plan.config.pictures:
        say(f"Drawing {plan.config.pictures} pictures.")
    return Generated(plan.config.pictures, plan.config.seed, plan.workers, plan.config.drawings)


def _earlier(plan: TrainPlan, model_config: dict[str, Any]) -> dict[str, Any] | None:
    """The checkpoint to go on from, if it was asked for; raises `InputError` when it is another training's."""
    if not (plan.config.resume and plan.checkpoint.exists()):
        return None
    checkpoint = unpack(plan.checkpoint)
    then, now = checkpoint.get("options", {}), _identity(plan, model_config)
    changed = [f"{key} {then.get(key)} → {value}" for key, value in now.items() if then.get(key) != value]
    if changed:
        raise InputError(
            f"The checkpoint {plan.checkpoint} is of another training: {', '.join(changed)}.",
            "Give the same options, or --overwrite.",
        )
    return checkpoint


def _identity(plan: TrainPlan, model_config: dict[str, Any]) -> dict[str, Any]:
    """What makes a training this one and no other."""
    options = {key: value for key, value in asdict(plan.config).items() if key not in FREE}
    data = "generated" if plan.data is None else str(plan.data.resolve())
    return options | {"data": data, "model": repr(sorted(model_config.items()))}


def _sinks(plan: TrainPlan, trainer: Trainer, model_config: dict[str, Any], quiet: bool) -> list[Sink[Any]]:
    identity = _identity(plan, model_config)
    sinks: list[Sink[Any]] = [
        Checkpoints(
            plan.checkpoint,
            lambda: {"options": identity, "training": trainer.state()},
            plan.config.checkpoint_every,
            "--output_dir",
        ),
        Metrics(plan.folder / "metrics.jsonl", after=trainer.step),
        Sheets(plan.folder / "samples"),
    ]
    return sinks if quiet else [*sinks, Progress(plan.config.steps)]


def _finish(plan: TrainPlan, trainer: Trainer, error: LatentflowError | None) -> TrainReport:
    """Measure the averaged model and write its folder."""
    assert trainer.held_back is not None
    autoencoder = trainer.autoencoder
    report = TrainReport(
        plan=plan,
        model=type(autoencoder.model).__name__,
        parameters=sum(each.numel() for each in autoencoder.model.parameters()),
        step=trainer.step,
        seconds=trainer.seconds,
        skipped=len(trainer.skipped),
        held_back=len(trainer.held_back),
        machine=describe(autoencoder.device),
        compression=measure(autoencoder, trainer.pictures, trainer.held_back, plan.config.seed),
        error=error,
    )
    write_model(plan.folder, autoencoder.model, report.compression.scaling_factor, report.summary(), report.card())
    report.weights_bytes = (plan.folder / WEIGHTS_FILE).stat().st_size
    return report
