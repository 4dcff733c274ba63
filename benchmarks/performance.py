"""Speed and memory against the way such a loop is usually written: `make bench`, or with `--quick` in two minutes.

Every ratio is of two things measured in one run, each in a process of its own where memory counts. Weights of the full
architecture are random, in sd-vae-ft-mse's configuration, which changes no time; the races to a PSNR are the bundled
autoencoder's, on scikit-image's coffee. `--json FILE` writes the figures.
"""

import argparse
import json
from pathlib import Path

import torch
from measuring import STEADY, Row, measure

from latentflow.models.device import describe, pick_device


def table(head: list[str], rows: list[list[str]]) -> None:
    """Print a table as Markdown, so that it can stand in the documents."""
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def steps_table(sizes: list[int], growth: list[int]) -> Row:
    """Time and memory of an update of the full architecture, and how they grow."""
    found: Row = {"work": measure("work", 256)}
    operations, rate = found["work"]["operations"], found["work"]["rate"]
    print(f"matrix products, {found['work']['dtype']}: {rate / 1e9:.0f} GFLOP/s\n")
    rows = []
    for size in sizes:
        each = {
            kind: measure("update", kind, size, 1 if size > 256 else STEADY)
            for kind in ("naive", "latentflow", "checkpointed")
        }
        found[str(size)] = each
        usual = each["naive"]
        for kind, values in each.items():
            share = operations * (size / 256) ** 2 / values["seconds"] / rate
            rows.append(
                [
                    *(f"{size}²", kind, f"{values['seconds']:.2f}", f"{usual['seconds'] / values['seconds']:.2f} ×"),
                    f"{values['peak_bytes'] / 1e9:.2f} GB",
                    f"{values['peak_bytes'] / usual['peak_bytes']:.2f} ×",
                    "" if kind == "naive" else f"{share:.2f}",
                ]
            )
    table(["pixels", "loop", "s a step", "faster", "peak memory", "of the naive", "of the matrix rate"], rows)
    rows = []
    for size in growth:
        values = found.get(str(size), {}).get("latentflow") or measure("update", "latentflow", size, 1)
        found.setdefault("growth", {})[str(size)] = values
        rows.append(
            [
                *(f"{size}²", f"{values['seconds']:.2f}", f"{values['seconds'] / size**2 * 1e6:.1f}"),
                *(f"{values['peak_bytes'] / 1e9:.2f} GB", f"{values['expected_bytes'] / 1e9:.2f} GB"),
            ]
        )
    if rows:
        table(["pixels", "s a step", "µs a pixel", "peak memory", "foreseen, beside weights and program"], rows)
    return found


def race_table(rounds: int) -> Row:
    """Who is where, how soon."""
    found = measure("race", rounds)
    rows = [
        [
            *("naive", f"{found['naive']['encoder']:.2f} s", "1 ×", f"{found['naive']['naive 100']:.2f} s", "1 ×"),
            f"{found['naive']['best of 200']:.2f}",
        ]
    ]
    for way, values in found["methods"].items():
        cells = [way]
        for goal in ("encoder", "naive 100"):
            one = values[goal]
            if one["reached"]:
                cells += [f"{one['seconds']:.2f} s, {one['steps']} steps", f"{one['ratio']:.1f} ×"]
            else:
                cells += ["not reached", ""]
        rows.append([*cells, f"{values['best']:.2f}"])
    encoder, hundred = found["encoder_psnr"], found["naive_100_psnr"]
    table(["loop", f"to {encoder:.2f} dB (encoder)", "", f"to {hundred:.2f} dB (naive, 100)", "", "best of 200"], rows)
    return found


def small_table(found: Row, counts: tuple[int, int]) -> None:
    """Writing, memory of frames."""
    few, many = (found["frames"][str(count)]["peak_bytes"] for count in counts)
    written = found["writer"]
    print(f"every step written at 512²: {written['every step']:.2f} s, {written['ratio']:.2f} × of two")
    print(f"memory of {counts[1]} frames, against {counts[0]}: {many / few:.2f} ×\n")


def cuda_table(found: Row) -> None:
    """What a GPU does."""
    rows = [
        [
            *(name, f"{one['images_a_second']:.1f}", f"{one['until_fifth_update']:.1f} s"),
            f"{one['peak_bytes'] / 1e9:.2f} GB",
        ]
        for name, one in found.items()
    ]
    table(["GPU, 512²", "images a second", "until the fifth update", "peak memory"], rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="256 pixels, one round, no growth")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    quick = arguments.quick
    rounds = 1 if quick else 2
    machine = describe(pick_device())
    print(f"{machine['processor']}, {machine['threads']} threads, {machine['device']}, torch {torch.__version__}\n")
    found: Row = {"machine": machine, "torch": torch.__version__}
    found["steps"] = steps_table([256] if quick else [256, 512], [] if quick else [128, 256, 512, 768, 1024])
    found["race"] = race_table(rounds)
    found["writer"] = measure("writer", rounds, 10 if quick else 40)
    counts = (20, 200) if quick else (50, 500)
    found["frames"] = {str(count): measure("frames", count) for count in counts}
    small_table(found, counts)
    if torch.cuda.is_available():
        found["cuda"] = measure("cuda")
        cuda_table(found["cuda"])
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
