"""What decoding frames together gains: `python benchmarks/decoding.py`.

The bundled autoencoder, eight latents of each size, the best of five runs; ratios to one at a time, in one process."""

import time

import torch

from latentflow import decode_frames, load_autoencoder

SIZES, BATCHES, FRAMES, RUNS = (64, 128, 256), (1, 2, 4, 8), 8, 5


def main() -> None:
    """Print a row for each type and size of picture."""
    print("dtype     size  " + "".join(f"{f'batch {batch}':>10}" for batch in BATCHES) + "   ms a picture alone")
    for dtype in ("float32", "auto"):
        autoencoder = load_autoencoder("bundled", dtype=dtype)
        for size in SIZES:
            shape = (1, *autoencoder.geometry.latent_shape(size, size))
            latents = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in range(FRAMES)]
            seconds = {batch: [] for batch in BATCHES}
            for _ in range(RUNS):
                for batch in BATCHES:  # in turn, so that other work on the machine disturbs all alike
                    began = time.perf_counter()
                    for _ in decode_frames(autoencoder, latents, (size, size), batch):
                        pass
                    seconds[batch].append(time.perf_counter() - began)
            best = {batch: min(found) for batch, found in seconds.items()}
            ratios = "".join(f"{best[1] / best[batch]:>9.2f}×" for batch in BATCHES)
            print(f"{autoencoder.precision:<9} {size:>4}  {ratios}   {1000 * best[1] / FRAMES:.1f}")


if __name__ == "__main__":
    main()
