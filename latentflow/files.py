"""How files get in place: under a temporary name first, renamed when complete. And what may be overwritten."""

import contextlib
import csv
import glob
import hashlib
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from latentflow.errors import FormatVersionError, InputError, OutputError

MANIFEST_SUFFIX = ".manifest.json"
STDIN = "-"
FORMAT_VERSION = 2  # of manifests, checkpoints, indexes and saved latents; those of 0.1.0 have version 1, and say none

_streams: dict[str, bytes] = {}


def check_version(version: object, path: Path) -> None:
    """Raise `FormatVersionError` when a file has a newer format than this program reads, or an unreadable version."""
    if not str(version).isdecimal() or int(str(version)) > FORMAT_VERSION:
        raise FormatVersionError(
            f"{path} has format version {version}; this latentflow reads versions up to {FORMAT_VERSION}.",
            "A newer latentflow reads it.",
        )


def check_writable(path: Path, label: str) -> None:
    """Raise `OutputError` when no file can be made at `path`; `label` names it, such as "`output_path`"."""
    if path.is_dir():
        raise OutputError(f"{label} {path} is a folder; a file is wanted.")
    if not path.parent.is_dir():
        raise OutputError(f"{label} {path}: the folder {path.parent} does not exist.", f"mkdir -p {path.parent}")
    with writing(path, label):
        unfinished = temporary(path)
        unfinished.touch()
        unfinished.unlink()


def temporary(path: Path) -> Path:
    """The name a file has until it is complete; it keeps the suffix, by which libraries choose the format."""
    return path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")


@contextlib.contextmanager
def writing(path: Path, label: str) -> Iterator[None]:
    """Turn what the system says while `path` is written into an `OutputError` that begins with `label`."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{label} {path} can't be written: {error.strerror or error}.") from error


@contextlib.contextmanager
def replacing(path: Path, label: str) -> Iterator[Path]:
    """Write a file under the temporary name that is given; it takes the place of `path` in one step, or not at all."""
    unfinished = temporary(path)
    with writing(path, label):
        try:
            yield unfinished
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def write_file(path: Path, content: bytes, label: str) -> None:
    """Put a small file in place in one step."""
    with replacing(path, label) as unfinished:
        unfinished.write_bytes(content)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]], label: str) -> None:
    """Put a table in place in one step: floats in full precision, None as an empty cell, a missing column too."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, text.getvalue().encode(errors="surrogateescape"), label)  # names of files need not be UTF-8


def is_stream(path: Path) -> bool:
    """Whether a path is standard input, "-", or a pipe, so that it can be read once."""
    return str(path) == STDIN or path.is_fifo()


class _BoundedFile(io.BufferedReader):
    """A file that is never asked for more bytes than it has: a broken picture may declare any size, and Python
    allocates what is asked for before it reads."""

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, os.fstat(self.fileno()).st_size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def open_bytes(path: Path) -> BinaryIO:
    """A file opened for reading. The bytes of a stream are read once and kept for the life of the process."""
    if not is_stream(path):
        return _BoundedFile(path.open("rb", buffering=0))
    name = str(path)
    if name not in _streams:
        _streams[name] = _standard_input() if name == STDIN else path.read_bytes()
    return io.BytesIO(_streams[name])


def _standard_input() -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError("- is standard input, and nothing is piped into it.", "For example: latentflow … < image.png")
    return sys.stdin.buffer.read()


def sha256(path: Path) -> str:
    """The SHA-256 of the bytes of a file or a stream."""
    with open_bytes(path) as file:
        return hashlib.sha256(file.read()).hexdigest()


def remove_unfinished(path: Path) -> None:
    """Remove what processes that are gone left unfinished of `path`."""
    pattern = f".{glob.escape(path.stem)}.*.part{glob.escape(path.suffix)}"
    for left in path.parent.glob(pattern):
        process = left.name.removeprefix(f".{path.stem}.").split(".", 1)[0]
        if process.isdigit() and not _is_alive(int(process)):
            left.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    import psutil  # os.kill(process, 0) would end the process on Windows

    return process == os.getpid() or psutil.pid_exists(process)


def manifest_path(output: Path) -> Path:
    """The manifest beside an output: `x.gif` has `x.gif.manifest.json`."""
    return output.with_name(output.name + MANIFEST_SUFFIX)


def check_outputs(
    outputs: Sequence[Path],
    sources: Sequence[str | Path] = (),
    option: str = "`output_path`",
    *,
    overwrite: bool = False,
) -> None:
    """The one guard of what a command writes: its main output, first in `outputs`, and the companions beside it.
    `option` names the output.

    Raises `InputError` when an output would replace a source or lie in a folder that is one, where the next command
    would take it for a source; without `overwrite`, `OutputError` when a companion, whose name nobody typed, would
    replace a file that the manifest of the main output does not name.
    """
    taken = {Path(source).expanduser().resolve() for source in sources}
    for output in outputs:
        resolved = output.resolve()
        if resolved in taken:
            raise InputError(f"{option} would put {output} in the place of what it is made from.")
        inside = taken & set(resolved.parents)
        if inside:
            raise InputError(
                f"{option} {output} is in the folder {min(inside)}, whose images are the input.",
                "Name a path outside of it.",
            )
    known = written_before(manifest_path(outputs[0]))
    if overwrite or known is None:
        return
    for companion in outputs[1:]:
        if companion.is_file() and companion.name not in known:
            raise OutputError(
                f"{option} {outputs[0]}: {companion} would be overwritten, and no earlier command wrote it.",
                f"Add `overwrite`, name another {option}, or move the file away.",
            )


def written_before(manifest: Path) -> list[str] | None:
    """The names of the files that a manifest says were written with it; none where it can't be read, and None for one
    of 0.1.0, which does not say."""
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(content, dict) or "options" not in content:
        return []
    written = content.get("written", [] if "format_version" in content else None)
    return [name for name in written if isinstance(name, str)] if isinstance(written, list) else None


class WrittenFiles:
    """Which of some paths were written since this was made: a report names those and no others."""

    def __init__(self, paths: Sequence[Path] = ()) -> None:
        self._before: dict[Path, tuple[object, ...] | None] = {}
        self.add(paths)

    def add(self, paths: Sequence[Path]) -> None:
        """Look at further paths from now on."""
        self._before |= {path: _state(path) for path in paths if path not in self._before}

    @property
    def paths(self) -> list[Path]:
        """Those that are new or changed, in the order they were given."""
        return [path for path, before in self._before.items() if (now := _state(path)) is not None and now != before]


def _state(path: Path) -> tuple[object, ...] | None:
    """What changes when a file is replaced, or one in a folder; looking whether a folder can be written into changes
    only the time of the folder itself."""
    try:
        status = path.stat()
        if path.is_dir():
            return tuple(sorted((each.name, each.stat().st_ino, each.stat().st_mtime_ns) for each in path.iterdir()))
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
