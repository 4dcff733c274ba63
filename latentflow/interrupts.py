"""Between a run and who started it: Ctrl-C and SIGTERM, at once while nothing has begun, between two steps once
records flow; and `Say`, which takes a sentence for people."""

import signal
from collections.abc import Callable, Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any

from latentflow.errors import Interrupted
from latentflow.records import AnyRecord

Say = Callable[[str], None]
NOTHING = "nothing is written yet"
_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "terminated"}


class Interrupts:
    """While entered, SIGINT and SIGTERM end the run as `Interrupted`; inside `watch` the first one waits for the step.

    Outside `watch` a signal raises KeyboardInterrupt on its way up, which no `except Exception` of a library swallows.
    """

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
        if isinstance(error, KeyboardInterrupt) and self.received is not None:
            raise self._interrupted("Stopped") from None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.received = self.received is not None, number
        if again or not self._watching:  # asked twice, or nothing to finish
            raise KeyboardInterrupt

    def _interrupted(self, what: str) -> Interrupted:
        assert self.received is not None
        return Interrupted(self.received, f"{what} ({_NAMES[signal.Signals(self.received)]}).")

    def check(self) -> None:
        """Raise `Interrupted` if there was a signal; from now on the first one waits for this."""
        self._watching = True
        if self.received is not None:
            raise self._interrupted("Stopped")

    def watch(
        self, records: Iterable[AnyRecord], left: str = "what is written is whole up to it"
    ) -> Iterator[AnyRecord]:
        """Pass records on; after a signal, raise `Interrupted` behind the record it arrived in, or, while a trajectory
        is replayed, behind the next that has a picture. `left` says what has become of the work until then."""
        self._watching = True
        if self.received is not None:
            raise self._interrupted("Stopped before the first step")
        for record in records:
            yield record
            if self.received is not None and _is_whole(record):
                raise self._interrupted(f"Stopped at step {record.index}; {left}")


def _is_whole(record: object) -> bool:
    image = getattr(record, "image", None)
    return image is None or image.numel() > 0
