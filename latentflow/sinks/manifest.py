"""Manifests: everything that is needed to repeat a run, beside its output."""

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latentflow.base.errors import InputError, LatentflowError
from latentflow.base.files import (
    FORMAT_VERSION,
    UNFINISHED,
    WrittenFiles,
    check_version,
    check_writable,
    path_from,
    write_file,
    written_before,
    written_in,
)
from latentflow.base.records import Record
from latentflow.base.session import Session
from latentflow.sinks import Sink

BETAS_BEFORE = [0.9, 0.999]  # of Adam in 0.1.0; its manifests don't name them


class Claim(Sink[Any]):
    """Writes a manifest of `facts` without a result at the first record, so that the files of a process that is killed
    have an owner; it names what is `written`."""

    def __init__(self, path: Path, facts: dict[str, Any], written: WrittenFiles, option: str = "`output_path`") -> None:
        self.path, self.facts, self.written, self.option = path, facts, written, option
        self.began = False

    def open(self) -> None:
        """Check that it can be written."""
        check_writable(self.path, self.option)

    def write(self, record: Record) -> None:
        """Claim the files, as there will be something to report."""
        if not self.began:
            self.began = True
            claimed = self.written.claimable(self.path)
            write_manifest(self.path, {**self.facts, "outcome": UNFINISHED}, claimed, self.option)


class Manifest(Claim):
    """Writes `facts`, the outcome, which files were `written` and what `result()` gives, when the run ends, however it
    ends.

    It is the first sink to be opened and so the last to be closed: the other outputs are in place by then.
    """

    def __init__(
        self,
        path: Path,
        facts: dict[str, Any],
        result: Callable[[], dict[str, Any]],
        written: WrittenFiles,
        option: str = "`output_path`",
    ) -> None:
        super().__init__(path, facts, written, option)
        self.result = result

    def close(self, error: BaseException | None) -> None:
        """Write it."""
        if self.began:
            outcome = "done" if error is None else f"{type(error).__name__}: {error}"
            content = {**self.facts, "outcome": outcome, "result": self.result()}
            write_manifest(self.path, content, self.written, self.option)


@contextmanager
def owning(
    session: Session, written: WrittenFiles, write: Callable[[], None], report: Any
) -> Generator[None, None, None]:
    """Work that puts files in place, the `written` ones, and then `write()`, which writes their manifest, however the
    work ends: what breaks it off becomes the `error` of the `report`, and is raised.

    The manifest is written inside, where a signal is turned into an error, so that there is no moment at which one
    leaves files that no manifest names.
    """
    try:
        with session.interruptible():
            yield
            with session.held():
                write()
    except LatentflowError as error:
        report.error = error
        with session.held():
            if written.paths:
                write()
        raise


def write_manifest(
    path: Path, content: dict[str, Any], written: WrittenFiles | Sequence[Path], option: str = "`output_path`"
) -> None:
    """Write a manifest with its format's version and the names of the files that belong to the output: those `written`
    now, and those of earlier commands that are still there; of folders the files in them. Raises `OutputError`."""
    paths = written.paths if isinstance(written, WrittenFiles) else written
    names = [path_from(path, each) for each in paths if each != path]
    names += [name for name in written_before(path) or [] if name not in names and (path.parent / name).exists()]
    listed = written.folders if isinstance(written, WrittenFiles) else {}
    inside = {path_from(path, each): found for each, found in listed.items()}
    for name in names:
        if (path.parent / name).is_dir():
            found = inside.get(name, set()) | written_in(path.parent / name, path)
            inside[name] = {each for each in found if (path.parent / name / each).exists()}
    content = {"format_version": FORMAT_VERSION, **content, "written": names}
    if inside:
        content["folders"] = {name: sorted(found) for name, found in inside.items()}
    write_file(path, (json.dumps(content, indent=2) + "\n").encode(), option)


def read_manifest(path: Path) -> dict[str, Any]:
    """The content of a manifest; raises `InputError` when the file isn't a manifest, or has a newer format."""
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
