"""Metadata never stops a picture: blocks of any size and kind, whole and damaged, in every format that has them."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from latentflow.base.errors import InputError
from latentflow.pictures.files import check_image, read_image

MB = 1_000_000
NOISE = np.random.default_rng(0).integers(0, 256, 3 * MB, dtype=np.uint8).tobytes()
PIXELS = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
EXIF_NOISE = b"Exif\0\0MM\0*\0\0\0\x08" + NOISE


def profile(size):
    """A profile of so many bytes: sRGB's, and zeros that nothing refers to."""
    content = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return struct.pack(">I", size) + content[4:] + bytes(size - len(content))


def swapped(size):
    """The same with the red and the blue primary exchanged: red pictures are blue under it."""
    content = profile(size)
    red, blue = content.index(b"rXYZ"), content.index(b"bXYZ")  # entries of the table of tags
    content = bytearray(content)
    content[red : red + 4], content[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(content)


def saved(kind, picture=None, **options):
    stream = io.BytesIO()
    (Image.fromarray(PIXELS) if picture is None else picture).save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*chunks, end=False, picture=None):
    content = saved("PNG", picture)
    at = len(content) - 12 if end else 33  # before IEND, or after IHDR
    return content[:at] + b"".join(chunks) + content[at:]


def packed(kind, content):
    """A chunk whose content is compressed."""
    beginning = {b"iCCP": b"x\0\0", b"zTXt": b"x\0\0", b"iTXt": b"x\0\1\0\0\0"}[kind]
    return chunk(kind, beginning + zlib.compress(content, 1))


def segment(marker, content):
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(*segments):
    content = saved("JPEG", quality=95)
    return content[:2] + b"".join(segments) + content[2:]


def profile_segments(content):
    parts = [content[at : at + 65000] for at in range(0, len(content), 65000)]
    head = b"ICC_PROFILE\0"
    return [segment(0xE2, head + bytes([number, len(parts)]) + part) for number, part in enumerate(parts, 1)]


def tiff(**tags):
    """A TIFF with private values: number=(type, value)."""
    extra = TiffImagePlugin.ImageFileDirectory_v2()
    for name, (kind, value) in tags.items():
        number = int(name.removeprefix("tag"))
        extra.tagtype[number] = kind
        extra[number] = value
    return saved("TIFF", tiffinfo=extra)


def gif_with_comment():
    content = saved("GIF", Image.fromarray(PIXELS).quantize(16))
    at = 13 + 3 * 2 ** ((content[10] & 7) + 1)
    parts = b"".join(b"\xff" + NOISE[start : start + 255] for start in range(0, 255 * 4000, 255))
    return content[:at] + b"!\xfe" + parts + b"\0" + content[at:]


def jp2_with_box():
    content = saved("JPEG2000")
    at = content.index(b"jp2c") - 4
    return content[:at] + struct.pack(">I4s", 8 + 3 * MB, b"uuid") + NOISE + content[at:]


def jp2_with_box_in_front():
    content = saved("JPEG2000")
    at = 12 + struct.unpack(">I", content[12:16])[0]
    return content[:at] + struct.pack(">I4s", 8 + 3 * MB, b"uuid") + NOISE + content[at:]


LOSSLESS = {
    "a profile of 3 MB in a PNG": lambda: png(packed(b"iCCP", profile(3 * MB))),
    "a profile of 70 MB in a PNG": lambda: png(packed(b"iCCP", profile(70 * MB))),
    "a profile that is none": lambda: png(packed(b"iCCP", NOISE)),
    "a profile that is not compressed": lambda: png(chunk(b"iCCP", b"x\0\0" + NOISE)),
    "a profile without content": lambda: png(chunk(b"iCCP", b"")),
    "a profile of an unknown compression": lambda: png(chunk(b"iCCP", b"x\0\1" + zlib.compress(profile(9000)))),
    "a text of 3 MB": lambda: png(packed(b"zTXt", bytes(3 * MB))),
    "a text of 3 MB after the pixels": lambda: png(packed(b"iTXt", bytes(3 * MB)), end=True),
    "texts of 80 MB in all": lambda: png(*[chunk(b"tEXt", b"x%d\0" % number + bytes(20 * MB)) for number in range(4)]),
    "a profile and a text of 3 MB": lambda: png(packed(b"iCCP", profile(3 * MB)), packed(b"zTXt", bytes(3 * MB))),
    "an EXIF block that is none": lambda: png(chunk(b"eXIf", NOISE)),
    "an EXIF block with entries that are none": lambda: png(chunk(b"eXIf", EXIF_NOISE[6:])),
    "a private chunk": lambda: png(chunk(b"caBX", NOISE)),
    **{
        f"an empty {kind.decode()}": lambda kind=kind: png(chunk(kind, b""))
        for kind in (b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"tIME", b"tRNS", b"acTL", b"fcTL", b"eXIf", b"zTXt")
    },
    "an fcTL that is none": lambda: png(chunk(b"fcTL", NOISE[:26])),
    "a profile of 3 MB in a WebP": lambda: saved("WEBP", lossless=True, icc_profile=profile(3 * MB)),
    "an EXIF block in a WebP that is none": lambda: saved("WEBP", lossless=True, exif=b"Exif\0\0" + NOISE),
    "an XMP block of 3 MB in a WebP": lambda: saved("WEBP", lossless=True, xmp=NOISE),
    "a profile of 3 MB in a TIFF": lambda: saved("TIFF", icc_profile=profile(3 * MB)),
    "an XMP block of 3 MB in a TIFF": lambda: tiff(tag700=(1, NOISE)),
    "a Photoshop block of 3 MB in a TIFF": lambda: tiff(tag34377=(7, NOISE)),
    "a description of 3 MB in a TIFF": lambda: tiff(tag270=(2, "x" * 3 * MB)),
    "an EXIF directory in a TIFF that is nowhere": lambda: tiff(tag34665=(4, 7)),
    "a box of 3 MB in a JPEG 2000": jp2_with_box,
    "a box of 3 MB in front of a JPEG 2000's header": jp2_with_box_in_front,
}
LOSSY = {
    "a profile of 3 MB in a JPEG": lambda: jpeg(*profile_segments(profile(3 * MB))),
    "an EXIF segment that is none": lambda: jpeg(segment(0xE1, b"Exif\0\0" + NOISE[:60000])),
    "fifty EXIF segments": lambda: jpeg(*[segment(0xE1, EXIF_NOISE[:60000])] * 50),
    "fifty comments": lambda: jpeg(*[segment(0xFE, NOISE[:65000])] * 50),
    "a Photoshop segment that is none": lambda: jpeg(segment(0xED, b"Photoshop 3.0\x008BIM" + NOISE[:60])),
    "an MPF segment that is none": lambda: jpeg(segment(0xE2, b"MPF\0" + NOISE[:6000])),
    "an Adobe segment cut short": lambda: jpeg(segment(0xEE, b"Adobe")),
    "a JFIF segment cut short": lambda: jpeg(segment(0xE0, b"JFIF\0")),
    "a comment of 1 MB in a GIF": gif_with_comment,
}


@pytest.mark.parametrize("case", [*LOSSLESS, *LOSSY])
def test_metadata_never_stops_a_picture(tmp_path, case):
    path = tmp_path / "picture"
    path.write_bytes((LOSSLESS | LOSSY)[case]())
    check_image(path)
    picture = read_image(path)
    assert picture.image.size == (30, 20)
    if case in LOSSLESS:
        assert np.abs(np.asarray(picture.image).astype(int) - PIXELS).max() <= 1
    assert all("ignored" in note or "can't be used" in note for note in picture.notes)


@pytest.mark.parametrize("size", [9000, 3 * MB])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_large_profile_is_applied_as_a_small_one_is(tmp_path, kind, size):
    """A profile with red and blue exchanged turns red into blue."""
    red = Image.new("RGB", (16, 16), (250, 20, 20))
    content = {
        "PNG": lambda: png(packed(b"iCCP", swapped(size)), picture=red),
        "JPEG": lambda: saved("JPEG", red, icc_profile=swapped(size)),
        "WEBP": lambda: saved("WEBP", red, lossless=True, icc_profile=swapped(size)),
        "TIFF": lambda: saved("TIFF", red, icc_profile=swapped(size)),
    }[kind]()
    (tmp_path / "x").write_bytes(content)
    picture = read_image(tmp_path / "x")
    values = np.asarray(picture.image)[8, 8]
    assert values[2] > 200 and values[0] < 60
    assert picture.notes == ()  # the profile calls itself sRGB


@pytest.mark.parametrize("place", [33, -12])
def test_pixels_that_are_missing_are_not_taken_for_metadata(tmp_path, place):
    """A PNG with a text that is too large, whose pixels are cut off as well."""
    whole = png(packed(b"zTXt", bytes(3 * MB)), end=place < 0)
    at = whole.index(b"IDAT") + 400
    (tmp_path / "x.png").write_bytes(whole[:at])
    with pytest.raises(InputError, match="can't be"):
        read_image(tmp_path / "x.png")


def test_a_picture_is_turned_though_its_exif_has_entries_that_cannot_be_written_again(tmp_path):
    """Orientation 6, turned by a quarter to the right, beside a tag of an unknown type."""
    entries = struct.pack(">HHHIHH", 1, 274, 3, 1, 6, 0)
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 2) + entries[2:]
    exif += struct.pack(">HHII", 700, 99, 1, 0) + bytes(4)
    (tmp_path / "x.png").write_bytes(png(chunk(b"eXIf", exif[6:])))
    picture = read_image(tmp_path / "x.png")
    assert picture.image.size == (20, 30) and picture.notes == ("EXIF orientation applied",)
    assert np.array_equal(np.asarray(picture.image), np.rot90(PIXELS, -1))
