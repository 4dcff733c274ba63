"""How files get in place: beside their name first, renamed when whole."""

import contextlib
import glob
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from latentflow.errors import OutputError


def check_writable(path: Path, option: str) -> None:
    """Raise `OutputError` naming `option` when no file can be made at `path`."""
    if path.is_dir():
        raise OutputError(f"{option} {path} is a folder; a file is wanted.")
    if not path.parent.is_dir():
        raise OutputError(f"{option} {path}: the folder {path.parent} does not exist.", f"mkdir -p {path.parent}")
    with writing(path, option):
        whole = part(path)
        whole.touch()
        whole.unlink()


def part(path: Path) -> Path:
    """The name a file has until it is whole; it keeps the suffix, by which libraries choose the format."""
    return path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")


@contextlib.contextmanager
def writing(path: Path, option: str) -> Iterator[None]:
    """Turn what the system says while `path` is written into an `OutputError` naming `option`."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{option} {path} can't be written: {error.strerror or error}.") from error


def write_whole(path: Path, content: bytes, option: str) -> None:
    """Put a small file in place in one step."""
    with writing(path, option):
        try:
            part(path).write_bytes(content)
            part(path).replace(path)
        finally:
            part(path).unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sweep(path: Path) -> None:
    """Remove what processes that are gone left unfinished of `path`."""
    pattern = f".{glob.escape(path.stem)}.*.part{glob.escape(path.suffix)}"
    for left in path.parent.glob(pattern):
        process = left.name.removeprefix(f".{path.stem}.").split(".", 1)[0]
        if process.isdigit() and not _alive(int(process)):
            left.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
