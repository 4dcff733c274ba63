"""How far runs come on autoencoders of several families, against each encoder's own reconstruction.

    python benchmarks/families.py bundled folder/of/a/kl FILE.py:load --seeds 3 --json families.jsonl

An autoencoder is a name or a folder as `--vae` takes it, or FILE.py:function, which returns a
`latentflow.Autoencoder`. The pictures are scikit-image's photographs and the drawings of benchmarks/drawings.py. Prints
a table, in dB: the encoder's own PSNR and, as the mean over seeds, what each run has above it. The pictures of a
gradient run go side by side, as they would alone; a JSON line for each run is appended to the file, and what is in it
is not run again.
"""

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drawings import DRAWINGS
from photographs import PHOTOGRAPHS, square
from PIL import Image
from torch import Tensor

from latentflow import Autoencoder, Objective, fit, initial_latent, load_autoencoder, optimize, to_tensor
from latentflow.inversion.metrics import psnr
from latentflow.models.weights import find_weights

DRAWN = {each.__name__: each for each in DRAWINGS}
PICTURES = (*PHOTOGRAPHS, "heroine", "cat", "panel", "hatching")
RUNS: dict[str, dict[str, Any]] = {
    "gradient 100": {"method": "gradient", "steps": 100},
    "betas 0.9, 0.999": {"method": "gradient", "steps": 100, "betas": (0.9, 0.999)},
    "gradient_free 20": {"method": "gradient_free", "steps": 20},
    "hybrid 20": {"method": "hybrid", "steps": 20},
    "hybrid 100": {"method": "hybrid", "steps": 100},
}


def load(name: str) -> Autoencoder:
    """An autoencoder by the name of a `--vae`, or by a file and the function in it that makes one."""
    path, colon, function = name.rpartition(":")
    if not (colon and path.endswith(".py")):
        return load_autoencoder(find_weights(name))
    sys.path.insert(0, str(Path(path).resolve().parent))
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Autoencoder = getattr(module, function)()
    return made


def target(name: str, size: int) -> Tensor:
    """A photograph or a drawing, (1, 3, size, size): at 256 pixels, or that made smaller by Lanczos."""
    if name in DRAWN:
        return to_tensor(fit(DRAWN[name]().convert("RGB"), size, "cover"))
    photograph = (square(name)[0].permute(1, 2, 0) * 255).round().to(torch.uint8)
    return to_tensor(fit(Image.fromarray(np.asarray(photograph)), size, "cover"))


def measure(autoencoder: Autoencoder, names: list[str], size: int, seed: int, run: str, loss: str) -> dict[str, Any]:
    """PSNR of every picture at every step, and how much the picture changes in each, as an RMS of 255 levels."""
    pictures = torch.cat([target(name, size) for name in names])
    latent = torch.cat([initial_latent("normal", autoencoder, each[None], seed) for each in pictures])
    rises, changes, before = [], [], None
    for step in optimize(autoencoder, Objective(loss, pictures), latent, **RUNS[run]):
        image = step.image.clamp(0, 1)
        if before is not None:
            changes.append(255 * (image - before).square().mean((1, 2, 3)).sqrt())
        before = image
        rises.append(step.psnr)
    with torch.no_grad():
        own = psnr(autoencoder(pictures), pictures)
    return {"encoder": own.tolist(), "psnr": _by_picture(rises), "change": _by_picture(changes)}


def _by_picture(steps: list[Tensor]) -> list[list[float]]:
    return [[round(value, 3) for value in each] for each in torch.stack(steps, 1).tolist()]


def smoothness(changes: list[float]) -> float:
    """The largest change between two frames, in medians of the first half."""
    return max(changes) / float(np.median(changes[: len(changes) // 2]))


def cells(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What there is to run: a hybrid run takes one picture, the others four together."""
    for size in arguments.sizes:
        for seed in range(arguments.seeds):
            for run in arguments.runs:
                count = 1 if RUNS[run]["method"] == "hybrid" else 4
                for first in range(0, len(arguments.pictures), count):
                    names = arguments.pictures[first : first + count]
                    for vae in arguments.vae:
                        for loss in arguments.losses:
                            yield {
                                **{"vae": vae, "pictures": names, "size": size},
                                **{"seed": seed, "run": run, "loss": loss},
                            }


def main() -> None:
    """Run what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vae", nargs="+")
    parser.add_argument("--pictures", nargs="+", default=list(PICTURES))
    parser.add_argument("--sizes", nargs="+", type=int, default=[128])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--losses", nargs="+", default=["mse"])
    parser.add_argument("--json", type=Path, default=Path("families.jsonl"))
    arguments = parser.parse_args()
    loaded: dict[str, Autoencoder] = {}
    rows = []
    known = arguments.json.read_text().splitlines() if arguments.json.exists() else []
    found = {json.dumps({key: row[key] for key in row if key not in MEASURED}): row for row in map(json.loads, known)}
    for cell in cells(arguments):
        row = found.get(json.dumps(cell))
        if row is None:
            if cell["vae"] not in loaded:
                loaded[cell["vae"]] = load(cell["vae"])
            options = [cell[key] for key in ("pictures", "size", "seed", "run", "loss")]
            measured = measure(loaded[cell["vae"]], *options)
            row = cell | measured
            with arguments.json.open("a") as file:
                file.write(json.dumps(row) + "\n")
        rows.append(row)
    print_tables(rows)


MEASURED = ("encoder", "psnr", "change")


def print_tables(rows: list[dict[str, Any]]) -> None:
    """A table for each autoencoder, size and loss: a row a picture, and the least smooth picture of each run."""
    for vae, size, loss in dict.fromkeys((row["vae"], row["size"], row["loss"]) for row in rows):
        here = [row for row in rows if (row["vae"], row["size"], row["loss"]) == (vae, size, loss)]
        runs = list(dict.fromkeys(row["run"] for row in here))
        print(f"\n{vae}, {size}², {loss}\n\n| picture | encoder | " + " | ".join(runs) + " |")
        print("|---|" + "---|" * (1 + len(runs)))
        own: dict[str, float] = {}
        above: dict[tuple[str, str], list[float]] = {}
        rough: dict[str, list[float]] = {}
        for row in here:
            for index, name in enumerate(row["pictures"]):
                own[name] = row["encoder"][index]
                above.setdefault((name, row["run"]), []).append(row["psnr"][index][-1] - own[name])
                rough.setdefault(row["run"], []).append(smoothness(row["change"][index]))
        for name in own:
            values = [above.get((name, run), [float("nan")]) for run in runs]
            print(f"| {name} | {own[name]:.2f} | " + " | ".join(f"{np.mean(each):+.2f}" for each in values) + " |")
        print("| largest change | | " + " | ".join(f"{max(rough[run]):.1f} ×" for run in runs) + " |", flush=True)


if __name__ == "__main__":
    main()
