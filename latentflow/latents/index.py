"""The latents of a folder's images, stored in a file beside it and brought up to date when images change."""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentflow.base.errors import FormatVersionError, InputError, LatentflowError, OutputError
from latentflow.base.files import WrittenFiles, check_writable, says_ours, write_file
from latentflow.base.options import counted
from latentflow.base.records import Record
from latentflow.base.session import NOTHING_WRITTEN, Session
from latentflow.base.state import pack, unpack
from latentflow.base.surroundings import undisturbed
from latentflow.latents.config import ViewConfig
from latentflow.latents.statistics import divergence
from latentflow.models.autoencoder import Autoencoder
from latentflow.models.config import WeightsFrom
from latentflow.pictures.config import ReadingOptions
from latentflow.pictures.files import cover, to_tensor
from latentflow.pictures.folders import find_images
from latentflow.pictures.reader import Reader
from latentflow.sinks import Sink, run_sinks
from latentflow.sinks.progress import Progress

BATCH_SIZE = 8  # images in one forward pass
SAVE_INTERVAL = 60.0  # seconds: the most work that a kill costs
INDEX_SUFFIX = ".safetensors"
Stamp = tuple[int, ...]  # bytes, time of change and digest, by which an unchanged file is recognized; 0.1.0: no digest
DIGESTED = 4096  # bytes of a file's head and of its tail


@dataclass(frozen=True, slots=True)
class FolderLatents:
    """The latents (n, c, rows, columns) of the images below `folder`, the center square of each scaled to size × size
    pixels; `names` (n) are the paths of the images relative to `folder`.

    `kl` (n, c) is the KL divergence of each posterior from N(0, 1) in nats per value, or None for an autoencoder
    without a posterior. `encoded` of the images were not in the `index`, a file, or None where none is stored.
    `problems` says for each image that was left out why.
    """

    folder: Path
    size: int
    names: list[str]
    latents: Tensor
    kl: Tensor | None
    encoded: int
    problems: dict[str, str]
    index: Path | None

    @property
    def paths(self) -> list[Path]:
        """The image files."""
        return [self.folder / name for name in self.names]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded(Record):
    """One image file with its latent (1, c, rows, columns), float16 as an index stores it, and the KL divergence (1, c)
    of its posterior, if it has one; or with the `problem` for which there is no latent. The first has index 1."""

    path: Path
    latent: Tensor | None = None
    kl: Tensor | None = None
    problem: str = ""


@undisturbed
def encode_folder(
    folder: str | PathLike[str],
    *,
    vae: str | PathLike[str] | Autoencoder = "bundled",
    size: int = 256,
    weights: WeightsFrom = "auto",
    device: str = "auto",
    dtype: str = "auto",
    index: str | PathLike[str] | None = None,
    background: str = ReadingOptions.background,
    max_pixels: int = ReadingOptions.max_pixels,
    session: Session | None = None,
) -> FolderLatents:
    """Encode all images below a folder, the center square of each scaled to size × size pixels.

    `vae` is a name, a folder, a file or an `Autoencoder`; `weights`, `device`, `dtype`, `background` and `max_pixels`
    are those of the command line. `index` is a .safetensors file from which latents of unchanged images are read and to
    which the others are added; without it no file is read or written. `session` shares loaded models, takes sentences
    about images that are left out or changed by reading them, and may stop the work.

    Raises `InputError` for a wrong option, for a folder without images and for a file that is no index of this
    autoencoder, `WeightsError` for weights that are missing, `OutputError` when `index` can't be written.
    """
    folder, session = Path(folder).expanduser(), session or Session()
    options = ViewConfig(  # which checks them
        size=size, weights=weights, device=device, dtype=dtype, background=background, max_pixels=max_pixels
    )
    check_folder(folder)
    path = check_index(index)
    loaded = session.load(vae, weights, device, dtype)
    reader = Reader(options, session.say)
    return _read_latents(folder, loaded.autoencoder, size, session, path, reader, required=path is not None, least=1)


def index_path(folder: Path, autoencoder: Autoencoder, size: int, background: str = ReadingOptions.background) -> Path:
    """The default path of an index: beside the folder, one for each autoencoder, its dtype, size, and background."""
    resolved = folder.resolve()
    name = re.sub(r"[^\w.-]+", "-", Path(autoencoder.name).name)
    kind = f"{name}-{autoencoder.sha256[:8]}-{size}-{autoencoder.precision}"
    if background != ReadingOptions.background:
        kind += "-" + re.sub(r"\W+", "", background)
    return resolved.parent / f"{resolved.name or 'root'}.{kind}.latents{INDEX_SUFFIX}"


def check_index(index: str | PathLike[str] | None) -> Path | None:
    """The path that an option `index` gives, if it gives one; raises `InputError` for any suffix but .safetensors,
    `OutputError` where it can't be written."""
    if index is None:
        return None
    path = Path(index).expanduser()
    if path.suffix != INDEX_SUFFIX:
        raise InputError(f"`index` {index}: an index is a {INDEX_SUFFIX} file.")
    check_writable(path, "`index`")
    return path


def check_folder(folder: Path, label: str = "The folder", reader: Reader | None = None) -> list[Path]:
    """The image files below a folder; `reader` says what is passed over. Raises `InputError`, beginning with `label`,
    when there is no such folder or it holds no image."""
    if not folder.is_dir():
        raise InputError(f"{label} {folder} {'is a file, not a folder' if folder.exists() else 'does not exist'}.")
    found = find_images(folder)
    if not found.paths:
        raise InputError(f"{label} {folder} holds no images.", found.passed_over)
    if reader is not None:
        reader.say_once(found.passed_over)
    return found.paths


def read_latents(
    folder: Path,
    autoencoder: Autoencoder,
    size: int,
    session: Session,
    reader: Reader | None = None,
    *,
    path: Path | None = None,
    least: int = 1,
    written: WrittenFiles | None = None,
) -> FolderLatents:
    """The latents of all images below a folder, the center square of each scaled to size × size pixels.

    Latents of unchanged images are read from an index, at `path` or beside the folder, and the others are encoded; the
    index is written when it changes, and when the session is stopped. `written` watches it. The session says which
    images can't be read and are left out, and that an index beside the folder can't be written.

    Raises `InputError` for a file that is no index of this autoencoder and when fewer than `least` images are left,
    `OutputError` when `path` can't be written.
    """
    reader = reader or Reader(say=session.say)
    required, path = path is not None, path or index_path(folder, autoencoder, size, reader.options.background)
    if written is not None:
        written.add([path])
    return _read_latents(folder, autoencoder, size, session, path, reader, required=required, least=least)


def _read_latents(
    folder: Path,
    autoencoder: Autoencoder,
    size: int,
    session: Session,
    path: Path | None,
    reader: Reader,
    *,
    required: bool,
    least: int,
) -> FolderLatents:
    """As `read_latents`; `required` says whether it is an error that the index can't be written."""
    files = {file.relative_to(folder).as_posix(): file for file in check_folder(folder, reader=reader)}
    stamps = {name: _stamp(file) for name, file in files.items()}
    index = _Index(path, folder, _identity(autoencoder, size, reader), stamps, None if required else session.say)
    missing = [file for name, file in files.items() if name not in index.entries]
    if (missing or index.changed) and index.path is not None and not required:
        index.keep_in_memory_unless_writable(session)
    if missing:
        records = encode_files(missing, autoencoder, size, reader)
        state = NOTHING_WRITTEN if index.path is None else f"the next run goes on from {index.path}"
        progress = Progress(session, len(missing), lambda record: record.path.name, "image")
        run_sinks(session.watch(records, state), [index, progress])
    elif index.changed:
        with index:  # which writes it
            pass
    reader.say_notes()
    for problem in index.problems.values():
        session.say(f"{problem} It is left out.")
    entries = {name: index.entries[name] for name in files if name in index.entries}
    if len(entries) < least:
        raise InputError(
            f"{folder} has {counted(len(entries), 'image')} that can be read; at least {least} "
            f"{'is' if least == 1 else 'are'} needed."
        )
    kl = [entry.kl for entry in entries.values() if entry.kl is not None]
    return FolderLatents(
        folder=folder,
        size=size,
        names=list(entries),
        latents=torch.cat([entry.latent for entry in entries.values()]).float(),
        kl=torch.cat(kl) if kl else None,
        encoded=len(missing) - len(index.problems),
        problems=index.problems,
        index=index.path,
    )


def encode_files(
    paths: Sequence[Path], autoencoder: Autoencoder, size: int, reader: Reader | None = None
) -> Iterator[Encoded]:
    """Encode the center squares of images, scaled to size × size pixels, in batches while the next files are read; one
    record for each. An image that can't be read has a record that says why."""
    left = iter(paths)
    index = 0

    def read(path: Path) -> Tensor | str:
        try:
            return read_squares([path], size, reader)
        except LatentflowError as error:
            return str(error)

    with ThreadPoolExecutor(2) as readers:
        ahead = readers.map(read, batch := list(islice(left, BATCH_SIZE)))
        while batch:
            squares = list(ahead)
            following = list(islice(left, BATCH_SIZE))
            ahead = readers.map(read, following)
            readable = [square for square in squares if isinstance(square, Tensor)]
            encoded = iter(_encode(autoencoder, torch.cat(readable)) if readable else ())
            for path, square in zip(batch, squares):
                index += 1
                record = Encoded(index=index, total=len(paths), path=path)
                yield _with(record, *next(encoded)) if isinstance(square, Tensor) else _without(record, square)
            batch = following


def _with(record: Encoded, latent: Tensor, kl: Tensor | None) -> Encoded:
    """The record with its latent, unless that doesn't fit into float16."""
    if not torch.isfinite(latent).all():
        return _without(record, f"The latent of {record.path} is not finite as float16.")
    return Encoded(index=record.index, total=record.total, path=record.path, latent=latent, kl=kl)


def _without(record: Encoded, problem: str) -> Encoded:
    return Encoded(index=record.index, total=record.total, path=record.path, problem=problem)


@torch.no_grad()
def _encode(autoencoder: Autoencoder, images: Tensor) -> list[tuple[Tensor, Tensor | None]]:
    """The latent of each image, as it is stored, and the divergence of its posterior."""
    latents, posterior = autoencoder.encode_with_posterior(images.to(autoencoder.device))
    halves = latents.cpu().half().split(1)
    if posterior is None:
        return [(latent, None) for latent in halves]
    return list(zip(halves, divergence(posterior).cpu().split(1)))


def read_squares(paths: Sequence[Path], size: int, reader: Reader | None = None) -> Tensor:
    """The center squares of images, (n, 3, size, size) in [0, 1]; raises `InputError` for a file that can't be read."""
    reader = reader or Reader()
    return torch.cat([to_tensor(cover(reader.read(path, "The image"), size, size)) for path in paths])


def _stamp(path: Path) -> Stamp:
    """Bytes, time of change, and a digest of head and tail: copies and archives can have the time of a different
    file."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            digest = blake2b(file.read(DIGESTED), digest_size=7)
            file.seek(max(0, status.st_size - DIGESTED))
            digest.update(file.read(DIGESTED))
    except OSError:
        return 0, 0, 0  # gone in the meantime, or not readable: reading it will say so
    return status.st_size, status.st_mtime_ns, int.from_bytes(digest.digest())


def _is_same(stored: Stamp, now: Stamp | None) -> bool:
    return now is not None and stored == now[: len(stored)]


def _identity(autoencoder: Autoencoder, size: int, reader: Reader) -> dict[str, Any]:
    """Return the settings, besides the images, that the latents of an index depend on; indexes over white don't record
    it."""
    geometry, background = autoencoder.geometry, reader.options.background
    return {
        "autoencoder": autoencoder.sha256,
        "dtype": autoencoder.precision,
        "scale": geometry.scale.flatten().tolist(),
        "shift": geometry.shift.flatten().tolist(),
        "shape": list(geometry.latent_shape(size, size)),
        "size": size,
        **({} if background == ReadingOptions.background else {"background": background}),
    }


@dataclass(frozen=True, slots=True)
class _Entry:
    """The entry of one image in an index: latent (1, c, rows, columns) and divergence (1, c) or None."""

    stamp: Stamp
    latent: Tensor
    kl: Tensor | None


class _Index(Sink[Encoded]):
    """The `entries` of a folder's images by name: the entries of unchanged images in the file at `path`, and the
    entries written to this sink. The file, if there is one, is written now and then and at the end; it keeps its
    entries of other folders."""

    def __init__(
        self,
        path: Path | None,
        folder: Path,
        identity: Mapping[str, Any],
        stamps: Mapping[str, Stamp],
        say: Callable[[str], None] | None = None,
    ) -> None:
        """`stamps` of all images there are, by name. A file that can't be read is begun anew, or left as it is if it
        isn't ours, where there is `say`, which is told so; raises `InputError` where there is not, and when the file is
        an index with a different identity."""
        self.path, self.folder, self.identity, self.stamps = path, folder, dict(identity), stamps
        found, self.changed = dict[str, _Entry](), False
        try:
            found = {} if path is None else _read(path, self.identity, folder)
        except _BrokenIndexError as error:
            if say is None or path is None:
                raise
            self.changed = says_ours(path)
            self.path = path if self.changed else None
            what = "It is made anew." if self.changed else "It is left as it is, and no latents are stored."
            say(f"{error.problem} {what}")
        own = {name: entry for name, entry in found.items() if not _is_outside(name)}
        self.others = {name: entry for name, entry in found.items() if _is_outside(name)}
        self.entries = {
            name: replace(entry, stamp=stamps[name])
            for name, entry in own.items()
            if _is_same(entry.stamp, stamps.get(name))
        }
        self.changed |= len(self.entries) < len(own)  # the file holds entries of images that are gone
        self.problems: dict[str, str] = {}
        self.saved = time.monotonic()

    def keep_in_memory_unless_writable(self, session: Session) -> None:
        """Forget the path, and say so, where no file can be written."""
        assert self.path is not None
        try:
            check_writable(self.path, "The index")
        except OutputError as error:
            self.path = None
            session.say(f"{error} The latents are not stored for the next time.")

    def open(self) -> None:
        if self.path is not None:
            check_writable(self.path, "The index")

    def write(self, record: Encoded) -> None:
        """Take one image."""
        name = record.path.relative_to(self.folder).as_posix()
        if record.latent is None:
            self.problems[name] = record.problem
            return
        self.entries[name] = _Entry(self.stamps[name], record.latent, record.kl)
        self.changed = True
        if time.monotonic() - self.saved > SAVE_INTERVAL:
            self._save()

    def close(self, error: BaseException | None) -> None:
        if self.changed:
            self._save()

    def _save(self) -> None:
        if self.path is not None:
            places = self.folder.resolve(), self.path.parent.resolve()
            entries = {_moved(name, *places): entry for name, entry in (self.others | self.entries).items()}
            write_file(self.path, pack(_content(self.identity, entries)), "The index")
        self.changed, self.saved = False, time.monotonic()


def _content(identity: dict[str, Any], entries: Mapping[str, _Entry]) -> dict[str, Any]:
    """Return the content of an index file. Names are paths from its own folder; without a posterior `kl` is (n, 0)."""
    names = sorted(entries)
    found = [entries[name] for name in names]
    no_kl, empty = (torch.zeros(shape, dtype=torch.float32) for shape in ((1, 0), (0,)))
    return {
        "owner": identity,
        "names": names,
        "names_from": "index",
        "stamps": [list(entry.stamp) for entry in found],
        "latents": torch.cat([entry.latent for entry in found]) if found else empty,
        "kl": torch.cat([no_kl if entry.kl is None else entry.kl for entry in found]) if found else empty,
    }


class _BrokenIndexError(InputError):
    """A file can't be read as an index; `problem` says so without a remedy."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem, "Name another `index`.")
        self.problem = problem


def _moved(name: str, folder: Path, other: Path) -> str:
    """A path from one folder as a path from the other."""
    path = os.path.normpath(folder / name)
    try:
        return Path(os.path.relpath(path, other)).as_posix()
    except ValueError:  # on another drive
        return Path(path).as_posix()


def _is_outside(name: str) -> bool:
    return name.startswith("../") or Path(name).is_absolute()


def _read(path: Path, identity: dict[str, Any], folder: Path) -> dict[str, _Entry]:
    """The entries of an index file by their paths from `folder`; none where there is no file."""
    if not path.exists():
        return {}
    try:
        content = _unpack(path)
        if content["owner"] != identity:
            raise InputError(f"The index {path} was made with another autoencoder, `dtype`, `size` or `background`.")
        entries = _entries(content, identity["shape"])
        if content.get("names_from") != "index":  # as 0.1.0 wrote it
            return entries
        places = path.parent.resolve(), folder.resolve()
        return {_moved(name, *places): entry for name, entry in entries.items()}
    except (FormatVersionError, _BrokenIndexError):
        raise
    except InputError as error:
        error.remedy = error.remedy or "Name another `index`, or delete the file."
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = str(error) if isinstance(error, ValueError) else "it holds something else"
        raise _BrokenIndexError(f"{path} can't be read as an index of latents: {reason}.") from error


def _unpack(path: Path) -> dict[Any, Any]:
    try:
        return unpack(path, "an index of latents")
    except FormatVersionError:
        raise
    except InputError as error:
        raise _BrokenIndexError(str(error)) from error


def _entries(content: Mapping[str, Any], shape: list[int]) -> dict[str, _Entry]:
    names, stamps, latents, kl = (content[key] for key in ("names", "stamps", "latents", "kl"))
    if not len(names) == len(stamps) == len(latents) == len(kl) or [*latents.shape[1:]] not in (shape, []):
        raise ValueError("its parts don't fit together")
    if not (torch.isfinite(latents).all() and torch.isfinite(kl).all()):
        raise ValueError("it has values that are not finite")
    return {
        name: _Entry(tuple(map(int, stamp)), latent, own_kl if own_kl.numel() else None)
        for name, stamp, latent, own_kl in zip(names, stamps, latents.split(1), kl.split(1))
    }
