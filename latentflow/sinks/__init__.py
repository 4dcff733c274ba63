"""Where records end up. A sink owns one output and leaves it valid whatever happens.

Entering a sink checks that its output can be written; leaving it finishes the file, after an error or an interrupt
too, with what was written so far.
"""

from contextlib import ExitStack
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np

    from latentflow.records import Frame, Record

    Draw = Callable[[Any], np.ndarray]  # a record's picture, (h, w, 3) uint8

_HOME = {"open_frames": "frames", "Metrics": "metrics", "Plot": "plot", "Progress": "progress", "SaveBest": "save_best"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'latentflow.sinks' has no attribute {name!r}")
    return getattr(import_module(f"latentflow.sinks.{_HOME[name]}"), name)


RecordType = TypeVar("RecordType", bound="Record", contravariant=True)


class Sink(Protocol[RecordType]):
    """Takes records between entering and leaving."""

    def __enter__(self) -> "Sink[RecordType]": ...

    def write(self, record: RecordType) -> None:
        """Take one record; raises `OutputError` when it can't be written."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


AnyRecord = TypeVar("AnyRecord", bound="Record")


def run_sinks(records: "Iterable[AnyRecord]", sinks: "Sequence[Sink[AnyRecord]]") -> AnyRecord:
    """Send every record to every sink and give the last one; all sinks are closed whatever happens."""
    last = None
    with ExitStack() as stack:
        entered = [stack.enter_context(sink) for sink in sinks]
        for record in records:
            last = record
            for sink in entered:
                sink.write(record)
    if last is None:
        raise ValueError("there were no records")
    return last


class Collect(list[AnyRecord]):
    """A sink that keeps every record, for what can only be made of all of them."""

    def __enter__(self) -> "Collect[AnyRecord]":
        return self

    def write(self, record: AnyRecord) -> None:
        """Keep one."""
        self.append(record)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class EveryNth(Sink["Frame"]):
    """Pass every `step`-th record on to a sink; the first and the last always, wherever the last turns out to be."""

    def __init__(self, step: int, sink: "Sink[Any]") -> None:
        self.step, self.sink = step, sink
        self.skipped: Frame | None = None

    def __enter__(self) -> "EveryNth":
        self.sink.__enter__()
        return self

    def write(self, record: "Frame") -> None:
        """Pass the record on, or keep it in case it is the last."""
        self.skipped = record
        if record.index % self.step == 0 or record.index == record.total:
            self.skipped = None
            self.sink.write(record)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.skipped is not None:
                self.sink.write(self.skipped)
        finally:
            self.sink.__exit__(kind, error, trace)
