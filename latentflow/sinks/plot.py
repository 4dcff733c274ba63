"""Loss and PSNR over the steps, as one figure."""

from pathlib import Path
from types import TracebackType

from latentflow.pictures.figure import check_figure_path, new_figure, save_figure
from latentflow.records import Step


class Plot:
    """Draws the curves when the run ends; `label` names the loss, `ceiling` is the encoder's own PSNR in dB."""

    def __init__(self, path: Path, label: str, ceiling: float | None = None) -> None:
        self.path, self.label, self.ceiling = path, label, ceiling
        self.losses: list[float] = []
        self.psnrs: list[float] = []
        self.steps: list[int] = []

    def __enter__(self) -> "Plot":
        check_figure_path(self.path, "--plot")
        new_figure(7, 4)
        return self

    def write(self, record: Step) -> None:
        """Take down one step."""
        self.steps.append(record.index)
        self.losses.append(float(record.loss[0]))
        self.psnrs.append(float(record.psnr[0]))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.steps:
            return
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
        if self.ceiling is not None:
            right.axhline(self.ceiling, color="tab:orange", linestyle=":", label="the encoder's own")
            right.legend(loc="lower right")
        save_figure(figure, self.path, "--plot")
