"""What more points cost the sinkhorn loss, and what they change: `python benchmarks/sinkhorn.py [PICTURE]`.

One step of the bundled autoencoder at 256 pixels under mse is the unit of time; the figures are those after 100 steps.
"""

import sys
from pathlib import Path

import skimage
import torch

from latentflow import Objective, fit, image_metrics, initial_latent, load_autoencoder, optimize, read_image, to_tensor
from latentflow.models.weights import find_weights

POINTS = (8, 16, 24, 32, 45, 64)
TIMED = 5


def main() -> None:
    """Print one row a number of points."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(skimage.__file__).parent / "data" / "coffee.png"
    autoencoder = load_autoencoder(find_weights("bundled"))
    target = to_tensor(fit(read_image(path).image, 256, "cover"))
    latent = initial_latent("normal", autoencoder, target, seed=0)

    def seconds(loss: str) -> float:
        steps = list(optimize(autoencoder, Objective(loss, target), latent, steps=TIMED))
        return sorted(step.seconds for step in steps[1:-1])[(TIMED - 1) // 2]

    unit = seconds("mse")
    print(f"{'points':>8}{'s a step':>10}{'× mse':>8}{'PSNR dB':>9}{'SSIM':>8}")
    print(f"{'mse':>8}{unit:>10.3f}{1:>8.1f}", flush=True)
    for side in POINTS:
        loss = f"sinkhorn(points={side})"
        *_, last = optimize(autoencoder, Objective(loss, target), latent, steps=100 if side <= 32 else 40)
        with torch.no_grad():
            found = image_metrics(last.image, target)
        took = seconds(loss)
        print(f"{side * side:>8}{took:>10.3f}{took / unit:>8.1f}{found['psnr']:>9.2f}{found['ssim']:>8.3f}", flush=True)


if __name__ == "__main__":
    main()
