"""The image files of a folder, and notes on skipped ones."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image

from latentflow.base.files import MANIFEST_SUFFIX, written_before
from latentflow.pictures.decoding import DECODING_ERRORS, HEIF_REMEDY, HEIF_SUFFIXES, readable_suffixes

MAX_NAMES = 3  # in the sentence on what is passed over
SYSTEM_NAMES = {"__macosx", "thumbs.db", "desktop.ini"}


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """The `paths` of files below a folder, sorted, and a sentence on what was passed over, empty if nothing."""

    paths: list[Path]
    passed_over: str = ""


def find_images(folder: Path, beside: str = "") -> FoundFiles:
    """The images below a folder, at any depth, by their suffixes; linked folders are followed. Files with the suffix
    `beside` that stand beside an image of the same name, as captions do, belong to it and are not passed over.

    Passed over are hidden files, what operating systems add (__MACOSX, Thumbs.db, desktop.ini), what latentflow wrote,
    by its manifests, and files of other formats. A folder that several links lead to is searched once.
    """
    search = _Search()
    search.run(folder)
    belonging = {path.with_suffix(beside) for path in search.found} if beside else set[Path]()
    return FoundFiles(sorted(search.found), search.sentence(folder, belonging))


def captured(path: Path) -> str:
    """When a picture was taken, "2024:05:31 12:00:00", by its EXIF data, or else when the file was last changed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large pictures and of odd metadata
            with Image.open(path) as image:
                exif = image.getexif()
                of_camera = exif.get_ifd(ExifTags.IFD.Exif)
                taken = of_camera.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
    except (Image.DecompressionBombError, *DECODING_ERRORS):  # whoever reads it says what is wrong with it
        taken = None
    changed = time.strftime("%Y:%m:%d %H:%M:%S", time.localtime(path.stat().st_mtime))
    return str(taken or "").strip("\0 ") or changed


class _Search:
    """The images `found` so far, and the files `passed` over, by the reason."""

    def __init__(self) -> None:
        self.found: list[Path] = []
        self.passed: dict[str, list[Path]] = {}
        self.suffixes = readable_suffixes()

    def run(self, folder: Path) -> None:
        """Search a folder and all below it, links last, so that a folder has its own path where it has one."""
        folders, links, searched = [folder], list[Path](), set[Path]()
        while folders or links:
            current = folders.pop() if folders else links.pop()
            if current.resolve() in searched:
                continue
            searched.add(current.resolve())
            for below in self._look_into(current):
                (links if below.is_symlink() else folders).append(below)

    def _look_into(self, folder: Path) -> list[Path]:
        """Sort the files of one folder, and give the folders to search."""
        try:
            entries = list(folder.iterdir())
        except OSError as error:
            self._pass("can't be read: " + str(error.strerror).lower(), folder)
            return []
        outputs, below = _outputs(entries), list[Path]()
        for path in entries:
            reason = self._reason(path, outputs)
            if reason:
                self._pass(reason, path)
            else:
                (below if path.is_dir() else self.found).append(path)
        return below

    def _reason(self, path: Path, outputs: set[str]) -> str:
        """Why a file or a folder is passed over; empty if it isn't."""
        if path.name.startswith(".") or path.name.lower() in SYSTEM_NAMES:
            return "hidden, or added by the system"
        if path.name in outputs:
            return "written by latentflow"
        if path.is_dir():
            return ""
        suffix = path.suffix.lower()
        if suffix not in self.suffixes:
            needs = f"needs pillow-heif: {HEIF_REMEDY}" if suffix in HEIF_SUFFIXES else "is not read"
            return f"{suffix or 'without a suffix'} {needs}"
        return "" if path.is_file() else "a link to nothing, or no file"

    def _pass(self, reason: str, path: Path) -> None:
        self.passed.setdefault(reason, []).append(path)

    def sentence(self, folder: Path, belonging: set[Path]) -> str:
        """A sentence on which files were passed over and why, except for those `belonging` to images."""
        passed = {reason: [path for path in paths if path not in belonging] for reason, paths in self.passed.items()}
        parts = [f"{_named(folder, paths)} ({reason})" for reason, paths in sorted(passed.items()) if paths]
        return f"Passed over in {folder}: {'; '.join(parts)}." if parts else ""


def _named(folder: Path, paths: list[Path]) -> str:
    return named(sorted("." if path == folder else path.relative_to(folder).as_posix() for path in paths))


def named(names: list[str]) -> str:
    """Some files by name, or their number and one of them."""
    return ", ".join(names) if len(names) <= MAX_NAMES else f"{len(names)} files such as {names[0]}"


def _outputs(entries: list[Path]) -> set[str]:
    """The names that manifests among the files of a folder say were written, and those of the manifests."""
    found: set[str] = set()
    for path in entries:
        if path.name.endswith(MANIFEST_SUFFIX):
            names = written_before(path)
            found |= {path.name, *([path.name.removesuffix(MANIFEST_SUFFIX)] if names is None else names)}
    return found
