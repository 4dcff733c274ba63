"""One training of a text-to-image model, from a plan to its folder."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from latentflow.errors import LatentflowError, MissingPackageError
from latentflow.files import write_file, writing
from latentflow.models.autoencoder import Autoencoder, load_autoencoder
from latentflow.models.device import describe, pick_device
from latentflow.session import Session
from latentflow.sinks.model import as_json
from latentflow.state_files import unpack
from latentflow.training.run import changes, check_same, identity, run_updates
from latentflow.training.text_to_image.config import TrainPromptsConfig
from latentflow.training.text_to_image.data import open_data
from latentflow.training.text_to_image.measure import obedience, smoothness
from latentflow.training.text_to_image.models import write_pipeline
from latentflow.training.text_to_image.plan import TrainPromptsPlan
from latentflow.training.text_to_image.report import TrainPromptsReport
from latentflow.training.text_to_image.trainer import PromptTrainer, parameters


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
    autoencoder = load_autoencoder("bundled", pick_device(config.device), "auto")
    data = open_data(config, plan.data, plan.folder, autoencoder, session)
    trainer = PromptTrainer(config, data, autoencoder.device)
    if checkpoint:
        trainer.restore(checkpoint["training"])
        session.say(f"Resuming from step {trainer.step}.")
    error = None
    if trainer.step < config.steps:
        error = run_updates(trainer.updates(), plan, trainer, fixed, session)
    return _finish(plan, trainer, autoencoder, error)


def _read_checkpoint(plan: TrainPromptsPlan, fixed: dict[str, Any]) -> dict[str, Any] | None:
    """The checkpoint to resume from, if there is one; raises `InputError` when it is of another training."""
    if not (plan.config.resume and plan.checkpoint.exists()):
        return None
    checkpoint = unpack(plan.checkpoint)
    then = asdict(TrainPromptsConfig()) | checkpoint.get("options", {})
    check_same(plan.checkpoint, changes(then, fixed))
    return checkpoint


def _finish(
    plan: TrainPromptsPlan, trainer: PromptTrainer, autoencoder: Autoencoder, error: LatentflowError | None
) -> TrainPromptsReport:
    """Measure the averaged model and write its folder."""
    config, data, average = plan.config, trainer.data, trainer.averaged
    done = error is None  # who stops a training doesn't want to wait for minutes
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
    with writing(plan.folder, "`output_dir`"):
        write_pipeline(plan.folder, average, trainer.tokenizer)
    parts = ("transformer", "text_encoder")
    report.weights_bytes = sum(
        path.stat().st_size for part in parts for path in (plan.folder / part).glob("*.safetensors")
    )
    write_file(plan.folder / "report.json", as_json(report.summary()), "`output_dir`")
    write_file(plan.folder / "README.md", report.card().encode(), "`output_dir`")
    return report
