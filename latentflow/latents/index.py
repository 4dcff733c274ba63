"""The latents of a folder's images, kept in a file beside it and brought up to date when images change."""

import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from latentflow.errors import InputError, OutputError
from latentflow.files import check_writable, write_whole
from latentflow.interrupts import Interrupts, Say
from latentflow.latents.statistics import divergence
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.files import cover, image_files, read_image, to_tensor
from latentflow.records import Record
from latentflow.sinks import Sink, run_sinks
from latentflow.sinks.progress import Progress
from latentflow.state_files import pack, unpack

TOGETHER = 8  # images in one forward pass
SAVED_EVERY = 60.0  # seconds: what a kill costs at most
SUFFIX = ".safetensors"
Stamp = tuple[int, int]  # bytes and time of change: the file is as it was
Entry = tuple[Stamp, Tensor, Tensor]  # with latent and divergence


@dataclass(frozen=True, slots=True)
class Latents:
    """The latents (n, c, rows, columns) of a folder's images, cut to squares; `names` are paths below `folder`.

    `kl` (n, c) is the divergence of each one's posterior from N(0, 1) in nats a value, or None where there are none.
    `encoded` of them were not in the `index`; `problems` says of the images that couldn't be read why.
    """

    folder: Path
    size: int
    names: list[str]
    latents: Tensor
    kl: Tensor | None
    encoded: int
    problems: dict[str, str]
    index: Path

    @property
    def paths(self) -> list[Path]:
        """The images."""
        return [self.folder / name for name in self.names]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded(Record):
    """One image of a folder with its latent (1, c, rows, columns) and the divergence of its posterior, (1, c), or
    (1, 0) without one; or with what is wrong with it."""

    name: str
    stamp: Stamp
    latent: Tensor | None
    kl: Tensor | None
    problem: str = ""


def index_path(folder: Path, autoencoder: Autoencoder, size: int) -> Path:
    """Where an index is kept if nothing else is said: beside the folder, one for each autoencoder, what it computes in,
    and size."""
    whole = folder.resolve()
    owner = re.sub(r"[^\w.-]+", "-", Path(autoencoder.name).name)
    kind = f"{owner}-{autoencoder.sha256[:8]}-{size}-{autoencoder.precision}"
    return whole.parent / f"{whole.name or 'root'}.{kind}.latents{SUFFIX}"


def check_index(index: str | None) -> Path | None:
    """The file that was named for an index, if one was; raises `InputError` for another suffix than .safetensors,
    `OutputError` where it can't be written."""
    if index is None:
        return None
    path = Path(index).expanduser()
    if path.suffix != SUFFIX:
        raise InputError(f"--index {index}: an index is kept as {SUFFIX}.")
    check_writable(path, "--index")
    return path


def check_folder(folder: Path, option: str = "The folder") -> list[Path]:
    """The images of a folder; raises `InputError` when there is no such folder or it holds none."""
    if not folder.is_dir():
        raise InputError(f"{option} {folder} {'is a file, not a folder' if folder.exists() else 'does not exist'}.")
    found = image_files(folder)
    if not found:
        raise InputError(f"{option} {folder} holds no images.")
    return found


def read_latents(
    folder: Path,
    autoencoder: Autoencoder,
    size: int,
    interrupts: Interrupts,
    say: Say,
    *,
    path: Path | None = None,
    quiet: bool = False,
    least: int = 1,
) -> Latents:
    """The latents of all images below a folder, the centre square of each scaled to size × size pixels.

    Those that are in the index and haven't changed are taken from it, the others encoded; the index, at `path` or
    beside the folder, is written again when anything changed, and when the work is interrupted. Images that can't be
    read are left out and said, and so is an index beside the folder that can't be written there. Raises `InputError`
    for an index that can't be read and when fewer than `least` images are left, `OutputError` when `path` can't be
    written.
    """
    found = {file.relative_to(folder).as_posix(): _stamp(file) for file in check_folder(folder)}
    asked, path = path is not None, path or index_path(folder, autoencoder, size)
    owner = _owner(autoencoder, size)
    entries = _read(path, owner)
    kept = {name: entry for name, entry in entries.items() if found.get(name) == entry[0]}
    missing = [name for name in found if name not in kept]
    problems: dict[str, str] = {}
    if missing or len(kept) < len(entries):
        sink = _IndexFile(path, owner, kept, problems, changed=len(kept) < len(entries))
        if not asked:
            try:
                check_writable(path, "The index")
            except OutputError as error:
                sink.kept_in_memory = True
                say(f"{error} So the latents are not kept for the next time.")
        sinks: list[Sink[Encoded]] = [sink]
        if not quiet:
            sinks.append(Progress(len(missing), describe=lambda record: record.name, unit="image"))
        if missing:
            records = encode_files(folder, {name: found[name] for name in missing}, autoencoder, size)
            run_sinks(interrupts.watch(records, f"the next run goes on from {path}"), sinks)
        else:
            with sink:  # leaving it writes it
                pass
    for problem in problems.values():
        say(f"{problem} It is left out.")
    names = [name for name in found if name in kept]
    if len(names) < least:
        images = f"{len(names)} image{'s' * (len(names) != 1)}"
        raise InputError(f"{folder} has {images} that can be read; at least {least} are wanted.")
    latents = torch.cat([kept[name][1] for name in names]).float()
    kl = torch.cat([kept[name][2] for name in names])
    encoded = len(missing) - len(problems)
    return Latents(folder, size, names, latents, kl if kl.numel() else None, encoded, problems, path)


def encode_files(folder: Path, files: dict[str, Stamp], autoencoder: Autoencoder, size: int) -> Iterator[Encoded]:
    """Encode the images of a folder, some at a time, while the next are read; one record each, from 1 on."""
    names = iter(files)
    index = 0

    def read_square(name: str) -> Tensor | str:
        try:
            return read_squares([folder / name], size)
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(2) as readers:
        ahead = readers.map(read_square, batch := list(islice(names, TOGETHER)))
        while batch:
            read = list(ahead)
            following = list(islice(names, TOGETHER))
            ahead = readers.map(read_square, following)
            good = [image for image in read if isinstance(image, Tensor)]
            encoded = iter(_encode(autoencoder, torch.cat(good)) if good else ())
            for name, image in zip(batch, read):
                index += 1
                latent, kl = next(encoded) if isinstance(image, Tensor) else (None, None)
                problem = "" if isinstance(image, Tensor) else image
                if latent is not None and not torch.isfinite(latent).all():
                    latent, problem = None, f"The latent of {folder / name} is not finite as float16."
                yield Encoded(
                    index=index,
                    total=len(files),
                    name=name,
                    stamp=files[name],
                    latent=latent,
                    kl=kl,
                    problem=problem,
                )
            batch = following


@torch.no_grad()
def _encode(autoencoder: Autoencoder, images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The latent of each image, as it is kept, and the divergence of its posterior."""
    latents, posterior = autoencoder.encode_whole(images.to(autoencoder.device))
    kl = torch.zeros(len(images), 0) if posterior is None else divergence(posterior).cpu()
    return list(zip(latents.cpu().half().split(1), kl.split(1)))


def read_squares(paths: Sequence[Path], size: int) -> Tensor:
    """The centre squares of images, (n, 3, size, size) in [0, 1]; raises `InputError` for what can't be read."""
    return torch.cat([to_tensor(cover(read_image(path, "The image").image, size, size)) for path in paths])


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return 0, 0  # gone meanwhile: reading it will say so
    return status.st_size, status.st_mtime_ns


def _owner(autoencoder: Autoencoder, size: int) -> dict[str, Any]:
    """What the latents of an index depend on besides the images."""
    geometry = autoencoder.geometry
    return {
        "autoencoder": autoencoder.sha256,
        "dtype": autoencoder.precision,
        "scale": geometry.scale.flatten().tolist(),
        "shift": geometry.shift.flatten().tolist(),
        "shape": list(geometry.latent_shape(size, size)),
        "size": size,
    }


def _read(path: Path, owner: dict[str, Any]) -> dict[str, Entry]:
    if not path.exists():
        return {}
    try:
        content = unpack(path, "an index of latents")
        if content["owner"] != owner:
            raise InputError(f"The index {path} was made with another autoencoder, --dtype or --size.")
        names, stamps, latents, kl = (content[key] for key in ("names", "stamps", "latents", "kl"))
        if not len(names) == len(stamps) == len(latents) == len(kl) or [*latents.shape[1:]] not in (owner["shape"], []):
            raise ValueError("its parts don't fit together")
        if not (torch.isfinite(latents).all() and torch.isfinite(kl).all()):
            raise ValueError("it has values that are not finite")
        return {
            name: ((int(stamp[0]), int(stamp[1])), *tensors)
            for name, stamp, *tensors in zip(names, stamps, latents.split(1), kl.split(1))
        }
    except InputError as error:
        error.remedy = "Name another, or delete it to have it made anew."
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = str(error) if isinstance(error, ValueError) else "it holds something else"
        raise InputError(f"{path} can't be read as an index of latents: {reason}.", "Name another.") from error


class _IndexFile:
    """A sink that adds to `kept` what was encoded, and writes all of it now and then and at the end."""

    def __init__(
        self,
        path: Path,
        owner: dict[str, Any],
        kept: dict[str, Entry],
        problems: dict[str, str],
        *,
        changed: bool,
    ) -> None:
        """`changed` says that the file holds what is no longer there."""
        self.path, self.owner, self.kept, self.problems = path, owner, kept, problems
        self.changed = changed
        self.kept_in_memory = False
        self.written = time.monotonic()

    def __enter__(self) -> "_IndexFile":
        if not self.kept_in_memory:
            check_writable(self.path, "The index")
        return self

    def write(self, record: Encoded) -> None:
        """Take one image."""
        if record.latent is None:
            self.problems[record.name] = record.problem
            return
        assert record.kl is not None
        self.kept[record.name] = (record.stamp, record.latent, record.kl)
        self.changed = True
        if time.monotonic() - self.written > SAVED_EVERY:
            self._save()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.changed:
            self._save()

    def _save(self) -> None:
        if self.kept_in_memory:
            return
        entries = sorted(self.kept.items())
        latents = torch.cat([latent for _, (_, latent, _) in entries]) if entries else torch.zeros(0)
        kl = torch.cat([kl for _, (_, _, kl) in entries]) if entries else torch.zeros(0)
        content = {
            "owner": self.owner,
            "names": [name for name, _ in entries],
            "stamps": [list(entry[0]) for _, entry in entries],
            "latents": latents,
            "kl": kl,
        }
        write_whole(self.path, pack(content), "The index")
        self.changed, self.written = False, time.monotonic()
