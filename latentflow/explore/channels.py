"""The effect of each channel of a latent: its map, and the picture without it, of it alone, and with it moved."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from latentflow.base.errors import InputError
from latentflow.base.pixels import to_uint8
from latentflow.base.records import Frame, Labeled
from latentflow.base.session import Session
from latentflow.base.surroundings import undisturbed
from latentflow.explore.config import ChannelsConfig
from latentflow.latents.decode import decode_frames
from latentflow.latents.sources import check_anchors, read_anchors
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.figure import check_figure_path, new_figure, save_figure, write_below
from latentflow.runs.job import Files, Job, Report, Stages, frames_beside, moving, run_job
from latentflow.sinks.frames import check_frames_path, frame_options

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE_INCHES = 1.75  # width of a picture in the figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel of a latent: its `number`, a `title`, its values (rows, columns), and pictures (1, 3, h, w) of the
    latent `without` it (zero, the mean of the space), of it `alone` (all others zero), and moved `down` and `up`."""

    number: int
    values: Tensor
    without: Tensor
    alone: Tensor
    down: Tensor
    up: Tensor
    title: str = ""

    def figures(self, decoded: Tensor) -> dict[str, float]:
        """Mean and standard deviation of its values, and the RMSE, in [0, 1], of the picture without it to `decoded`,
        the picture (1, 3, h, w) of the complete latent."""
        error = (self.without.clamp(0, 1) - decoded.clamp(0, 1)).square().mean().sqrt()
        return {
            "mean": float(self.values.mean()),
            "std": float(self.values.std(correction=0)),
            "rmse_without": float(error),
        }


@undisturbed
def decode_channels(
    autoencoder: Autoencoder, latent: Tensor, size: tuple[int, int], numbers: Sequence[int], reach: float = 3.0
) -> Iterator[Channel]:
    """Decode the numbered channels of a latent (1, c, rows, columns), for pictures of `size` (height, width); a moved
    channel is moved by `reach` standard deviations of the space, one of which is 1, in all places."""

    def variants(number: int) -> Tensor:
        mask = _mask(latent, number)
        return torch.cat([latent * (1 - mask), latent * mask, latent - reach * mask, latent + reach * mask])

    frames = decode_frames(autoencoder, map(variants, numbers), size, total=len(numbers) - 1)
    for number, frame in zip(numbers, frames):
        without, alone, down, up = frame.image.split(1)
        pictures = {"without": without, "alone": alone, "down": down, "up": up}
        title = autoencoder.geometry.channel_name(number)
        yield Channel(number=number, values=latent[0, number], title=title, **pictures)


def _mask(latent: Tensor, number: int) -> Tensor:
    mask = torch.zeros(1, latent.shape[1], 1, 1).to(latent)
    mask[0, number] = 1
    return mask


def sweep_offsets(frames: int, reach: float = 3.0) -> np.ndarray:
    """Return the offset of a channel in each frame: from 0 to +reach, to −reach and back, in a closed loop."""
    return reach * np.sin(2 * np.pi * np.arange(frames) / frames)


@undisturbed
def sweep_channels(
    autoencoder: Autoencoder, latent: Tensor, size: tuple[int, int], numbers: Sequence[int], offsets: np.ndarray
) -> Iterator[Frame]:
    """Frames with the latents and pictures, (n, …), of n channels; each channel is moved alone by `offsets[index]`."""
    masks = torch.cat([_mask(latent, number) for number in numbers])
    latents = (latent + offset * masks for offset in offsets.tolist())
    return decode_frames(autoencoder, latents, size, total=len(offsets) - 1)


@undisturbed
def draw_channels(
    name: str,
    target: Tensor | None,
    decoded: Tensor,
    channels: Sequence[Channel],
    reach: float = 3.0,
    autoencoder: str = "",
) -> "Figure":
    """A row for each channel below the image `name`, if there is one, and its reconstruction; both are (1, 3, h, w).

    `autoencoder` is the name of the one that has these channels, for the line below.
    """
    height, width = decoded.shape[-2:]
    row_inches = PICTURE_INCHES * min(max(height / width, 0.5), 2.0)
    figure = new_figure(6.4 * PICTURE_INCHES, (len(channels) + 1) * (row_inches + 0.3) + 0.4)
    axes = figure.subplots(len(channels) + 1, 5, squeeze=False)
    limit = max(float(channel.values.abs().max()) for channel in channels)
    for each in axes.flat:
        each.set_axis_off()
    top = {"reconstruction": decoded} if target is None else {"image": target, "reconstruction": decoded}
    _show(axes[0], top)
    drawn: Any = None
    for row, channel in zip(axes[1:], channels):
        drawn = row[0].imshow(channel.values.float().cpu().numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
        row[0].set_title(channel.title or f"channel {channel.number}", fontsize=10)
        pictures = {
            "set to zero": channel.without,
            "alone": channel.alone,
            f"−{reach:g} sd": channel.down,
            f"+{reach:g} sd": channel.up,
        }
        _show(row[1:], pictures)
    bar = figure.colorbar(drawn, ax=axes[:, 0].tolist(), location="left", shrink=0.5)
    bar.set_label("latent value in standard deviations of the space", fontsize=9)
    figure.suptitle(f"The latent channels of {name}", fontsize=13)
    write_below(figure, autoencoder=autoencoder)
    return figure


def _show(axes: Any, pictures: dict[str, Tensor]) -> None:
    for each, (title, picture) in zip(axes, pictures.items()):
        each.imshow(to_uint8(picture))
        each.set_title(title, fontsize=10)


def sweep_titles(numbers: Sequence[int], offset: float) -> list[list[str]]:
    """The titles of channels that are moved by `offset` standard deviations."""
    return [[f"channel {number}", f"{offset:+.1f} sd"] for number in numbers]


def run_channels(sources: Sequence[str], config: ChannelsConfig, session: Session) -> Report:
    """Draw the channels of one image, saved latent or random latent, and write their sweep; raises `LatentflowError` as
    the parts do."""
    return run_job(Stages(check=_check, make=_make), sources, config, session)


def _check(sources: Sequence[str], config: ChannelsConfig) -> Files:
    check_anchors(sources, 1, 1, latent_of=config.latent_of, max_pixels=config.max_pixels)
    output = Path(config.output_path).expanduser()
    frames = frames_beside(output, config.sweep)
    check_figure_path(output)
    check_frames_path(frames, **frame_options(config))
    return Files(outputs=[output, *moving(frames)], inputs=sources, shown={"image": sources[0]})


def _make(job: Job[ChannelsConfig]) -> None:
    config, autoencoder = job.config, job.autoencoder
    numbers = _numbers(config.channels, autoencoder.geometry.channels)
    anchors = read_anchors(job.sources, autoencoder, config.size, config.fit, job.reader, latent_of=config.latent_of)
    latent = anchors.latents
    channels = []
    for channel in decode_channels(autoencoder, latent, anchors.size, numbers, config.reach):
        job.session.check()
        channels.append(channel)
    (frame,) = decode_frames(autoencoder, [latent], anchors.size)
    shown = (anchors.names[0], anchors.targets[0], frame.image, channels, config.reach, autoencoder.name)
    save_figure(draw_channels(*shown), job.output)
    figures = {str(channel.number): channel.figures(frame.image) for channel in channels}
    job.report.figures["channels"] = figures
    job.report.lines = [_line(number, found) for number, found in figures.items()]
    offsets = sweep_offsets(config.frames, config.reach)

    frames = sweep_channels(autoencoder, latent, anchors.size, numbers, offsets)
    labeled = (
        Labeled(**vars(frame), titles=sweep_titles(numbers, offset)) for frame, offset in zip(frames, offsets.tolist())
    )
    job.write_labeled(
        *(job.outputs[1], labeled, config.frames - 1),
        lambda frame: f"{offsets[frame.index]:+.1f} sd",
        anchors.size,
    )


def _numbers(wanted: tuple[int, ...] | None, channels: int) -> list[int]:
    wrong = [number for number in wanted or () if number >= channels]
    if wrong:
        raise InputError(f"`channels` {wrong[0]}: this autoencoder has channels 0 to {channels - 1}.")
    return sorted(set(wanted)) if wanted else list(range(channels))


def _line(number: str, figures: dict[str, float]) -> str:
    return (
        f"channel  {number}: mean {figures['mean']:+.2f}, sd {figures['std']:.2f}; without it the picture changes by "
        f"{255 * figures['rmse_without']:.1f} gray levels RMS"
    )
