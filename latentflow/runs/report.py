"""What a run came to: the figures behind the summary and the manifest."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from datetime import datetime, timezone
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from latentflow import __version__
from latentflow.config import DEFAULT_VAE, located
from latentflow.errors import LatentflowError
from latentflow.files import sha256
from latentflow.inversion.metrics import image_metrics
from latentflow.models.device import describe
from latentflow.records import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from latentflow.models.autoencoder import Autoencoder
    from latentflow.models.weights import FoundWeights
    from latentflow.runs.plan import Plan

PACKAGES = ("torch", "diffusers", "numpy", "pillow", "imageio-ffmpeg")


class Report:
    """A sink that keeps the first and the last step, and says at the end how near the run came.

    `load` gives the network LPIPS is measured with; `label` is the loss as it is shown, `notices` say which networks
    stand in for its own. `error` holds what broke the run off, if anything did.
    """

    def __init__(
        self,
        plan: Plan,
        resolved: FoundWeights,
        autoencoder: Autoencoder,
        target: Tensor,
        label: str,
        load: Callable[[str], Any],
        notices: Sequence[str] = (),
    ) -> None:
        self.plan, self.resolved, self.autoencoder = plan, resolved, autoencoder
        self.target, self.label, self.load = target, label, load
        self.notices = list(notices)
        self.first: Step | None = None
        self.last: Step | None = None
        self.seconds = 0.0
        self.frames_written = 0
        self.error: LatentflowError | None = None
        load("lpips")  # a broken network is found before the first step

    def __enter__(self) -> Report:
        return self

    def write(self, record: Step) -> None:
        """Take down one step."""
        self.first = self.first or record
        self.last = record
        self.seconds += record.seconds

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.target.shape[-2], self.target.shape[-1]

    @cached_property
    def ceiling(self) -> dict[str, float]:
        """The figures of the encoder's own reconstruction, the ceiling most people know."""
        with torch.no_grad():
            image = self.autoencoder.decode(self.autoencoder.encode(self.target), self.size)
        return image_metrics(image, self.target, self.load)

    @cached_property
    def result(self) -> dict[str, Any]:
        """What came out: steps, loss, quality, speed."""
        assert self.first is not None and self.last is not None
        return {
            "steps": self.last.index,
            "loss": self.label,
            "loss_first": float(self.first.loss[0]),
            "loss_last": float(self.last.loss[0]),
            "quality": image_metrics(self.last.image, self.target, self.load),
            "encoder_quality": self.ceiling,
            "seconds_a_step": round(self.seconds / (self.last.index + 1), 4),
        }

    def facts(self) -> dict[str, Any]:
        """What went in: enough to repeat the run."""
        plan = self.plan
        options = asdict(plan.config) | {"dtype": self.autoencoder.precision}
        known = facts(options, plan.image_path, self.size, self.resolved, self.autoencoder.device)
        return known | {"notices": self.notices}

    def summary(self) -> dict[str, Any]:
        """The summary as plain values, for JSON."""
        written = [*self.plan.outputs.values(), self.plan.trajectory, self.plan.manifest]
        return {
            "outcome": "done" if self.error is None else str(self.error),
            "written": {str(path): _bytes(path) for path in written if path.exists()},
            "frames": self.frames_written,
            "seed": self.plan.seed,
            "weights": {"name": self.resolved.name, "source": self.resolved.source, "notice": self.resolved.notice},
            "notices": self.notices,
            **self.result,
        }

    def __str__(self) -> str:
        """The summary for people."""
        values = self.summary()
        lines = []
        for path, size in values["written"].items():
            frames = f", {self.frames_written} frames" if Path(path) == self.plan.frames else ""
            lines.append(f"wrote    {path} ({readable(size)}{frames})")
        lines.append(
            f"loss     {self.label}: {values['loss_first']:.5g} → {values['loss_last']:.5g} in {values['steps']} "
            f"steps, {values['seconds_a_step']:.2g} s a step"
        )
        lines.append(f"seed     {self.plan.seed}")
        instead = f", instead of {DEFAULT_VAE}" if self.resolved.notice else f" ({self.resolved.source})"
        lines.append(f"weights  {self.resolved.name}{instead}")
        lines += [f"networks {notice}" for notice in self.notices]
        names = {"psnr": "PSNR dB", "ssim": "SSIM"}
        found, ceiling = values["quality"], values["encoder_quality"]
        widths = {key: max(8, len(names.get(key, key))) for key in found}
        lines.append(" " * 18 + "  ".join(f"{names.get(key, key):>{width}}" for key, width in widths.items()))
        for title, row in (("this run", found), ("encoder's own", ceiling)):
            shown = (f"{row[key]:>{width}.{2 if key == 'psnr' else 4}f}" for key, width in widths.items())
            lines.append(f"{title:<18}" + "  ".join(shown))
        return "\n".join(lines)


def facts(
    options: dict[str, Any], image_path: Path, size: tuple[int, int], resolved: FoundWeights, device: torch.device
) -> dict[str, Any]:
    """What a manifest says of any run towards an image: that image, and the `circumstances`."""
    height, width = size
    known = circumstances(options | {"image_path": str(image_path.resolve())}, resolved, device)
    image = {"sha256": sha256(image_path), "fitted_width": width, "fitted_height": height}
    return {"options": known.pop("options"), "image": image, **known}


def circumstances(options: dict[str, Any], resolved: FoundWeights, device: torch.device) -> dict[str, Any]:
    """What any manifest says: options with whole paths, weights, versions, machine, time."""
    options = options | {"vae": resolved.name}  # named, so that a repeated run takes these or fails
    return {
        "options": located(options),
        "weights": {
            "name": resolved.name,
            "source": resolved.source,
            "sha256": resolved.sha256,
            "notice": resolved.notice,
        },
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


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size


def readable(size: int) -> str:
    """A size in bytes for people."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose first column is aligned left, the others right."""
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]
    return [
        (line[0].ljust(widths[0]) + "".join(f"  {text:>{width}}" for text, width in zip(line[1:], widths[1:]))).rstrip()
        for line in [head, *rows]
    ]
