"""The state of a training, kept so that it can go on after whatever happens."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from latentflow.errors import InputError, Interrupted
from latentflow.files import part, writing
from latentflow.records import Update


class Checkpoints:
    """Saves what `state()` gives every `every` steps and when the training ends or is stopped.

    A file is complete before it takes the earlier one's place, so that a killed process leaves one or the other.
    """

    def __init__(self, path: Path, state: Callable[[], dict[str, Any]], every: int) -> None:
        self.path, self.state, self.every = path, state, every
        self.unsaved = False

    def __enter__(self) -> "Checkpoints":
        return self

    def write(self, record: Update) -> None:
        """Save, if it is time; raises `OutputError` when it can't be done."""
        self.unsaved = True
        if record.index % self.every == 0:
            self._save()

    def _save(self) -> None:
        import torch

        with writing(self.path, "--output_dir"):
            try:
                torch.save(self.state(), part(self.path))
                part(self.path).replace(self.path)
            finally:
                part(self.path).unlink(missing_ok=True)
        self.unsaved = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.unsaved and (error is None or isinstance(error, Interrupted)):
            self._save()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, on the CPU; raises `InputError` when the file is none. No code in it is run."""
    import pickle

    import torch

    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(f"The checkpoint {path} can't be read: {str(error).splitlines()[0]}") from error
    return state
