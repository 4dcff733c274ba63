"""How frames follow a sound, by name: what each motion does, and which options it has. Costs no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MotionWords:
    """A motion in words, the `options` that have an effect on it, and over how many seconds it is usually smoothed."""

    words: str
    options: frozenset[str]
    smooth: float = 0.0


MOTIONS = {
    "percussive": MotionWords(
        "with the energy of drums and other hits", frozenset({"smooth", "margin", "sensitivity", "marks"}), 0.15
    ),
    "energy": MotionWords("with the energy of all that sounds", frozenset({"smooth", "sensitivity", "marks"}), 0.3),
    "beats": MotionWords("an image on a beat", frozenset({"every"})),
    "bars": MotionWords("an image on the first beat of a bar", frozenset({"every", "beats_per_bar"})),
    "chroma": MotionWords("images mixed by the pitch classes that sound", frozenset({"smooth", "sensitivity"}), 0.5),
    "constant": MotionWords("evenly", frozenset({"marks"})),
}
MOTION_OPTIONS = ("every", "beats_per_bar", "smooth", "margin", "sensitivity", "marks")
MOTION, SENSITIVITY, MARGIN, BEATS_PER_BAR = "percussive", 0.9, 1.0, 4  # unless they are given
ATTACK, RELEASE, REACH = 0.02, 0.4, 0.4  # of MIDI notes: seconds, seconds, standard deviations; live ones have them too
NEEDING_LIBROSA = frozenset({"beats", "bars", "chroma"})
