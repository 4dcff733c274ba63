"""Everything of a run that can be settled, and found wrong, before torch is imported."""

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from latentflow.base.errors import InputError
from latentflow.base.files import check_outputs, is_stream, manifest_path, writing
from latentflow.inversion.checks import check_options
from latentflow.inversion.config import RunConfig
from latentflow.pictures.files import check_image
from latentflow.runs.outputs import NAMED_BY_OPTIONS, OUTPUTS
from latentflow.sinks.trajectory import trajectory_path


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked config, its seed chosen; the image's path and those of the outputs, by the option that names them."""

    config: RunConfig
    image_path: Path
    seed: int
    outputs: dict[str, Path]

    @property
    def frames(self) -> Path:
        """The path of the frames."""
        return self.outputs["output_path"]

    @property
    def manifest(self) -> Path:
        """The path of the manifest."""
        return manifest_path(self.frames)

    @property
    def trajectory(self) -> Path:
        """The path of the latents of the frames."""
        return trajectory_path(self.frames)

    @property
    def checkpoint(self) -> Path:
        """The path of the state, if it is saved."""
        return self.frames.with_name(self.frames.name + ".checkpoint.safetensors")

    @property
    def files(self) -> list[Path]:
        """All files that the run may leave."""
        return [*self.outputs.values(), self.trajectory, self.checkpoint, self.manifest]

    def check_ours(self, own: Iterable[Path] = ()) -> None:
        """Raise `OutputError` where the run would replace or remove what isn't ours; the paths in `own` are."""
        typed = {path: f"`{option}`" for option, path in self.outputs.items()}
        check_outputs(self.files[:-1], overwrite=self.config.overwrite, typed=typed, own=own)


def make_plan(config: RunConfig, checkpoint: dict[str, Any] | None = None) -> Plan:
    """Check options, image and outputs, fill in {stem} {loss} {seed}, choose a seed if none is given. The outputs that
    the `checkpoint` of a run names may be written again.

    Raises `InputError` and `OutputError` as the parts do.
    """
    if not config.image_path:
        raise InputError("Missing option `image_path`.", "For example: `image_path` examples/spheres.png")
    config = check_options(config)
    image_path = Path(config.image_path or "").expanduser()
    check_image(image_path, max_pixels=config.max_pixels)
    seed = secrets.randbelow(2**32) if config.seed is None else config.seed
    config = replace(config, seed=seed)
    stem = "stream" if is_stream(image_path) else image_path.stem
    config = with_mask(config, stem)
    if config.mask is not None:
        check_image(config.mask, "`mask`", max_pixels=config.max_pixels)
    outputs = name_outputs(config, stem, seed)
    _check_distinct(config, image_path, outputs)
    plan = Plan(config, image_path, seed, outputs)
    if checkpoint is not None:
        plan.check_ours(_outputs_of(plan, checkpoint))
        plan = replace(plan, config=replace(config, overwrite=True))  # frames in a folder that no manifest names yet
    check_output_paths(plan.config, outputs)
    plan.check_ours()
    return plan


def _outputs_of(plan: Plan, checkpoint: dict[str, Any]) -> list[Path]:
    """The files of the run that a checkpoint is of."""
    texts = (checkpoint["facts"]["options"].get(option) for option in NAMED_BY_OPTIONS)
    return [*(Path(text.format()) for text in texts if text is not None), plan.trajectory, plan.checkpoint]


def with_mask(config: RunConfig, stem: str) -> RunConfig:
    """The config with the mask of the image `stem`: {stem} is filled in and ~ replaced."""
    if config.mask is None:
        return config
    return replace(config, mask=str(Path(config.mask.replace("{stem}", stem)).expanduser()))


def name_outputs(config: RunConfig, stem: str, seed: int) -> dict[str, Path]:
    """The paths of the outputs that are asked for, by their options; raises `InputError` for an unknown {name}."""
    values = {"stem": stem, "loss": _for_a_name(config.loss_type), "seed": seed}
    return {
        option: Path(_filled(option, text, **values)).expanduser()
        for option in NAMED_BY_OPTIONS
        if (text := getattr(config, option)) is not None
    }


def check_output_paths(config: RunConfig, outputs: dict[str, Path]) -> None:
    """Check suffixes, and that every output can be written; raises `InputError` and `OutputError`."""
    for output in OUTPUTS:
        if output.option in outputs:
            path = outputs[output.option]
            with writing(path, f"`{output.option}`"):  # a name too long for the file system, say
                output.check(path, config)


def _filled(option: str, text: str, **values: object) -> str:
    try:
        return text.format(**values)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise InputError(
            f"`{option}` {text!r}: only {{stem}}, {{loss}} and {{seed}} are filled in.", "Write {{ and }} for braces."
        ) from error


def _for_a_name(loss_type: str) -> str:
    """A weighted sum without what file systems and shells dislike."""
    return re.sub(r"[^\w.+-]", "", loss_type.replace("*", "x"))


def _check_distinct(config: RunConfig, image_path: Path, outputs: dict[str, Path]) -> None:
    taken = {image_path.resolve(): "image_path"}
    if config.mask is not None:
        taken.setdefault(Path(config.mask).resolve(), "mask")
    for option, path in outputs.items():
        other = taken.setdefault(path.resolve(), option)
        if other != option:
            raise InputError(f"`{option}` and `{other}` name the same file, {path}.")
