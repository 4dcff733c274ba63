"""How far composites of latents are off along their edges, against latents that are interpolated or only encoded.

    python benchmarks/composites.py bundled folder/of/a/kl FILE.py:load --size 128

An autoencoder is named as in benchmarks/families.py. Four pairs of pictures are composed under a circle with an edge of
20 pixels and with a hard one. Prints for each the RMS difference from the mixed pictures in the band, in gray levels,
as the mean over the pairs.
"""

import argparse
from statistics import fmean

import torch
from families import load, target
from torch import Tensor

from latentflow.explore.composite import Composite, make_composite
from latentflow.explore.config import RefineOptions

PAIRS = (("coffee", "cat"), ("astronaut", "chelsea"), ("rocket", "heroine"), ("panel", "chelsea"))
EDGES = {"20 pixels": 20.0, "hard": 1e-3}
REFINED = ("0", "3", "auto", "gradient:10", "gradient:20")


def circle(size: int, edge: float) -> Tensor:
    """A white circle on black, (1, 1, size, size), with an edge of that many pixels."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    distance = ((columns - 0.5 * size) ** 2 + (rows - 0.45 * size) ** 2).sqrt() - 0.28 * size
    return (0.5 - distance / edge).clamp(0, 1)[None, None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("autoencoders", nargs="+")
    parser.add_argument("--size", type=int, default=128)
    given = parser.parse_args()
    print("| autoencoder | edge | interpolated | encoded | " + " | ".join(REFINED) + " |")
    print("|---|---|---|---|" + "---|" * len(REFINED))
    for name in given.autoencoders:
        autoencoder = load(name)
        layers = [torch.cat([target(each, given.size) for each in pair]) for pair in PAIRS]
        latents = [autoencoder.encode(each, refine=3) for each in layers]
        for edge, width in EDGES.items():
            mask = circle(given.size, width)
            made: dict[str, list[Composite]] = {
                refine: [make_composite(autoencoder, each, mask, RefineOptions(refine=refine)) for each in latents]
                for refine in REFINED
            }
            first = made[REFINED[0]]
            figures = [[each.interpolated for each in first], [each.encoded for each in first]]
            figures += [[each.error for each in made[refine]] for refine in REFINED]
            shown = " | ".join(f"{fmean(each or 0.0 for each in row):.1f}" for row in figures)
            print(f"| {name} | {edge} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
