"""What a run was: everything that is needed to repeat it, beside its output."""

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from latentflow.errors import InputError
from latentflow.files import check_writable, write_whole
from latentflow.records import Step


def manifest_path(output_path: Path) -> Path:
    """Beside the output: `x.gif` has `x.gif.manifest.json`."""
    return output_path.with_name(output_path.name + ".manifest.json")


class Manifest:
    """Writes `facts`, the outcome and what `result()` gives, when the run ends, however it ends.

    It is the first sink to be entered and so the last to be left: the other outputs are in place by then.
    """

    def __init__(self, path: Path, facts: dict[str, Any], result: Callable[[], dict[str, Any]]) -> None:
        self.path, self.facts, self.result = path, facts, result
        self.began = False

    def __enter__(self) -> "Manifest":
        check_writable(self.path, "--output_path")
        return self

    def write(self, record: Step) -> None:
        """There is something to report."""
        self.began = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.began:
            return
        outcome = "done" if error is None else f"{type(error).__name__}: {error}"
        content = {**self.facts, "outcome": outcome, "result": self.result()}
        write_whole(self.path, (json.dumps(content, indent=2) + "\n").encode(), "--output_path")


def read_manifest(path: Path) -> dict[str, Any]:
    """The content of a manifest; raises `InputError` when the file is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"--from_manifest {path} can't be read: {error}.") from error
    if not isinstance(content, dict) or not isinstance(content.get("options"), dict):
        raise InputError(f"--from_manifest {path} is no manifest of a run.")
    return content
