"""Make a folder of pictures to look around in: `python examples/make_folder.py FOLDER [--count 120]`.

In three folders: `photographs`, crops of scikit-image's and scikit-learn's samples at different scales (both packages
are needed); `drawings` and `generated`, drawn by this project. The same number always gives the same pictures.
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
SMALLEST = 0.35  # of a photograph's shorter side


def photographs() -> dict[str, Image.Image]:
    """Ten photographs by name."""
    folder = Path(skimage.__file__).parent / "data"
    samples = Path(sklearn.datasets.__file__).parent / "images"
    paths = [*(folder / name for name in PHOTOGRAPHS), samples / "china.jpg", samples / "flower.jpg"]
    return {path.stem: Image.open(path).convert("RGB") for path in paths}


def crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A square part of random size and place, SIZE pixels wide."""
    side = int(min(image.size) * rng.uniform(SMALLEST, 1))
    left, top = (int(rng.integers(0, whole - side + 1)) for whole in image.size)
    return image.resize((SIZE, SIZE), Image.Resampling.LANCZOS, (left, top, left + side, top + side))


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=120, help="pictures in all")
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
            image = picture(10_000 + number, SIZE, drawn=float(kind == "drawings"))
        path = arguments.folder / kind / f"{name}-{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)


if __name__ == "__main__":
    main()
