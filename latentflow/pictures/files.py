"""The only reader of image files, and the conversion between pictures and tensors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from latentflow.base.errors import InputError, first_line
from latentflow.base.files import open_bytes
from latentflow.base.surroundings import undisturbed
from latentflow.pictures.config import ReadingOptions
from latentflow.pictures.decoding import DECODING_ERRORS, formats_of, signed_format
from latentflow.pictures.repair import repaired
from latentflow.pictures.standard import standardize

if TYPE_CHECKING:
    from torch import Tensor

HEAD_BYTES = 64  # which tell the format
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Picture:
    """An 8-bit sRGB picture, and one sentence for each thing that reading it changed."""

    image: Image.Image
    notes: tuple[str, ...] = ()


def check_image(path: str | Path, option: str = "`image_path`", max_pixels: int = ReadingOptions.max_pixels) -> None:
    """Read an image's header only; raises `InputError` when there is none or it declares too many pixels, and
    `MissingPackageError` for HEIC without pillow-heif."""

    def check(file: BinaryIO, label: str) -> None:
        _opened(file, label, max_pixels).close()

    _read(Path(path), option, check)


@undisturbed
def read_image(
    path: str | Path,
    option: str = "`image_path`",
    *,
    background: str = ReadingOptions.background,
    max_pixels: int = ReadingOptions.max_pixels,
) -> Picture:
    """Read any raster image as 8-bit sRGB, as its file says it is to be seen; "-" is standard input.

    Turned by its EXIF orientation, transparency over `background`, ICC profile or gamma applied, more bits rounded to
    8; of several pictures in a file the first. Notes say what was changed and what the file asks for and doesn't get.
    Raises `InputError` (naming `option`) for anything but an image, for a file that is truncated, empty, a folder, or
    larger than `max_pixels`, and `MissingPackageError` for HEIC without pillow-heif.
    """

    def read(file: BinaryIO, label: str) -> Picture:
        with _opened(file, label, max_pixels) as image:
            return standardized(image, label, background)

    picture, note = _read(Path(path), option, read)
    return replace(picture, notes=(*picture.notes, *note))


def standardized(image: Image.Image, label: str, background: str = ReadingOptions.background) -> Picture:
    """A PIL picture as `read_image` reads it from a file; raises `InputError`, beginning with `label`, when it can't be
    decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata that is odd, while the picture is fine
            color, notes = standardize(image, background)
    except DECODING_ERRORS as error:
        raise InputError(f"{label} can't be decoded: {first_line(error)}.") from error
    return Picture(color, tuple(notes))


def _read(path: Path, option: str, read: Callable[[BinaryIO, str], Result]) -> tuple[Result, list[str]]:
    """Return the result of `read` for a file, and a note if the file had to be repaired first."""
    label = f"{option} {path}"
    try:
        if path.is_dir():
            raise InputError(f"{label} is a folder, not an image file.")
        try:
            with open_bytes(path) as file:
                return read(file, label), []
        except InputError:
            with open_bytes(path) as file:
                repair = repaired(file.read())
            if repair is None:
                raise
            return read(repair, label), [repair.note] if repair.note else []
    except FileNotFoundError:
        raise InputError(f"{label} does not exist.") from None
    except PermissionError:
        raise InputError(f"{label} can't be read: permission denied.") from None
    except (OSError, ValueError) as error:  # a name that is too long, or holds a zero byte
        raise InputError(f"{label} can't be read: {first_line(error)}.") from error


def _opened(file: BinaryIO, label: str, max_pixels: int) -> Image.Image:
    """An image, opened; only its header is read."""
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if not head:
        raise InputError(f"{label} is empty (zero bytes).")
    _allow(max_pixels)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of half of what it refuses, and of odd metadata
            image = Image.open(file, formats=formats_of(head, label))
    except Image.DecompressionBombError as error:
        raise _too_large(label, "", max_pixels) from error
    except UnidentifiedImageError as error:  # its text names an object of Python's
        name = signed_format(head)
        reason = (
            f"a damaged {name} picture" if name else "not an image that can be read: its content is of no known format"
        )
        raise InputError(f"{label} is {reason}.") from error
    except DECODING_ERRORS as error:
        raise InputError(f"{label} is not an image that can be read: {first_line(error)}.") from error
    profile = getattr(file, "icc_profile", None)
    if profile is not None:
        image.info["icc_profile"] = profile
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise _too_large(label, f": {width} × {height}", max_pixels)
    return image


def _allow(max_pixels: int) -> None:
    """Let Pillow read images of that size. Its limit is the process's, and it refuses twice of it."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and max_pixels > 2 * limit:
        Image.MAX_IMAGE_PIXELS = -(-max_pixels // 2)


def _too_large(label: str, size: str, max_pixels: int) -> InputError:
    return InputError(
        f"{label} declares more pixels than `max_pixels` allows, {max_pixels:,}{size}.",
        "Raise it if the memory has room: 3 bytes a pixel and more.",
    )


@undisturbed
def fit(image: Image.Image, size: int, mode: str = "contain", *, sharp: bool = True) -> Image.Image:
    """Scale a picture so that its longer side has `size` pixels ("contain"), or to a square of `size` pixels, the
    center cut out ("cover") or distorted ("stretch"). No side gets shorter than one pixel. By Lanczos, or, not `sharp`,
    without its ringing along edges."""
    width, height = image.size
    if mode == "contain":
        longer = max(width, height)
        wanted = max(1, round(width * size / longer)), max(1, round(height * size / longer))
        return resize(image, *wanted, sharp=sharp)
    return cover(image, size, size, sharp=sharp) if mode == "cover" else resize(image, size, size, sharp=sharp)


def cover(image: Image.Image, width: int, height: int, *, sharp: bool = True) -> Image.Image:
    """The largest centered part of a picture with the aspect width : height, scaled to width × height pixels as `fit`
    does."""
    scale = min(image.width / width, image.height / height)
    across = min(max(1.0, scale * width), image.width)  # rounding may put it beyond the edge
    down = min(max(1.0, scale * height), image.height)
    left, top = (image.width - across) / 2, (image.height - down) / 2
    return image.resize((width, height), _filter(sharp), (left, top, left + across, top + down))


def resize(image: Image.Image, width: int, height: int, *, sharp: bool = True) -> Image.Image:
    """A picture of width × height pixels, scaled as `fit` does; the same picture when it has that size already."""
    return image if image.size == (width, height) else image.resize((width, height), _filter(sharp))


def _filter(sharp: bool) -> Image.Resampling:
    return Image.Resampling.LANCZOS if sharp else Image.Resampling.HAMMING


@undisturbed
def to_tensor(image: Image.Image) -> Tensor:
    """An RGB picture as a tensor (1, 3, height, width) in [0, 1]."""
    import torch

    pixels = np.array(image.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()
