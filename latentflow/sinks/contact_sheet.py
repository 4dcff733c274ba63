"""A comparison as one still picture: a row a run, a column a step."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from latentflow.files import check_writable, part, writing

if TYPE_CHECKING:
    import numpy as np

    from latentflow.records import Comparison

COLUMNS = 7


def shown_steps(total: int) -> list[int]:
    """The start and steps at equal ratios up to the last: 0, 1, 3, 7, 16, 40, 100."""
    ratios = (round(total ** (index / (COLUMNS - 2))) for index in range(COLUMNS - 1))
    return sorted({0, total, *ratios})


class ContactSheet:
    """Keeps the pictures of a few steps, at equal ratios, and of the last one there is, and draws them at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: dict[int, dict[str, np.ndarray]] = {}
        self.last: Comparison | None = None

    def __enter__(self) -> ContactSheet:
        check_writable(self.path, "--output_path")
        return self

    def write(self, record: Comparison) -> None:
        """Keep the pictures if this is one of the steps."""
        self.last = record
        if record.index in shown_steps(record.total):
            self._keep(record)

    def _keep(self, record: Comparison) -> None:
        from latentflow.pictures.files import to_uint8

        self.kept[record.index] = {name: to_uint8(step.image) for name, step in record.steps.items()}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.last is None:
            return
        from PIL import Image

        from latentflow.pictures.draw import contact_sheet

        self._keep(self.last)
        steps = sorted(self.kept)
        rows = {name: [self.kept[step][name] for step in steps] for name in self.last.steps}
        sheet = contact_sheet(rows, [f"step {step}" for step in steps])
        with writing(self.path, "--output_path"):
            try:
                Image.fromarray(sheet).save(part(self.path))
                part(self.path).replace(self.path)
            finally:
                part(self.path).unlink(missing_ok=True)
