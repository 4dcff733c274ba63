"""Figures with axes: matplotlib without a screen, and files that repeat byte for byte."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from latentflow.errors import InputError, MissingPackageError
from latentflow.files import check_writable, replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
DPI = 120


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


def save_figure(figure: Figure, path: Path, option: str = "`output_path`") -> None:
    """Write a figure, complete or not at all, with the same bytes for the same figure; raises `OutputError`."""
    import matplotlib
    from matplotlib.text import Text

    for text in figure.findobj(Text):  # names of files among them, which are neither formulas nor always UTF-8
        text.set_parse_math(False)
        text.set_text(text.get_text().encode(errors="replace").decode())
    with (
        replacing(path, option) as unfinished,
        matplotlib.rc_context({"svg.hashsalt": "latentflow"}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else {"Software": None}
        figure.savefig(unfinished, metadata=metadata)
