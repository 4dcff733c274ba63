"""The checks of a training that need no torch."""

import os
from dataclasses import dataclass
from pathlib import Path

from latentflow.config import did_you_mean
from latentflow.errors import InputError, OutputError
from latentflow.files import check_outputs, writing
from latentflow.inversion.objective import parse
from latentflow.inversion.plugins import load_plugin
from latentflow.models.weight_files import WEIGHTS_FILE
from latentflow.training.config import PRESETS, TrainConfig, TrainingOptions

CHECKPOINT = "checkpoint.safetensors"
GENERATED = "generated"


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """A checked config, the folder of images (None for generated ones) and the output folder, which exists."""

    config: TrainConfig
    data: Path | None
    folder: Path

    @property
    def checkpoint(self) -> Path:
        """The file of the training's state."""
        return self.folder / CHECKPOINT

    @property
    def workers(self) -> int:
        """The number of processes that decode or draw images."""
        return min(8, os.cpu_count() or 1) if self.config.workers is None else self.config.workers


def make_train_plan(config: TrainConfig) -> TrainPlan:
    """Check data, model, loss and output folder, and make that folder; raises `InputError` and `OutputError`."""
    if config.plugin is not None:
        load_plugin(Path(config.plugin))
    parse(config.loss_type)
    if config.config not in PRESETS and not Path(config.config).expanduser().is_file():
        known = did_you_mean(config.config, PRESETS) or f"Presets: {', '.join(PRESETS)}."
        raise InputError(f"`config` {config.config} is neither a file nor a preset.", known)
    if config.start is not None and not (Path(config.start).expanduser() / WEIGHTS_FILE).is_file():
        raise InputError(f"`start` {config.start} must be a folder with {WEIGHTS_FILE}.")
    data = data_folder(config.data)
    return TrainPlan(config, data, output_folder(config, data))


def output_folder(config: TrainingOptions, data: Path | None) -> Path:
    """The output folder of a training, made if it isn't there; raises `InputError` and `OutputError`."""
    if config.resume and config.overwrite:
        raise InputError("`resume` and `overwrite` can't be used together.")
    if not config.output_dir:
        raise InputError("Missing option `output_dir`.", "For example: `output_dir` model")
    folder = Path(config.output_dir).expanduser()
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"`output_dir` {folder} is a file, not a folder.")
    if not folder.parent.is_dir():
        raise OutputError(f"`output_dir` {folder}: the folder {folder.parent} does not exist.", f"mkdir -p {folder}")
    check_outputs([folder], [] if data is None else [data], "`output_dir`")
    if (folder / CHECKPOINT).exists() and not (config.resume or config.overwrite):
        raise OutputError(
            f"`output_dir` {folder} already holds a training.", "`resume` continues it, `overwrite` starts over."
        )
    with writing(folder, "`output_dir`"):
        folder.mkdir(exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise OutputError(f"`output_dir` {folder} can't be written: permission denied.")
    return folder


def data_folder(text: str | None) -> Path | None:
    """The folder that `data` names, None for generated images; raises `InputError` where there is none."""
    if not text:
        raise InputError("Missing option `data`.", f"Name a folder of images, or {GENERATED}.")
    if text == GENERATED:
        return None
    path = Path(text).expanduser()
    if not path.is_dir():
        what = "is a file, not a folder of images" if path.exists() else "does not exist"
        raise InputError(f"`data` {text} {what}.", did_you_mean(text, [GENERATED]))
    return path
