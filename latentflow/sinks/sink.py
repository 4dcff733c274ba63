"""The interface of sinks. A sink owns one output and leaves it valid whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from latentflow.base.records import AnyRecord, Record

if TYPE_CHECKING:
    import numpy as np

    from latentflow.base.session import Session

    Draw = Callable[[Any], np.ndarray]  # a record's picture, (h, w, 3) uint8

RecordType = TypeVar("RecordType", bound=Record, contravariant=True)
Item = TypeVar("Item")
Self = TypeVar("Self", bound="Sink[Any]")


class Sink(Generic[RecordType]):
    """Takes the records of one stream. Subclass it and write `write`, and `open` and `close` where there is something
    to check or to finish."""

    def open(self) -> None:
        """Check that the output can be written; nothing that exists is changed yet."""

    def write(self, record: RecordType) -> None:
        """Take one record; raises `OutputError` when it can't be written."""
        raise NotImplementedError

    def close(self, error: BaseException | None) -> None:
        """Finish the output with the records so far; `error` is the error that ended the stream early, if any."""

    def __enter__(self: Self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(error)


class FrameSink(Sink[Any]):
    """A sink that writes frames to `path`; `frames` is how many the file has, so far or when it is closed."""

    path: Path
    frames: int

    def in_file(self, drawn: int) -> int:
        """The number of frames in the closed file after `drawn` frames were drawn."""
        return drawn


class Stopped:
    """A watch for stops while a sink is closed, for sinks that have much to do then. After an `error` they do all of
    it, since the run has already ended."""

    def __init__(self, session: Session | None, error: BaseException | None) -> None:
        self.session = None if error is not None or session is None or session.is_stopped else session
        self.is_early = False

    def before(self, items: Iterable[Item]) -> Iterator[Item]:
        """Pass things on, one at least, until the session is stopped."""
        for index, item in enumerate(items):
            self.is_early = index > 0 and self.session is not None and self.session.is_stopped
            if self.is_early:
                return
            yield item

    def check(self, state: str) -> None:
        """Raise `Interrupted` if things were left out; `state` says what that means."""
        if self.is_early and self.session is not None:
            raise self.session.interrupted(f"Stopped while frames were written; {state}")


def run_sinks(records: Iterable[AnyRecord], sinks: Sequence[Sink[AnyRecord]]) -> AnyRecord:
    """Send every record to every sink and return the last one; all sinks are closed whatever happens.

    Raises ValueError when there are no records.
    """
    last = None
    with ExitStack() as stack:
        if isinstance(records, AbstractContextManager):  # as the records of a session are
            stack.enter_context(records)
        for sink in sinks:
            stack.enter_context(sink)
        for record in records:
            last = record
            for sink in sinks:
                sink.write(record)
    if last is None:
        raise ValueError("there were no records")
    return last


class Collect(list[AnyRecord], Sink[AnyRecord]):
    """A list of all records."""

    def write(self, record: AnyRecord) -> None:
        """Keep one."""
        self.append(record)


class EveryNth(Sink[Any]):
    """Passes every `step`-th record on to a sink; the first and the last always, wherever the last turns out to be.

    Figures without a picture, as a trajectory gives them back, are left out.
    """

    def __init__(self, step: int, sink: Sink[Any]) -> None:
        self.step, self.sink = step, sink
        self.skipped: Record | None = None

    def open(self) -> None:
        """Open the sink it passes records to."""
        self.sink.open()

    def write(self, record: Record) -> None:
        """Pass the record on, or keep it in case it is the last."""
        self.skipped = None
        if not record.is_complete:
            return
        if record.index % self.step == 0 or record.index == record.total:
            self.sink.write(record)
        else:
            self.skipped = record

    def close(self, error: BaseException | None) -> None:
        """Pass the last record on and close the sink."""
        try:
            if self.skipped is not None:
                self.sink.write(self.skipped)
        finally:
            self.sink.close(error)
