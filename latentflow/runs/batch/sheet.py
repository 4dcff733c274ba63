"""The contact sheet of a batch: each image beside its result."""

from collections import deque
from pathlib import Path

import numpy as np
from PIL import Image

from latentflow.base.errors import LatentflowError
from latentflow.base.files import write_file
from latentflow.base.pixels import to_png
from latentflow.pictures.draw import tiled
from latentflow.pictures.files import fit
from latentflow.pictures.reader import Reader
from latentflow.pictures.text import BACKGROUND
from latentflow.runs.batch.plan import BatchPlan

THUMBNAIL = 128  # pixels
MARGIN = 2


def write_sheet(plan: BatchPlan) -> None:
    """Write the contact sheet of all results that exist: each image to the left of the last frame of its output."""
    pairs, reader = [], Reader(plan.config)
    for item in plan.items:
        try:
            last = _last_frame(item.output)
            image = reader.read(item.path)
        except (LatentflowError, OSError):  # gone or broken since
            continue
        if last is not None:
            pairs.append(np.concatenate([_thumbnail(image), _thumbnail(last)], 1))
    if not pairs:
        return
    write_file(plan.sheet, to_png(tiled(pairs)), "`output_dir`")


def _thumbnail(image: Image.Image) -> np.ndarray:
    square = Image.new("RGB", (THUMBNAIL, THUMBNAIL), BACKGROUND)
    small = fit(image, THUMBNAIL - 2 * MARGIN)
    square.paste(small, ((THUMBNAIL - small.width) // 2, (THUMBNAIL - small.height) // 2))
    return np.asarray(square)


def _last_frame(output: Path) -> Image.Image | None:
    """The last frame of an output: a moving picture or a folder of PNGs; None where there is none."""
    if output.is_dir():
        frames = sorted(output.glob("*.png"))
        return Image.open(frames[-1]).convert("RGB") if frames else None
    if not output.exists():
        return None
    if output.suffix.lower() in (".gif", ".webp"):
        with Image.open(output) as animation:
            animation.seek(getattr(animation, "n_frames", 1) - 1)
            return animation.convert("RGB")
    import imageio.v3 as imageio

    last = deque(imageio.imiter(output, plugin="FFMPEG"), maxlen=1)
    return Image.fromarray(np.asarray(last[0])) if last else None
