"""What the bundled autoencoder, or another, keeps of a picture, and how its latent space looks: `make bench-model`.

PSNR and SSIM of encoder → decoder on scikit-image's photographs (center square, Lanczos to 256 × 256) and on the
drawings of `drawings.py`; then straight lines between encoded photographs, small random steps, and random latents.
None of these pictures was trained on. `--sheet FILE.png` draws what the figures are of.
"""

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from drawings import DRAWINGS
from photographs import PHOTOGRAPHS, square
from PIL import Image
from torch import Tensor

from latentflow import Autoencoder, image_metrics, load_autoencoder, to_tensor
from latentflow.models.weights import find_weights

STEP = 0.1  # of a small random step, in standard deviations of the latent


def decoded(autoencoder: Autoencoder, latent: Tensor) -> Tensor:
    """The clamped picture of a latent."""
    return autoencoder.decode(latent).clamp(0, 1)


def detail(image: Tensor) -> float:
    """Mean absolute difference of neighboring pixels: low where a picture fades to gray, high where it is noise."""
    return float((image.diff(dim=-1).abs().mean() + image.diff(dim=-2).abs().mean()) / 2)


@torch.no_grad()
def main() -> None:
    """Print the figures; draw the sheet if one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vae", default="bundled")
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    autoencoder = load_autoencoder(find_weights(arguments.vae))
    photographs = {name: square(name) for name in PHOTOGRAPHS}
    drawings = {each.__name__: to_tensor(each()) for each in DRAWINGS}
    rows = []
    for title, images in (("photographs", photographs), ("drawings", drawings)):
        figures = []
        print(f"{title:<14}{'PSNR dB':>9}{'SSIM':>8}")
        targets = list(images.values())
        made = [decoded(autoencoder, autoencoder.encode(target)) for target in targets]
        for name, image, target in zip(images, made, targets, strict=True):
            found = image_metrics(image, target)
            figures.append((found["psnr"], found["ssim"]))
            print(f"  {name:<12}{found['psnr']:>9.2f}{found['ssim']:>8.3f}")
        psnr, ssim = np.mean(figures, axis=0)
        print(f"  {'mean':<12}{psnr:>9.2f}{ssim:>8.3f}")
        rows += [torch.cat(targets, -1), torch.cat(made, -1)]
    latents = [autoencoder.encode(target) for target in photographs.values()]
    rows += space(autoencoder, latents)
    if arguments.sheet:
        width = max(row.shape[-1] for row in rows)
        padded = [torch.nn.functional.pad(row, (0, width - row.shape[-1]), value=1.0) for row in rows]
        pixels = (torch.cat(padded, -2)[0].permute(1, 2, 0) * 255).round().byte().numpy()
        Image.fromarray(pixels).resize((width // 2, len(pixels) // 2), Image.Resampling.BOX).save(arguments.sheet)


def space(autoencoder: Autoencoder, latents: list[Tensor]) -> list[Tensor]:
    """Print how the space between and around encoded photographs decodes; gives the rows of the sheet."""
    shares = torch.linspace(0, 1, 9)
    lines = []
    kept = []
    for one, two in combinations(latents, 2):
        line = [decoded(autoencoder, one + (two - one) * share) for share in shares]
        lines.append(torch.cat(line[:8], -1))
        ends = (detail(line[0]) + detail(line[-1])) / 2
        kept.append(min(detail(image) for image in line) / ends)
    print(f"straight lines: detail kept at the worst point, against the ends' mean  {np.mean(kept):.2f}")
    generator = torch.Generator().manual_seed(0)
    changes = []
    for latent in latents:
        moved = latent + STEP * torch.randn(latent.shape, generator=generator)
        change = (decoded(autoencoder, moved) - decoded(autoencoder, latent)).abs().mean(1)
        cells = torch.nn.functional.avg_pool2d(change, 8).flatten()
        changes.append([float(cells.mean()), float(cells.quantile(0.05)), float(cells.quantile(0.95))])
    mean, low, high = np.mean(changes, axis=0) * 255
    print(f"a random step of {STEP}: {mean:.1f} gray levels of change, 90 % of the cells {low:.1f} to {high:.1f}")
    random = [decoded(autoencoder, torch.randn(1, 4, 32, 32, generator=generator)) for _ in range(8)]
    whole = torch.cat(random)
    saturated = float(((whole < 1 / 255) | (whole > 254 / 255)).float().mean())
    gray = whole.mean(1, keepdim=True)
    print(
        f"random latents: mean {float(whole.mean()):.2f}, spread {float(whole.std()):.2f}, "
        f"color spread {float((whole - gray).std()):.2f}, saturated {saturated:.1%}"
    )
    return [*lines[:2], torch.cat(random, -1)]


if __name__ == "__main__":
    main()
