"""Loss and PSNR over the steps, as one figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentflow.base.records import Figures
from latentflow.pictures.figure import check_figure_path, new_figure, save_figure, write_below
from latentflow.sinks import Sink

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Plot(Sink[Any]):
    """Saves the curves when the run ends. `label` names the loss; `encoder_psnr` is the PSNR in dB of the encoder's own
    reconstruction, shown as a dotted line; `autoencoder` is its name, for the line below."""

    def __init__(self, path: Path, label: str, encoder_psnr: float | None = None, autoencoder: str = "") -> None:
        self.path, self.label, self.encoder_psnr, self.autoencoder = path, label, encoder_psnr, autoencoder
        self.losses: list[float] = []
        self.psnrs: list[float] = []
        self.steps: list[int] = []

    def open(self) -> None:
        """Check the path, and that matplotlib is there."""
        check_figure_path(self.path, "`plot`")
        new_figure(7, 4)

    def write(self, record: Figures) -> None:
        """Note the figures of one step."""
        self.steps.append(record.index)
        self.losses.append(float(record.loss[0]))
        self.psnrs.append(float(record.psnr[0]))

    def draw(self) -> Figure:
        """The figure of the steps so far: the loss on the left axis, logarithmic where it is positive, and PSNR on the
        right."""
        figure = new_figure(7, 4)
        left = figure.subplots()
        left.plot(self.steps, self.losses, color="tab:blue")
        left.set(xlabel="step", ylabel=self.label)
        left.yaxis.label.set_color("tab:blue")
        if min(self.losses) > 0:
            left.set_yscale("log")
        right = left.twinx()
        right.plot(self.steps, self.psnrs, color="tab:orange")
        right.set_ylabel("PSNR in dB", color="tab:orange")
        if self.encoder_psnr is not None:
            right.axhline(self.encoder_psnr, color="tab:orange", linestyle=":", label="the encoder's own")
            right.legend(loc="lower right")
        write_below(figure, autoencoder=self.autoencoder)
        return figure

    def close(self, error: BaseException | None) -> None:
        """Save the figure, unless there was no step."""
        if self.steps:
            save_figure(self.draw(), self.path, "`plot`")
