"""How soon a command answers, as a ratio to `import torch`: `python benchmarks/startup.py`.

All lines run in turn, so that other work on the machine slows down all alike; the median of the rounds."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent
ROUNDS = 7
TORCH = "import torch"


def lines(folder: str) -> dict[str, list[str]]:
    """Arguments of Python by what they do; what is written lies in the folder."""
    run = ["--image_path", "examples/spheres.png", "--weights", "bundled", "--size", "256", "--steps", "1"]
    return {
        TORCH: ["-c", TORCH],
        "latentflow --help": ["-m", "latentflow", "--help"],
        "one step, 256 pixels, bundled": ["-m", "latentflow", *run, "--quiet", "--output_path", f"{folder}/x.gif"],
        "import AutoencoderDC from diffusers": ["-c", "from diffusers import AutoencoderDC"],
    }


def seconds(line: list[str]) -> float:
    """Wall-clock time of a Python process."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    subprocess.run([sys.executable, *line], cwd=ROOT, env=environment, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Print a row for each line."""
    with tempfile.TemporaryDirectory() as folder:
        rounds = [{name: seconds(line) for name, line in lines(folder).items()} for _ in range(ROUNDS)]
    print(f"{'':<38}{'seconds':>9}{'ratio':>9}")
    for name in rounds[0]:
        ratio = median(each[name] / each[TORCH] for each in rounds)
        print(f"{name:<38}{median(each[name] for each in rounds):>9.2f}{ratio:>8.2f}×")


if __name__ == "__main__":
    main()
