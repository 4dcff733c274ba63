"""One line that tells how far a run is, for a person at a terminal."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from latentflow.records import Record, Step, Update
from latentflow.sinks.metrics import figures

EVERY = 0.1  # seconds: nobody reads faster, and a GPU is not asked for its figures at every step


def step_line(record: Step | Update) -> str:
    """Loss, every term of a sum, and PSNR."""
    values: dict[str, Any] = figures(record)
    parts = "".join(f" {label} {value:.4g}" for label, value in values["parts"].items() if len(values["parts"]) > 1)
    return f"loss {values['loss']:.4g}{parts}, {values['psnr']:.2f} dB"


class Progress:
    """A tqdm line on stderr with the number of the record, what `describe` says of it, and the time left; nothing when
    stderr is no terminal."""

    def __init__(
        self, total: int, enabled: bool = True, describe: Callable[[Any], str] = step_line, unit: str = "step"
    ) -> None:
        self.total, self.describe, self.unit = total, describe, unit
        self.enabled = enabled and sys.stderr.isatty()
        self._line: Any = None
        self._shown = 0.0

    def __enter__(self) -> "Progress":
        if self.enabled:
            from tqdm import tqdm

            self._line = tqdm(
                total=self.total,
                desc=self.unit,
                file=sys.stderr,
                dynamic_ncols=True,
                leave=False,
                bar_format="{desc} {n_fmt}/{total_fmt} {bar} {postfix}, {remaining} left",
            )
        return self

    def write(self, record: Record) -> None:
        """Show the step."""
        if self._line is not None and (record.index == record.total or time.monotonic() - self._shown > EVERY):
            self._shown = time.monotonic()
            self._line.n = record.index
            self._line.set_postfix_str(self.describe(record))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._line is not None:
            self._line.close()
