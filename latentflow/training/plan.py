"""Everything of a training that can be settled, and found wrong, before torch is imported."""

import os
from dataclasses import dataclass
from pathlib import Path

from latentflow.config import did_you_mean
from latentflow.errors import InputError, OutputError
from latentflow.files import writing
from latentflow.inversion.objective import parse
from latentflow.inversion.plugins import load_plugin
from latentflow.models.weights import WEIGHTS_FILE
from latentflow.training.config import PRESETS, TrainConfig

CHECKPOINT = "checkpoint.safetensors"
GENERATED = "generated"


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """A checked config, the folder of images (None: generated pictures) and the output folder, which exists."""

    config: TrainConfig
    data: Path | None
    folder: Path

    @property
    def checkpoint(self) -> Path:
        """Where the training's state is kept."""
        return self.folder / CHECKPOINT

    @property
    def workers(self) -> int:
        """How many processes decode or draw pictures."""
        return min(8, os.cpu_count() or 1) if self.config.workers is None else self.config.workers


def make_train_plan(config: TrainConfig) -> TrainPlan:
    """Check data, model, loss and output folder, and make the folder; raises `InputError` and `OutputError`."""
    if config.resume and config.overwrite:
        raise InputError("--resume and --overwrite exclude each other.")
    if not config.output_dir:
        raise InputError("Missing option --output_dir.", "For example: --output_dir model")
    if config.plugin is not None:
        load_plugin(Path(config.plugin))
    parse(config.loss_type)
    if config.config not in PRESETS and not Path(config.config).expanduser().is_file():
        known = did_you_mean(config.config, PRESETS) or f"Presets: {', '.join(PRESETS)}."
        raise InputError(f"--config {config.config}: there is no such file and no such preset.", known)
    if config.start is not None and not (Path(config.start).expanduser() / WEIGHTS_FILE).is_file():
        raise InputError(f"--start {config.start} is no folder with {WEIGHTS_FILE} in it.")
    data = _data(config.data)
    folder = Path(config.output_dir).expanduser()
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"--output_dir {folder} is a file; a folder is wanted.")
    if not folder.parent.is_dir():
        raise OutputError(f"--output_dir {folder}: the folder {folder.parent} does not exist.", f"mkdir -p {folder}")
    if (folder / CHECKPOINT).exists() and not (config.resume or config.overwrite):
        raise OutputError(
            f"--output_dir {folder} holds a training.", "--resume goes on with it, --overwrite begins anew."
        )
    with writing(folder, "--output_dir"):
        folder.mkdir(exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise OutputError(f"--output_dir {folder} can't be written: permission denied.")
    return TrainPlan(config, data, folder)


def _data(text: str | None) -> Path | None:
    if not text:
        raise InputError("Missing option --data.", f"A folder of images, or {GENERATED}.")
    if text == GENERATED:
        return None
    path = Path(text).expanduser()
    if not path.is_dir():
        what = "is a file; a folder of images is wanted" if path.exists() else "does not exist"
        raise InputError(f"--data {text} {what}.", did_you_mean(text, [GENERATED]))
    return path
