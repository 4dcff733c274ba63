"""What a run was: everything that is needed to repeat it, beside its output."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from latentflow.errors import InputError
from latentflow.files import FORMAT_VERSION, check_version, check_writable, write_file, written_before
from latentflow.records import Record
from latentflow.sinks import Sink

BETAS_BEFORE = [0.9, 0.999]  # of Adam in 0.1.0, whose manifests don't name them


class Manifest(Sink[Any]):
    """Writes `facts`, the outcome, which files were `written` and what `result()` gives, when the run ends, however it
    ends.

    It is the first sink to be opened and so the last to be closed: the other outputs are in place by then.
    """

    def __init__(
        self,
        path: Path,
        facts: dict[str, Any],
        result: Callable[[], dict[str, Any]],
        written: Callable[[], Sequence[Path]],
    ) -> None:
        self.path, self.facts, self.result, self.written = path, facts, result, written
        self.began = False

    def open(self) -> None:
        """Check that it can be written."""
        check_writable(self.path, "`output_path`")

    def write(self, record: Record) -> None:
        """There is something to report."""
        self.began = True

    def close(self, error: BaseException | None) -> None:
        """Write it."""
        if self.began:
            outcome = "done" if error is None else f"{type(error).__name__}: {error}"
            write_manifest(self.path, {**self.facts, "outcome": outcome, "result": self.result()}, self.written())


def write_manifest(path: Path, content: dict[str, Any], written: Sequence[Path]) -> None:
    """Write a manifest with its format's version and the names of the files beside it that belong to the output: those
    `written` now, and those of earlier commands that are still there. Raises `OutputError`."""
    names = [each.name for each in written if each.parent == path.parent]
    names += [name for name in written_before(path) or [] if name not in names and path.with_name(name).exists()]
    content = {"format_version": FORMAT_VERSION, **content, "written": names}
    write_file(path, (json.dumps(content, indent=2) + "\n").encode(), "`output_path`")


def read_manifest(path: Path) -> dict[str, Any]:
    """The content of a manifest; raises `InputError` when the file is none, or of a newer format."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"`from_manifest` {path} can't be read: {error}.") from error
    if not isinstance(content, dict) or not isinstance(content.get("options"), dict):
        raise InputError(f"`from_manifest` {path} is not the manifest of a run.")
    check_version(content.get("format_version", 1), path)
    if content["options"].get("optimizer") in ("adam", "adamw"):
        content["options"].setdefault("betas", BETAS_BEFORE)
    return content
