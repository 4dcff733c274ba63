"""Beats of loops that are known, found and expected: `python benchmarks/beats.py`.

A line for each loop of loops.py, as a Markdown table: how many of its beats have a found one within 50 ms, how many
beats were found that are none, how far the found ones are off, and what the report says. `--unseen 60` takes loops of
chance instead, of seeds from 1000 on, with which nothing was tuned, and counts. `--memory 12` measures so many minutes.
"""

import argparse
import resource
import sys
import tempfile
import time
import wave
from collections import Counter
from pathlib import Path

import numpy as np
from loops import LOOPS, RATE, Loop, house, phase_errors, unseen

ROOT = Path(__file__).parent.parent
NEAR = 0.05  # seconds
FIRST_SEED = 1000


def write(path: Path, samples: np.ndarray) -> Path:
    """A .wav of samples (n,) or (n, channels)."""
    samples = samples if samples.ndim == 2 else samples[:, None]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def outcome(loop: Loop, found: np.ndarray) -> str:
    """Whether beats are right, or in which way wrong."""
    if len(loop.beats) == 0 or len(found) == 0:
        return "right" if len(loop.beats) == len(found) else "none" if len(found) == 0 else "beats where there are none"
    near = np.mean(np.abs(phase_errors(found, loop.beats)) < NEAR)
    between = (loop.beats[:-1] + loop.beats[1:]) / 2
    off = np.mean(np.abs(phase_errors(found, between)) < NEAR)
    ratio = len(found) / len(loop.beats)
    if near > 0.9 and 0.9 < ratio < 1.1:
        return "right"
    if near > 0.9 and 1.8 < ratio < 2.2:
        return "twice as many"
    if 0.45 < ratio < 0.55:
        return "half as many"
    return "half a beat off" if off > 0.8 and ratio < 1.1 else "wrong"


def row(name: str, loop: Loop, folder: Path) -> tuple[str, str]:
    """A line of the table, and the outcome."""
    from latentflow.sound.beats import find_beats
    from latentflow.sound.hearing import listen

    beats = find_beats(listen(write(folder / "loop.wav", loop.samples)))
    errors = phase_errors(beats.times, loop.beats)
    found = int((np.abs(errors) < NEAR).sum())
    late = f"{1000 * np.nanpercentile(np.abs(errors), 90):.0f}" if np.isfinite(errors).any() else "–"
    result = outcome(loop, beats.times)
    expected = str(len(loop.beats)) if len(loop.beats) else "none"
    line = f"| {name} | {expected} | {found} | {len(beats.times) - found} | {late} | {result} | {beats} |"
    return line, result + (", doubted" if beats.doubts or (beats.tempo and not beats.steady) else "")


def main() -> None:
    """Print the table, the counts, or the memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unseen", type=int, metavar="N", help="loops of chance instead")
    parser.add_argument("--memory", type=float, metavar="MINUTES", help="memory and time of one long loop instead")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    folder = Path(tempfile.mkdtemp())
    if arguments.memory:
        measure(folder, arguments.memory)
        return
    loops = dict(LOOPS)
    if arguments.unseen:
        loops = {
            f"seed {seed}": lambda seed=seed: unseen(seed) for seed in range(FIRST_SEED, FIRST_SEED + arguments.unseen)
        }
    print("| loop | beats | found | besides | ms off, 90% | outcome | the report |\n|---|---|---|---|---|---|---|")
    outcomes = Counter()
    for name, make in loops.items():
        line, result = row(name, make(), folder)
        outcomes[result] += 1
        print(line, flush=True)
    print(", ".join(f"{count} {result}" for result, count in outcomes.most_common()))


def measure(folder: Path, minutes: float) -> None:
    """How much memory listening and finding beats take beside what is loaded, and how long."""
    from latentflow.sound.beats import find_beats
    from latentflow.sound.hearing import listen

    part = house(np.arange(0.2, 24, 0.5)).samples
    path = write(folder / "short.wav", np.stack([part, part], 1))
    find_beats(listen(path))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    long = folder / "long.wav"
    with wave.open(str(path)) as short, wave.open(str(long), "wb") as file:
        file.setparams(short.getparams())
        data = short.readframes(short.getnframes())
        for _ in range(round(minutes * 60 / 24)):
            file.writeframes(data)
    began = time.perf_counter()
    heard = listen(long)
    middle = time.perf_counter()
    beats = find_beats(heard)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{minutes:g} minutes: {grown:.0f} MB more than 24 seconds, {before / 1024:.0f} MB with them; listening "
        f"{middle - began:.1f} s, beats {time.perf_counter() - middle:.1f} s; {beats}"
    )


if __name__ == "__main__":
    main()
