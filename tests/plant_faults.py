"""Plant faults one at a time in a copy of the repository, and count how many the tests notice.

    python tests/plant_faults.py             all faults; ends with 1 when fewer than 27 are noticed
    python tests/plant_faults.py --only 4    the fourth alone

Each fault changes what people see or what an option does: a picture, a curve, a printed number, a weight. It is noticed
when one of the test files named beside it fails. These files must pass in the unchanged copy.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
MIN_NOTICED = 27
TIME_LIMIT = 900  # seconds for the tests of one fault
NOT_COPIED = (".venv", ".git", "__pycache__", ".*_cache", "*.egg-info", "build", "dist")


@dataclass(frozen=True)
class Fault:
    """A replacement of `old`, which is in `file` exactly once, that one of the `tests` (in tests/) should notice."""

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


DRAWN = ("test_drawn.py",)
FAULTS = (
    # A run: frames, files, numbers
    Fault(
        "the caption's PSNR is half a decibel too high",
        "latentflow/pictures/draw.py",
        '*parts, f"{float(step.psnr[0]):5.2f} dB"',
        '*parts, f"{float(step.psnr[0]) + 0.5:5.2f} dB"',
        DRAWN,
    ),
    Fault(
        "the caption counts steps from 1",
        "latentflow/pictures/draw.py",
        '"  ".join([f"step {step.index:>{width}}/{step.total}", *parts',
        '"  ".join([f"step {step.index + 1:>{width}}/{step.total}", *parts',
        DRAWN,
    ),
    Fault(
        "the target is to the right of the frame",
        "latentflow/pictures/draw.py",
        "in_a_row([self.target, picture])",
        "in_a_row([picture, self.target])",
        DRAWN,
    ),
    Fault(
        "text is cut off at the right",
        "latentflow/pictures/text.py",
        "> width - 2 * MARGIN and",
        "> 2 * width and",
        DRAWN,
    ),
    Fault(
        "the plot's loss curve is PSNR",
        "latentflow/sinks/plot.py",
        "left.plot(self.steps, self.losses,",
        "left.plot(self.steps, self.psnrs,",
        DRAWN,
    ),
    Fault(
        "the plot's line for the encoder is at the best PSNR of the run",
        "latentflow/sinks/plot.py",
        "right.axhline(self.encoder_psnr,",
        "right.axhline(max(self.psnrs),",
        DRAWN,
    ),
    Fault(
        "the summary swaps this run and the encoder's own",
        "latentflow/runs/report.py",
        '{"this run": values["metrics"], "encoder\'s own": values["encoder_metrics"]}',
        '{"this run": values["encoder_metrics"], "encoder\'s own": values["metrics"]}',
        DRAWN,
    ),
    Fault(
        "metrics have the loss of the first term alone",
        "latentflow/sinks/metrics.py",
        '"loss": number(step.loss)}',
        '"loss": number(next(iter(step.parts.values())))}',
        DRAWN,
    ),
    Fault(
        "the last frame of a GIF is not held",
        "latentflow/sinks/video.py",
        "self.hold = max(hold, 1 / fps)",
        "self.hold = 1 / fps",
        DRAWN,
    ),
    Fault(
        "frames by change are evenly spread over the steps",
        "latentflow/sinks/resample.py",
        "wanted = np.linspace(0, lengths[-1], max(2, self.count))",
        "wanted = lengths[np.linspace(0, len(lengths) - 1, max(2, self.count)).round().astype(int)]",
        DRAWN,
    ),
    # Options without effect
    Fault(
        "--checkpointing on does nothing",
        "latentflow/inversion/invert.py",
        'if tight or config.checkpointing == "on":',
        "if tight:",
        DRAWN,
    ),
    Fault(
        "--dtype does nothing",
        "latentflow/models/device.py",
        '{"float32": torch.float32, "bfloat16": torch.bfloat16}[name]',
        "torch.float32",
        DRAWN,
    ),
    Fault(
        "--keep best keeps the last step",
        "latentflow/sinks/save_best.py",
        'self.kept is None or self.keep == "last" or',
        "self.kept is None or self.keep or",
        DRAWN,
    ),
    Fault(
        "a rendering has the size of the run",
        "latentflow/runs/render.py",
        "factor = self.size / max(picture.shape[:2])",
        "factor = 1.0",
        DRAWN,
    ),
    # Comparisons and batches
    Fault(
        "the contact sheet has the first loss in every row",
        "latentflow/sinks/contact_sheet.py",
        "[self.kept[step][name] for step in steps] for name",
        "[next(iter(self.kept[step].values())) for step in steps] for name",
        DRAWN,
    ),
    Fault(
        "the panels have each other's figures",
        "latentflow/pictures/draw.py",
        "name, self._figures(step)) for name, step in record.steps.items()]",
        "name, self._figures(record.steps[min(record.steps)])) for name, step in record.steps.items()]",
        DRAWN,
    ),
    Fault(
        "the encoder's own row of a comparison is that of its last run",
        "latentflow/runs/compare.py",
        "own = encoder_metrics(self.loaded.autoencoder, self.target, self.loaded.metrics)",
        'own = list(runs.values())[-1]["metrics"]',
        DRAWN,
    ),
    Fault(
        "the sheet of a batch has the original as the result",
        "latentflow/runs/batch/sheet.py",
        "[_thumbnail(image), _thumbnail(last)]",
        "[_thumbnail(image), _thumbnail(image)]",
        DRAWN,
    ),
    Fault(
        "the table of a batch has the metrics of its first image in every row",
        "latentflow/runs/batch/worker.py",
        "succeeded(job.item, job.plan.seed, each.report.result, seconds)",
        "succeeded(job.item, job.plan.seed, outputs[0].report.result, seconds)",
        DRAWN,
    ),
    # Views of a latent space
    Fault(
        "the channels' picture at −3 sd is that at +3 sd",
        "latentflow/explore/channels.py",
        'f"−{reach:g} sd": channel.down,',
        'f"−{reach:g} sd": channel.up,',
        ("test_channels.py",),
    ),
    Fault(
        "the grid is upside down",
        "latentflow/explore/grid.py",
        "top, left = record.row * self.height,",
        "top, left = (self.rows - 1 - record.row) * self.height,",
        ("test_grid.py",),
    ),
    Fault(
        "the axes of the Q-Q plot are swapped",
        "latentflow/explore/stats.py",
        "axes.plot(statistics.normal_quantiles, values, label",
        "axes.plot(values, statistics.normal_quantiles, label",
        ("test_stats.py",),
    ),
    Fault(
        "similar shows one picture for all matches",
        "latentflow/explore/similar.py",
        "read_squares([found.paths[neighbor.index]], found.size, reader)",
        "read_squares([found.paths[0]], found.size, reader)",
        ("test_similar.py",),
    ),
    Fault(
        "the captions of a walk count backwards",
        "latentflow/explore/walk.py",
        "{position - index:4.0%}",
        "{index + 1 - position:4.0%}",
        ("test_walk.py",),
    ),
    Fault(
        "the frames of an atlas have the colors of other clusters",
        "latentflow/explore/atlas/layout.py",
        "[self.clusters[label].color for label in self.labels]",
        "[self.clusters[-1 - label].color for label in self.labels]",
        ("test_atlas.py",),
    ),
    Fault(
        "the map of the anisotropy has the speed across",
        "latentflow/explore/curvature/figure.py",
        "ratios = [each.anisotropy for each in metrics]",
        "ratios = [each.speeds[0] for each in metrics]",
        ("test_curvature.py",),
    ),
    Fault(
        "the held-out dots of a concept have the other group's color",
        "latentflow/explore/concept/figure.py",
        "color=COLORS[row], alpha",
        "color=COLORS[1 - row], alpha",
        ("test_concept.py",),
    ),
    Fault(
        "the worst images of an evaluation are the best",
        "latentflow/explore/evaluate/run.py",
        "image: sign * float(np.mean(",
        "image: -sign * float(np.mean(",
        ("test_evaluate.py",),
    ),
    # Training
    Fault(
        "a training gives weights that are not averaged",
        "latentflow/training/trainer.py",
        "model = self.average.module",
        "model = self.model",
        ("test_training.py",),
    ),
    Fault(
        "the validation sheet has the reconstructions above the images",
        "latentflow/training/trainer.py",
        "both = (self.validation_images, torch.cat(reconstructions).cpu())",
        "both = (torch.cat(reconstructions).cpu(), self.validation_images)",
        ("test_training.py",),
    ),
)


def check(faults: tuple[Fault, ...]) -> None:
    """End with a message when an old text is not in its file exactly once, or a test file is missing."""
    problems = []
    for number, fault in enumerate(faults, 1):
        found = (ROOT / fault.file).read_text(encoding="utf-8").count(fault.old)
        if found != 1:
            problems.append(f"{number}. {fault.what}: found {found} times in {fault.file}:\n    {fault.old}")
        problems += [f"{number}. no tests/{name}" for name in fault.tests if not (ROOT / "tests" / name).is_file()]
    if problems:
        sys.exit("\n".join(problems))


def tests_fail(copy: Path, tests: tuple[str, ...]) -> bool:
    """Whether one of the test files fails; ends with pytest's message when they can't be run."""
    line = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *(f"tests/{name}" for name in tests)]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}  # or a stale file could stand in for a changed one
    try:
        done = subprocess.run(line, cwd=copy, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        print(f"    no result after {TIME_LIMIT} s")
        return False
    if done.returncode not in (0, 1):
        sys.exit(f"pytest ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.returncode == 1


def is_noticed(copy: Path, fault: Fault) -> bool:
    """Whether the tests fail with a fault in the copy, which is as it was afterwards."""
    path = copy / fault.file
    before = path.read_text(encoding="utf-8")
    path.write_text(before.replace(fault.old, fault.new), encoding="utf-8")
    try:
        return tests_fail(copy, fault.tests)
    finally:
        path.write_text(before, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Plant faults and count how many the tests notice.")
    parser.add_argument("--only", type=int, metavar="N", help="plant the N-th fault alone")
    parser.add_argument("--no_baseline", action="store_true", help="don't run the tests in the unchanged copy first")
    given = parser.parse_args()
    if given.only is not None and not 1 <= given.only <= len(FAULTS):
        parser.error(f"--only is from 1 to {len(FAULTS)}")
    chosen = [given.only] if given.only else range(1, len(FAULTS) + 1)
    check(FAULTS)
    noticed = 0
    with tempfile.TemporaryDirectory(prefix="latentflow-faults-") as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(*NOT_COPIED))
        names = tuple(dict.fromkeys(name for number in chosen for name in FAULTS[number - 1].tests))
        if not given.no_baseline and tests_fail(copy, names):
            sys.exit(f"The tests fail without a fault: {' '.join(names)}")
        for number in chosen:
            fault, began = FAULTS[number - 1], time.monotonic()
            found = is_noticed(copy, fault)
            noticed += found
            word = "noticed    " if found else "NOT noticed"
            print(f"{number:>2}  {word}  {time.monotonic() - began:4.0f} s  {fault.what}", flush=True)
    print(f"{noticed} of {len(chosen)} faults noticed")
    sys.exit(int(noticed < min(MIN_NOTICED, len(chosen))))


if __name__ == "__main__":
    main()
