"""Files that are damaged where no pixel is, or have more metadata than Pillow reads, without that part.

Metadata never stops a picture. Pillow refuses a file for a text or a profile above its limit, and for a block that is
too short or not what its name says; so the blocks that are no pixels are tried one at a time, and those it can't read
are left out. A color profile that is only too large is kept, because colors depend on it.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from latentflow.pictures.decoding import DECODING_ERRORS

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_TEXT, PNG_ANIMATION = (b"tEXt", b"zTXt", b"iTXt"), (b"acTL", b"fcTL", b"fdAT")
JPEG_START, JPEG_END, JPEG_SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA
JPEG_METADATA = (*range(0xE0, 0xF0), 0xFE)  # markers APP0 to APP15 and COM
JP2_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
JP2_PICTURE = (b"jP  ", b"ftyp", b"jp2h", b"jp2c")  # the boxes that a picture needs
FILLERS = (b"", b"\x55" * 64, b"\xaa" * 64)
LARGEST_PROFILE = 64_000_000  # bytes, decompressed
IGNORED = "metadata ignored, since it is too large, damaged, or its CRC is wrong"


class Repaired(io.BytesIO):
    """The bytes of an image without what Pillow can't read of them; `note` says what changed, `icc_profile` is a
    profile that was left out of them for its size."""

    def __init__(self, content: bytes, note: str, icc_profile: bytes | None = None) -> None:
        super().__init__(content)
        self.note, self.icc_profile = note, icc_profile


def repaired(content: bytes) -> Repaired | None:
    """An image's file repaired; None where pixels are missing or nothing can be left out."""
    if content.startswith(PNG_SIGNATURE):
        return _png(content)
    if content.startswith(JPEG_START):
        return _jpeg(content)
    return _jp2(content) if content.startswith(JP2_SIGNATURE) else None


def _png(content: bytes) -> Repaired | None:
    """A PNG without its texts, since Pillow limits their size, and without ancillary chunks that Pillow can't read;
    without its animation too where it still can't be opened."""
    chunks = list(_chunks(content))
    head = PNG_SIGNATURE + b"".join(each for each in chunks if each[4:8] in (b"IHDR", b"PLTE"))
    kept = [each for each in chunks if not _is_damage(each, head)]
    if not _opens(PNG_SIGNATURE + b"".join(kept), "PNG"):
        kept = [each for each in kept if each[4:8] not in PNG_ANIMATION]
    left_out = [each for each in chunks if each not in kept]
    profile = next((_profile(each) for each in left_out if each[4:8] == b"iCCP"), None)
    if not left_out:
        return None
    others = [each for each in left_out if each[4:8] != b"iCCP" or profile is None]
    return Repaired(PNG_SIGNATURE + b"".join(kept), IGNORED if others else "", profile)


def _chunks(content: bytes) -> Iterator[bytes]:
    at = len(PNG_SIGNATURE)
    while at < len(content):
        length = struct.unpack(">I", content[at : at + 4])[0] if at + 12 <= len(content) else len(content)
        yield content[at : at + 12 + length]
        at += 12 + length


def _is_damage(chunk: bytes, head: bytes) -> bool:
    kind = chunk[4:8]
    if len(chunk) < 12 or not kind[0] & 0x20:  # cut off, or a chunk of the picture itself
        return False
    if kind in PNG_TEXT or struct.unpack(">I", chunk[-4:])[0] != zlib.crc32(chunk[4:-4]):
        return True
    return kind not in PNG_ANIMATION and not _opens(head + chunk + b"\0\0\0\0IDAT5\xaf\x06\x1e", "PNG")


def _profile(chunk: bytes) -> bytes | None:
    """The ICC profile in a chunk of a PNG; None for one that is damaged or larger than any."""
    compressed = chunk[8:-4].partition(b"\0")[2][1:]
    unpack = zlib.decompressobj()
    try:
        profile = unpack.decompress(compressed, LARGEST_PROFILE)
    except zlib.error:
        return None
    return profile if unpack.eof else None


def _opens(content: bytes, kind: str) -> bool:
    try:
        Image.open(io.BytesIO(content), formats=[kind]).close()
    except DECODING_ERRORS:
        return False
    return True


def _jpeg(content: bytes) -> Repaired | None:
    """A JPEG without segments that Pillow can't read, or with the end that it lacks."""
    segments, scan = _segments(content)
    picture = b"".join(each for each in segments if each[1] not in JPEG_METADATA)
    kept = [
        each
        for each in segments
        if each[1] not in JPEG_METADATA or _opens(JPEG_START + each + picture + content[scan:], "JPEG")
    ]
    if scan and len(kept) < len(segments):
        return Repaired(JPEG_START + b"".join(kept) + content[scan:], IGNORED)
    return _with_end(content)


def _segments(content: bytes) -> tuple[list[bytes], int]:
    """The segments of a JPEG before its first scan, and where that begins; 0 where there is none."""
    found: list[bytes] = []
    at = len(JPEG_START)
    while at + 4 <= len(content) and content[at] == 0xFF:
        if content[at + 1] == JPEG_SCAN:
            return found, at
        end = at + 2 + struct.unpack(">H", content[at + 2 : at + 4])[0]
        found.append(content[at:end])
        at = end
    return found, 0


def _with_end(content: bytes) -> Repaired | None:
    """A JPEG with the end that it lacks. It has every pixel if bytes before that end, which would become pixels, change
    nothing."""
    content = content.rstrip(b"\xff")
    try:
        pixels = {_jpeg_pixels(content + filler + JPEG_END) for filler in FILLERS}
    except DECODING_ERRORS:
        return None
    if len(pixels) > 1:
        return None
    return Repaired(content + JPEG_END, "end of the file missing, but all pixels are there")


def _jpeg_pixels(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
        return image.tobytes()


def _jp2(content: bytes) -> Repaired | None:
    """A JPEG 2000 without the boxes that no picture needs."""
    kept, at = [], 0
    while at + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        if length == 1:
            length = struct.unpack(">Q", content[at + 8 : at + 16].rjust(8, b"\0"))[0]
        end = len(content) if length < 8 else at + length
        if kind in JP2_PICTURE:
            kept.append(content[at:end])
        at = end
    found = b"".join(kept)
    return Repaired(found, IGNORED) if len(found) < len(content) else None
