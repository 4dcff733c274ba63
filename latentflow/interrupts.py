"""Ctrl-C and SIGTERM: at once while nothing has begun, between two steps once records flow."""

import signal
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any

from latentflow.errors import Interrupted
from latentflow.records import Record

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "terminated"}


class Interrupts:
    """While entered, turns SIGINT and SIGTERM into `Interrupted`; inside `watch` the first one waits for the step."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._watching = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupts":
        self._before = {number: signal.signal(number, self._handle) for number in _NAMES}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._watching or self.received is not None:  # nothing to finish, or asked twice
            raise Interrupted(number, f"Stopped ({_NAMES[signal.Signals(number)]}).")
        self.received = number

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """Pass records on; after a signal, raise `Interrupted` behind the record it arrived in."""
        self._watching = True
        for record in records:
            yield record
            if self.received is not None:
                name = _NAMES[signal.Signals(self.received)]
                raise Interrupted(
                    self.received, f"Stopped at step {record.index} ({name}); what is written is whole up to it."
                )
