"""Names of the results of an image, and its seed: both depend on that image's name alone."""

import hashlib
import os
from pathlib import Path, PurePath

from latentflow.base.errors import InputError
from latentflow.base.files import manifest_path
from latentflow.sinks.manifest import read_manifest

LONGEST = 200  # bytes of 255: the longest of the files beside an output adds 42 to its name while it is written


def image_seed(seed: int, name: str) -> int:
    """The seed of an image: the first 32 bits of the SHA-256 of "SEED:NAME", so that it depends on no other image."""
    return int.from_bytes(_digest(f"{seed}:{name}")[:4], "big")


def output_path(folder: Path, name: str, suffix: str) -> Path:
    """Return the path of an image's frames: its own name and the suffix, inside `folder`. An empty suffix means a
    folder of PNGs.

    A name that can't be kept as it is gets a hash, so that it stays unlike every other one.
    """
    plain = PurePath(name)
    inside = [part for part in plain.parts if part not in ("..", plain.anchor)] or ["image"]  # nothing leaves `folder`
    kept = ".." not in plain.parts and (suffix or "." not in plain.stem)
    last = inside[-1] if suffix else _without_dots(inside[-1])
    return folder.joinpath(*inside[:-1], shortened(last if kept else _marked(last, name)) + suffix)


def earlier_output(folder: Path, name: str, suffix: str, image: Path) -> Path | None:
    """Return the path of this image's frames from 0.1.0 or 0.2.0, which left the image's suffix out, if there are any:
    a manifest beside them says which image they belong to."""
    output = output_path(folder, name, suffix)
    stem = PurePath(name).stem
    earlier = output.with_name((stem if suffix else _without_dots(stem)) + suffix)
    try:
        content = read_manifest(manifest_path(earlier))
    except InputError:
        return None
    return earlier if Path(content["options"].get("image_path") or "").name == image.name else None


def file_stem(folder: Path, output: Path) -> str:
    """Return the text for {stem} in the names of an image's other outputs; unlike the image's own stem it is unique."""
    return shortened("-".join(output.relative_to(folder).with_suffix("").parts))


def shortened(text: str) -> str:
    """A file name of at most `LONGEST` bytes: a longer one ends in a hash."""
    content = os.fsencode(text)
    return text if len(content) <= LONGEST else _marked(content[: LONGEST - 9].decode(errors="ignore"), text)


def _marked(short: str, name: str) -> str:
    return f"{short}-{_digest(name).hex()[:8]}"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()  # names of files need not be UTF-8


def _without_dots(name: str) -> str:
    return name.replace(".", "_")  # the name of a folder must not end as a file's does
