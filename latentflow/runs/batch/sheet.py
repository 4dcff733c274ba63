"""A contact sheet of a batch: each image beside what became of it."""

import io
from collections import deque
from pathlib import Path

import numpy as np
from PIL import Image

from latentflow.errors import InputError
from latentflow.files import write_whole
from latentflow.pictures.draw import columns_for
from latentflow.pictures.files import fit, read_image
from latentflow.runs.batch.plan import BatchPlan

THUMBNAIL = 128


def write_sheet(plan: BatchPlan) -> None:
    """A contact sheet of all results there are: each image beside what became of it."""
    pairs = []
    for item in plan.items:
        last = _last_picture(item.output)
        if last is not None:
            try:
                image = read_image(item.path).image
            except InputError:
                continue
            pairs.append(np.concatenate([_thumbnail(image), _thumbnail(last)], 1))
    if not pairs:
        return
    columns = columns_for(len(pairs), pairs[0].shape[1], pairs[0].shape[0])
    pairs += [np.full_like(pairs[0], 24)] * (-len(pairs) % columns)
    rows = [np.concatenate(pairs[first : first + columns], 1) for first in range(0, len(pairs), columns)]
    content = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(content, "PNG")
    write_whole(plan.sheet, content.getvalue(), "--output_dir")


def _thumbnail(image: Image.Image) -> np.ndarray:
    square = Image.new("RGB", (THUMBNAIL, THUMBNAIL), (24, 24, 24))
    small = fit(image, THUMBNAIL - 4)
    square.paste(small, ((THUMBNAIL - small.width) // 2, (THUMBNAIL - small.height) // 2))
    return np.asarray(square)


def _last_picture(output: Path) -> Image.Image | None:
    """The last frame that was written to an output, of whatever kind."""
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
