"""Make a folder of pictures for the views: `python examples/make_folder.py FOLDER [--count 120]`.

It has three folders: `photographs`, crops of the sample images of scikit-image and scikit-learn at different scales
(both packages are needed), `drawings`, and `generated`, both drawn by this project. They are always the same.
"""

import argparse
from pathlib import Path

import numpy as np
import skimage
import sklearn.datasets
from PIL import Image

from latentflow.generated import picture

PHOTOGRAPHS = (
    *("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "motorcycle_left.png"),
    *("hubble_deep_field.jpg", "ihc.png", "retina.jpg"),
)
SIZE = 192
MIN_CROP = 0.35  # of a photograph's shorter side


def photographs() -> dict[str, Image.Image]:
    """Ten photographs by name."""
    folder = Path(skimage.__file__).parent / "data"
    samples = Path(sklearn.datasets.__file__).parent / "images"
    paths = [*(folder / name for name in PHOTOGRAPHS), samples / "china.jpg", samples / "flower.jpg"]
    return {path.stem: Image.open(path).convert("RGB") for path in paths}


def crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A square part at a random position and scale, resized to SIZE pixels."""
    side = int(min(image.size) * rng.uniform(MIN_CROP, 1))
    left, top = (int(rng.integers(0, length - side + 1)) for length in image.size)
    return image.resize((SIZE, SIZE), Image.Resampling.LANCZOS, (left, top, left + side, top + side))


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=120, help="number of pictures")
    arguments = parser.parse_args()
    sources = photographs()
    for number in range(arguments.count):
        kind = ("photographs", "photographs", "drawings", "generated")[number % 4]
        rng = np.random.default_rng(number)
        if kind == "photographs":
            name = list(sources)[(number // 4 * 2 + number % 4) % len(sources)]
            image = crop(sources[name], rng)
        else:
            name = kind.rstrip("s")
            image = picture(10_000 + number, SIZE, drawings=float(kind == "drawings"))
        path = arguments.folder / kind / f"{name}-{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)


if __name__ == "__main__":
    main()
