"""The standard form of a decoded image file: an 8-bit sRGB picture without alpha, and a note on each change."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageSequence

from latentflow.pictures.decoding import DECODING_ERRORS

ORIENTATION, BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 274, 258, 262, 339  # tags of TIFF 6.0 and EXIF
SIXTEEN_BITS = 65535
SRGB_GAMMA = 1 / 2.2
SMALLEST_GAMMA, LARGEST_GAMMA = 0.05, 20  # beyond them a picture would be black or white
GAMMA_TOLERANCE = 0.05  # as libpng has it: a smaller difference is not visible
SRGB_CHROMATICITY = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
GRAY_STEPS = {"1": 255, "L;2": 85, "L;4": 17}  # of Pillow's gray levels for one level of the file
NO_ALPHA_IF_ZERO = ("BMP", "DIB", "TGA")  # many programs leave the fourth byte of these unset
SEVERAL = {
    "TIFF": ("first page", "pages"),
    "MPO": ("first picture in the file", "pictures"),
    "HEIF": ("main picture in the file", "pictures"),
}

TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Notes = list[str]


def standardize(image: Image.Image, background: str) -> tuple[Image.Image, Notes]:
    """A picture as its file says it is to be seen, over a color that Pillow knows; details of notes stand in
    parentheses at their end. Raises what Pillow's decoders raise."""
    kind = image.format or ""
    raw_mode = _raw_mode(image)
    image, notes = _first(image, kind)
    if kind == "PNG":  # its EXIF is read with the pixels, and what is wrong with those isn't the EXIF's fault
        image.load()
    orientation = _orientation(image, notes)  # before it is loaded, which turns a TIFF
    image.load()
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    info: Mapping[Any, Any] = image.info
    if orientation in TURNED:
        image = image.transpose(TURNED[orientation])
        notes.append("EXIF orientation applied")
    color, alpha = _separated(image, GRAY_STEPS.get(raw_mode, 1))
    if color.mode.startswith("I") or color.mode == "F":
        color = _eight_bits(color, tags, notes)
    elif "16" in raw_mode:
        notes.append("16 bits rounded to 8")
    color = _to_srgb(color, info, notes)
    if color.mode not in ("RGB", "L", "P", "1"):
        notes.append(f"converted from {color.mode} to RGB")
    color = color.convert("RGB")
    if alpha is not None:
        color = _over(color, alpha, background, kind, notes)
    return color, notes


def _orientation(image: Image.Image, notes: Notes) -> Any:
    """The EXIF orientation of a picture; 1, upright, where its EXIF can't be read."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except DECODING_ERRORS:
        notes.append("EXIF that can't be read ignored")
        return 1


def _raw_mode(image: Image.Image) -> str:
    """Return the mode of the pixels in the file, in Pillow's words, such as "L;2"; empty where Pillow doesn't say."""
    tile: Sequence[Any] = getattr(image, "tile", None) or [("", None, 0, "")]
    arguments = tile[0][3]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _first(image: Image.Image, kind: str) -> tuple[Image.Image, Notes]:
    """The picture that is used of a file with several, and a note."""
    sizes = image.info.get("sizes", ()) if kind == "ICO" else ()
    if len(sizes) > 1:
        return image, [f"largest icon ({len(sizes)} sizes)"]
    count = getattr(image, "n_frames", 1)
    if count < 2:
        return image, []
    first, several = SEVERAL.get(kind, ("first frame of an animation", "frames"))
    if kind != "HEIF":
        image = next(ImageSequence.Iterator(image))
    return image, [f"{first} ({count} {several})"]


def _separated(image: Image.Image, gray_step: int) -> tuple[Image.Image, Image.Image | None]:
    """The picture without alpha, and its alpha. A PNG may have a transparent color instead of alpha, which Pillow
    keeps in the file's own gray levels, `gray_step` of its own apart; of 16-bit color it reads the upper 8 bits."""
    key = image.info.get("transparency")
    if key is not None and image.mode in ("1", "L", "RGB", "I;16"):
        pixels = np.asarray(image).astype(int)
        if image.mode == "RGB":
            sixteen = max(key) > 255
            visible = (pixels != [each >> 8 if sixteen else each for each in key]).any(-1)
        else:
            visible = pixels * (255 if image.mode == "1" else 1) != min(key * gray_step, SIXTEEN_BITS)
        return image, Image.fromarray(visible.astype(np.uint8) * 255)
    if not image.has_transparency_data:
        return (image.convert("RGB") if image.mode == "P" else image), None
    if image.mode not in ("LA", "RGBA"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    return image.convert("L" if image.mode == "LA" else "RGB"), image.getchannel("A")


def _eight_bits(image: Image.Image, tags: Mapping[int, Any], notes: Notes) -> Image.Image:
    """A gray picture of integers or floats in 8 bits."""
    values = np.asarray(image)
    if image.mode == "I" and tags.get(BITS_PER_SAMPLE) == (32,) and tags.get(SAMPLE_FORMAT, (1,)) == (1,):
        values = values.view(np.uint32)
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    low, high = (float(values[finite].min()), float(values[finite].max())) if finite.any() else (0.0, 0.0)
    black, white, note = _range(low, high, image.mode, tags)
    notes.append(note)
    levels = (values - black) / max(white - black, 1e-12)
    if tags.get(PHOTOMETRIC) == 0:  # white is zero
        levels = 1 - levels
    if not finite.all():
        levels[~finite] = 0
        notes.append("values that are not finite shown black")
    return Image.fromarray((levels * 255 + 0.5).clip(0, 255).astype(np.uint8))


def _range(low: float, high: float, mode: str, tags: Mapping[int, Any]) -> tuple[float, float, str]:
    """The values of black and white in a gray picture with values from `low` to `high`, and a note."""
    if mode == "F" and low >= 0 and high <= 1:
        return 0, 1, "floats in [0, 1] rounded to 8 bits"
    if mode == "F" or low < 0 or high > SIXTEEN_BITS:
        return low, high, f"spread over black to white (values from {low:g} to {high:g})"
    bits = int(tags.get(BITS_PER_SAMPLE, (16,))[0])
    if bits < 16:
        return 0, 2**bits - 1, f"{bits} bits rounded to 8"
    for used in (8, 12):  # a camera's 12 bits are mostly saved in 16, and would be black
        if 0 < high < 2**used:
            return 0, 2**used - 1, f"16 bits taken as {used}, since no value is above {2**used - 1}"
    return 0, SIXTEEN_BITS, "16 bits rounded to 8"


def _to_srgb(image: Image.Image, info: Mapping[Any, Any], notes: Notes) -> Image.Image:
    """The picture by its ICC profile, else by its gamma, in sRGB."""
    if info.get("icc_profile"):
        return _by_profile(image, info["icc_profile"], notes)
    if "srgb" in info:
        return image
    white_and_primaries = info.get("chromaticity")
    if white_and_primaries and np.abs(np.subtract(white_and_primaries, SRGB_CHROMATICITY)).max() > 0.01:
        notes.append("primaries taken as those of sRGB (cHRM)")
    gamma = info.get("gamma") or SRGB_GAMMA
    if not SMALLEST_GAMMA <= gamma <= LARGEST_GAMMA:
        notes.append(f"impossible gamma ignored (gAMA {gamma:g})")
        return image
    if abs(SRGB_GAMMA / gamma - 1) <= GAMMA_TOLERANCE:
        return image
    notes.append(f"converted to the gamma of sRGB (gAMA {gamma:g})")
    curve = np.rint(255 * np.linspace(0, 1, 256) ** (SRGB_GAMMA / gamma)).astype(int).tolist()
    image = image if image.mode in ("L", "RGB") else image.convert("RGB")
    return image.point(curve * len(image.getbands()))


def _by_profile(image: Image.Image, profile: bytes, notes: Notes) -> Image.Image:
    """The picture through its ICC profile to sRGB; a profile that is broken or of a different kind is left out."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(source).strip() or "unnamed"
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        converted = None
    if converted is None:
        notes.append("ICC profile that can't be used, taken as sRGB")
        return image
    if "srgb" not in name.lower():
        notes.append(f"converted by its ICC profile to sRGB ({name})")
    return converted


def _over(color: Image.Image, alpha: Image.Image, background: str, kind: str, notes: Notes) -> Image.Image:
    """The picture over a background, unless its alpha means nothing."""
    low, high = alpha.getextrema()
    if low == high == 255:
        return color
    if high == 0 and kind in NO_ALPHA_IF_ZERO:
        notes.append("alpha ignored, since it is zero everywhere")
        return color
    notes.append(
        f"wholly transparent, so that only {background} is left" if high == 0 else f"transparency over {background}"
    )
    return Image.composite(color, Image.new("RGB", color.size, background), alpha)
