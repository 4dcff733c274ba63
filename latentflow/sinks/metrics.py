"""The figures of every step as JSON lines."""

import json
import math
from pathlib import Path
from types import TracebackType
from typing import IO

from latentflow.files import check_writable, writing
from latentflow.records import Step


def figures(step: Step) -> dict[str, object]:
    """A step's figures as plain numbers, of the first image; what is not finite becomes None, as JSON has it."""
    values: dict[str, object] = {"step": step.index, "loss": float(step.loss[0])}
    values["parts"] = {label: float(value[0]) for label, value in step.parts.items()}
    values |= {
        "psnr": float(step.psnr[0]),
        "grad_norm": None if step.grad_norm is None else float(step.grad_norm[0]),
        "lr": step.lr,
        "seconds": round(step.seconds, 4),
    }
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()
    }


class Metrics:
    """One JSON object a line and step, written as it comes, so that a run can be watched."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def __enter__(self) -> "Metrics":
        check_writable(self.path, "--metrics")
        return self

    def write(self, record: Step) -> None:
        """Write one line; raises `OutputError` when it can't be written."""
        with writing(self.path, "--metrics"):
            if self._file is None:  # not before there is something to put in an earlier file's place
                self._file = self.path.open("w", encoding="utf-8", buffering=1)
            self._file.write(json.dumps(figures(record)) + "\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with writing(self.path, "--metrics"):
                self._file.close()
