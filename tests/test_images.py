"""Input of every kind, and the way between pictures and tensors."""

import hashlib
import io
import json
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from processes import run_command

from latentflow.base.errors import InputError, MissingPackageError
from latentflow.base.files import open_bytes
from latentflow.base.pixels import to_uint8
from latentflow.pictures.config import ReadingOptions
from latentflow.pictures.files import check_image, cover, fit, read_image, to_tensor
from latentflow.pictures.folders import find_images
from latentflow.pictures.reader import Reader

ROOT = Path(__file__).parent.parent

COLORS = np.array([[[255, 0, 0], [0, 200, 0]], [[0, 0, 150], [90, 90, 90]], [[255, 255, 255], [0, 0, 0]]], np.uint8)


@pytest.fixture
def saved(tmp_path):
    """Save a picture and read it back: saved(image, name, **options) → Picture."""

    def save(image, name="x.png", **options):
        path = tmp_path / name
        image.save(path, **options)
        return read_image(path)

    return save


def pixels(picture):
    assert picture.image.mode == "RGB"
    return np.asarray(picture.image).astype(int)


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.tif", "x.webp", "x.gif", "x.ppm", "x.tga", "x.jp2"])
def test_lossless_formats_give_the_pixels_they_hold(saved, name):
    picture = saved(Image.fromarray(COLORS), name, **({"lossless": True} if name == "x.webp" else {}))
    assert np.array_equal(pixels(picture), COLORS) and picture.notes == ()


@pytest.mark.parametrize("name", ["x.jpg", "x.webp", "x.avif"])
def test_lossy_formats_come_near(saved, name):
    flat = Image.new("RGB", (32, 32), (200, 120, 40))
    assert np.abs(pixels(saved(flat, name, quality=95)) - [200, 120, 40]).max() <= 4


@pytest.mark.parametrize("name", ["x.jpg", "x.tif"])
def test_cmyk_is_converted_and_said(saved, name):
    picture = saved(Image.fromarray(COLORS).resize((32, 48), 0).convert("CMYK"), name)
    assert "CMYK" in picture.notes[0]
    assert np.abs(pixels(picture)[4, 4] - [255, 0, 0]).max() <= 8 and np.abs(pixels(picture)[44, 4] - 255).max() <= 8


def test_a_palette_is_looked_up(saved):
    assert np.array_equal(pixels(saved(Image.fromarray(COLORS).convert("P", palette=Image.Palette.ADAPTIVE))), COLORS)


def test_a_transparent_palette_entry_is_white(saved):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    picture = saved(image, transparency=0)
    assert pixels(picture).tolist() == [[[255, 255, 255], [40, 50, 60]]] and "over white" in picture.notes[0]


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("L", 77, 77),
        ("1", 1, 255),
        ("LA", (77, 255), 77),
        ("LA", (77, 0), 255),
        ("RGBA", (100, 100, 100, 255), 100),
        ("RGBA", (0, 0, 0, 128), 127),
        ("RGBA", (50, 60, 70, 0), 255),
    ],
)
def test_grey_and_alpha(saved, mode, value, expected):
    assert np.abs(pixels(saved(Image.new(mode, (3, 2), value))) - expected).max() <= 1


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_sixteen_bits_are_rounded_and_not_clipped(saved, name):
    values = np.array([[0, 128, 257, 300], [32768, 65535, 40000, 1000]], np.uint16)
    picture = saved(Image.fromarray(values), name)
    assert np.array_equal(pixels(picture)[..., 0], np.floor(values / 257 + 0.5)) and "16 bits" in picture.notes[0]


def test_sixteen_bit_color(tmp_path):
    rows = b"".join(b"\0" + struct.pack(">6H", 65535, 0, 0, 0, 32896, 257) for _ in range(2))
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    (tmp_path / "x.png").write_bytes(png(header, zlib.compress(rows)))
    assert pixels(read_image(tmp_path / "x.png"))[0].tolist() == [[255, 0, 0], [0, 128, 1]]


def test_floats_in_zero_to_one_and_beyond(saved):
    inside = saved(Image.fromarray(np.array([[0, 0.5, 1]], np.float32)), "x.tif")
    assert pixels(inside)[0, :, 0].tolist() == [0, 128, 255] and "floats" in inside.notes[0]
    beyond = saved(Image.fromarray(np.array([[-1, 1, 3]], np.float32)), "y.tif")
    assert pixels(beyond)[0, :, 0].tolist() == [0, 128, 255] and "from -1 to 3" in beyond.notes[0]


def test_floats_that_are_no_numbers_are_black(saved):
    picture = saved(Image.fromarray(np.array([[np.nan, np.inf, 0.5]], np.float32)), "x.tif")
    assert pixels(picture)[0, :, 0].tolist() == [0, 0, 128]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(saved, orientation):
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF 4.6.4: orientation → Image.Transpose that undoes it
    image = Image.fromarray(COLORS)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = saved(image, exif=exif)
    expected = image if orientation == 1 else image.transpose(Image.Transpose(turns[orientation]))
    assert np.array_equal(pixels(picture), np.asarray(expected))
    assert bool(picture.notes) == (orientation != 1)


def swapped_profile():
    """sRGB with its red and green primaries swapped: a conversion to sRGB must swap the channels."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", content[128:132])[0]
    tags = {bytes(content[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    content[red : red + 4], content[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(content).replace("sRGB".encode("utf-16-be"), "flip".encode("utf-16-be")).replace(b"sRGB", b"flip")


def test_an_icc_profile_is_converted_to_srgb(saved):
    picture = saved(Image.new("RGB", (4, 4), (200, 20, 60)), icc_profile=swapped_profile())
    assert np.abs(pixels(picture) - [20, 200, 60]).max() <= 2 and "ICC profile" in picture.notes[0]


def test_an_icc_profile_leaves_alpha_alone(saved):
    image = Image.new("RGBA", (2, 1), (200, 20, 60, 255))
    image.putpixel((1, 0), (200, 20, 60, 0))
    picture = saved(image, icc_profile=swapped_profile())
    assert np.abs(pixels(picture)[0] - [[20, 200, 60], [255, 255, 255]]).max() <= 2


def test_an_srgb_profile_changes_nothing(saved):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = saved(Image.fromarray(COLORS), icc_profile=profile)
    assert np.abs(pixels(picture) - COLORS).max() <= 1 and picture.notes == ()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "P"])
def test_a_broken_or_unfitting_profile_is_left_out_and_said(saved, mode):
    name = "x.tif" if mode == "CMYK" else "x.png"
    picture = saved(Image.new(mode, (4, 4)), name, icc_profile=b"no profile at all")
    assert "can't be used" in " ".join(picture.notes)


@pytest.mark.parametrize("name", ["x.gif", "x.webp", "x.png"])
def test_the_first_frame_of_an_animation(saved, name):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    picture = saved(frames[0], name, save_all=True, append_images=frames[1:], lossless=True)
    assert (
        np.array_equal(pixels(picture)[0, 0], [255, 0, 0])
        and picture.notes[0] == "first frame of an animation (3 frames)"
    )


@pytest.mark.parametrize("size", [(1, 1), (40000, 2), (2, 5000)])
def test_extreme_shapes_can_be_read_and_fitted(saved, size):
    picture = saved(Image.new("RGB", size, (10, 20, 30)))
    fitted = fit(picture.image, 64)
    assert max(fitted.size) == 64 and min(fitted.size) >= 1
    assert np.array_equal(np.asarray(fitted)[0, 0], [10, 20, 30])


def png(header, data=b""):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def refused(path):
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


def test_a_declared_size_beyond_all_bounds_is_refused_from_the_header(tmp_path):
    (tmp_path / "x.png").write_bytes(png(struct.pack(">IIBBBBB", 50000, 50000, 8, 2, 0, 0, 0)))
    assert "pixels" in refused(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "zero bytes"), (b"not an image", "not an image"), (b"\x89PNG\r\n\x1a\n", "a damaged PNG picture")],
)
def test_what_is_no_image_is_refused(tmp_path, content, words):
    (tmp_path / "x.png").write_bytes(content)
    assert words in refused(tmp_path / "x.png")


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    assert "is a folder" in refused(tmp_path)
    assert "does not exist" in refused(tmp_path / "none.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_truncated_image_is_refused(tmp_path, kind, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, kind)
    (tmp_path / "x").write_bytes(stream.getvalue()[: int(len(stream.getvalue()) * share)])
    refused(tmp_path / "x")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "ICO", "TGA", "PPM", "JPEG2000"]), data=st.data()
)
def test_mutated_images_give_a_picture_or_one_line(tmp_path_factory, kind, data):
    stream = io.BytesIO()
    Image.fromarray(COLORS).resize((16, 24)).save(stream, kind)
    content = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        assert read_image(path).image.mode == "RGB"
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("mode", "size", "expected"),
    [
        ("contain", 60, (60, 40)),
        ("contain", 300, (300, 200)),
        ("contain", 31, (31, 21)),
        ("cover", 50, (50, 50)),
        ("stretch", 50, (50, 50)),
    ],
)
def test_fitted_sizes(mode, size, expected):
    assert fit(Image.new("RGB", (150, 100)), size, mode).size == expected


def test_cover_keeps_the_centre_and_stretch_keeps_the_edges():
    image = Image.new("RGB", (90, 30), "white")
    image.paste("black", (0, 0, 30, 30))
    assert np.asarray(fit(image, 30, "cover")).min() > 200
    assert np.asarray(fit(image, 30, "stretch"))[:, :9].max() < 60
    assert cover(image, 20, 10).size == (20, 10)
    for turned in (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270):
        assert np.asarray(fit(image.transpose(turned), 30, "cover")).min() > 200  # the same from each side


def test_a_mask_is_scaled_without_ringing():
    mask = Image.new("L", (60, 60), 0)
    mask.paste(255, (30, 0, 60, 60))
    soft, sharp = (np.asarray(fit(mask, 20, sharp=each))[10] for each in (False, True))
    assert soft[:9].max() == 0 and soft[11:].min() == 255  # nothing counts beyond the edge
    assert sharp[:9].max() > 0


def test_all_levels_survive_the_way_to_a_tensor_and_back():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.merge("RGB", [Image.fromarray(levels)] * 3)
    tensor = to_tensor(image)
    assert tensor.shape == (1, 3, 16, 16) and float(tensor.min()) == 0 and float(tensor.max()) == 1
    assert np.array_equal(to_uint8(tensor), np.asarray(image))


def test_overshoot_is_clamped_when_a_picture_becomes_eight_bits():
    assert to_uint8(torch.tensor([-0.5, 0.5, 1.5]).view(1, 3, 1, 1)).ravel().tolist() == [0, 128, 255]


def test_memory_that_runs_out_is_not_blamed_on_the_image(small, monkeypatch):
    def load(self):
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(MemoryError):
        read_image(small)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(rows, depth, color, *chunks, width=2):
    """A PNG of packed rows, with the chunks between its header and its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), depth, color, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + data + chunk(b"IEND", b"")


@pytest.fixture
def written(tmp_path):
    """Write a file and read it as an image: written(content, name, **options) → Picture."""

    def write(content, name="x.png", **options):
        (tmp_path / name).write_bytes(content)
        return read_image(tmp_path / name, **options)

    return write


@pytest.mark.parametrize(
    ("depth", "row", "level", "other"),
    [(1, b"\x40", 0, 255), (2, b"\x60", 1, 170), (4, b"\x1f", 1, 255), (8, b"\x01\x80", 1, 128)],
)
def test_a_transparent_gray_level_of_a_png_is_background_at_every_depth(written, depth, row, level, other):
    picture = written(png_of([row], depth, 0, chunk(b"tRNS", struct.pack(">H", level))), background="#102030")
    assert pixels(picture).tolist() == [[[16, 32, 48], [other] * 3]] and "over #102030" in picture.notes[-1]


def test_a_transparent_color_of_sixteen_bits_is_background(written):
    gray = written(png_of([struct.pack(">2H", 40000, 40001)], 16, 0, chunk(b"tRNS", struct.pack(">H", 40000))))
    assert pixels(gray)[0, :, 0].tolist() == [255, round(40001 / 257)]
    row = struct.pack(">6H", 1000, 2000, 3000, 60000, 2000, 3000)
    color = written(png_of([row], 16, 2, chunk(b"tRNS", struct.pack(">3H", 1000, 2000, 3000))))
    assert np.abs(pixels(color)[0] - [[255] * 3, [233, 8, 12]]).max() <= 1


def tiff_of(pixels, bits, photometric, form=1):
    """A little-endian TIFF of one strip with gray values."""
    data, tags = pixels.tobytes(), [(256, 3, pixels.shape[1]), (257, 3, pixels.shape[0]), (258, 3, bits), (259, 3, 1)]
    offset = 8 + 2 + 12 * 9 + 4
    tags += [(262, 3, photometric), (273, 4, offset), (278, 3, pixels.shape[0]), (279, 4, len(data)), (339, 3, form)]
    entries = b"".join(struct.pack("<HHIHH" if kind == 3 else "<HHII", tag, kind, 1, value, *[0] * (kind == 3))
                       for tag, kind, value in tags)  # fmt: skip
    return b"II*\0" + struct.pack("<IH", 8, 9) + entries + b"\0" * 4 + data


@pytest.mark.parametrize(("kind", "bits"), [(np.uint8, 8), (np.uint16, 16)])
def test_white_is_zero_where_a_tiff_says_so(written, kind, bits):
    values = np.array([[0, 2**bits // 4, 2**bits - 1]], kind)
    assert np.abs(pixels(written(tiff_of(values, bits, 0), "x.tif"))[0, :, 0] - [255, 191, 0]).max() <= 1
    assert np.abs(pixels(written(tiff_of(values, bits, 1), "y.tif"))[0, :, 0] - [0, 64, 255]).max() <= 1


@pytest.mark.parametrize(("bits", "levels"), [(12, [0, 2048, 4095]), (8, [0, 128, 255])])
def test_twelve_bits_in_sixteen_are_not_black_and_said(written, bits, levels):
    picture = written(tiff_of(np.array([levels], np.uint16), 16, 1), "x.tif")
    assert pixels(picture)[0, :, 0].tolist() == [0, 128, 255]
    assert picture.notes == (f"16 bits taken as {bits}, since no value is above {levels[-1]}",)


def test_unsigned_thirty_two_bits_are_spread_and_said(written):
    picture = written(tiff_of(np.array([[0, 2**31, 2**32 - 1]], np.uint32), 32, 1), "x.tif")
    assert pixels(picture)[0, :, 0].tolist() == [0, 128, 255] and "spread over black to white" in picture.notes[0]


def test_the_gamma_of_a_png_is_applied_and_its_primaries_are_said(written):
    linear = chunk(b"gAMA", struct.pack(">I", 100000))
    picture = written(png_of([b"\x37\xff"], 8, 0, linear))
    assert abs(pixels(picture)[0, 0, 0] - 255 * (0x37 / 255) ** (1 / 2.2)) <= 1 and "gAMA 1" in picture.notes[0]
    assert pixels(written(png_of([b"\x37\xff"], 8, 0, linear, chunk(b"sRGB", b"\0"))))[0, 0, 0] == 0x37
    other = written(png_of([b"\x37\xff"], 8, 0, chunk(b"gAMA", struct.pack(">I", 55555))))  # 1 / 1.8
    assert abs(pixels(other)[0, 0, 0] - 255 * (0x37 / 255) ** (1.8 / 2.2)) <= 1 and "gAMA 0.55555" in other.notes[0]
    near = written(png_of([b"\x37\xff"], 8, 0, chunk(b"gAMA", struct.pack(">I", 43478))))  # 1 / 2.3
    assert pixels(near)[0, 0, 0] == 0x37 and near.notes == ()
    wild = written(png_of([b"\x37\xff"], 8, 0, chunk(b"gAMA", struct.pack(">I", 400_000_000))))
    assert pixels(wild)[0, 0, 0] == 0x37 and wild.notes == ("impossible gamma ignored (gAMA 4000)",)
    usual = written(png_of([b"\x37\xff"], 8, 0, chunk(b"gAMA", struct.pack(">I", 45455))))
    assert pixels(usual)[0, 0, 0] == 0x37 and usual.notes == ()
    wide = chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))
    assert "cHRM" in written(png_of([b"\x37\xff"], 8, 0, wide)).notes[0]


def bmp_with_fourth_byte(value):
    """A BMP of 2 × 1 pixels of 32 bits with masks for all four channels (BITMAPV4HEADER)."""
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 2, 1, 1, 32, 3, 8, 2835, 2835, 0, 0) + masks + b"sRGB"[::-1] + b"\0" * 48
    return b"BM" + struct.pack("<IHHI", 130, 0, 0, 122) + header + bytes((30, 20, 10, value, 60, 50, 40, value))


def tga_with_alpha(value):
    """A TGA of 2 × 1 pixels of 32 bits whose descriptor declares 8 bits of alpha."""
    return struct.pack("<BBB5sHHHHBB", 0, 0, 2, b"\0" * 5, 0, 0, 2, 1, 32, 0x28) + bytes(
        (30, 20, 10, value, 60, 50, 40, value)
    )


@pytest.mark.parametrize(("make", "name"), [(bmp_with_fourth_byte, "x.bmp"), (tga_with_alpha, "x.tga")])
def test_alpha_that_is_zero_everywhere_is_ignored_where_programs_leave_it_unset(written, make, name):
    picture = written(make(0), name)
    assert pixels(picture).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert picture.notes == ("alpha ignored, since it is zero everywhere",)
    assert written(make(255), name).notes == ()
    half = written(make(128), name)  # an alpha that is set counts
    over_white = [(each * 128 + 255 * 127) / 255 for each in (10, 20, 30)]
    assert np.abs(pixels(half)[0, 0] - over_white).max() <= 1 and half.notes == ("transparency over white",)


def test_a_png_that_is_wholly_transparent_is_white_and_said(saved):
    picture = saved(Image.new("RGBA", (3, 2), (9, 9, 9, 0)))
    assert pixels(picture).min() == 255 and picture.notes == ("wholly transparent, so that only white is left",)


@pytest.mark.parametrize("compressed", [False, True])
def test_texts_of_any_size_do_not_stop_a_png_from_being_read(written, compressed):
    words = bytes(80_000_000) if compressed else b"a" * 3_000_000
    text = (
        chunk(b"zTXt", b"workflow\0\0" + zlib.compress(words)) if compressed else chunk(b"iTXt", b"w\0\0\0\0\0" + words)
    )
    picture = written(png_of([b"\x37\xff"], 8, 0, text))
    assert pixels(picture)[0, :, 0].tolist() == [0x37, 255]
    assert not compressed or "metadata ignored" in picture.notes[0]


@pytest.mark.parametrize("kind", [b"tEXt", b"gAMA", b"tIME"])
def test_a_wrong_crc_beside_the_pixels_is_said(written, kind):
    broken = bytearray(chunk(kind, b"a\0" + b"bc" if kind == b"tEXt" else struct.pack(">I", 100000)))
    broken[-1] ^= 1
    picture = written(png_of([b"\x37\xff"], 8, 0, bytes(broken)))
    assert pixels(picture)[0, :, 0].tolist() == [0x37, 255] and "CRC" in picture.notes[0]


def test_a_wrong_crc_of_the_pixels_is_refused(tmp_path):
    content = bytearray(png_of([b"\x37\xff"], 8, 0))
    content[content.index(b"IDAT") + 8] ^= 1
    (tmp_path / "x.png").write_bytes(content)
    refused(tmp_path / "x.png")


def test_a_jpeg_that_lacks_its_end_alone_is_read_and_said(written, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG", quality=90)
    content = stream.getvalue()
    whole = pixels(written(content, "x.jpg"))
    picture = written(content[:-2], "y.jpg")
    assert np.array_equal(pixels(picture), whole)
    assert picture.notes == ("end of the file missing, but all pixels are there",)
    (tmp_path / "z.jpg").write_bytes(content[:-40])
    assert "truncated" in refused(tmp_path / "z.jpg")


@pytest.mark.parametrize(
    ("name", "words"),
    [("x.tif", "first page (3 pages)"), ("x.mpo", "first picture in the file (3 pictures)"), ("x.ico", "largest icon")],
)
def test_several_pictures_in_a_file_are_called_by_their_names(saved, name, words):
    pictures = [Image.new("RGB", (64, 64), color) for color in ("red", "lime", "blue")]
    several = {"sizes": [(16, 16), (64, 64)]} if name == "x.ico" else {"save_all": True, "append_images": pictures[1:]}
    picture = saved(pictures[0], name, **several)
    assert np.abs(pixels(picture)[20, 20] - [255, 0, 0]).max() <= 3 and words in picture.notes[0]
    assert picture.image.size == (64, 64)


@pytest.mark.parametrize("orientation", [0, 1, 9, 77])
def test_an_orientation_that_turns_nothing_is_not_called_a_turn(saved, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert saved(Image.fromarray(COLORS), exif=exif).notes == ()


def test_a_larger_image_is_refused_by_the_option_that_allows_it(saved, tmp_path):
    saved(Image.new("RGB", (40, 30)))
    with pytest.raises(InputError, match=r"more pixels than `max_pixels` allows, 1,199: 40 × 30\. Raise it"):
        read_image(tmp_path / "x.png", max_pixels=1199)
    assert read_image(tmp_path / "x.png", max_pixels=1200).image.size == (40, 30)


def test_pixels_beyond_pillows_own_limit_can_be_allowed(monkeypatch, saved, tmp_path):
    saved(Image.new("RGB", (40, 30)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_image(tmp_path / "x.png", max_pixels=1200).image.size == (40, 30)


def test_heic_without_its_package_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "x.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingPackageError, match=r"HEIC picture, which needs pillow-heif.*latentflow\[heif\]"):
        read_image(tmp_path / "x.heic")


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"GIF89a", "GIF"),
        (b"II*\0", "TIFF"),
        (b"some text", ""),
    ],
)
def test_a_file_that_begins_as_a_picture_is_damaged_and_no_unknown_format(tmp_path, head, name):
    if name == "HEIC":
        pytest.importorskip("pillow_heif")
    (tmp_path / "x").write_bytes(head + bytes(400))
    words = f"x is a damaged {name} picture" if name else "its content is of no known format"
    with pytest.raises(InputError, match=words):
        check_image(tmp_path / "x")
    with pytest.raises(InputError, match=words):
        read_image(tmp_path / "x")


def test_heic_is_read_with_its_package(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.new("RGB", (64, 48), (200, 120, 40))).save(tmp_path / "x.heic", quality=95)
    picture = read_image(tmp_path / "x.heic")
    assert picture.image.size == (64, 48) and np.abs(pixels(picture) - [200, 120, 40]).max() <= 6
    assert [path.name for path in find_images(tmp_path).paths] == ["x.heic"]


def test_a_folder_gives_pictures_and_says_what_it_passes_over(tmp_path):
    for name in ("a.png", "._a.png", ".hidden.png", "deep/B.JPG", "__MACOSX/c.png", ".git/d.png", "out.png", "old.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "out.png.manifest.json").write_text(
        json.dumps({"format_version": 2, "options": {}, "written": ["out.png"]})
    )
    (tmp_path / "old.gif.manifest.json").write_text(json.dumps({"options": {}}))  # as 0.1.0 wrote them
    (tmp_path / "deep" / "up").symlink_to(tmp_path)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing.png")
    found = find_images(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found.paths] == ["a.png", "deep/B.JPG"]
    for words in ("._a.png", "(hidden, or added by the system)", "notes.txt (.txt is not read)", "gone.png (a link to"):
        assert words in found.passed_over, found.passed_over
    assert "old.gif" in found.passed_over and "\n" not in found.passed_over
    assert find_images(tmp_path / "deep").paths[0].name == "B.JPG"  # the link leads to what is above, and no further


def test_a_linked_folder_is_followed_once(tmp_path):
    for name in ("elsewhere/a.png", "album/b.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    for name in ("one", "two"):
        (tmp_path / "album" / name).symlink_to(tmp_path / "elsewhere")
    assert sorted(path.name for path in find_images(tmp_path / "album").paths) == ["a.png", "b.png"]


def test_notes_that_many_images_share_are_one_sentence(tmp_path):
    said = []
    reader = Reader(ReadingOptions(background="gray"), said.append)
    for index in range(3):
        Image.new("RGBA", (4, 4), (0, 0, 0, 100)).save(tmp_path / f"{index}.png")
        reader.read(tmp_path / f"{index}.png")
    reader.read(tmp_path / "0.png")
    reader.say_notes()
    reader.say_notes()
    assert said == [f"3 images, such as {tmp_path / '0.png'}: transparency over gray."]


@pytest.mark.parametrize("color", ["no color", "#12", "rgba(1, 2, 3, 4)", ""])
def test_a_background_that_is_no_color_is_refused(color):
    with pytest.raises(InputError, match="`background`"):
        ReadingOptions(background=color)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "image"),
    [
        (["compare", "--image_path", "x.png", "--losses", "mse,l1", "--steps", "1"], "x.png"),
        (["walk", "x.png", "random:1", "--frames", "2", "--output_path", "w.gif"], "x.png"),
        (["channels", "x.png"], "x.png"),
        (["grid", "x.png", "--resolution", "2"], "x.png"),
        (["similar", "x.png", "folder"], "2 images"),
        (["stats", "folder"], "2 images"),
        (["atlas", "folder"], "3 images"),
        (["evaluate", "folder"], "3 images"),
        (["batch", "folder", "--output_dir", "out", "--steps", "1"], "3 images"),
        (["--image_path", "x.png", "--steps", "1", "--output_path", "r.gif"], "x.png"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_every_command_says_what_reading_changed(invoke, tmp_path, command, image):
    (tmp_path / "folder").mkdir()
    y, x = np.mgrid[0:32, 0:32]
    for index, name in enumerate(("x.png", "folder/a.png", "folder/b.png", "folder/c.png")):
        waves = np.stack([127 + 120 * np.sin((x + y * index) / 4), x * 8, y * 8, 60 + x * 4], -1)
        Image.fromarray(waves.astype(np.uint8)).save(tmp_path / name)
    code, out, err = invoke(*command, "--weights", "bundled", "--size", 32, "--background", "#406080")
    assert code == 0, err
    said = [line for line in (out + err).splitlines() if "transparency over #406080" in line]
    assert len(said) >= 1 and any(image in line or "images" in line for line in said), (out, err)


@pytest.mark.slow
def test_an_image_is_read_from_a_pipe(tmp_path, small):
    content = small.read_bytes()
    line = ["--weights", "bundled", "--size", "32", "--steps", "1", "--seed", "1", "--json"]
    piped = run_command([*line, "--image_path", "-"], tmp_path, stdin=content)
    assert piped.returncode == 0 and "- is a stream" in piped.stderr, piped.stderr
    named = run_command([*line, "--image_path", small, "--overwrite"], tmp_path)
    results = [json.loads(each.stdout) for each in (piped, named)]
    assert results[0]["metrics"] == results[1]["metrics"]
    manifest = json.loads((tmp_path / "grad_result.gif.manifest.json").read_text())
    assert hashlib.sha256(content).hexdigest() in json.dumps(manifest)
    empty = run_command([*line, "--image_path", "-"], tmp_path)
    assert empty.returncode == 2 and "--image_path - is empty" in empty.stderr


def test_a_file_that_declares_any_size_takes_no_memory_for_it(small):
    with open_bytes(small) as file:
        assert file.read(2**60) == small.read_bytes() and file.read(2**60) == b""  # more than any machine has
        file.seek(8)
        assert file.read(4) == small.read_bytes()[8:12] and file.read() == small.read_bytes()[12:]


def test_a_centered_part_of_any_size_stays_inside_the_picture():
    """Rounding put it beyond an edge by a ten-billionth of a pixel, which Pillow refuses."""
    for width in range(1, 400, 7):
        for height in (1, 30, 72, 96, 333):
            picture = Image.new("RGB", (width, height), (10, 200, 30))
            for wanted in ((96, 54), (54, 96), (97, 72), (31, 7), (13, 64)):
                part = cover(picture, *wanted)
                assert part.size == wanted and part.getextrema() == ((10, 10), (200, 200), (30, 30))
