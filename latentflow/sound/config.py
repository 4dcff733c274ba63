"""The options of what moves to a sound, or to notes."""

from dataclasses import dataclass

from latentflow.base.options import MAX_SEED, Options, option
from latentflow.sound.motions import (
    ATTACK,
    BEATS_PER_BAR,
    MARGIN,
    MOTION,
    MOTIONS,
    REACH,
    RELEASE,
    SENSITIVITY,
)


@dataclass(frozen=True, kw_only=True)
class SoundConfig(Options):
    """The options of what moves to a sound; raises `InputError` naming the option that is wrong."""

    audio: str | None = option(
        None,
        "Sound file: .wav, .mp3, .m4a, .ogg, .flac, .opus or a video. Its length sets the number of frames, and an "
        ".mp4 or .webm plays it.",
        metavar="FILE",
        names_file=True,
    )
    motion: str | None = option(
        None,
        "How frames follow the sound; {choices}.",
        choices=MOTIONS,
        shown_default=f"{MOTION}; render: the frames keep their time",
    )
    from_: str | None = option(
        None, "Where in the sound to begin: seconds, or M:SS.", metavar="TIME", shown_default="its beginning"
    )
    to: str | None = option(
        None, "Where in the sound to end: seconds, or M:SS.", metavar="TIME", shown_default="its end"
    )
    marks: tuple[str, ...] | None = option(
        None,
        "Times in the sound at which the images between the first and the last are reached: 0:12,0:31.5.",
        metavar="TIME[,…]",
        many=True,
        shown_default="wherever the motion takes them",
    )
    every: int | None = option(
        None,
        "Reach the next image on every N-th beat or bar, again and again, to and fro.",
        metavar="N",
        minimum=1,
        shown_default="each image once, spread over the sound",
    )
    beats_per_bar: int | None = option(
        None, "Number of beats in a bar.", minimum=1, maximum=32, shown_default=f"{BEATS_PER_BAR}"
    )
    bpm: float | None = option(
        None,
        "Beats per minute, where you know them better than what is heard; they are kept exactly.",
        metavar="TEMPO",
        minimum=20,
        maximum=400,
        shown_default="what is heard, which may change",
    )
    first_beat: str | None = option(
        None,
        "Time in the sound of a beat that begins a bar; no beat comes before it.",
        metavar="TIME",
        shown_default="what is heard",
    )
    smooth: float | None = option(
        None,
        "Seconds over which a hit moves the picture, from when it is heard.",
        minimum=0,
        maximum=60,
        shown_default=", ".join(f"{each.smooth:g} for {name}" for name, each in MOTIONS.own.items() if each.smooth),
    )
    margin: float | None = option(
        None,
        "How many times as strong as tones something must be to count as a hit; larger: drums alone.",
        above=0,
        maximum=100,
        shown_default=f"{MARGIN:g}",
    )
    sensitivity: float | None = option(
        None,
        "Share of the path that follows the sound; the rest is covered evenly, so that quiet passages move too.",
        minimum=0,
        maximum=1,
        shown_default=f"{SENSITIVITY:g}",
    )


@dataclass(frozen=True, kw_only=True)
class MusicConfig(SoundConfig):
    """The options of what moves to a sound, to the notes of a MIDI file, or to both; raises `InputError` naming the
    option that is wrong."""

    midi: str | None = option(
        None,
        "MIDI file: its notes move the picture, its controllers and program changes the walk (needs the extra "
        "latentflow[sound]).",
        metavar="FILE",
        names_file=True,
    )
    map_: str | None = option(
        None,
        "JSON file that says what notes, controllers and programs do: see docs/music.md.",
        metavar="FILE",
        names_file=True,
    )
    offset: float | None = option(
        None,
        "Seconds of the sound at which the MIDI file begins; may be negative.",
        minimum=-3600,
        maximum=3600,
        shown_default="0",
    )
    attack: float | None = option(
        None, "Seconds that a note takes to rise.", minimum=0, maximum=60, shown_default=f"{ATTACK:g}"
    )
    release: float | None = option(
        None, "Seconds that a note takes to fade.", minimum=0, maximum=60, shown_default=f"{RELEASE:g}"
    )
    reach: float | None = option(
        None,
        "How far a note of full velocity moves the latent, in standard deviations.",
        above=0,
        maximum=100,
        shown_default=f"{REACH:g}",
    )
    seed: int | None = option(None, "Seed of the directions of notes.", minimum=0, maximum=MAX_SEED, shown_default="0")
    tones: bool = option(
        False, "Put simple tones of the notes under the picture, where there is no `audio`.", affects="files"
    )
