"""The images that a batch's sources name: folders, files, and lists of files."""

import codecs
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from latentflow.base.errors import InputError
from latentflow.pictures.folders import find_images

COMMENT = "#"


@dataclass(slots=True)
class Found:
    """Images, each with the name it has in the batch, and sentences on how the sources were read."""

    names: dict[Path, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_all(sources: Sequence[str], results: Path) -> Found:
    """The images of all sources, once each, without those in the folder of the results; raises `InputError`.

    An image's name is its path in the folder that is a source, or else its file's name; where two share one, the later
    is named by its path.
    """
    found = Found()
    taken: set[str] = set()
    for source in map(Path, sources):
        source = source.expanduser()
        if source.resolve() == results.resolve():
            raise InputError(f"`output_dir` {results} is where the images are; results need a folder of their own.")
        for path, name in _images(source, found.notes):
            resolved = path.resolve()
            if resolved in found.names or results.resolve() in resolved.parents:  # results of an earlier call
                continue
            candidates = (name, str(path), str(resolved))
            found.names[resolved] = next((each for each in candidates if each not in taken), str(resolved))
            taken.add(found.names[resolved])
    if not found.names:
        raise InputError("There are no images to work on.", "Name a folder, images, or a .txt file that lists them.")
    return found


def _images(source: Path, notes: list[str]) -> Iterator[tuple[Path, str]]:
    if os.path.isdir(source):  # noqa: PTH112  (Path.is_dir() raises when a name is too long)
        images = find_images(source)
        notes += filter(None, [images.passed_over])
        for path in images.paths:
            yield path, path.relative_to(source).as_posix()
    elif not os.path.lexists(source):
        raise InputError(f"There is no folder, image or list {source}.")
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
