"""Everything of a run that can be settled, and found wrong, before torch is imported."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from latentflow.config import RunConfig, check_start
from latentflow.errors import InputError
from latentflow.files import check_writable, writing
from latentflow.inversion.methods import settle
from latentflow.inversion.objective import parse
from latentflow.inversion.plugins import load_plugin
from latentflow.pictures.figure import check_figure_path
from latentflow.pictures.files import check_image
from latentflow.sinks.frames import check_frames_path
from latentflow.sinks.manifest import manifest_path
from latentflow.sinks.save_best import check_image_path
from latentflow.sinks.trajectory import trajectory_path


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked config, its seed drawn; the image's path and those of the outputs, by the option that names them."""

    config: RunConfig
    image_path: Path
    seed: int
    outputs: dict[str, Path]

    @property
    def frames(self) -> Path:
        """Where the frames go."""
        return self.outputs["output_path"]

    @property
    def manifest(self) -> Path:
        """Where the manifest goes."""
        return manifest_path(self.frames)

    @property
    def trajectory(self) -> Path:
        """Where the latents of the frames go."""
        return trajectory_path(self.frames)

    @property
    def checkpoint(self) -> Path:
        """Where the state goes, if it is saved."""
        return self.frames.with_name(self.frames.name + ".checkpoint.safetensors")


def make_plan(config: RunConfig) -> Plan:
    """Check image, loss, start and outputs, fill in {stem} {loss} {seed}, draw the seed if none is given.

    Raises `InputError` and `OutputError` as the parts do.
    """
    if not config.image_path:
        raise InputError("Missing option --image_path.", "For example: --image_path examples/spheres.png")
    if config.plugin is not None:
        load_plugin(Path(config.plugin))
    parse(config.loss_type)
    optimizer, lr = settle(config.method, config.optimizer, config.lr, config.steps)
    if config.method == "gradient_free" and config.loss_type != RunConfig().loss_type:
        raise InputError(
            f"--method gradient_free follows no loss, so --loss_type {config.loss_type} can't be had with it.",
            "--method hybrid begins without the gradient and goes on with the loss.",
        )
    image_path = Path(config.image_path).expanduser()
    check_image(image_path)
    check_start(config.init)
    seed = secrets.randbelow(2**32) if config.seed is None else config.seed
    outputs = {
        option: Path(
            _filled(option, text, stem=image_path.stem, loss=_for_a_name(config.loss_type), seed=seed)
        ).expanduser()
        for option in ("output_path", "save_latent", "save_image", "metrics", "plot")
        if (text := getattr(config, option)) is not None
    }
    _check_distinct(image_path, outputs)
    checks: dict[str, Callable[[Path], None]] = {
        "output_path": lambda path: check_frames_path(path, config.fps, config.overwrite),
        "save_latent": _check_latent_path,
        "save_image": check_image_path,
        "metrics": lambda path: check_writable(path, "--metrics"),
        "plot": lambda path: check_figure_path(path, "--plot"),
    }
    for option, path in outputs.items():
        with writing(path, f"--{option}"):  # a name too long for the file system, say
            checks[option](path)
    return Plan(replace(config, seed=seed, optimizer=optimizer, lr=lr), image_path, seed, outputs)


def _filled(option: str, text: str, **values: object) -> str:
    try:
        return text.format(**values)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise InputError(
            f"--{option} {text!r}: only {{stem}}, {{loss}} and {{seed}} are filled in.", "Write {{ and }} for braces."
        ) from error


def _for_a_name(loss_type: str) -> str:
    """A weighted sum without what file systems and shells dislike."""
    return re.sub(r"[^\w.+-]", "", loss_type.replace("*", "x"))


def _check_latent_path(path: Path) -> None:
    if path.suffix != ".safetensors":
        raise InputError(f"--save_latent {path}: latents are saved as .safetensors.")
    check_writable(path, "--save_latent")


def _check_distinct(image_path: Path, outputs: dict[str, Path]) -> None:
    taken = {image_path.resolve(): "image_path"}
    for option, path in outputs.items():
        other = taken.setdefault(path.resolve(), option)
        if other != option:
            raise InputError(f"--{option} and --{other} name the same file, {path}.")
