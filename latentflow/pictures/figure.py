"""Figures with axes: matplotlib without a screen, and files that repeat byte for byte."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from latentflow.base.errors import InputError, MissingPackageError
from latentflow.base.files import check_writable, replacing
from latentflow.pictures.text import fonts_for, printable

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
DPI = 120
CHARACTERS_PER_INCH = 11  # of text of ten points


def check_figure_path(path: Path, option: str = "`output_path`") -> None:
    """Raise `InputError` for a suffix that is neither .png nor .svg, `OutputError` where nothing can be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{option} {path}: a figure is written as {' or '.join(SUFFIXES)}.")
    check_writable(path, option)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of width × height inches at 120 dots an inch; raises `MissingPackageError` without matplotlib."""
    try:
        from matplotlib.figure import Figure  # no pyplot: it would look for a screen
    except ImportError as error:
        raise MissingPackageError(f"Figures need matplotlib: {error}.", "pip install matplotlib") from error
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def write_below(figure: Any, finding: str = "", autoencoder: str = "") -> None:
    """Write a description below a figure, or below a part of one, and the name of its autoencoder."""
    lines = [finding, f"autoencoder: {autoencoder}" if autoencoder else ""]
    if any(lines):
        characters = int(CHARACTERS_PER_INCH * figure.bbox.width / DPI)
        figure.supxlabel("\n".join(fill(line, characters) for line in lines if line), fontsize=10)


def _texts(artist: Any) -> Iterator[Any]:
    """The texts in a figure that are shown. An axis that is off isn't looked into: it would make its ticks for it."""
    from matplotlib.text import Text

    if isinstance(artist, Text):
        yield artist
    hidden = () if getattr(artist, "axison", True) else (artist.xaxis, artist.yaxis)
    for child in artist.get_children():
        if child not in hidden:
            yield from _texts(child)


def save_figure(figure: Figure, path: Path, option: str = "`output_path`") -> None:
    """Write a figure, complete or not at all, with the same bytes for the same figure; raises `OutputError`."""
    import matplotlib

    _make_readable(figure)
    with (
        replacing(path, option) as unfinished,
        matplotlib.rc_context({"svg.hashsalt": "latentflow"}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else {"Software": None}
        figure.savefig(unfinished, metadata=metadata)


def drawn_figure(figure: Figure) -> np.ndarray:
    """A figure as a picture, (h, w, 3) uint8."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    _make_readable(figure)
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _make_readable(figure: Figure) -> None:
    """Show names of files, which are neither formulas nor always UTF-8, in fonts that have their letters."""
    for text in _texts(figure):
        text.set_parse_math(False)
        text.set_text(printable(text.get_text()))
        text.set_fontfamily(fonts_for(text.get_text()))
