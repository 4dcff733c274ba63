"""Runs a sink in its own thread, so that drawing and encoding don't delay the next step."""

from __future__ import annotations

from queue import Queue
from threading import Thread
from typing import Any

from latentflow.sinks import Sink

WAITING = 8  # records: more would only take memory, since what writes is slower or faster for the entire run


class Background(Sink[Any]):
    """Hands records to a sink from another thread, in their order; what the sink raises is raised at the next record,
    or when it is left. It is entered and left by the thread that drives it."""

    def __init__(self, sink: Sink[Any]) -> None:
        self.sink = sink
        self.queue: Queue[Any] = Queue(WAITING)
        self.error: BaseException | None = None
        self.thread = Thread(target=self._write, daemon=True)

    def open(self) -> None:
        self.sink.open()
        self.thread.start()

    def _write(self) -> None:
        try:
            while (record := self.queue.get()) is not None:
                self.sink.write(record)
        except BaseException as error:
            self.error = error
            while self.queue.get() is not None:  # so that nobody waits for room
                pass

    def write(self, record: Any) -> None:
        """Leave a record to the thread; raises what an earlier one met."""
        self._raise()
        self.queue.put(record)

    def _raise(self) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error

    def close(self, error: BaseException | None) -> None:
        try:
            self.queue.put(None)
            self.thread.join()
            if error is None:
                self._raise()
        finally:  # at a second Ctrl-C too
            self.sink.close(error)
