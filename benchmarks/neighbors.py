"""Which distance of latents finds a picture again, and has no hubs.

    python benchmarks/neighbors.py bundled folder/of/a/kl FILE.py:load [--folder PICTURES --cells 3]

The pictures are the cells of a grid over each of ten photographs of scikit-image and scikit-learn, 5 × 5 by default,
and all pictures of a folder if one is given. For each distance, at 128 pixels: how often the picture that is found most
is among the five nearest of another, the share of pictures that are never found, and the share of crops, mirror images,
JPEGs of half the size and re-colorings whose nearest picture is the one that they were made of. Autoencoders are given
as to benchmarks/families.py.
"""

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from families import load
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torch.nn import functional

from latentflow import Autoencoder, fit, read_image, to_tensor
from latentflow.explore.distances import DISTANCES, Space, pooled
from latentflow.latents import principal_components
from latentflow.pictures.folders import find_images

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
from make_folder import photographs

SIZE = 128
NEAREST = 5
Between = Callable[[Tensor], Tensor]  # latents (n, c, h, w) to their distances (n, pictures)


def crop(image: Image.Image) -> Image.Image:
    """Four fifths of the width and of the height, a little off the middle."""
    width, height = image.size
    return image.crop((int(width * 0.12), int(height * 0.05), int(width * 0.92), int(height * 0.85)))


def encoded_again(image: Image.Image) -> Image.Image:
    """A JPEG of half the size and of low quality."""
    data = io.BytesIO()
    image.resize((image.width // 2, image.height // 2)).save(data, "JPEG", quality=25)
    return Image.open(data).convert("RGB")


def recolored(image: Image.Image) -> Image.Image:
    """Half the saturation, darker and warmer."""
    values = np.asarray(ImageEnhance.Color(image).enhance(0.5)) / 255
    return Image.fromarray(((values**1.25 * [1.05, 0.97, 0.85]).clip(0, 1) * 255).astype(np.uint8))


VARIANTS = {"crop": crop, "mirror": ImageOps.mirror, "JPEG": encoded_again, "color": recolored}


def pictures(cells: int, folder: Path | None) -> list[Image.Image]:
    """The cells of the photographs, row by row, and the pictures of the folder."""
    found = [] if folder is None else [read_image(path).image.convert("RGB") for path in find_images(folder).paths]
    for image in photographs().values():
        width, height = (length // cells for length in image.size)
        side = min(width, height)
        corners = [(column * width, row * height) for row in range(cells) for column in range(cells)]
        found += [image.crop((left, top, left + side, top + side)) for left, top in corners]
    return found


def encode(autoencoder: Autoencoder, images: list[Image.Image]) -> Tensor:
    """Unit-variance latents of squares, in float32 on the CPU."""
    squares = (to_tensor(fit(image, SIZE, "cover")).to(autoencoder.device) for image in images)
    with torch.no_grad():
        return torch.cat([autoencoder.encode(square).float().cpu() for square in squares])


def candidates(latents: Tensor) -> dict[str, Between]:
    """The distances of latentflow, and others that were considered."""
    found: dict[str, Between] = {}
    for name in DISTANCES:
        space = Space(latents, name)
        found[name] = lambda some, space=space: torch.stack([space.from_query(each[None]) for each in some])
    middle = pooled(latents).mean(0)
    components = principal_components(latents, 20)
    basis, mean = components.directions.flatten(1).T.float(), components.mean.flatten().float()
    found["pooled, centered, cosine"] = cosine(latents, lambda some: pooled(some) - middle)
    found["20 components, cosine"] = cosine(latents, lambda some: (some.flatten(1) - mean) @ basis)
    found["l2, scaled (CSLS)"] = scaled(latents, found["l2"])
    return found


def cosine(latents: Tensor, vectors: Between) -> Between:
    """1 − the cosine of vectors."""
    others = functional.normalize(vectors(latents))
    return lambda some: 1 - functional.normalize(vectors(some)) @ others.T


def scaled(latents: Tensor, between: Between) -> Between:
    """A distance relative to the mean distance of each picture from its ten nearest, after Conneau et al. 2018; that of
    the query, by which they divide as well, doesn't change the order."""
    own = between(latents).fill_diagonal_(torch.inf).topk(10, largest=False).values.mean(1)
    return lambda some: between(some) / own.sqrt()


def main() -> None:
    """Print a row for each autoencoder and distance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("autoencoders", nargs="+")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--cells", type=int, default=5, help="of a photograph's side")
    arguments = parser.parse_args()
    images = pictures(arguments.cells, arguments.folder)
    print(f"{len(images)} pictures of {SIZE} pixels; largest hub among the {NEAREST} nearest; found first, in %")
    heading = "".join(f"{name:>8}" for name in (*VARIANTS, "mean"))
    for name in arguments.autoencoders:
        autoencoder = load(name)
        latents = encode(autoencoder, images)
        variants = {kind: encode(autoencoder, [make(each) for each in images]) for kind, make in VARIANTS.items()}
        print(f"\n{name:<26}{'hub':>8}{'never':>8}{heading}")
        for title, between in candidates(latents).items():
            order = between(latents).fill_diagonal_(torch.inf).argsort(dim=1)[:, :NEAREST]
            returned = torch.bincount(order.flatten(), minlength=len(images))
            first = [
                float((between(each).argmin(dim=1) == torch.arange(len(images))).float().mean())
                for each in variants.values()
            ]
            shares = "".join(f"{100 * each:8.0f}" for each in (*first, sum(first) / len(first)))
            print(f"{title:<26}{int(returned.max()):8}{100 * float((returned == 0).float().mean()):7.0f}%{shares}")


if __name__ == "__main__":
    main()
