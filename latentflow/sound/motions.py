"""Motions, the ways in which frames follow a sound, by name: one record holds all about each. Costs no torch."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from latentflow.base.registry import Registry

Source = Literal["hits", "energy", "beats", "bars", "pitches", "time"]


@dataclass(frozen=True, slots=True)
class Motion:
    """A motion in `words`, the `options` that have an effect on it, what frames follow, and over how many seconds that
    is usually smoothed. Nothing has a default, so that none can be forgotten for a new motion."""

    words: str
    options: frozenset[str]
    follows: Source
    smooth: float

    @property
    def mixes(self) -> bool:
        """True where all images are mixed, instead of a path between them followed."""
        return self.follows == "pitches"

    @property
    def has_beats(self) -> bool:
        """True where beats are looked for."""
        return self.follows in ("beats", "bars")

    @property
    def rises(self) -> bool:
        """True where frames never go back."""
        return self.follows in ("hits", "energy", "time")


_BEATS = frozenset({"every", "bpm", "first_beat"})
_ENERGY = frozenset({"smooth", "sensitivity", "marks"})
_MOTIONS = {
    "percussive": Motion("with the energy of drums and other hits", _ENERGY | {"margin"}, "hits", 0.15),
    "energy": Motion("with the energy of all that sounds", _ENERGY, "energy", 0.3),
    "beats": Motion("an image on a beat", _BEATS, "beats", 0.0),
    "bars": Motion("an image on the first beat of a bar", _BEATS | {"beats_per_bar"}, "bars", 0.0),
    "chroma": Motion("images mixed by the pitch classes that sound", _ENERGY - {"marks"}, "pitches", 0.5),
    "constant": Motion("evenly", frozenset({"marks"}), "time", 0.0),
}


def _motion(name: str, found: Any) -> Motion:
    """A motion of an installed package; raises ValueError for one that follows something else, or has other options."""
    if not isinstance(found, Motion):
        raise ValueError(f"it is a {type(found).__name__}, not a Motion")
    if found.follows not in get_args(Source):
        raise ValueError(f"it follows {found.follows!r}, not one of {', '.join(get_args(Source))}")
    if unknown := found.options - set(MOTION_OPTIONS):
        raise ValueError(f"there is no option {min(unknown)}")
    return found


MOTIONS = Registry("motions", _MOTIONS, _motion)
MOTION_OPTIONS = ("every", "beats_per_bar", "bpm", "first_beat", "smooth", "margin", "sensitivity", "marks")
MOTION, SENSITIVITY, MARGIN, BEATS_PER_BAR = "percussive", 0.9, 1.0, 4  # unless they are given
ATTACK, RELEASE, REACH = 0.02, 0.4, 0.4  # of MIDI notes: seconds, seconds, standard deviations; live ones have them too


def mixes_images(motion: str | None) -> bool:
    """Tell whether a motion, if there is one, mixes all images."""
    return motion is not None and MOTIONS[motion].mixes
