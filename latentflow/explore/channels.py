"""What each channel of a latent does: its map, and the picture without it, of it alone, and with it moved."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from latentflow.errors import InputError
from latentflow.explore.config import ChannelsConfig
from latentflow.explore.moving import write_moving
from latentflow.explore.report import ViewReport, check_outputs, sweep_path, write_view_manifest
from latentflow.interrupts import Interrupts, Say
from latentflow.latents.sources import check_anchors, read_anchors
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.draw import tiled, titled
from latentflow.pictures.figure import check_figure_path, new_figure, save_figure
from latentflow.pictures.files import to_uint8
from latentflow.records import Frame
from latentflow.runs.run import load
from latentflow.sinks.frames import check_frames_path, open_frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INCH = 1.75  # a picture of the figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel of a latent: its `number`, its values (rows, columns), and pictures (1, 3, h, w) of the latent
    `without` it (zero, the mean of the space), of it `alone` (all others zero), and with it moved `down` and `up`."""

    number: int
    values: Tensor
    without: Tensor
    alone: Tensor
    down: Tensor
    up: Tensor


@torch.no_grad()
def decode_channels(
    autoencoder: Autoencoder, latent: Tensor, size: tuple[int, int], numbers: Sequence[int], reach: float = 3.0
) -> Iterator[Channel]:
    """Each of the numbered channels of a latent (1, c, rows, columns); moved by `reach` standard deviations of the
    space, one of which is 1, everywhere at once."""
    for number in numbers:
        mask = _mask(latent, number)

        def decode(changed: Tensor) -> Tensor:
            return autoencoder.decode(changed, size)

        yield Channel(
            number=number,
            values=latent[0, number],
            without=decode(latent * (1 - mask)),
            alone=decode(latent * mask),
            down=decode(latent - reach * mask),
            up=decode(latent + reach * mask),
        )


def _mask(latent: Tensor, number: int) -> Tensor:
    mask = torch.zeros(1, latent.shape[1], 1, 1, device=latent.device)
    mask[0, number] = 1
    return mask


def offsets(frames: int, reach: float = 3.0) -> np.ndarray:
    """How far a channel is moved in each frame: from 0 to +reach, to −reach and back, closed to a loop."""
    return reach * np.sin(2 * np.pi * np.arange(frames) / frames)


@torch.no_grad()
def sweep(
    autoencoder: Autoencoder, latent: Tensor, size: tuple[int, int], numbers: Sequence[int], moved: np.ndarray
) -> Iterator[Frame]:
    """Frames whose latents and pictures, (n, …), are those of n channels, each moved alone by `moved[index]`."""
    masks = torch.cat([_mask(latent, number) for number in numbers])
    for index, offset in enumerate(moved.tolist()):
        latents = latent + offset * masks
        with torch.no_grad():
            image = torch.cat([autoencoder.decode(each, size) for each in latents.split(1)])
        yield Frame(index=index, total=len(moved) - 1, latent=latents, image=image)


def run_channels(
    sources: Sequence[str], config: ChannelsConfig, interrupts: Interrupts, say: Say, *, quiet: bool = False
) -> ViewReport:
    """Draw the channels of one image, saved latent or random latent; raises `LatentflowError` as the parts do."""
    check_anchors(sources, 1, 1)
    output = Path(config.output_path).expanduser()
    moving = sweep_path(output, config.sweep)
    check_figure_path(output)
    check_frames_path(moving, config.fps, config.overwrite)
    check_outputs([output, moving], sources)
    loaded = load(config, say)
    autoencoder = loaded.autoencoder
    numbers = _numbers(config.channels, autoencoder.geometry.channels)
    anchors = read_anchors(sources, autoencoder, config.size, config.fit)
    latent = anchors.latents
    found = []
    for channel in decode_channels(autoencoder, latent, anchors.size, numbers, config.reach):
        interrupts.check()
        found.append(channel)
    with torch.no_grad():
        decoded = autoencoder.decode(latent, anchors.size)
    save_figure(_drawn(anchors.names[0], anchors.targets[0], decoded, found, config.reach), output)
    report = ViewReport(written=[output, moving])
    report.figures["channels"] = {str(channel.number): _figures(channel, decoded) for channel in found}
    moved = offsets(config.frames, config.reach)

    def draw(frame: Frame) -> np.ndarray:
        pictures = [to_uint8(image) for image in frame.image.split(1)]
        offset = float(moved[frame.index])
        return tiled(
            [titled(picture, f"channel {number} {offset:+.1f} sd") for number, picture in zip(numbers, pictures)]
        )

    sink = open_frames(moving, fps=config.fps, hold=0, overwrite=config.overwrite, draw=draw)
    records = sweep(autoencoder, latent, anchors.size, numbers, moved)
    write_moving(
        *(sink, records, config.frames - 1, interrupts, report),
        quiet=quiet,
        describe=lambda frame: f"{moved[frame.index]:+.1f} sd",
    )
    report.lines = _lines(report.figures["channels"])
    write_view_manifest(output, config, {"image": sources[0]}, loaded, report)
    return report


def _numbers(asked: tuple[int, ...] | None, channels: int) -> list[int]:
    wrong = [number for number in asked or () if number >= channels]
    if wrong:
        raise InputError(f"--channels {wrong[0]}: this autoencoder's are 0 to {channels - 1}.")
    return sorted(set(asked)) if asked else list(range(channels))


def _figures(channel: Channel, decoded: Tensor) -> dict[str, float]:
    """Mean and standard deviation of a channel's values, and how far the picture is from the whole one without it."""
    lost = (channel.without.clamp(0, 1) - decoded.clamp(0, 1)).square().mean().sqrt()
    return {
        "mean": float(channel.values.mean()),
        "std": float(channel.values.std(correction=0)),
        "rmse_without": float(lost),
    }


def _lines(channels: dict[str, dict[str, float]]) -> list[str]:
    return [
        f"channel  {number}: mean {found['mean']:+.2f}, sd {found['std']:.2f}; without it the picture changes by "
        f"{255 * found['rmse_without']:.1f} grey levels RMS"
        for number, found in channels.items()
    ]


def _drawn(name: str, target: Tensor | None, decoded: Tensor, channels: Sequence[Channel], reach: float) -> "Figure":
    """A row a channel under the picture and its reconstruction."""
    height, width = decoded.shape[-2:]
    tall = INCH * min(max(height / width, 0.5), 2.0)
    figure = new_figure(6.4 * INCH, (len(channels) + 1) * (tall + 0.3) + 0.4)
    axes = figure.subplots(len(channels) + 1, 5, squeeze=False)
    limit = max(float(channel.values.abs().max()) for channel in channels)
    for each in axes.flat:
        each.set_axis_off()
    top = [("the image", target), ("decoded whole", decoded)] if target is not None else [("decoded whole", decoded)]
    for place, (title, image) in zip(axes[0], top):
        place.imshow(to_uint8(image))
        place.set_title(title, fontsize=10)
    drawn: Any = None
    for row, channel in zip(axes[1:], channels):
        drawn = row[0].imshow(channel.values.float().cpu().numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
        row[0].set_title(f"channel {channel.number}", fontsize=10)
        moved = {
            "set to zero": channel.without,
            "alone": channel.alone,
            f"−{reach:g} σ": channel.down,
            f"+{reach:g} σ": channel.up,
        }
        for place, (title, image) in zip(row[1:], moved.items()):
            place.imshow(to_uint8(image))
            place.set_title(title, fontsize=10)
    bar = figure.colorbar(drawn, ax=axes[:, 0].tolist(), location="left", shrink=0.5)
    bar.set_label("latent value, in standard deviations of the space", fontsize=9)
    figure.suptitle(f"The latent channels of {name}", fontsize=13)
    return figure
