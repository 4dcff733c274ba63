"""Input of every kind, and the way between pictures and tensors."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from latentflow.errors import InputError
from latentflow.pictures.files import cover, fit, read_image, to_tensor, to_uint8

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
    [(b"", "zero bytes"), (b"not an image", "not an image"), (b"\x89PNG\r\n\x1a\n", "not an image")],
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
