"""Things that are chosen by name: this package's own records, and those of installed packages. Costs no torch.

A package brings a record by an entry point in the group "latentflow.KIND". Own names come first, so the metadata of
installed packages is read only for a name that isn't one of them, and where all names are listed. Even then most starts
do without `importlib.metadata`, since importing it takes as long as the rest of `--help`: a look at the files named
entry_points.txt tells whether any package brings something.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from latentflow.base.errors import InputError, MissingPackageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Record = TypeVar("Record")


class Registry(Mapping[str, Record]):
    """The records of one kind by name, read-only; `kind` is the plural, as in "motions".

    `accept(name, object)` turns what an entry point names into a record, or raises ValueError. Asking for the record of
    a package that can't be used raises `MissingPackageError` or `InputError`, which name the package; other names are
    not affected. A package that brings a name of this package's own is left out with a warning; of two packages that
    bring the same name neither is taken.
    """

    def __init__(self, kind: str, own: Mapping[str, Record], accept: Callable[[str, Any], Record]) -> None:
        self.kind, self.own, self._accept = kind, own, accept
        self._reserved: frozenset[str] = frozenset()
        self._loaded: dict[tuple[str, str], Record] = {}

    def reserve(self, names: Iterable[str]) -> None:
        """Refuse further names, which mean something else where these are used."""
        self._reserved |= set(names)

    def __getitem__(self, name: str) -> Record:
        if name in self.own:
            return self.own[name]
        points = self._brought().get(name)
        if points is None:
            raise KeyError(name)
        return self._load(points)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self.own or name in self._brought())

    def __iter__(self) -> Iterator[str]:
        return iter([*self.own, *sorted(self._brought())])

    def __len__(self) -> int:
        return len(self.own) + len(self._brought())

    def described(self, words: Callable[[Record], str]) -> dict[str, str]:
        """Every name with the words of its record, or with what is wrong with it."""
        found = {}
        for name in self:
            try:
                found[name] = words(self[name])
            except (InputError, MissingPackageError) as error:
                found[name] = str(error).rstrip(".")
        return found

    def usable(self) -> list[Record]:
        """The records of all names, without those of packages that can't be used."""
        found = []
        for name in self:
            with contextlib.suppress(InputError, MissingPackageError):
                found.append(self[name])
        return found

    def _brought(self) -> dict[str, list[EntryPoint]]:
        """The entry points of installed packages by name."""
        if not _is_extended():
            return {}
        from importlib.metadata import entry_points

        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=f"latentflow.{self.kind}"):
            if point.name in self.own or point.name in self._reserved:
                warnings.warn(f"{_package(point)} brings {self._noun(point.name)}, a name that is taken.", stacklevel=3)
            else:
                found.setdefault(point.name, []).append(point)
        return found

    def _noun(self, name: str) -> str:
        return f"{name} to latentflow.{self.kind}"

    def _load(self, points: list[EntryPoint]) -> Record:
        point, package = points[0], " and ".join(map(_package, points))
        if len(points) > 1:
            raise InputError(f"{package} both bring {self._noun(point.name)}.", "Uninstall one of them.")
        key = (point.name, point.value)
        try:
            if key not in self._loaded:
                self._loaded[key] = self._accept(point.name, point.load())
        except Exception as error:
            cause = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0].rstrip('.')}"
            message = f"{package} brings {self._noun(point.name)}, which can't be used: {cause}."
            if isinstance(error, ImportError) and error.name:
                raise MissingPackageError(message, f"pip install {error.name}, or uninstall the package.") from error
            raise InputError(message, "Update or uninstall the package.") from error
        return self._loaded[key]


def record_of(kind: type[Record]) -> Callable[[str, Any], Record]:
    """Return a check of `Registry`: an entry point names a record of that kind, under the name that the record has."""

    def accept(name: str, found: Any) -> Record:
        if not isinstance(found, kind):
            raise ValueError(f"it is a {type(found).__name__}, not a {kind.__name__}")
        if getattr(found, "name", name) != name:
            raise ValueError(f"the {kind.__name__} is named {found.name}")  # type: ignore[attr-defined]
        return found

    return accept


def explained(help: str, choices: Any) -> str:
    """The help of an option, with names and words of the records of a `Registry` in the place of "{choices}"."""
    if not isinstance(choices, Registry) or "{choices}" not in help:
        return help
    words = choices.described(lambda record: record.words)
    return help.replace("{choices}", "; ".join(f"{name}: {each}" for name, each in words.items()))


def find_object(place: str, package: str) -> Any:
    """The object at "module:name", imported; a module that begins with a dot is one of `package`."""
    module, _, name = place.partition(":")
    return getattr(import_module(module, package), name)


def _package(point: EntryPoint) -> str:
    return f"The package {point.dist.name} {point.dist.version}" if point.dist else "A package"


def _is_extended() -> bool:
    """Tell whether an installed package may bring something."""
    return _mentions(tuple((folder, _changed(folder)) for folder in sys.path))


def _changed(folder: str) -> int:
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=4)
def _mentions(folders: tuple[tuple[str, int], ...]) -> bool:
    for folder, changed in folders:
        if changed and Path(folder).is_file():  # an archive, into which only importlib.metadata looks
            return True
        for found in os.scandir(folder or ".") if changed else ():
            if found.name.endswith(".egg"):
                return True
            if found.name.endswith((".dist-info", ".egg-info")):
                points = Path(found.path, "entry_points.txt")
                if points.is_file() and b"[latentflow." in points.read_bytes():
                    return True
    return False
