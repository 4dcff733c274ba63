"""Sentences about events of a MIDI file, and options for it, that have no effect on a walk."""

from __future__ import annotations

from collections.abc import Iterator

from latentflow.base.options import counted
from latentflow.sound.config import MusicConfig
from latentflow.sound.midi import CENTER, POSITION, Mapping, Performance, note_name
from latentflow.sound.motions import MOTION_OPTIONS, mixes_images

FAR = 64  # of 127: a wheel that moves less plays vibrato
NAMED = 5  # unused parts of a mapping that are named


def leading_control(mapping: Mapping, played: Performance) -> int | None:
    """The number of the controller that sets the place on the walk, or None.

    The usual one, the modulation wheel, leads only where it moves far: sequencers reset it, and singers and strings
    have vibrato by it. One that a mapping names always leads.
    """
    numbers = _position_controls(mapping, played)
    return next((number for number in numbers if mapping.chosen or played.span(number) >= FAR), None)


def _position_controls(mapping: Mapping, played: Performance) -> list[int]:
    return [number for number, target in mapping.controls.items() if target == POSITION and number in played.controls]


def without_effect(
    config: MusicConfig, mapping: Mapping, played: Performance, part: tuple[float, float]
) -> Iterator[str]:
    """A sentence for each thing without effect; `part` is the stretch of the file that the walk shows, in seconds."""
    leading = leading_control(mapping, played)
    yield from _unled(config, mapping, played, leading)
    if config.map_ is not None:
        yield from _unmapped(mapping, played)
    idle = _idle_options(config, mapping, played)
    if idle:
        names = ", ".join(f"`{name}`" for name in idle)
        yield f"{names}: without effect, since nothing is played that {'they' if len(idle) > 1 else 'it'} would change."
    outside = sum(note.stop <= part[0] or note.start >= part[1] for note in played.notes)
    if outside:
        yield (
            f"{counted(outside, 'note', 'are')} outside the walk, which shows {part[0]:.1f} to {part[1]:.1f} s of "
            "the MIDI file."
        )


def _unled(config: MusicConfig, mapping: Mapping, played: Performance, leading: int | None) -> Iterator[str]:
    """A sentence for each thing that could lead the walk and doesn't."""
    by_chroma = config.audio is not None and mixes_images(config.motion)
    leader, verb = ("program changes", "have") if leading is None else (f"controller {leading}", "has")
    is_led = leading is not None or len(played.cues[0]) > 0
    if by_chroma and is_led:
        yield f"The images are mixed by `motion` {config.motion}: {leader} of the MIDI file {verb} no effect."
    if is_led and config.audio is not None and not by_chroma:
        idle = [f"`{name}`" for name in ("motion", *MOTION_OPTIONS) if getattr(config, name) is not None]
        yield f"The walk follows {leader} of the MIDI file, not the sound{': ' + ', '.join(idle) if idle else ''}" + (
            " without effect." if idle else "."
        )
    if leading is not None and len(played.cues[0]):
        yield f"The walk follows controller {leading}: program changes have no effect."
    for number in _position_controls(mapping, played):
        if number == leading:
            continue
        if leading is not None:
            yield f"The walk follows controller {leading}: controller {number} has no effect."
        elif played.span(number):
            yield (
                f"Controller {number} moves by {played.span(number):g} of 127 only, as for vibrato, and the walk "
                f'doesn\'t follow it; with {{"controls": {{"{number}": "position"}}}} in `map_` it does.'
            )


def _unmapped(mapping: Mapping, played: Performance) -> Iterator[str]:
    """A sentence on the parts of a mapping that the file doesn't play, and one for an empty mapping."""
    pitches, programs = {note.pitch for note in played.notes}, {int(program) for program in played.cues[1]}
    idle = [f"note {note_name(pitch)}" for pitch in mapping.notes if pitch not in pitches]
    idle += [f"controller {number}" for number in mapping.controls if mapping.chosen and number not in played.controls]
    idle += [f"program {number}" for number in mapping.programs if number not in programs]
    if idle:
        more = f" and {len(idle) - NAMED} more" if len(idle) > NAMED else ""
        yield f"`map_` names what the MIDI file doesn't play: {', '.join(idle[:NAMED])}{more}."
    if not (mapping.notes or mapping.programs or mapping.chosen):
        yield "`map_` is empty and has no effect."


def _idle_options(config: MusicConfig, mapping: Mapping, played: Performance) -> list[str]:
    """Options of notes and directions that were given and that nothing in the file has."""
    moving = [number for number, target in mapping.controls.items() if target != POSITION and _moves(played, number)]
    named = any(note.pitch not in mapping.notes for note in played.notes)
    named = named or any(isinstance(mapping.controls[number], str) for number in moving)
    notes = bool(played.notes)
    has_effect = {
        "attack": notes,
        "release": notes or config.audio is None,  # the walk ends when the last note has faded
        "reach": notes or bool(moving),
        "seed": named,
        "tones": notes,
    }
    return [name for name, has in has_effect.items() if not has and getattr(config, name) not in (None, False)]


def _moves(played: Performance, number: int) -> bool:
    return number in played.controls and bool((played.controls[number][1] != CENTER).any())
