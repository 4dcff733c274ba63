"""Progress of a run, shown on the session's meter."""

import time
from collections.abc import Callable
from typing import Any

from latentflow.base.records import Record
from latentflow.base.session import Meter, Session
from latentflow.sinks import Sink
from latentflow.sinks.metrics import plain_figures

SHOW_EVERY = 0.1  # seconds: nobody reads faster, and a GPU is not asked for its figures at every step


def step_line(record: Any) -> str:
    """Loss, every term of a sum, and PSNR."""
    values: dict[str, Any] = plain_figures(record)
    parts = "".join(f" {label} {value:.4g}" for label, value in values["parts"].items() if len(values["parts"]) > 1)
    psnr = f", {values['psnr']:.2f} dB" if "psnr" in values else ""
    return f"loss {values['loss']:.4g}{parts}{psnr}"


class Progress(Sink[Any]):
    """Feeds the session's meter: the number of the record, and what `describe` says of it."""

    def __init__(
        self, session: Session, total: int, describe: Callable[[Any], str] = step_line, unit: str = "step"
    ) -> None:
        self.session, self.total, self.describe, self.unit = session, total, describe, unit
        self._meter: Meter | None = None
        self._shown = 0.0

    def open(self) -> None:
        """Start the meter."""
        self._meter = self.session.start_meter(self.total, self.unit)

    def write(self, record: Record) -> None:
        """Show the record."""
        if self._meter is not None and (record.index == record.total or time.monotonic() - self._shown > SHOW_EVERY):
            self._shown = time.monotonic()
            self._meter.update(record.index, self.describe(record))

    def close(self, error: BaseException | None) -> None:
        """End the meter."""
        if self._meter is not None:
            self._meter.close()
