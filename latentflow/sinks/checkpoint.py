"""The state of a run or a training, kept so that it can go on after whatever happens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from latentflow.base.errors import Interrupted
from latentflow.base.files import write_file
from latentflow.base.records import Record
from latentflow.sinks import Sink


class Checkpoints(Sink[Record]):
    """Saves what `state()` gives every `every` steps, and when the stream of records ends or is stopped.

    A file is complete before it takes the earlier one's place, so that a killed process leaves one or the other.
    """

    def __init__(
        self, path: Path, state: Callable[[], dict[str, Any]], every: int, option: str, after: int = 0
    ) -> None:
        """Records before `after` are already in the file."""
        self.path, self.state, self.every, self.option, self.after = path, state, every, option, after
        self.unsaved = False

    def write(self, record: Record) -> None:
        """Save, if it is time; raises `OutputError` when it can't be done."""
        if record.index >= self.after:
            self.unsaved = True
            if record.index % self.every == 0:
                self._save()

    def _save(self) -> None:
        from latentflow.base.state import pack

        write_file(self.path, pack(self.state()), self.option)
        self.unsaved = False

    def close(self, error: BaseException | None) -> None:
        if self.unsaved and (error is None or isinstance(error, Interrupted)):
            self._save()
