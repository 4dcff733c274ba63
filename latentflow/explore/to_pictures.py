"""`decode`: saved latents become pictures."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from latentflow.base.errors import InputError
from latentflow.base.files import is_stream, open_bytes
from latentflow.base.pixels import to_png, to_uint8
from latentflow.base.session import Session
from latentflow.base.surroundings import undisturbed
from latentflow.explore.config import DecodeConfig
from latentflow.explore.items import Item, check_items, convert, facts, put
from latentflow.latents.decode import decode_frames
from latentflow.latents.files import check_saved, load_latent, saved_size
from latentflow.latents.foreign import SUFFIXES as LATENTS
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.folders import FoundFiles
from latentflow.runs.job import Files, Job, Report, Stages, run_job

LatentsLike: TypeAlias = Tensor | np.ndarray | str | PathLike[str] | Sequence[str | PathLike[str]]
NUMPY = b"\x93NUMPY"  # how a .npy file begins


def run_decode(sources: Sequence[str], config: DecodeConfig, session: Session) -> Report:
    """Decode the latents that the sources name, each into a picture; raises `LatentflowError` as its parts do."""
    return run_job(Stages(check=_check, make=_make, facts=facts), sources, config, session)


def find_latents(folder: Path) -> FoundFiles:
    """The files below a folder that have a suffix of latents, sorted; hidden ones are skipped."""
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in LATENTS and path.is_file())
    return FoundFiles(sorted(path for path in paths if not path.name.startswith(".")))


def _check(sources: Sequence[str], config: DecodeConfig) -> Files:
    files = check_items("decode", sources, config, (".png",), "latent", find_latents)
    item = files.found.items[0]
    if len(files.found.items) == 1 and not is_stream(item.path):
        check_saved(item.path, config.latent_of)
    return files


def _make(job: Job[DecodeConfig]) -> None:
    autoencoder = job.autoencoder

    def make(item: Item) -> dict[str, Any]:
        with _on_disk(item.path) as path:
            latent = load_latent(path, autoencoder, job.config.latent_of)
            size = saved_size(path, autoencoder.stride)
        with torch.no_grad():
            pixels = to_uint8(autoencoder.decode(latent, size))
        put(item.output, to_png(pixels))
        return {"width": pixels.shape[1], "height": pixels.shape[0]}

    convert(job, make)


@undisturbed
def decode_latents(latents: LatentsLike, autoencoder: Autoencoder, latent_of: str | None = None) -> Tensor:
    """The pictures (n, 3, h, w) of latents that a caller has, nominally in [0, 1]; raises `InputError` for anything
    else, and for latents of several shapes."""
    if isinstance(latents, np.ndarray):
        latents = torch.from_numpy(latents)
    if isinstance(latents, Tensor):
        values, size = (latents[None] if latents.ndim == 3 else latents).detach().float(), None
    else:
        paths = [Path(each) for each in ([latents] if isinstance(latents, str | PathLike) else latents)]
        read = [load_latent(path, autoencoder, latent_of) for path in paths]
        sizes = {saved_size(path, autoencoder.stride) for path in paths}
        if len(sizes) != 1:
            raise InputError("`latents` of one size become one batch of pictures.", "Decode them one by one.")
        values, size = torch.cat(read), sizes.pop()
    if values.ndim != 4 or not len(values):
        raise InputError(f"`latents` are (c, rows, columns) or (n, c, rows, columns), not {tuple(values.shape)}.")
    size = size or (values.shape[-2] * autoencoder.stride, values.shape[-1] * autoencoder.stride)
    frames = decode_frames(autoencoder, values.to(autoencoder.device).split(1), size)
    return torch.cat([frame.image for frame in frames])


@contextmanager
def _on_disk(path: Path) -> Iterator[Path]:
    """A file of latents as it is, or a stream as a file: the readers of both formats want one."""
    if not is_stream(path):
        yield path
        return
    with open_bytes(path) as stream:
        content = stream.read()
    if not content:
        raise InputError(f"{path} is empty: nothing was piped into it.")
    handle, name = tempfile.mkstemp(".npy" if content.startswith(NUMPY) else ".safetensors")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
