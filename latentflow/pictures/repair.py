"""Files that are damaged where no pixel is, read without the damaged part."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

from latentflow.pictures.decoding import DECODING_ERRORS

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_TEXT = (b"tEXt", b"zTXt", b"iTXt")
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
FILLERS = (b"", b"\x55" * 64, b"\xaa" * 64)


def repaired(content: bytes) -> tuple[bytes, str] | None:
    """The bytes of an image without what Pillow can't read of them, and a note; None where pixels are missing or
    nothing can be left out."""
    if content.startswith(PNG_SIGNATURE):
        return _without_metadata(content)
    return _with_end(content) if content.startswith(JPEG_START) else None


def _without_metadata(content: bytes) -> tuple[bytes, str] | None:
    """A PNG without its texts, whose size Pillow limits, and without ancillary chunks whose CRC is wrong."""
    kept, at = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while at < len(content):
        chunk = content[at:]
        if len(chunk) >= 12:
            chunk = chunk[: 12 + struct.unpack(">I", chunk[:4])[0]]
        if not _is_damage(chunk):
            kept.append(chunk)
        at += len(chunk)
    found = b"".join(kept)
    return (
        (found, "metadata ignored, since a text is too large or a CRC is wrong") if len(found) < len(content) else None
    )


def _is_damage(chunk: bytes) -> bool:
    kind, crc = chunk[4:8], chunk[-4:]
    ancillary = len(chunk) >= 12 and bool(kind[0] & 0x20)
    return kind in PNG_TEXT or (ancillary and struct.unpack(">I", crc)[0] != zlib.crc32(chunk[4:-4]))


def _with_end(content: bytes) -> tuple[bytes, str] | None:
    """A JPEG with the end that it lacks. It has every pixel if bytes before that end, which would become pixels, change
    nothing."""
    content = content.rstrip(b"\xff")
    try:
        pixels = {_jpeg_pixels(content + filler + JPEG_END) for filler in FILLERS}
    except DECODING_ERRORS:
        return None
    if len(pixels) > 1:
        return None
    return content + JPEG_END, "end of the file missing, but no pixel"


def _jpeg_pixels(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
        return image.tobytes()
