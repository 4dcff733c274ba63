"""The frames of a run again, from its trajectory: another format, speed or size, without optimizing."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from latentflow.config import RenderConfig
from latentflow.errors import InputError, LatentflowError, WeightsError
from latentflow.files import sha256
from latentflow.interrupts import Interrupts
from latentflow.models import weights
from latentflow.models.autoencoder import load_autoencoder
from latentflow.models.device import pick_device
from latentflow.pictures.draw import Drawing
from latentflow.pictures.files import fit, read_image, to_tensor
from latentflow.records import Step
from latentflow.runs.report import readable
from latentflow.sinks import Sink, run_sinks
from latentflow.sinks.background import Background
from latentflow.sinks.frames import check_frames_path, open_frames
from latentflow.sinks.progress import Progress
from latentflow.sinks.resample import ResampleByChange
from latentflow.sinks.trajectory import read_trajectory

MANIFEST = ".manifest.json"


@dataclass(frozen=True, slots=True)
class Rendered:
    """What was written."""

    path: Path
    frames: int
    error: LatentflowError | None = None

    def summary(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return {"written": str(self.path), "frames": self.frames}

    def __str__(self) -> str:
        """The report for people."""
        size = "" if self.path.is_dir() else f"{readable(self.path.stat().st_size)}, "
        return f"wrote    {self.path} ({size}{self.frames} frames)"


def render(source: Path, config: RenderConfig, interrupts: Interrupts, *, quiet: bool = False) -> Rendered:
    """Decode the latents of a trajectory, or of the run a manifest is of, and write them as frames.

    Raises `InputError` for a file that is none and for a target that is no longer the run's, `WeightsError` for other
    weights than the run's, and what writing frames raises.
    """
    past = read_trajectory(_trajectory(source))
    shown = [entry for entry in past.records if entry.latent_at is not None]
    if not shown:
        raise InputError(f"The trajectory {source} has no frames yet.")
    output = Path(config.output_path).expanduser()
    check_frames_path(output, config.fps, config.overwrite)
    try:
        options, image, owner = past.facts["options"], past.facts["image"], past.facts["weights"]
        size = (int(image["fitted_height"]), int(image["fitted_width"]))
        resolved = weights.find_weights(str(options["vae"]), "auto")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"The trajectory {source} doesn't say what it is of: {error}.") from error
    if output.resolve() == Path(str(options["image_path"])).resolve():
        raise InputError(f"--output_path {output} is the image the run was of.")
    if resolved.sha256 != owner.get("sha256"):
        raise WeightsError(
            f"The weights of {resolved.name} are not those of the trajectory: their SHA-256 is {resolved.sha256}, not "
            f"{owner.get('sha256')}."
        )
    device = pick_device(config.device)
    autoencoder = load_autoencoder(resolved, device, str(options.get("dtype", "float32")))
    if autoencoder.geometry.latent_shape(*size) != tuple(past.facts["shape"]):
        raise InputError(f"The latents of {source} don't fit a picture of {size[1]} × {size[0]} pixels.")
    target = _target(past.facts, size) if config.side_by_side else torch.zeros(1, 3, *size)

    def decode(latent: Tensor) -> Tensor:
        return autoencoder.decode(latent.to(device), size)

    frames = open_frames(
        output,
        fps=config.fps,
        hold=config.hold,
        overwrite=config.overwrite,
        draw=_Resized(Drawing(target, side_by_side=config.side_by_side, caption=config.caption), config.size),
    )
    chosen = [*shown[:-1][:: config.skip_step], shown[-1]]
    sink: Sink[Any] = Background(frames)
    if config.pace == "change":
        sink, chosen = ResampleByChange(sink, len(chosen), decode), shown
    steps = replace(past, records=chosen).steps(decode)
    run_sinks(interrupts.watch(steps), [sink] if quiet else [sink, Progress(shown[-1].figures["step"])])
    return Rendered(output, frames.frames)


def _trajectory(source: Path) -> Path:
    return source.with_name(source.name.removesuffix(MANIFEST) + ".trajectory") if source.suffix == ".json" else source


def _target(facts: dict[str, Any], size: tuple[int, int]) -> Tensor:
    path, options = Path(facts["options"]["image_path"]), facts["options"]
    picture = read_image(path)
    if sha256(path) != facts["image"]["sha256"]:
        raise InputError(
            f"{path} is not the image of the trajectory: its SHA-256 differs.", "Leave out --side_by_side."
        )
    target = to_tensor(fit(picture.image, options["size"], options["fit"]))
    if tuple(target.shape[-2:]) != size:
        raise InputError(f"{path} has another size than the trajectory.")
    return target


class _Resized:
    """Draws with another drawing, and scales to a longer side of `size` pixels if one is given."""

    def __init__(self, draw: Drawing, size: int | None) -> None:
        self.draw, self.size = draw, size

    def __call__(self, step: Step) -> np.ndarray:
        picture = self.draw(step)
        if self.size is None:
            return picture
        share = self.size / max(picture.shape[:2])
        shape = [max(1, round(side * share)) for side in picture.shape[1::-1]]
        return np.asarray(Image.fromarray(picture).resize((shape[0], shape[1]), Image.Resampling.LANCZOS))
