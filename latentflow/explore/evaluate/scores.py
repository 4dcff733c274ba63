"""Metrics of reconstructions: their values for an image, their mean over a folder, the table of both."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

BELOW_GOOD = "below good"


@dataclass(frozen=True, slots=True)
class Metric:
    """The display of a metric: its heading and the digits after the point. A mean beyond `good` or `excellent` gets
    that verdict; without these limits there is none."""

    heading: str
    digits: int
    good: float | None = None
    excellent: float | None = None

    @property
    def sign(self) -> int:
        """1 for a metric that is better the larger it is, −1 for the others."""
        return -1 if self.good is not None and self.excellent is not None and self.excellent < self.good else 1

    @property
    def limits(self) -> str:
        """A text that explains the verdicts; empty for a metric without limits."""
        name, _, unit = self.heading.partition(" ")
        if self.good is None or self.excellent is None:
            return ""
        side = "above" if self.sign > 0 else "below"
        return f"{name} good {side} {self.good:g}, excellent {side} {self.excellent:g} {unit}".rstrip()

    def verdict(self, value: float) -> str:
        """excellent, good or below good; empty for a metric without limits."""
        if self.good is None or self.excellent is None:
            return ""
        if self.sign * value > self.sign * self.excellent:
            return "excellent"
        return "good" if self.sign * value > self.sign * self.good else BELOW_GOOD


METRICS = {
    "psnr": Metric("PSNR dB", 2, 25, 30),
    "ssim": Metric("SSIM", 4, 0.90, 0.95),
    "ms_ssim": Metric("MS-SSIM", 4),
    "lpips": Metric("LPIPS", 4, 0.15, 0.10),
    "rfid": Metric("rFID", 2, 5, 2),
}
VERDICT_NETWORK = "alex"  # the network that the limits of LPIPS are for


@dataclass(frozen=True, slots=True)
class Score:
    """The metrics of one reconstruction by name, and what rFID needs: Inception features (2, d) of the original and of
    the reconstruction, or None."""

    metrics: dict[str, float]
    features: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """A metric over `count` images: its mean, its sample standard deviation, or None where there is none, and the
    verdict on the mean."""

    count: int
    mean: float
    std: float | None
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table: an autoencoder, the `steps` of optimization of each latent, 0 for the encoder's own, and the
    metrics by name."""

    autoencoder: str
    steps: int
    metrics: dict[str, Summary]

    @property
    def title(self) -> str:
        """The row's first cell."""
        return f"{self.autoencoder}, {self.steps} steps" if self.steps else self.autoencoder

    def as_dict(self) -> dict[str, Any]:
        """The row as plain values, for JSON."""
        metrics = {name: asdict(summary) for name, summary in self.metrics.items()}
        return {"autoencoder": self.autoencoder, "steps": self.steps, "metrics": metrics}


def summarize(metrics: Sequence[Mapping[str, float]], network: str, rfid: float | None = None) -> dict[str, Summary]:
    """Each metric over all images that have it; `network` is the one that LPIPS was measured with."""
    found = {}
    for name, metric in METRICS.items():
        values = [each[name] for each in metrics if name in each]
        if values:
            mean = float(np.mean(values))
            std = float(np.std(values, ddof=1)) if len(values) > 1 else None
            has_verdict = name != "lpips" or network == VERDICT_NETWORK
            found[name] = Summary(len(values), mean, std, metric.verdict(mean) if has_verdict else "")
    if rfid is not None:
        found["rfid"] = Summary(len(metrics), rfid, None, METRICS["rfid"].verdict(rfid))
    return found


def table_cells(rows: Sequence[Row], network: str) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the table as text, with a verdict beside each metric that has one."""
    headings, lines = ["autoencoder"], [[row.title] for row in rows]
    for name, metric in METRICS.items():
        found = [row.metrics.get(name) for row in rows]
        headings.append(f"LPIPS ({network})" if name == "lpips" else metric.heading)
        for line, summary in zip(lines, found):
            line.append(mean_and_std(summary, metric.digits) if summary else "")
        if any(summary and summary.verdict for summary in found):
            headings.append("verdict")
            for line, summary in zip(lines, found):
                line.append(summary.verdict if summary else "")
    return headings, lines


def mean_and_std(summary: Summary, digits: int) -> str:
    """mean ± std, or the mean alone."""
    std = "" if summary.std is None else f" ± {summary.std:.{digits}f}"
    return f"{summary.mean:.{digits}f}{std}"


def markdown(headings: Sequence[str], lines: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    """The table as Markdown, with notes below it."""
    rows = [headings, ["---"] * len(headings), *lines]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows) + "".join(f"\n{note}\n" for note in notes)
