"""The image formats that are read, and the errors that Pillow's decoders raise."""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache
from importlib.util import find_spec

from PIL import Image

from latentflow.base.errors import MissingPackageError

# Raster formats with decoders that run in this process; EPS would start an interpreter, others are not pictures.
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
# Formats that begin with bytes that nothing else begins with.
SIGNED = ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "HEIF", "JPEG2000", "QOI", "TIFF")
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
HEIF_REMEDY = 'pip install "latentflow[heif]"'
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


def formats_of(head: bytes, label: str) -> list[str]:
    """Pillow's names of the formats that a file with these first 64 bytes may have; raises `MissingPackageError`,
    beginning with `label`, for HEIC without pillow-heif."""
    Image.init()  # registers the formats beyond Pillow's first five
    if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS and b"avif" not in head:
        _register_heif(label)
        return ["HEIF"]
    return [name for name in FORMATS if name in Image.OPEN]


def signed_format(head: bytes) -> str:
    """The format of a file by the signature in its first 64 bytes, or an empty text."""
    for name in SIGNED:
        accept = Image.OPEN[name][1] if name in Image.OPEN else None
        if accept is not None and accept(head) is True:
            return "HEIC" if name == "HEIF" else name
    return ""


def readable_suffixes() -> set[str]:
    """The suffixes of image files that are read, in lower case; those of HEIC where pillow-heif is installed."""
    Image.init()
    known = {suffix for suffix, name in Image.EXTENSION.items() if name in FORMATS}
    return known | set(HEIF_SUFFIXES if _has_heif() else ())


def _register_heif(label: str) -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise MissingPackageError(
            f"{label} is a HEIC picture, which needs pillow-heif: {error}.", HEIF_REMEDY
        ) from error
    pillow_heif.register_heif_opener()


@lru_cache
def _has_heif() -> bool:
    return find_spec("pillow_heif") is not None
