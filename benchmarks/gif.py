"""Time, PSNR, size and stillness of GIFs: `python benchmarks/gif.py`.

The baseline quantizes every frame to a palette of its own, from a sample of 64 × 64 pixels, and leaves the file to
ffmpeg. Both get the same frames, in turn: runs of the bundled autoencoder, which start at a random latent, alone and
side by side with the target, and a walk between two photographs. PSNR is that of the decoded file to the true frames.
Of the target's pixels, which don't change, it counts those that change by more than 24 levels from frame to frame.
The time is that of the thread that writes; ffmpeg's own, in another process, is not counted.
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from drawings import house, sword
from photographs import square
from PIL import Image, ImageSequence

from latentflow import Objective, decode_frames, fit, initial_latent, load_autoencoder, optimize, to_tensor
from latentflow.base.pixels import to_uint8
from latentflow.latents.paths import LatentPath
from latentflow.pictures.draw import Drawing
from latentflow.sinks.ffmpeg import ffmpeg_executable
from latentflow.sinks.gif import Gif

STEPS, FPS, FLICKER = 24, 20, 24


class PerFrame64:
    """The baseline: a palette for each frame from 64 × 64 of its pixels, error diffusion, and ffmpeg."""

    def __init__(self, path: Path, width: int, height: int) -> None:
        line = f"-y -loglevel error -f rawvideo -pix_fmt pal8 -s {width}x{height} -framerate {FPS} -i pipe: -loop 0"
        self.process = subprocess.Popen([ffmpeg_executable(), *line.split(), str(path)], stdin=subprocess.PIPE)

    def add(self, picture: np.ndarray, seconds: float) -> None:
        """Quantize a picture (h, w, 3) uint8 and send it."""
        image = Image.fromarray(picture)
        sample = image.resize((min(64, image.width), min(64, image.height)), Image.Resampling.NEAREST)
        palette = sample.quantize(256, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
        indexed = image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
        colors = np.array(indexed.getpalette("RGB"), np.uint8).reshape(-1, 3)
        table = np.full((256, 4), 255, np.uint8)
        table[: len(colors), :3] = colors[:, ::-1]
        self.process.stdin.write(indexed.tobytes() + table.tobytes())

    def finish(self) -> None:
        """Wait for ffmpeg."""
        self.process.stdin.close()
        self.process.wait()


def runs(size: int, quick: bool) -> Iterator[tuple[str, list[np.ndarray], int]]:
    """Name, frames (h, w, 3) uint8 of a moving picture, and the width of what doesn't change."""
    autoencoder = load_autoencoder("bundled")
    targets = {name: square(name, size) for name in ("coffee", "astronaut", "rocket")}
    targets |= {each.__name__: to_tensor(fit(each().convert("RGB"), size, "cover")) for each in (house, sword)}
    for name, target in list(targets.items())[: 1 if quick else None]:
        latent = initial_latent("normal", autoencoder, target, seed=3)
        steps = list(optimize(autoencoder, Objective("mse", target), latent, steps=STEPS, lr=0.2))
        yield f"{name}, run", [Drawing(target)(step) for step in steps], 0
        beside = Drawing(target, side_by_side=True, caption=True)
        yield f"{name}, side by side", [beside(step) for step in steps], size
    latents = torch.cat([autoencoder.encode(targets[name]) for name in ("coffee", "astronaut")])
    yield "walk", walked(autoencoder, LatentPath(latents), size), 0


def walked(autoencoder, path: LatentPath, size: int) -> list[np.ndarray]:
    """The frames of a walk."""
    latents = [path(position) for position in np.linspace(0, 1, STEPS + 1)]
    return [to_uint8(frame.image) for frame in decode_frames(autoencoder, latents, (size, size))]


def decoded(path: Path) -> list[np.ndarray]:
    """The frames (h, w, 3) of a GIF, as floats."""
    with Image.open(path) as image:
        return [np.asarray(frame.convert("RGB"), float) for frame in ImageSequence.Iterator(image)]


def psnr(shown: list[np.ndarray], true: list[np.ndarray]) -> float:
    """The mean PSNR of frames in dB."""
    return float(np.mean([10 * np.log10(255**2 / np.square(one - other).mean()) for one, other in zip(shown, true)]))


def flicker(shown: list[np.ndarray], size: int) -> float:
    """The fraction of a square's pixels that change visibly from one frame to the next."""
    panels = np.stack([frame[:size, :size] for frame in shown])
    return float((np.abs(np.diff(panels, axis=0)).max(-1) > FLICKER).mean()) if size else 0.0


def compare(frames: list[np.ndarray], still: int) -> list[str]:
    """The cells of a row: times, PSNR, sizes and flicker of the baseline and of a GIF as it is written."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / "before.gif", Path(folder) / "after.gif"]
        writers = [PerFrame64(paths[0], *frames[0].shape[1::-1]), Gif(paths[1])]
        seconds = [[], []]
        for frame in frames:
            for writer, found in zip(writers, seconds):  # in turn, so that other work disturbs both alike
                began = time.perf_counter()
                writer.add(frame, 1 / FPS)
                found.append(time.perf_counter() - began)
        for writer in writers:
            writer.finish()
        shown = [decoded(path) for path in paths]
        sizes = [path.stat().st_size / 1000 for path in paths]
    assert len(shown[1]) == len(frames)
    times, quality = [1000 * float(np.median(each)) for each in seconds], [psnr(each, frames) for each in shown]
    return [
        f"{times[0]:.1f} → {times[1]:.1f} ms, {times[1] / times[0]:.2f} ×",
        f"{quality[0]:.2f} → {quality[1]:.2f} dB",
        f"{sizes[0]:.0f} → {sizes[1]:.0f} kB, {sizes[1] / sizes[0]:.2f} ×",
        " → ".join(f"{flicker(each, still):.1%}" for each in shown) if still else "",
    ]


def main() -> None:
    """Print a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one picture at 256 pixels")
    quick = parser.parse_args().quick
    for size in (256,) if quick else (256, 512):
        head = [f"{size}²", "time per frame", "PSNR", "size", "flicker of the target"]
        print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
        for name, frames, still in runs(size, quick):
            print("| " + " | ".join([name, *compare(frames, still)]) + " |", flush=True)
        print()


if __name__ == "__main__":
    main()
