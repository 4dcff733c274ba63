"""Frames of an earlier run, decoded from its trajectory: in another format, speed or size, without optimizing."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import tee
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentflow.config import ReadingOptions, RenderConfig
from latentflow.errors import InputError, LatentflowError, WeightsError
from latentflow.files import MANIFEST_SUFFIX, sha256
from latentflow.latents.decode import decode_frames
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.draw import Drawing
from latentflow.pictures.files import fit, to_tensor
from latentflow.pictures.reader import Reader
from latentflow.records import Step
from latentflow.runs.report import counted, readable, size_of
from latentflow.session import Session
from latentflow.sinks import Sink, run_sinks
from latentflow.sinks.background import Background
from latentflow.sinks.frames import check_frames_path, frame_options, open_frames
from latentflow.sinks.progress import Progress
from latentflow.sinks.resample import ResampleByChange
from latentflow.sinks.trajectory import Past, read_trajectory


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
        return f"wrote    {self.path} ({readable(size_of(self.path))}, {counted(self.frames, 'frame')})"


def render(source: Path, config: RenderConfig, session: Session) -> Rendered:
    """Decode the latents of a trajectory, or of the trajectory beside a manifest, and write them as frames.

    Raises `InputError` for a file that is no trajectory and for a target image that has changed since the run,
    `WeightsError` for weights other than the run's, and what writing frames raises.
    """
    past = read_trajectory(_trajectory(source))
    shown = [entry for entry in past.records if entry.latent_at is not None]
    if not shown:
        raise InputError(f"The trajectory {source} has no frames yet.")
    output = Path(config.output_path).expanduser()
    check_frames_path(output, **frame_options(config))
    try:
        options, image, owner = past.facts["options"], past.facts["image"], past.facts["weights"]
        size = (int(image["fitted_height"]), int(image["fitted_width"]))
        vae, dtype = str(options["vae"]), str(options.get("dtype", "float32"))
        vae_config = options.get("vae_config") and str(options["vae_config"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"The trajectory {source} doesn't describe its run: {error}.") from error
    if output.resolve() == Path(str(options["image_path"])).resolve():
        raise InputError(f"`output_path` {output} is the image of the run.")
    loaded = session.load(vae, "auto", config.device, dtype, vae_config)
    resolved, autoencoder = loaded.weights, loaded.autoencoder
    if resolved.sha256 != owner.get("sha256"):
        raise WeightsError(
            f"The weights of {resolved.name} are not those of the trajectory: their SHA-256 is {resolved.sha256}, not "
            f"{owner.get('sha256')}."
        )
    if autoencoder.geometry.latent_shape(*size) != tuple(past.facts["shape"]):
        raise InputError(f"The latents of {source} don't fit a picture of {size[1]} × {size[0]} pixels.")
    target = _target(past.facts, size) if config.side_by_side else torch.zeros(1, 3, *size)

    def decode(latent: Tensor) -> Tensor:
        return autoencoder.decode(latent.to(autoencoder.device), size)

    frames = open_frames(
        output,
        **frame_options(config),
        hold=config.hold,
        draw=Drawing(target, side_by_side=config.side_by_side, caption=config.caption, size=config.size),
    )
    chosen = [*shown[:-1][:: config.skip_step], shown[-1]]
    sink: Sink[Any] = Background(frames)
    if config.pace == "change":
        sink, chosen = ResampleByChange(sink, len(chosen), decode), shown
    steps = _decoded(replace(past, records=chosen), autoencoder, size)
    run_sinks(session.watch(steps), [sink, Progress(session, shown[-1].figures["step"])])
    return Rendered(output, frames.frames)


def _decoded(past: Past, autoencoder: Autoencoder, size: tuple[int, int]) -> Iterator[Step]:
    """The steps of a trajectory whose latents were all kept, some decoded together."""
    figures, latents = tee(past.read())
    on_device = (latent.to(autoencoder.device) for _, latent in latents if latent is not None)
    frames = decode_frames(autoencoder, on_device, size, total=len(past.records) - 1)
    for (each, _), frame in zip(figures, frames):
        yield Step(latent=frame.latent, image=frame.image, **vars(each))


def _trajectory(source: Path) -> Path:
    return (
        source.with_name(source.name.removesuffix(MANIFEST_SUFFIX) + ".trajectory")
        if source.suffix == ".json"
        else source
    )


def _target(facts: dict[str, Any], size: tuple[int, int]) -> Tensor:
    path, options = Path(facts["options"]["image_path"]), facts["options"]
    reading = ReadingOptions(**{each.name: options.get(each.name, each.default) for each in fields(ReadingOptions)})
    picture = Reader(reading).read(path)
    if sha256(path) != facts["image"]["sha256"]:
        raise InputError(
            f"{path} is not the image of the trajectory: its SHA-256 differs.", "Leave out `side_by_side`."
        )
    target = to_tensor(fit(picture, options["size"], options["fit"]))
    if tuple(target.shape[-2:]) != size:
        raise InputError(f"{path} has another size than the trajectory.")
    return target
