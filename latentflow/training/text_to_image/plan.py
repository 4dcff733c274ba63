"""The checks of the training of a text-to-image model that need no torch."""

from dataclasses import dataclass
from pathlib import Path

from latentflow.errors import InputError
from latentflow.training.plan import CHECKPOINT, data_folder, output_folder
from latentflow.training.text_to_image.config import TrainPromptsConfig


@dataclass(frozen=True, slots=True)
class TrainPromptsPlan:
    """A checked config, the folder of images (None for generated ones) and the output folder, which exists."""

    config: TrainPromptsConfig
    data: Path | None
    folder: Path

    @property
    def checkpoint(self) -> Path:
        """The file of the training's state."""
        return self.folder / CHECKPOINT


def make_plan(config: TrainPromptsConfig) -> TrainPromptsPlan:
    """Check options, data and output folder, and make that folder; raises `InputError` and `OutputError`."""
    for name in ("size", "width"):
        if getattr(config, name) % 32:
            raise InputError(f"`{name}` must be a multiple of 32, not {getattr(config, name)}.")
    data = data_folder(config.data)
    return TrainPromptsPlan(config, data, output_folder(config, data))
