"""What repeated round trips leave of pictures, and how rules for the gradient-free refinement compare.

    python benchmarks/round_trips.py bundled folder/of/a/kl FILE.py:load --size 128

An autoencoder is named as in benchmarks/families.py. The pictures are scikit-image's photographs and the drawings of
benchmarks/drawings.py, twenty in all. Prints two tables for each autoencoder, in dB as the mean over the pictures: the
PSNR after 1, 2, 5 and 10 round trips through decoder, 8 bits and encoder; and the best PSNR after each of eight steps
of each rule, with the least that any picture gains in three steps.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage
import torch
from drawings import DRAWINGS
from families import load
from torch import Tensor

from latentflow import Autoencoder, fit, read_image, refine_latent, to_tensor
from latentflow.inversion.metrics import psnr

PHOTOGRAPHS = (
    *("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "hubble_deep_field.jpg", "retina.jpg"),
    *("motorcycle_left.png", "ihc.png", "moon.png", "coins.png", "camera.png", "grass.png"),
)
TRIPS = (1, 2, 5, 10)
REFINED: tuple[int | str, ...] = (0, 3, 5, "auto")
STEPS = 8
RULES = ("full", "half", "momentum 0.5", "Anderson 1", "Anderson 2", "Anderson 3")


def pictures(size: int) -> Tensor:
    """All pictures, their center squares scaled to size × size: (n, 3, size, size)."""
    folder = Path(skimage.__file__).parent / "data"
    found = [read_image(folder / name).image for name in PHOTOGRAPHS] + [each().convert("RGB") for each in DRAWINGS]
    return torch.cat([to_tensor(fit(each, size, "cover")) for each in found])


def after_round_trips(autoencoder: Autoencoder, originals: Tensor, refine: int | str) -> list[float]:
    """The mean PSNR after each of ten round trips."""
    shown, figures = originals, list[float]()
    size = (originals.shape[-2], originals.shape[-1])
    for _ in range(TRIPS[-1]):
        with torch.no_grad():
            decoded = autoencoder.decode(autoencoder.encode(shown, refine=refine), size)
        shown = (decoded.clamp(0, 1) * 255).round() / 255
        figures.append(float(psnr(shown, originals).mean()))
    return figures


@torch.no_grad()
def plain_rule(autoencoder: Autoencoder, originals: Tensor, rule: str) -> Iterator[Tensor]:
    """The best PSNR (n,) so far before each step of z ← z − (E(D(z)) − E(x)), of half of it, or with momentum."""
    size = (originals.shape[-2], originals.shape[-1])
    goal = latent = autoencoder.encode(originals)
    velocity, best = torch.zeros_like(latent), torch.full((len(latent),), -np.inf)
    for _ in range(STEPS + 1):
        shown = autoencoder.decode(latent, size).clamp(0, 1)
        best = best.maximum(psnr(shown, originals))
        yield best
        residual = autoencoder.encode(shown) - goal
        velocity = 0.5 * velocity + residual if rule.startswith("momentum") else residual
        latent = latent - (0.5 if rule == "half" else 1.0) * velocity


def by_step(autoencoder: Autoencoder, originals: Tensor, rule: str) -> list[Tensor]:
    """The best PSNR (n,) after 0 to 8 steps of a rule."""
    if not rule.startswith("Anderson"):
        return list(plain_rule(autoencoder, originals, rule))
    size, depth = (originals.shape[-2], originals.shape[-1]), int(rule[-1])

    def decode(latent: Tensor) -> Tensor:
        return autoencoder.decode(latent, size)

    return [refine_latent(originals, autoencoder.encode, decode, steps, depth=depth).psnr for steps in range(STEPS + 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("autoencoders", nargs="+")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rules", action="store_true", help="compare the rules, too")
    given = parser.parse_args()
    originals = pictures(given.size)
    for name in given.autoencoders:
        autoencoder = load(name)
        print(f"\n{name}, {len(originals)} pictures of {given.size} pixels: PSNR in dB after round trips", flush=True)
        print("| refine | " + " | ".join(map(str, TRIPS)) + " |\n|---|" + "---|" * len(TRIPS))
        for refine in REFINED:
            figures = after_round_trips(autoencoder, originals, refine)
            print(f"| {refine} | " + " | ".join(f"{figures[trip - 1]:.2f}" for trip in TRIPS) + " |", flush=True)
        if not given.rules:
            continue
        print("| rule | " + " | ".join(map(str, range(STEPS + 1))) + " | least gain in 3 |")
        print("|---|" + "---|" * (STEPS + 2))
        for rule in RULES:
            found = by_step(autoencoder, originals, rule)
            means = " | ".join(f"{float(each.mean()):.2f}" for each in found)
            print(f"| {rule} | {means} | {float((found[3] - found[0]).min()):.2f} |", flush=True)


if __name__ == "__main__":
    main()
