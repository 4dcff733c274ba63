"""Figures of reconstruction, what they are over a folder, and what people say of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

BELOW = "below good"


@dataclass(frozen=True, slots=True)
class Figure:
    """How a figure is called and shown; beyond `good` and `excellent`, in their direction, it is called that."""

    title: str
    digits: int
    good: float | None = None
    excellent: float | None = None

    @property
    def sign(self) -> int:
        """1 for a figure that is better the larger it is, −1 for the others."""
        return -1 if self.good is not None and self.excellent is not None and self.excellent < self.good else 1

    def verdict(self, value: float) -> str:
        """excellent, good or below good; empty for a figure that nothing is said of."""
        if self.good is None or self.excellent is None:
            return ""
        if self.sign * value > self.sign * self.excellent:
            return "excellent"
        return "good" if self.sign * value > self.sign * self.good else BELOW


FIGURES = {
    "psnr": Figure("PSNR dB", 2, 25, 30),
    "ssim": Figure("SSIM", 4, 0.90, 0.95),
    "ms_ssim": Figure("MS-SSIM", 4),
    "lpips": Figure("LPIPS", 4, 0.15, 0.10),
    "rfid": Figure("rFID", 2, 5, 2),
}
JUDGED = "alex"  # the trunk that LPIPS' verdicts are for


@dataclass(frozen=True, slots=True)
class Summary:
    """A figure over `count` images: its mean, and its sample standard deviation, None where there is none."""

    count: int
    mean: float
    std: float | None
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table: an autoencoder after `steps` steps of optimization of each latent, and its figures."""

    autoencoder: str
    steps: int
    figures: dict[str, Summary]

    @property
    def title(self) -> str:
        """The line's first cell."""
        return f"{self.autoencoder}, {self.steps} steps" if self.steps else self.autoencoder

    def as_dict(self) -> dict[str, Any]:
        """The line as plain values, for JSON."""
        figures = {name: asdict(summary) for name, summary in self.figures.items()}
        return {"autoencoder": self.autoencoder, "steps": self.steps, "figures": figures}


def summarize(scores: Sequence[Mapping[str, float]], network: str, rfid: float | None = None) -> dict[str, Summary]:
    """The figures of images over all that have them; `network` is what LPIPS was measured with."""
    found = {}
    for name, figure in FIGURES.items():
        values = [each[name] for each in scores if name in each]
        if values:
            mean = float(np.mean(values))
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
            judged = name != "lpips" or network == JUDGED
            found[name] = Summary(len(values), mean, spread, figure.verdict(mean) if judged else "")
    if rfid is not None:
        found["rfid"] = Summary(len(scores), rfid, None, FIGURES["rfid"].verdict(rfid))
    return found


def cells(rows: Sequence[Row], network: str) -> tuple[list[str], list[list[str]]]:
    """Head and lines of the table as text, a verdict beside each figure that is judged."""
    head, lines = ["autoencoder"], [[row.title] for row in rows]
    for name, figure in FIGURES.items():
        found = [row.figures.get(name) for row in rows]
        head.append(f"LPIPS ({network})" if name == "lpips" else figure.title)
        for line, summary in zip(lines, found):
            line.append(shown(summary, figure.digits) if summary else "")
        if any(summary and summary.verdict for summary in found):
            head.append("verdict")
            for line, summary in zip(lines, found):
                line.append(summary.verdict if summary else "")
    return head, lines


def shown(summary: Summary, digits: int) -> str:
    """mean ± std, or the mean alone."""
    spread = "" if summary.std is None else f" ± {summary.std:.{digits}f}"
    return f"{summary.mean:.{digits}f}{spread}"


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    """The table as Markdown, with notes below it."""
    rows = [head, ["---"] * len(head), *lines]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows) + "".join(f"\n{note}\n" for note in notes)
