"""Sinks of frames, chosen by suffix: a moving picture, or a folder of PNGs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latentflow.base.errors import InputError, OutputError
from latentflow.base.files import check_folder_is_ours, check_writable
from latentflow.base.options import Options, did_you_mean
from latentflow.base.pixels import to_uint8
from latentflow.base.records import Frame
from latentflow.sinks import FrameSink
from latentflow.sinks.config import OUTPUT_SUFFIXES

if TYPE_CHECKING:
    from latentflow.base.session import Session
    from latentflow.sinks.ffmpeg import Soundtrack
    from latentflow.sinks.sink import Draw

FASTEST_GIF = 50.0


def draw_image(record: Frame) -> np.ndarray:
    """The record's own picture, (h, w, 3) uint8."""
    return to_uint8(record.image)


def check_frames_path(
    path: Path,
    *,
    fps: float = 20.0,
    loop: int = 0,
    bounce: bool = False,
    palette: str = "frame",
    overwrite: bool = False,
) -> None:
    """Raise `InputError` for a suffix nobody writes and for options that its format doesn't have, `OutputError` where
    frames can't be put; the options are those of `open_frames`."""
    suffix = "" if path.is_dir() else path.suffix.lower()
    if suffix not in (*OUTPUT_SUFFIXES, ""):
        known = ", ".join(OUTPUT_SUFFIXES)
        raise InputError(
            f"`output_path` {path}: frames are written as {known} or into a folder, not as {suffix}.",
            did_you_mean(suffix, OUTPUT_SUFFIXES),
        )
    if suffix == ".gif" and fps > FASTEST_GIF:
        raise InputError(
            f"`fps` {fps:g}: a GIF shows at most {FASTEST_GIF:g} frames per second.", "Choose .mp4, .webm or .webp."
        )
    kind = suffix or "folder of PNGs"
    if palette != "frame" and suffix != ".gif":
        raise InputError(f"`palette` {palette} would have no effect on a {kind}.", "Choose .gif, or leave it out.")
    if loop and suffix not in (".gif", ".webp"):
        raise InputError(f"`loop` {loop} would have no effect on a {kind}.", "Choose .gif or .webp, or leave it out.")
    if bounce and not suffix:
        raise InputError(f"`bounce` would have no effect on a {kind}.", "Choose a moving picture, or leave it out.")
    if suffix:
        check_writable(path, "`output_path`")
    else:
        _check_folder(path, overwrite)


def _check_folder(path: Path, overwrite: bool) -> None:
    if path.is_file():
        raise OutputError(f"`output_path` {path} is a file without a suffix, not a folder for PNGs.")
    if not overwrite:
        check_folder_is_ours(path)
    if not path.parent.is_dir():
        raise OutputError(f"`output_path` {path}: the folder {path.parent} does not exist.", f"mkdir -p {path.parent}")
    check_writable(path / "frame" if path.is_dir() else path, "`output_path`")


def open_frames(
    path: str | Path,
    *,
    fps: float = 20.0,
    hold: float = 1.5,
    loop: int = 0,
    bounce: bool = False,
    palette: str = "frame",
    overwrite: bool = False,
    draw: Draw = draw_image,
    sound: Soundtrack | None = None,
    by_frame: bool = False,
    session: Session | None = None,
) -> FrameSink:
    """The sink for frames at `path`: .gif, .mp4, .webm, .webp, or a folder that gets PNGs.

    `fps` is frames per second, `hold` the seconds the last frame stays; `loop`, `bounce` and `palette` are those of a
    run. `draw` makes the picture (h, w, 3) uint8 of a record. `sound` goes into an .mp4 or .webm. PNGs are named by
    step, or `by_frame` in their order. A `session` that is stopped while the file is finished ends it early. Raises
    what `check_frames_path` raises.
    """
    path = Path(path)
    check_frames_path(path, fps=fps, loop=loop, bounce=bounce, palette=palette, overwrite=overwrite)
    if path.suffix == "" or path.is_dir():
        from latentflow.sinks.png_folder import PngFolder

        return PngFolder(path, draw, by_frame=by_frame)
    from latentflow.sinks.video import Video

    return Video(
        path, draw, fps=fps, hold=hold, loop=loop, bounce=bounce, palette=palette, sound=sound, session=session
    )


def frame_options(config: Options) -> dict[str, Any]:
    """The options of a config that both `open_frames` and `check_frames_path` take."""
    names = ("fps", "loop", "bounce", "palette", "overwrite")
    return {name: getattr(config, name) for name in names if hasattr(config, name)}
