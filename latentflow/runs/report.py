"""The outcome of a run: the figures of the summary and the manifest."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from datetime import datetime, timezone
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentflow import __version__
from latentflow.base.errors import LatentflowError
from latentflow.base.files import STDIN, WrittenFiles, is_stream, sha256
from latentflow.base.options import counted
from latentflow.base.records import Figures, Step
from latentflow.inversion.config import RunConfig, located
from latentflow.inversion.invert import network_notices
from latentflow.inversion.metrics import encoder_metrics, image_metrics, metric_rows
from latentflow.models.config import DEFAULT_VAE
from latentflow.models.device import describe
from latentflow.sinks import Sink

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from latentflow.inversion.target import Target
    from latentflow.models.autoencoder import Autoencoder
    from latentflow.models.loading import Loaded
    from latentflow.models.weights import FoundWeights
    from latentflow.runs.plan import Plan

BELOW = 0.05  # dB that show
PACKAGES = ("torch", "diffusers", "numpy", "pillow", "imageio-ffmpeg")


class Report(Sink[Any]):
    """A sink that keeps the first and the last step, and says at the end how near the run came.

    `label` is the loss as it is shown. `error` holds what broke the run off, if anything did; `ended` says why a run
    ended before its last step.
    """

    def __init__(
        self,
        plan: Plan,
        loaded: Loaded,
        target: Target,
        label: str,
    ) -> None:
        self.plan, self.loaded, self.target, self.label, self.notes = plan, loaded, target, label, target.notes
        self.notices = network_notices(plan.config.loss_type, loaded.networks)
        self.first: Figures | None = None
        self.last: Step | None = None
        self.seconds = 0.0
        self.frames_written = 0
        self.error: LatentflowError | None = None
        self.ended = ""  # why it ended before its last step, if it did
        self.phases: dict[str, int] = {}  # updates of each phase of a method that has several
        self.written = WrittenFiles(plan.files)
        loaded.metrics("lpips")  # a broken network is found before the first step

    @property
    def keep(self) -> str:
        """The step that is saved: last or best."""
        return self.plan.config.keep

    @property
    def autoencoder(self) -> Autoencoder:
        """The autoencoder of the run."""
        return self.loaded.autoencoder

    def write(self, record: Figures) -> None:
        """Take down one step."""
        self.first = self.first or record
        self.last = record if isinstance(record, Step) else self.last
        self.seconds += record.seconds

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.target.size

    @cached_property
    def encoder_metrics(self) -> dict[str, float]:
        """The metrics of the encoder's own reconstruction, the quality most people know."""
        target = self.target
        return encoder_metrics(self.autoencoder, target.image, self.loaded.metrics, target.mask).labeled()

    @cached_property
    def result(self) -> dict[str, Any]:
        """The result: steps, loss, metrics, speed."""
        assert self.first is not None and self.last is not None
        target = self.target
        return {
            "steps": self.last.index,
            "loss": self.label,
            "loss_first": float(self.first.loss[0]),
            "loss_last": float(self.last.loss[0]),
            **({} if target.mask is None else {"mask_share": target.share}),
            "metrics": image_metrics(self.last.image, target.image, self.loaded.metrics, target.mask).labeled(),
            "encoder_metrics": self.encoder_metrics,
            "seconds_per_step": round(self.seconds / (self.last.index + 1), 4),
        }

    @property
    def remarks(self) -> list[str]:
        """Remarks on the result, in sentences: that the run ended early, that it is below the encoder's own."""
        found = [f"{self.ended}, so the run ended"] if self.ended else []
        lacking = self.result["encoder_metrics"]["psnr"] - self.result["metrics"]["psnr"]
        if lacking > BELOW:
            found.append(f"{lacking:.1f} dB below the encoder's own; {would_pass(self.plan.config)}")
        return found

    def facts(self) -> dict[str, Any]:
        """Return the facts that are needed to repeat the run."""
        plan = self.plan
        options = asdict(plan.config) | {"dtype": self.autoencoder.precision}
        known = facts(options, plan.image_path, self.size, self.loaded.weights, self.autoencoder.device)
        return known | {"notices": self.notices, "notes": self.notes.sentences()}

    def summary(self) -> dict[str, Any]:
        """The summary as plain values, for JSON."""
        found = self.loaded.weights
        return {
            "outcome": "done" if self.error is None else str(self.error),
            "written": {str(path): size_of(path) for path in self.written.paths},
            "frames": self.frames_written,
            "seed": self.plan.seed,
            "weights": {"name": found.name, "source": found.source, "notice": found.notice},
            "notices": self.notices,
            "notes": self.notes.sentences(),
            "remarks": self.remarks,
            "phases": self.phases,
            **self.result,
        }

    def __str__(self) -> str:
        """The summary for people."""
        values, found = self.summary(), self.loaded.weights
        lines = []
        for path, size in values["written"].items():
            frames = f", {counted(self.frames_written, 'frame')}" if Path(path) == self.plan.frames else ""
            lines.append(f"wrote    {path} ({readable(size)}{frames})")
        lines.append(
            f"loss     {self.label}: {values['loss_first']:.5g} → {values['loss_last']:.5g} in "
            f"{counted(values['steps'], 'step')}, {values['seconds_per_step']:.2g} s per step"
        )
        if self.phases:
            lines.append(f"method   {self.plan.config.method}: {shown_phases(self.phases)}")
        lines.append(f"seed     {self.plan.seed}")
        instead = f", instead of {DEFAULT_VAE}" if found.is_fallback else f" ({found.source})"
        lines.append(f"weights  {found.name}{instead}")
        lines += [f"networks {notice}" for notice in self.notices]
        if self.target.mask is not None:
            lines.append(masked_line(self.plan.config.mask, values["mask_share"]))
        headings, rows = metric_rows({"this run": values["metrics"], "encoder's own": values["encoder_metrics"]})
        widths = [max(8, len(heading)) for heading in headings]
        for title, row in (("", headings), *rows.items()):
            lines.append(f"{title:<18}" + "  ".join(f"{text:>{width}}" for text, width in zip(row, widths)))
        lines += [f"note     {remark}" for remark in self.remarks]
        return "\n".join(lines)


def masked_line(path: str | None, share: float) -> str:
    """The line of a summary that says what the figures are of."""
    return f"mask     {path}: loss and figures are of {share:.1%} of the picture"


def shown_phases(phases: dict[str, int]) -> str:
    """The steps of a hybrid run in words, as in "28 even steps to the picture, 3 jumps, 69 by the gradient"."""
    words = {
        "walk": counted(phases["walk"], "even step") + " to the picture",
        "jump": counted(phases["jump"], "jump"),
        "gradient": f"{phases['gradient']} by the gradient",
    }
    return ", ".join(words[name] for name, count in phases.items() if count)


def would_pass(config: RunConfig) -> str:
    """Describe the options that would bring a run past the encoder's own PSNR."""
    other = {"method": "hybrid", "loss_type": "mse"}
    change = [f"`{name}` {value}" for name, value in other.items() if getattr(config, name) != value]
    return f"{' with '.join(change)} would pass it" if change else "more `steps` may pass it"


def facts(
    options: dict[str, Any], image_path: Path, size: tuple[int, int], found: FoundWeights, device: torch.device
) -> dict[str, Any]:
    """Return the facts in the manifest of any run towards an image: that image, and the `circumstances`."""
    height, width = size
    path = STDIN if is_stream(image_path) else str(image_path.resolve())  # a pipe's name means nothing later
    known = circumstances(options | {"image_path": path}, found, device)
    image = {"sha256": sha256(image_path), "fitted_width": width, "fitted_height": height}
    mask = {} if options.get("mask") is None else {"mask": {"sha256": sha256(Path(options["mask"]))}}
    return {"options": known.pop("options"), "image": image, **mask, **known}


def circumstances(options: dict[str, Any], found: FoundWeights, device: torch.device) -> dict[str, Any]:
    """Return the facts in any manifest: options with absolute paths, weights, versions, machine, time."""
    options = options | {"vae": found.name}  # named, so that a repeated run takes these or fails
    return {
        "options": located(options),
        "weights": {"name": found.name, "source": found.source, "sha256": found.sha256, "notice": found.notice},
        "versions": versions(),
        "machine": describe(device),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """The versions of what decides a run's bytes; imageio-ffmpeg only where it is installed."""
    found = {"latentflow": __version__}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def size_of(path: Path) -> int:
    """The bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size


def readable(size: int) -> str:
    """A size in bytes for people."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, with the first column aligned left, the others right."""
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]
    return [
        (line[0].ljust(widths[0]) + "".join(f"  {text:>{width}}" for text, width in zip(line[1:], widths[1:]))).rstrip()
        for line in [head, *rows]
    ]
