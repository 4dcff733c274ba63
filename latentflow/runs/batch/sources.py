"""The images that a batch's sources name: folders, files, and lists of files."""

import codecs
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from latentflow.base.errors import InputError
from latentflow.pictures.folders import FoundFiles, find_images

COMMENT = "#"


@dataclass(slots=True)
class Found:
    """Images, each with the name it has in the batch, its path in the folder that is a source, or else its file's name,
    as `places`, and sentences on how the sources were read."""

    names: dict[Path, str] = field(default_factory=dict)
    places: dict[Path, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_all(
    sources: Sequence[str],
    results: Path,
    option: str = "`output_dir`",
    find: Callable[[Path], FoundFiles] = find_images,
    kind: str = "image",
) -> Found:
    """The files of a `kind` in all sources, images by default, once each, without those in the folder of the `results`,
    which `option` names; `find` finds those of a folder. Raises `InputError`.

    An image's name is its path in the folder that is a source, or else its file's name; where two share one, the later
    is named by its path.
    """
    found = Found()
    taken: set[str] = set()
    for source in map(Path, sources):
        source = source.expanduser()
        if source.resolve() == results.resolve():
            raise InputError(f"{option} {results} is where the {kind}s are; results need a folder of their own.")
        for path, name in _files(source, found.notes, find, kind):
            resolved = path.resolve()
            if resolved in found.names or results.resolve() in resolved.parents:  # results of an earlier call
                continue
            candidates = (name, str(path), str(resolved))
            found.names[resolved] = next((each for each in candidates if each not in taken), str(resolved))
            found.places[resolved] = name
            taken.add(found.names[resolved])
    if not found.names:
        raise InputError(
            f"There are no {kind}s to work on.", f"Name a folder, {kind}s, or a .txt file that lists them."
        )
    return found


def _files(source: Path, notes: list[str], find: Callable[[Path], FoundFiles], kind: str) -> Iterator[tuple[Path, str]]:
    if os.path.isdir(source):  # noqa: PTH112  (Path.is_dir() raises when a name is too long)
        files = find(source)
        notes += filter(None, [files.passed_over])
        for path in files.paths:
            yield path, path.relative_to(source).as_posix()
    elif not os.path.lexists(source):
        raise InputError(f"There is no folder, {kind} or list {source}.")
    elif source.suffix == ".txt":
        for path in _listed(source, notes):
            yield path, path.name
    else:
        yield source, source.name


def _listed(source: Path, notes: list[str]) -> list[Path]:
    """The paths in a list, relative to its folder, or to the working folder where they exist only there."""
    paths, twice = [], []
    for line in list_lines(source):
        there, here = source.parent / Path(line).expanduser(), Path(line).expanduser()
        exist = os.path.lexists(there), os.path.lexists(here)
        if all(exist) and there.resolve() != here.resolve():
            twice.append(line)
        paths.append(here if exist == (False, True) else there)
    if twice:
        notes.append(
            f"{source}: {twice[0]}{f' and {len(twice) - 1} more' if twice[1:] else ''} exist both in the folder of the "
            "list and in the working folder; those in the folder of the list are taken."
        )
    return paths


def list_lines(source: Path) -> list[str]:
    """The paths in a text file, one a line: without blank lines, comments, and quotes around a path. Lines may end as
    on any system, and a byte order mark may say that the file is UTF-16. Raises `InputError`."""
    try:
        content = source.read_bytes()
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16") if wide else os.fsdecode(content.removeprefix(codecs.BOM_UTF8))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The list {source} can't be read: {error}.") from error
    if "\0" in text:
        raise InputError(f"The list {source} is not text: a path holds a zero byte.")
    lines = (line.strip() for line in re.split(r"\r\n?|\n", text))
    return [_unquoted(line) for line in lines if line and not line.startswith(COMMENT)]


def _unquoted(line: str) -> str:
    quoted = len(line) > 2 and line[0] == line[-1] and line[0] in "\"'"
    return line[1:-1] if quoted else line
