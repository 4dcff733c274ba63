"""How near a default run comes to its target, against the encoder's own reconstruction: `make bench`.

Scikit-image's sample photographs, center square, Lanczos to 256 × 256; the bundled autoencoder, which was trained on
none of them; Adam at a constant 0.1 from a random normal start, as the defaults have it.
"""

import torch
from photographs import PHOTOGRAPHS, square

from latentflow import Objective, image_metrics, initial_latent, load_autoencoder, optimize
from latentflow.inversion.config import RunConfig
from latentflow.models.weights import find_weights

CHECKPOINTS = (50, 100, 200)


def main() -> None:
    """Print one row a photograph and the mean."""
    config = RunConfig()
    autoencoder = load_autoencoder(find_weights("bundled"), dtype=config.dtype)
    rows = []
    print(f"{'PSNR in dB':<14}{'encoder':>9}" + "".join(f"{f'{steps} steps':>11}" for steps in CHECKPOINTS))
    for name in PHOTOGRAPHS:
        target = square(name)
        with torch.no_grad():
            ceiling = image_metrics(autoencoder.decode(autoencoder.encode(target), (256, 256)), target)["psnr"]
        latent = initial_latent(config.init, autoencoder, target, seed=0)
        steps = optimize(
            *(autoencoder, Objective(config.loss_type, target), latent),
            **{"steps": CHECKPOINTS[-1], "lr": config.lr, "optimizer": config.optimizer, "schedule": config.schedule},
        )
        psnr = {step.index: float(step.psnr) for step in steps}
        rows.append([ceiling, *(psnr[steps] for steps in CHECKPOINTS)])
        print(_row(name, rows[-1]), flush=True)
    print(_row("mean", torch.tensor(rows).mean(0).tolist()))


def _row(name: str, values: list[float]) -> str:
    return f"{name:<14}{values[0]:>9.2f}" + "".join(
        f"{value:>6.2f} {value - values[0]:+.1f}".rjust(11) for value in values[1:]
    )


if __name__ == "__main__":
    main()
