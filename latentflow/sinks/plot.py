"""Loss and PSNR over the steps, as one figure."""

from pathlib import Path
from types import TracebackType

from latentflow.errors import InputError, MissingPackageError
from latentflow.files import check_writable, part, writing
from latentflow.records import Step

SUFFIXES = (".png", ".svg")


def check_plot_path(path: Path) -> None:
    """Raise `InputError` for a suffix that is neither .png nor .svg, `OutputError` where nothing can be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--plot {path}: a plot is written as {' or '.join(SUFFIXES)}.")
    check_writable(path, "--plot")


class Plot:
    """Draws the curves when the run ends; `label` names the loss, `ceiling` is the encoder's own PSNR in dB."""

    def __init__(self, path: Path, label: str, ceiling: float | None = None) -> None:
        self.path, self.label, self.ceiling = path, label, ceiling
        self.losses: list[float] = []
        self.psnrs: list[float] = []
        self.steps: list[int] = []

    def __enter__(self) -> "Plot":
        check_plot_path(self.path)
        try:
            import matplotlib  # noqa: F401
        except ImportError as error:
            raise MissingPackageError(f"--plot needs matplotlib: {error}.", "pip install matplotlib") from error
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
        import matplotlib
        from matplotlib.figure import Figure  # no pyplot: it would look for a screen

        figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
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
        with writing(self.path, "--plot"), matplotlib.rc_context({"svg.hashsalt": "latentflow"}):
            metadata = {"Date": None} if self.path.suffix.lower() == ".svg" else {"Software": None}
            try:
                figure.savefig(part(self.path), metadata=metadata)
                part(self.path).replace(self.path)
            finally:
                part(self.path).unlink(missing_ok=True)
