"""How soon the command answers, as ratios to what Python and torch take by themselves: `make bench`."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
RUN = ["cli.py", "--image_path", "examples/spheres.png", "--weights", "bundled", "--size", "256", "--quiet"]
RUN += ["--output_path", "/dev/shm/start.gif" if Path("/dev/shm").is_dir() else "start.gif"]
TIMED = {
    "python -c pass": ["-c", "pass"],
    "cli.py --help": ["cli.py", "--help"],
    "import torch": ["-c", "import torch"],
    "import of the autoencoder's class": [
        "-c",
        "from diffusers.models.autoencoders.autoencoder_dc import AutoencoderDC",
    ],
    "run of 1 step": [*RUN, "--steps", "1"],
    "run of 11 steps": [*RUN, "--steps", "11"],
}
ROUNDS = 3


def main() -> None:
    """Time the commands in turn, several rounds, and print medians and ratios."""
    seconds: dict[str, list[float]] = {name: [] for name in TIMED}
    for _ in range(ROUNDS):
        for name, arguments in TIMED.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"{name:<36}{value:>7.2f} s{value / medians['import torch']:>7.2f} × import torch")
    step = (medians["run of 11 steps"] - medians["run of 1 step"]) / 10
    print(f"{'one step at 256 × 192':<36}{step:>7.2f} s")


if __name__ == "__main__":
    main()
