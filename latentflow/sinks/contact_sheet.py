"""A comparison as one picture: a row for each run, a column for each of a few steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from latentflow.base.files import check_writable, replacing
from latentflow.sinks import Sink

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from latentflow.base.records import Comparison

COLUMNS = 7


def shown_steps(total: int) -> list[int]:
    """Step 0 and up to six steps at equal ratios, the last of which is `total`: 0, 1, 3, 6, 16, 40, 100 of 100."""
    ratios = (round(total ** (index / (COLUMNS - 2))) for index in range(COLUMNS - 1))
    return sorted({0, total, *ratios})


class ContactSheet(Sink["Comparison"]):
    """Keeps the pictures of `shown_steps` and of the last record, and saves them beside the target (1, 3, h, w) as one
    picture with a title at the end."""

    def __init__(self, path: Path, title: str, target: Tensor) -> None:
        self.path, self.title, self.target = path, title, target
        self.kept: dict[int, dict[str, tuple[np.ndarray, str]]] = {}
        self.last: Comparison | None = None

    def open(self) -> None:
        """Check that the file can be written."""
        check_writable(self.path, "`output_path`")

    def write(self, record: Comparison) -> None:
        """Keep the pictures if this is one of the steps."""
        self.last = record
        if record.index in shown_steps(record.total):
            self._keep(record)

    def _keep(self, record: Comparison) -> None:
        from latentflow.base.pixels import to_uint8

        self.kept[record.index] = {
            name: (to_uint8(step.image), f"{float(step.psnr[0]):.2f} dB") for name, step in record.steps.items()
        }

    def close(self, error: BaseException | None) -> None:
        """Save the sheet, unless there was no record."""
        if self.last is None:
            return
        from PIL import Image

        from latentflow.base.pixels import to_uint8
        from latentflow.pictures.draw import contact_sheet

        self._keep(self.last)
        steps = sorted(self.kept)
        pictures = {name: [self.kept[step][name][0] for step in steps] for name in self.last.steps}
        figures = {name: [self.kept[step][name][1] for step in steps] for name in self.last.steps}
        titles = [f"step {step}" for step in steps]
        sheet = contact_sheet(self.title, to_uint8(self.target), pictures, titles, figures)
        with replacing(self.path, "`output_path`") as unfinished:
            Image.fromarray(sheet).save(unfinished)
