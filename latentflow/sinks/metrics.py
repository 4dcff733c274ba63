"""The figures of every step as JSON lines."""

from __future__ import annotations

import json
import math
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentflow.base.files import append, check_writable, writing
from latentflow.base.records import READ_TOGETHER, Figures, Step, Update
from latentflow.sinks import Sink

if TYPE_CHECKING:
    from torch import Tensor


def plain_figures(step: Figures | Update) -> dict[str, object]:
    """A record's figures as plain numbers, of the first image of a step and the mean of a batch that is trained on;
    values that are not finite become None, as JSON has it."""

    def number(values: Tensor) -> float:
        return float(values.mean() if isinstance(step, Update) else values[0])

    values: dict[str, object] = {"step": step.index, "loss": number(step.loss)}
    values["parts"] = {label: number(value) for label, value in step.parts.items()}
    values |= {
        **({} if step.psnr is None else {"psnr": number(step.psnr)}),
        "grad_norm": None if step.grad_norm is None else number(step.grad_norm),
        "lr": step.lr,
        **({"passes": step.passes} if isinstance(step, Figures) else {}),
        "seconds": round(step.seconds, 4),
    }
    if isinstance(step, Update) and step.validation:
        values["validation"] = step.validation
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()
    }


class Metrics(Sink[Any]):
    """One JSON object a line and step, written as it comes, so that a run can be watched."""

    def __init__(self, path: Path, *, after: int = 0) -> None:
        """Begin a new file, or continue an earlier one after the line of step `after`."""
        self.path, self.after = path, after
        self._file: FileIO | None = None
        self._waiting: list[Figures | Update] = []

    def open(self) -> None:
        check_writable(self.path, "`metrics`")

    def write(self, record: Figures | Update) -> None:
        """Write one line, of a GPU's records some together; raises `OutputError` when it can't be written."""
        self._waiting.append(record.figures if isinstance(record, Step) else record)
        if record.loss.device.type == "cpu" or len(self._waiting) == READ_TOGETHER:
            self._flush()

    def _flush(self) -> None:
        with writing(self.path, "`metrics`"):
            if self._file is None:  # not before there is something to put in an earlier file's place
                kept = self._kept()
                self._file = self.path.open("wb", buffering=0)
                append(self._file, "".join(kept).encode())
            lines = [json.dumps(plain_figures(record)) + "\n" for record in self._waiting]
            self._waiting.clear()
            append(self._file, "".join(lines).encode())

    def _kept(self) -> list[str]:
        if not self.after or not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        complete = [line for line in lines if line.endswith("\n")]  # the last one may have been cut off
        return [line for line in complete if json.loads(line)["step"] <= self.after]

    def close(self, error: BaseException | None) -> None:
        if self._waiting:
            self._flush()
        if self._file is not None:
            with writing(self.path, "`metrics`"):
                self._file.close()
