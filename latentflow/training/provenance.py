"""The data of a training, kept in its checkpoint, so that it never goes on with others unnoticed.

A changed folder changes which images are held out, and a changed set of captions changes the numbers of words. A
training that went on would be measured on images that it has trained on, or give words each other's embeddings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from latentflow.base.errors import InputError
from latentflow.pictures.folders import named

READ = 2**16  # bytes of each file that are compared, beside its size: a folder may be larger than memory
DIGITS = 16  # of a hash
ENCODED = ("words", "encoded", "held")  # what is known only when images with captions are read
REMEDY = "Put them back as they were, or `overwrite` starts over."

Provenance = dict[str, Any]


def of_files(root: Path, paths: Sequence[Path], held_out: Iterable[Path] = (), words: Sequence[str] = ()) -> Provenance:
    """The names below `root` of the files trained on, each with a hash of its size, its first 64 KiB and the string of
    `words` that belongs to it; and the names of the held-out ones."""
    belonging = words or [""] * len(paths)
    return {
        "files": {_name(root, path): _hash(path, text) for path, text in zip(paths, belonging)},
        "held_out": sorted(_name(root, path) for path in held_out),
    }


def of_drawn(*more: Path) -> Provenance:
    """A hash of the code that draws images, in `latentflow.generated` and in `more` files."""
    sources = [*sorted(Path(str(files("latentflow.generated"))).glob("*.py")), *more]
    return {"drawn_by": short_hash(b"".join(path.read_bytes() for path in sources))}


def short_hash(content: bytes) -> str:
    """The first digits of a SHA-256."""
    return hashlib.sha256(content).hexdigest()[:DIGITS]


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _hash(path: Path, text: str) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(READ)
        size = path.stat().st_size
    except OSError:  # whoever reads it says so
        head, size = b"", -1
    return short_hash(b"%d %s %s" % (size, text.encode("utf-8", "surrogateescape"), head))


def check_provenance(checkpoint: Path, then: Provenance | None, now: Provenance, say: Callable[[str], None]) -> None:
    """Raise `InputError` where the data of a training are others than `then`, when its checkpoint was written; say so
    where that can't be known, or where only the code that draws images has changed."""
    if then is None:
        say(
            f"The checkpoint {checkpoint} is of an earlier version and doesn't say which data it was trained on. If "
            "they have changed since, images that are held out now may have been trained on."
        )
        return
    if then.get("drawn_by") != now.get("drawn_by"):
        say("This version draws other images than the one that began this training; it goes on with these.")
    before, after = then.get("files", {}), now.get("files", {})
    both = before.keys() & after.keys()
    changes = {
        "added": after.keys() - before.keys(),
        "gone": before.keys() - after.keys(),
        "changed": {name for name in both if before[name] != after[name]},
    }
    found = [f"{word}: {named(sorted(names))}" for word, names in changes.items() if names]
    if found:
        raise InputError(
            f"`data` is not what the training of {checkpoint} began with ({'; '.join(found)}), and other images would "
            "be held out.",
            REMEDY,
        )
    if then.get("held_out") != now.get("held_out"):
        raise InputError(
            f"The training of {checkpoint} holds out other images than this version would.", "`overwrite` starts over."
        )


def check_encoded(checkpoint: Path, then: Provenance | None, now: Provenance) -> None:
    """Raise `InputError` where the words of the captions, or the numbers of images that were encoded and held out, are
    others than `then`."""
    if then is None or all(then.get(name) == now[name] for name in ENCODED):
        return
    reason = "The captions have other words"
    if then.get("words") == now["words"]:
        reason = f"Other images can be decoded ({now['encoded']}, not {then.get('encoded')})"
    raise InputError(
        f"{reason} than when the training of {checkpoint} began: it would be measured on what it has trained on, or "
        "give words each other's meaning.",
        "`overwrite` starts over.",
    )
