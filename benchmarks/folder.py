"""Fifty mixed images through `latentflow batch`, against a shell loop of single runs: `python benchmarks/folder.py`.

Crops of scikit-image's photographs at different scales and shapes, drawings, every format, five broken files. `--ray`
does them with two workers of Ray's too. Images an hour, each engine and the loop in one run; the loop does ten of them.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from drawings import DRAWINGS
from photographs import PHOTOGRAPHS, photograph

ROOT = Path(__file__).parent.parent
FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP", "tiff": "TIFF"}
OPTIONS = ["--weights", "bundled", "--size", "128", "--steps", "20", "--quiet"]
LOOPED = 10


def make(folder: Path) -> None:
    """Write the fifty files."""
    rng = np.random.default_rng(0)
    photographs = [photograph(name) for name in PHOTOGRAPHS]
    drawings = [draw() for draw in DRAWINGS]
    for number in range(45):
        source = drawings[number % 8] if number % 5 == 0 else photographs[number % 4]
        shape = rng.integers(40, min(source.size), 2) if number % 3 else np.array([120, 120])
        left, top = (int(rng.integers(0, side - part + 1)) for side, part in zip(source.size, shape, strict=True))
        image = source.crop((left, top, left + int(shape[0]), top + int(shape[1])))
        suffix = list(FORMATS)[number % len(FORMATS)]
        path = folder / ("deeper" if number % 4 == 0 else "") / f"{number:02d}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, FORMATS[suffix])
    whole = (folder / "01.jpg").read_bytes()
    broken = {"a.png": b"", "b.jpg": whole[: len(whole) // 2], "c.gif": b"GIF89a", "d.webp": b"no", "e.bmp": whole[:99]}
    for name, content in broken.items():
        (folder / name).write_bytes(content)


def timed(line: list[str], codes: tuple[int, ...] = (0,)) -> tuple[float, str]:
    """Seconds of a command, and what it printed."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, str(ROOT / "cli.py"), *line], capture_output=True, text=True, check=False)
    if done.returncode not in codes:
        raise SystemExit(done.stderr)
    return time.perf_counter() - began, done.stdout


def main() -> None:
    """Print images an hour, and whether table and files agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--keep", type=Path, help="where the images and the results stay")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp())
    make(folder / "in")
    rates = {}
    for name, more in {"local": [], **({"ray": ["--engine", "ray"]} if arguments.ray else {})}.items():
        line = ["batch", str(folder / "in"), "--output_dir", str(folder / name), *OPTIONS, *more]
        seconds, out = timed([*line, "--json"], (1,))
        report = json.loads(out)
        rows = [json.loads(row) for row in (folder / name / "batch.jsonl").read_text().splitlines()]
        done = [row for row in rows if row["status"] == "done"]
        assert (report["done"], len(report["failed"]), len(rows)) == (45, 5, 50), report
        assert {Path(row["output"]) for row in done} == set((folder / name).rglob("*.gif"))
        assert (folder / name / "batch.png").exists() and (folder / name / "batch.csv").exists()
        rates[name] = 50 / seconds * 3600
        print(f"{name:<12}{rates[name]:>8.0f} images an hour, 45 done, 5 reported, files and table agree", flush=True)
    images = sorted(path for path in (folder / "in").rglob("*.*") if path.stem.isdigit())[:LOOPED]
    began = time.perf_counter()
    for image in images:
        timed(["--image_path", str(image), *OPTIONS, "--output_path", str(folder / "loop.gif")])
    loop = len(images) / (time.perf_counter() - began) * 3600
    print(f"{'shell loop':<12}{loop:>8.0f} images an hour")
    for name, rate in rates.items():
        print(f"{name} is {rate / loop:.1f} × the loop")


if __name__ == "__main__":
    main()
