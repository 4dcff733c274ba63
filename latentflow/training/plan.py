"""The checks of a training that need no torch."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from latentflow.base.errors import InputError, OutputError
from latentflow.base.files import check_apart, check_outputs, manifest_path, says_ours, writing
from latentflow.base.options import did_you_mean
from latentflow.inversion.objective import parse
from latentflow.inversion.plugins import load_plugin
from latentflow.models.weight_files import WEIGHTS_FILE
from latentflow.models.weights import HASHES_FILE
from latentflow.training.config import PRESETS, TrainConfig, TrainingOptions

CHECKPOINT = "checkpoint.safetensors"
METRICS, SAMPLES = "metrics.jsonl", "samples"
DURING = (CHECKPOINT, METRICS, SAMPLES)  # what every training writes while it goes on
FILES = (*DURING, WEIGHTS_FILE, "config.json", HASHES_FILE, "report.json", "README.md")
GENERATED = "generated"
FOR_FOLDERS, FOR_GENERATED = ("background", "max_pixels"), ("pictures", "drawings")


Config = TypeVar("Config", bound=TrainingOptions)


@dataclass(frozen=True, slots=True)
class TrainingPlan(Generic[Config]):
    """A checked config, the folder of images (None for generated ones), the output folder, which exists, and when the
    time limit began to run, by `time.perf_counter`. `names` are the names of files in the output folder."""

    config: Config
    data: Path | None
    folder: Path
    began: float = field(default_factory=time.perf_counter)
    names: ClassVar[tuple[str, ...]]

    @property
    def checkpoint(self) -> Path:
        """The file of the training's state."""
        return self.folder / CHECKPOINT

    @property
    def manifest(self) -> Path:
        """The file that names what belongs to the training."""
        return manifest_path(self.folder / "training")

    @property
    def files(self) -> list[Path]:
        """All files and folders that are written into the output folder, except for the manifest."""
        return [self.folder / name for name in self.names]


class TrainPlan(TrainingPlan[TrainConfig]):
    """The plan of an autoencoder's training."""

    names = FILES

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
    check_source(config, data)
    if config.gan_start != TrainConfig.gan_start and not config.gan_weight:
        raise InputError("`gan_start` goes with `gan_weight`.", "Give its weight.")
    return TrainPlan(config, data, output_folder(config, data, FILES))


def output_folder(config: TrainingOptions, data: Path | None, names: Sequence[str], manifest: str = "training") -> Path:
    """The output folder of a training, made if it isn't there, in which it writes files and folders of these `names`;
    raises `InputError` and `OutputError`."""
    folder = check_output_folder(config, data, names, manifest)
    with writing(folder, "`output_dir`"):
        folder.mkdir(exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise OutputError(f"`output_dir` {folder} can't be written: permission denied.")
    return folder


def check_output_folder(config: TrainingOptions, data: Path | None, names: Sequence[str], manifest: str) -> Path:
    """The path of the output folder, if a training may write there; raises `InputError` and `OutputError`."""
    if config.resume and config.overwrite:
        raise InputError("`resume` and `overwrite` can't be used together.")
    if not config.output_dir:
        raise InputError("Missing option `output_dir`.", "For example: `output_dir` model")
    folder = Path(config.output_dir).expanduser()
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"`output_dir` {folder} is a file, not a folder.")
    if not folder.parent.is_dir():
        raise OutputError(f"`output_dir` {folder}: the folder {folder.parent} does not exist.", f"mkdir -p {folder}")
    check_apart([folder], [] if data is None else [data], "`output_dir`")
    if (folder / CHECKPOINT).exists() and not (config.resume or config.overwrite):
        raise OutputError(
            f"`output_dir` {folder} already holds a training.", "`resume` continues it, `overwrite` starts over."
        )
    files = [folder / name for name in names]
    own = files if config.resume and says_ours(folder / CHECKPOINT) else []
    given: dict[str, Any] = {"overwrite": config.overwrite, "manifest": manifest_path(folder / manifest), "own": own}
    check_outputs(files, (), "`output_dir`", **given)
    return folder


def check_source(config: TrainingOptions, data: Path | None) -> None:
    """Raise `InputError` for options that have no effect on a folder of images, or on generated ones."""
    idle, kind = (FOR_FOLDERS, "a folder of images") if data is None else (FOR_GENERATED, f"`data` {GENERATED}")
    for name in idle:
        if getattr(config, name, None) != getattr(type(config), name, None):
            raise InputError(f"`{name}` is for {kind}.", "Leave it out.")


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
