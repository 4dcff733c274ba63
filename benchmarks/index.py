"""The speed of `latentflow similar`: `python benchmarks/index.py [--images 1000] [--latents 10000]`.

Random crops of scikit-image's photographs, 224 × 224 pixels, as JPEG: images per second that are encoded into an index,
seconds of a second call when nothing has changed, and queries per second over random latents of 256 × 256 pixels. With
the bundled autoencoder on this machine, without the encoding of a query and the start of the program.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from photographs import PHOTOGRAPHS, photograph
from PIL import Image

from latentflow import load_autoencoder
from latentflow.base.session import Session
from latentflow.explore.distances import DISTANCES
from latentflow.explore.similar import nearest
from latentflow.latents.index import FolderLatents, index_path, read_latents
from latentflow.models.device import describe, pick_device
from latentflow.models.weights import find_weights

SIDE = 224
SIZE = 256
QUERIES = 20


def make(folder: Path, count: int) -> None:
    """Write crops of random place and size."""
    rng = np.random.default_rng(0)
    sources = [photograph(name) for name in PHOTOGRAPHS]
    for number in range(count):
        source = sources[number % len(sources)]
        side = int(min(source.size) * rng.uniform(0.3, 1))
        left, top = (int(rng.integers(0, length - side + 1)) for length in source.size)
        crop = source.resize((SIDE, SIDE), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
        crop.save(folder / f"{number:05d}.jpg", quality=90)


def timed(work: Callable[[], FolderLatents]) -> tuple[float, FolderLatents]:
    """The seconds that a function takes, and its result."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def main() -> None:
    """Print the speeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--latents", type=int, default=10_000)
    arguments = parser.parse_args()
    device = pick_device()
    autoencoder = load_autoencoder(find_weights("bundled"), device, "auto")
    print(f"{describe(device)}, {autoencoder.precision}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        album = Path(folder) / "album"
        album.mkdir()
        make(album, arguments.images)

        def read() -> FolderLatents:
            return read_latents(album, autoencoder, SIZE, Session(print))

        first, found = timed(read)
        again, same = timed(read)
        assert (found.encoded, same.encoded) == (arguments.images, 0) and torch.equal(found.latents, same.latents)
        size = index_path(album, autoencoder, SIZE).stat().st_size
    print(f"index    {arguments.images / first:.1f} images per second, {size / arguments.images / 1e3:.1f} kB each")
    print(f"again    {again:.3f} s for {arguments.images} unchanged images: {first / again:.0f} × faster")
    generator = torch.Generator().manual_seed(0)
    shape = autoencoder.geometry.latent_shape(SIZE, SIZE)
    latents = torch.randn(arguments.latents, *shape, generator=generator)
    queries = torch.randn(QUERIES + 1, 1, *shape, generator=generator)
    for distance in DISTANCES:
        seconds = []
        for query in queries:
            began = time.perf_counter()
            nearest(query, latents, 5, distance)
            seconds.append(time.perf_counter() - began)
        print(f"{distance:<8} {1 / median(seconds[1:]):.1f} queries per second over {arguments.latents} latents")


if __name__ == "__main__":
    main()
