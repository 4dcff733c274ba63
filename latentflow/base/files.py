"""Writing files: under a temporary name first, renamed when complete. And the rules for overwriting."""

import contextlib
import csv
import glob
import hashlib
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from latentflow.base.errors import FormatVersionError, InputError, OutputError

MANIFEST_SUFFIX = ".manifest.json"
UNFINISHED = "unfinished"  # what a manifest says of a run that goes on, or was killed
STDIN = "-"
FRAME = re.compile(r"\d{5}(\d\d)?\.png")  # names of frames in a folder, and of the samples of a training
TRAJECTORY = b'{"format": "latentflow trajectory'  # how a trajectory begins
BLOCK = 1 << 20  # bytes that are read at a time
LONGEST_HEADER = 100_000_000  # bytes, as safetensors has it
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


@contextlib.contextmanager
def filling(folder: Path, label: str) -> Iterator[Path]:
    """Write files into a temporary folder that is given; they take their places in `folder`, which is made if it isn't
    there, when all are complete, or none does."""
    is_new, unfinished = not folder.is_dir(), folder / f".{os.getpid()}.part"
    with writing(folder, label):
        try:
            unfinished.mkdir(parents=True, exist_ok=True)
            yield unfinished
            for path in sorted(unfinished.rglob("*")):  # a folder comes before what is in it
                place = folder / path.relative_to(unfinished)
                if path.is_dir():
                    place.mkdir(exist_ok=True)
                else:
                    path.replace(place)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
            if is_new:
                with contextlib.suppress(OSError):  # it holds something
                    folder.rmdir()


def write_file(path: Path, content: bytes, label: str) -> None:
    """Put a small file in place in one step."""
    with replacing(path, label) as unfinished:
        unfinished.write_bytes(content)


def append(file: FileIO, content: bytes) -> None:
    """Put bytes behind those of a file that is open without a buffer: all of them, or none where the disk is full."""
    begin, left = file.tell(), memoryview(content)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError:
        file.seek(begin)
        file.truncate()
        raise


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]], label: str) -> None:
    """Put a table in place in one step: floats in full precision, None as an empty cell, a missing column too."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, text.getvalue().encode(errors="surrogateescape"), label)  # names of files need not be UTF-8


def is_stream(path: Path) -> bool:
    """Tell whether a path can be read only once: standard input, "-", or a pipe."""
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
    digest = hashlib.sha256()
    with open_bytes(path) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


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
    manifest: Path | None = None,
    typed: Mapping[Path, str] | None = None,
    own: Iterable[Path] = (),
) -> None:
    """The one guard of every path that a command writes, replaces or clears: its main output, first in `outputs`, and
    the companions beside it. `option` names the output; `typed` are paths that other options name, with these.

    A file may be replaced if it is empty, as mktemp's are, or if the `manifest` names it (by default the one beside
    the main output), a typed one if any manifest beside it or beside the main output does. A folder may be taken if
    manifests name every file in it. The paths in `own` are known to be ours without a manifest. Raises `InputError`
    when an output would replace a source or lie in a folder that is one, where the next command would take it for a
    source; without `overwrite`, `OutputError` for what isn't ours.
    """
    check_apart(outputs, sources, option)
    manifest = manifest or manifest_path(outputs[0])
    there = [path for path in (*outputs, manifest) if os.path.lexists(path) and not _is_empty(path)]
    if overwrite or not there:
        return
    named, options = written_before(manifest), {outputs[0]: option} | dict(typed or {})
    if named is None:  # by 0.1.0, which does not say
        return
    without = {_absolute(path) for path in own}
    ours = {_absolute(manifest.parent / name) for name in [*named, *([manifest.name] if _content(manifest) else [])]}
    for path in there:
        if _absolute(path) in without:
            continue
        if path.is_dir() and not path.is_symlink():
            check_folder_is_ours(path, options.get(path, option), manifest)
        elif _absolute(path) not in ours and not (
            _is_named(path, manifest.parent) if path in options else says_ours(path)
        ):
            which = f"{options[path]} {path}" if path in options else f"{option}: {path}"
            raise OutputError(
                f"{which} would be overwritten, and no earlier command wrote it.",
                f"Add `overwrite`, name another {options.get(path, option)}, or move the file away.",
            )


def _is_empty(path: Path) -> bool:
    """Tell whether a path is a file that holds nothing, and no link to one."""
    return not path.is_symlink() and path.is_file() and not path.stat().st_size


def check_apart(outputs: Sequence[Path], sources: Sequence[str | Path], option: str) -> None:
    """Raise `InputError` when an output would replace a source, or lie in a folder that is one."""
    taken = {Path(source).expanduser().resolve() for source in sources}
    for output in outputs:
        resolved = output.resolve()
        if resolved in taken:
            raise InputError(f"{option} would put {output} in the place of what it is made from.")
        inside = taken & set(resolved.parents)
        if inside:
            raise InputError(
                f"{option} {output} is in the folder {min(inside)}, which holds the input images.",
                "Name a path outside of it.",
            )


def check_folder_is_ours(folder: Path, option: str = "`output_path`", manifest: Path | None = None) -> None:
    """Raise `OutputError` where a folder holds a file that no manifest names; hidden files don't count."""
    others = _others(folder, manifest) if folder.is_dir() else set()
    if others:
        raise OutputError(
            f"{option} {folder} is a folder that already holds files, and no earlier command wrote {min(others)}.",
            "Add `overwrite`, which leaves other files where they are, or name a new one.",
        )


def written_before(manifest: Path) -> list[str] | None:
    """The names of the files that a manifest says were written with it, as paths from its folder; none where it can't
    be read, and None for one of 0.1.0, which does not say."""
    content = _content(manifest)
    written = content.get("written", [] if not content or "format_version" in content else None)
    return [name for name in written if isinstance(name, str)] if isinstance(written, list) else None


def written_in(folder: Path, manifest: Path | None = None) -> set[str]:
    """The names of the files in a folder that a manifest names: `manifest`, the folder's own, or any beside it. Where
    one names the folder alone, as those of earlier versions do, they are the files that have the names of frames; and
    these too where a command goes on or was killed."""
    own = [each for each in (manifest, manifest_path(folder)) if each is not None and each.is_file()]
    return {name for each in own or _manifests_in(folder.parent) for name in _named_in(each, folder)}


def _others(folder: Path, manifest: Path | None) -> set[str]:
    visible = {each.name for each in folder.iterdir() if not each.name.startswith(".")}
    return visible - written_in(folder, manifest) if visible else visible


def _named_in(manifest: Path, folder: Path) -> set[str]:
    content, name = _content(manifest), path_from(manifest, folder)
    lists = content.get("folders")
    listed = lists.get(name) if isinstance(lists, dict) else None
    known = {each for each in listed if isinstance(each, str)} if isinstance(listed, list) else None
    if known is not None and content.get("outcome") != UNFINISHED:
        return known
    written = written_before(manifest)
    is_named = manifest == manifest_path(folder) if written is None else name in written
    return (known or set()) | (frames_in(folder) if is_named else set())


def frames_in(folder: Path) -> set[str]:
    """The names in a folder that frames and samples have."""
    return {each.name for each in folder.iterdir() if FRAME.fullmatch(each.name)} if folder.is_dir() else set()


def says_ours(path: Path) -> bool:
    """Tell whether a file begins as trajectories, checkpoints and indexes do; an incomplete file counts too."""
    try:
        with path.open("rb") as file:
            begin = file.read(len(TRAJECTORY))
            length = int.from_bytes(begin[:8], "little")
            if TRAJECTORY.startswith(begin) or not 0 < length < LONGEST_HEADER:
                return TRAJECTORY.startswith(begin)
            file.seek(8)
            header = file.read(length)
            if len(header) < length:
                return header.startswith(b"{")
            metadata = json.loads(header).get("__metadata__", {})
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
    return isinstance(metadata, dict) and metadata.get("format") == "latentflow"


def _is_named(path: Path, folder: Path) -> bool:
    """Tell whether a manifest beside a file names it, or one in the `folder` of the main output: in a loop over images
    all runs may write the same file elsewhere, such as their newest figures."""
    manifests = [each for place in dict.fromkeys((path.parent, folder)) for each in _manifests_in(place)]
    return any(
        _absolute(manifest.parent / name) == _absolute(path)
        for manifest in manifests
        for name in written_before(manifest) or []
    )


def _manifests_in(folder: Path) -> list[Path]:
    """The manifests in a folder, the newest first: it is the likeliest to name what is looked for."""
    return sorted(folder.glob(f"*{MANIFEST_SUFFIX}"), key=lambda each: each.lstat().st_mtime_ns, reverse=True)


def path_from(manifest: Path, path: Path) -> str:
    """A path as a manifest names it: from the manifest's folder if it is in there, else from the root."""
    path, folder = _absolute(path), _absolute(manifest).parent
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  (resolve() follows links, and it is the link that is replaced)


def _content(manifest: Path) -> dict[str, Any]:
    """Return the content of a manifest; nothing for a missing file or one that isn't a manifest."""
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and "options" in content else {}


class WrittenFiles:
    """The paths among those given that were written since this object was created: a report names no others."""

    def __init__(self, paths: Sequence[Path] = ()) -> None:
        self._before: dict[Path, tuple[object, ...] | None] = {}
        self.add(paths)

    def add(self, paths: Sequence[Path]) -> None:
        """Look at further paths from now on."""
        self._before |= {path: _state(path) for path in paths if path not in self._before}

    @property
    def paths(self) -> list[Path]:
        """The new and the changed paths, in the order they were given."""
        return [path for path, before in self._before.items() if (now := _state(path)) is not None and now != before]

    def claimable(self, manifest: Path) -> list[Path]:
        """The paths at which nothing is that isn't ours, so that a manifest can name them before they are written."""
        named = set(written_before(manifest) or [])

        def is_ours(path: Path) -> bool:
            if path.is_dir():
                return not _others(path, manifest)
            return not os.path.lexists(path) or path_from(manifest, path) in named

        return [path for path in self._before if path != manifest and is_ours(path)]

    @property
    def folders(self) -> dict[Path, set[str]]:
        """The names of the files that are new or changed in those of the paths that are folders."""
        return {
            path: {name for name, *_ in set(_state(path) or ()) - set(self._before[path] or ())}  # type: ignore[misc]
            for path in self.paths
            if path.is_dir()
        }


def _state(path: Path) -> tuple[Any, ...] | None:
    """Return values that change when a file, or a file in a folder, is replaced. Testing whether a folder is writable
    changes only the time of the folder itself."""
    try:
        status = path.stat()
        if path.is_dir():
            return tuple(sorted((each.name, each.lstat().st_ino, each.lstat().st_mtime_ns) for each in path.iterdir()))
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
