"""Widgets for notebooks and the app: one JavaScript file for each widget, and their style."""

from importlib.resources import files


def script(*names: str) -> str:
    """The JavaScript of widgets, such as "scrubber.js", as one module."""
    return "\n".join(files(__name__).joinpath(name).read_text(encoding="utf-8") for name in names)


def style() -> str:
    """Their style sheet."""
    return files(__name__).joinpath("widgets.css").read_text(encoding="utf-8")
