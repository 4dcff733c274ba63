"""The checks of the training of a text-to-image model that need no torch."""

from latentflow.base.errors import InputError
from latentflow.training.plan import DURING, TrainingPlan, check_source, data_folder, output_folder
from tools.toy.config import TrainPromptsConfig

LATENTS = "latents.safetensors"
PARTS = ("model_index.json", "scheduler", "text_encoder", "tokenizer", "transformer", "vae")
FILES = (*DURING, LATENTS, *PARTS, "report.json", "README.md")


class TrainPromptsPlan(TrainingPlan[TrainPromptsConfig]):
    """The plan of a text-to-image model's training."""

    names = FILES


def make_plan(config: TrainPromptsConfig) -> TrainPromptsPlan:
    """Check options, data and output folder, and make that folder; raises `InputError` and `OutputError`."""
    for name in ("size", "width"):
        if getattr(config, name) % 32:
            raise InputError(f"`{name}` must be a multiple of 32, not {getattr(config, name)}.")
    data = data_folder(config.data)
    check_source(config, data)
    return TrainPromptsPlan(config, data, output_folder(config, data, FILES))
