"""The only reader of image files, and the conversion between pictures and tensors."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageCms, ImageOps, ImageSequence

from latentflow.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

# Half a gigabyte of RGB. Refused from the header, before anything is decoded.
MAX_PIXELS = 178_000_000
# Raster formats whose decoders run in this process; EPS would start an interpreter, others are not pictures.
FORMATS = (
    "PNG",
    "JPEG",
    "MPO",
    "GIF",
    "WEBP",
    "AVIF",
    "TIFF",
    "BMP",
    "DIB",
    "ICO",
    "PPM",
    "TGA",
    "JPEG2000",
    "QOI",
    "SGI",
    "PCX",
)
# What Pillow's decoders raise on bytes that are no picture, or half of one.
DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True, slots=True)
class Picture:
    """An 8-bit sRGB picture, and one sentence for each thing that reading it changed."""

    image: Image.Image
    notes: tuple[str, ...] = ()


def image_files(folder: Path) -> list[Path]:
    """The files below a folder, at any depth, whose suffix is that of an image format which is read; sorted."""
    Image.init()
    suffixes = {suffix for suffix, name in Image.EXTENSION.items() if name in FORMATS}
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())


def check_image(path: str | Path, option: str = "`image_path`") -> None:
    """Read an image's header only; raises `InputError` when there is none or it declares too many pixels."""
    with _opened(Path(path), option):
        pass


def read_image(path: str | Path, option: str = "`image_path`") -> Picture:
    """Read any raster image as 8-bit sRGB: turned by its EXIF orientation, alpha over white, ICC profile applied,
    16 bits rounded to 8, the first frame of an animation.

    Raises `InputError` (naming `option`) for what is no image, truncated, empty, a folder, or too large.
    """
    path = Path(path)
    with _opened(path, option) as image:
        return standardized(image, f"{option} {path}")


def standardized(image: Image.Image, label: str) -> Picture:
    """A PIL picture as `read_image` reads it from a file; raises `InputError`, beginning with `label`, when it can't be
    decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata that is odd, while the picture is fine
            return _standardized(image)
    except DECODING_ERRORS as error:
        raise InputError(f"{label} can't be decoded: {_reason(error)}.") from error


def _opened(path: Path, option: str) -> Image.Image:
    try:
        if path.is_dir():
            raise InputError(f"{option} {path} is a folder, not an image file.")
        if path.stat().st_size == 0:
            raise InputError(f"{option} {path} is empty (zero bytes).")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of half of what it refuses, and of odd metadata
            Image.init()  # registers the formats beyond Pillow's first five
            image = Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])
    except FileNotFoundError:
        raise InputError(f"{option} {path} does not exist.") from None
    except PermissionError:
        raise InputError(f"{option} {path} can't be read: permission denied.") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{option} {path} declares more pixels than are read: {error}.") from error
    except DECODING_ERRORS as error:
        raise InputError(f"{option} {path} is not an image that can be read: {_reason(error)}.") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise InputError(f"{option} {path} declares {width} × {height} pixels; at most {MAX_PIXELS:,} are read.")
    return image


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _standardized(image: Image.Image) -> Picture:
    notes = []
    if getattr(image, "is_animated", False):
        notes.append(f"is animated ({getattr(image, 'n_frames', 'several')} frames): the first is used")
        image = next(ImageSequence.Iterator(image))
    image.load()
    if image.getexif().get(0x0112, 1) != 1:
        notes.append("is rotated by its EXIF orientation")
        image = ImageOps.exif_transpose(image)
    profile = image.info.get("icc_profile")
    color, alpha, note = _eight_bits(image)
    if note:
        notes.append(note)
    if profile:
        color, note = _to_srgb(color, profile)
        if note:
            notes.append(note)
    if color.mode != "RGB":
        if color.mode not in ("L", "P"):
            notes.append(f"is converted from {color.mode} to RGB")
        color = color.convert("RGB")
    if alpha is not None and alpha.getextrema() != (255, 255):
        notes.append("is transparent: composited over white")
        color = Image.composite(color, Image.new("RGB", color.size, (255, 255, 255)), alpha)
    return Picture(color, tuple(notes))


def _eight_bits(image: Image.Image) -> tuple[Image.Image, Image.Image | None, str]:
    """The picture in an 8-bit mode without alpha, its alpha, and a note."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        if image.mode == "F" and values.min() >= 0 and values.max() <= 1:
            values, note = values * 255, "holds floats in [0, 1]: rounded to 8 bits"
        elif values.min() >= 0 and values.max() <= 65535 and image.mode != "F":
            values, note = values / 257, "has 16 bits: rounded to 8"
        else:
            low, high = values.min(), values.max()
            values = (values - low) / max(high - low, 1e-12) * 255
            note = f"has values from {low:g} to {high:g}: spread over black to white"
        return Image.fromarray((values + 0.5).clip(0, 255).astype(np.uint8)), None, note
    if image.has_transparency_data:
        if image.mode == "P" or "transparency" in image.info:
            image = image.convert("RGBA")
        elif image.mode in ("PA", "La", "RGBa"):
            image = image.convert({"PA": "RGBA", "La": "LA", "RGBa": "RGBA"}[image.mode])
        alpha = image.getchannel("A")
        return image.convert("L" if image.mode == "LA" else "RGB"), alpha, ""
    if image.mode == "P":
        return image.convert("RGB"), None, ""
    return image, None, ""


def _to_srgb(image: Image.Image, profile: bytes) -> tuple[Image.Image, str]:
    """The picture through its ICC profile to sRGB; a profile that is broken or of another kind is left out."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(source).strip() or "unnamed"
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image, "has an ICC profile that can't be used: taken as sRGB"
    if converted is None:
        return image, "has an ICC profile that can't be used: taken as sRGB"
    if "srgb" in name.lower():
        return converted, ""
    return converted, f"is converted from its ICC profile ({name}) to sRGB"


def fit(image: Image.Image, size: int, mode: str = "contain") -> Image.Image:
    """Scale a picture so that its longer side has `size` pixels ("contain"), or to a square of `size` pixels, the
    center cut out ("cover") or distorted ("stretch"). Lanczos; no side gets shorter than one pixel."""
    width, height = image.size
    if mode == "contain":
        longer = max(width, height)
        return resize(image, max(1, round(width * size / longer)), max(1, round(height * size / longer)))
    return cover(image, size, size) if mode == "cover" else resize(image, size, size)


def cover(image: Image.Image, width: int, height: int) -> Image.Image:
    """The largest centered part of a picture with the aspect width : height, scaled to width × height pixels."""
    scale = min(image.width / width, image.height / height)
    across, down = max(1.0, scale * width), max(1.0, scale * height)
    left, top = (image.width - across) / 2, (image.height - down) / 2
    return image.resize((width, height), Image.Resampling.LANCZOS, (left, top, left + across, top + down))


def resize(image: Image.Image, width: int, height: int) -> Image.Image:
    """A picture of width × height pixels, by Lanczos; the same picture when it has that size already."""
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB picture as a tensor (1, 3, height, width) in [0, 1]."""
    import torch

    pixels = np.array(image.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()


def to_uint8(image: Tensor) -> np.ndarray:
    """The first picture of (n, 3, h, w), nominally in [0, 1], clamped and rounded: (h, w, 3), uint8."""
    pixels = image[0].detach().float().permute(1, 2, 0).cpu().numpy()  # numpy: torch's threads are busy elsewhere
    return np.ascontiguousarray(np.rint(np.clip(pixels, 0, 1) * np.float32(255)).astype(np.uint8))
