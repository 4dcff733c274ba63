"""One training of a text-to-image model, from a plan to its folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from latentflow.base.errors import LatentflowError, MissingPackageError
from latentflow.base.files import WrittenFiles, filling
from latentflow.base.session import Session
from latentflow.base.state import unpack
from latentflow.models.autoencoder import Autoencoder, load_autoencoder
from latentflow.models.device import describe, pick_device
from latentflow.pictures.reader import Reader
from latentflow.sinks.model import as_json
from latentflow.training.clock import Clock
from latentflow.training.provenance import Provenance, check_encoded, check_provenance, of_drawn, of_files, short_hash
from latentflow.training.run import changes, check_same, finish, identity, run_updates
from tools.toy.config import TrainPromptsConfig
from tools.toy.data import DRAWING, Pair, find_pairs, open_data
from tools.toy.measure import obedience, smoothness
from tools.toy.models import write_pipeline
from tools.toy.plan import TrainPromptsPlan
from tools.toy.report import TrainPromptsReport
from tools.toy.trainer import PromptTrainer, parameters


def train_prompts(plan: TrainPromptsPlan, session: Session) -> TrainPromptsReport:
    """Train as planned, and write the checkpoint, metrics, samples and pipeline.

    `session.stop()`, from any thread, ends the training after the update in hand. A training that is stopped or
    diverges after its first update writes the model it has by then, and its report holds the error; it can be resumed.
    Raises `LatentflowError` for everything that is wrong before.
    """
    try:
        import transformers  # noqa: F401
    except ImportError as missing:
        raise MissingPackageError(
            f"Prompts need transformers: {missing}.", "pip install latentflow[prompts]"
        ) from missing
    config = plan.config
    fixed = identity(config, plan.data)
    checkpoint = _read_checkpoint(plan, fixed)
    clock = Clock(config.max_minutes, plan.began)
    then = checkpoint.get("data") if checkpoint else None
    pairs = [] if plan.data is None else find_pairs(plan.data, Reader(config, session.say), config.seed)
    now = of_drawn(DRAWING) if plan.data is None else _provenance(plan.data, pairs)
    if checkpoint:
        check_provenance(plan.checkpoint, then, now, session.say)
    autoencoder = load_autoencoder("bundled", pick_device(config.device), "auto")
    written = WrittenFiles(plan.files)
    data = open_data(config, plan.data, pairs, plan.folder, autoencoder, session, clock)
    now |= {"words": short_hash(repr(data.words).encode()), "encoded": len(data.captions), "held": data.validation}
    check_encoded(plan.checkpoint, then, now)
    trainer = PromptTrainer(config, data, autoencoder.device, clock)
    if checkpoint:
        trainer.restore(checkpoint["training"])
        session.say(f"Resuming from step {trainer.step}.")
    error = None
    if trainer.step < config.steps:
        error = run_updates(trainer.updates(), plan, trainer, {"options": fixed, "data": now}, session, written)
    if error is None and not trainer.measures:
        session.say(
            "How prompts are obeyed and how evenly pictures change isn't measured: `max_minutes` "
            f"{config.max_minutes:g} leaves no time for it."
        )
    return finish(plan, written, session, lambda: _finish(plan, trainer, autoencoder, error, session))


def _provenance(data: Path, pairs: list[Pair]) -> Provenance:
    return of_files(data, [path for path, _ in pairs], words=[caption for _, caption in pairs])


def _read_checkpoint(plan: TrainPromptsPlan, fixed: dict[str, Any]) -> dict[str, Any] | None:
    """The checkpoint to resume from, if there is one; raises `InputError` when it belongs to a different training."""
    if not (plan.config.resume and plan.checkpoint.exists()):
        return None
    checkpoint = unpack(plan.checkpoint)
    then = asdict(TrainPromptsConfig()) | checkpoint.get("options", {})
    check_same(plan.checkpoint, changes(then, fixed))
    return checkpoint


def _finish(
    plan: TrainPromptsPlan,
    trainer: PromptTrainer,
    autoencoder: Autoencoder,
    error: LatentflowError | None,
    session: Session,
) -> TrainPromptsReport:
    """Measure the averaged model and write its folder."""
    config, data, average = plan.config, trainer.data, trainer.averaged
    done = error is None and trainer.measures  # who stops a training doesn't want to wait for minutes
    report = TrainPromptsReport(
        plan=plan,
        parameters={"transformer": parameters(average.transformer), "text model": parameters(average.text_model)},
        step=trainer.step,
        seconds=trainer.seconds,
        images=len(data.captions) - data.validation,
        skipped=data.skipped,
        words=len(data.words),
        validation_loss=trainer.validate(),
        obedience=obedience(trainer.pipeline, autoencoder, data, config.seed) if done and plan.data is None else None,
        smoothness=smoothness(trainer.pipeline, trainer.samples, data.latents.shape[1:]) if done else None,
        machine=describe(trainer.device),
        error=error,
    )
    with session.held(), filling(plan.folder, "`output_dir`") as unfinished:
        write_pipeline(unfinished, average, trainer.tokenizer)
        parts = ("transformer", "text_encoder")
        report.weights_bytes = sum(
            path.stat().st_size for part in parts for path in (unfinished / part).glob("*.safetensors")
        )
        (unfinished / "report.json").write_bytes(as_json(report.summary()))
        (unfinished / "README.md").write_bytes(report.card().encode())
    return report
